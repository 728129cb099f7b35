"""The process, held against its equations and against diffusers' other schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from pydantic import ValidationError
from torch import Tensor

from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.methods.noise import random_noise

SDSEG = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0155}
SHAPE = (2, 4, 8, 8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def test_the_schedule_of_sdseg() -> None:
    process = Diffusion(DiffusionConfig(**SDSEG))
    t = torch.tensor([0, 250, 500, 750, 999])
    assert process.latent_to_noise_error_ratio(t).flatten().tolist() == pytest.approx(
        [0.039, 0.93, 2.38, 7.5, 38.66], rel=0.01
    )
    assert process.alphas_cumprod[999].item() == pytest.approx(6.69e-4, rel=1e-2)


def test_a_latent_error_is_the_amplified_noise_error() -> None:
    """|z0 - z0~| = sqrt((1 - alpha-bar) / alpha-bar) |e - e~|: SDSeg's second loss is its first, weighted."""
    process = Diffusion(DiffusionConfig(**SDSEG))
    z0, true, guessed = normal(seed=1), normal(seed=2), normal(seed=3)
    t = torch.tensor([100, 900])
    z_t = process.add_noise(z0, true, t)
    apart = (process.predict_x0(z_t, guessed, t) - z0).abs()
    assert torch.allclose(
        apart, process.latent_to_noise_error_ratio(t) * (guessed - true).abs(), rtol=1e-3, atol=1e-3
    )
    assert torch.allclose(process.predict_x0(z_t, true, t), z0, atol=1e-3)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_one_trailing_step_is_equation_2(eta: float) -> None:
    process = Diffusion(DiffusionConfig(**SDSEG, steps=1, eta=eta))
    seen = []

    def predict(z: Tensor, t: Tensor) -> Tensor:
        seen.append(t.tolist())
        return 0.3 * z + 0.1

    found = process.sample(predict, SHAPE, lambda shape, step=0: normal(*shape, seed=step))
    start = normal(seed=0)
    expected = process.predict_x0(start, 0.3 * start + 0.1, torch.tensor([999, 999]))
    assert seen == [[999, 999]]
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_all_steps_with_noise_are_those_of_ddpm(prediction: str) -> None:
    """The mean is the corrected Equation 9, whose first coefficient has alpha_t and not alpha-bar_t."""
    config = DiffusionConfig(timesteps=40, steps=40, eta=1.0, prediction=prediction, beta_end=0.2)
    process = Diffusion(config)

    def predict(z: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(z) * 0.5

    found = process.sample(predict, SHAPE, lambda shape, step=0: normal(*shape, seed=step))

    bar = process.alphas_cumprod.double()
    z = normal(seed=0).double()
    for number, t in enumerate(range(39, -1, -1)):
        before = bar[t - 1] if t else torch.tensor(1.0, dtype=torch.double)
        alpha = bar[t] / before
        guess = predict(z, torch.tensor(t))
        z0 = guess if prediction == "sample" else (z - (1 - bar[t]).sqrt() * guess) / bar[t].sqrt()
        mean = before.sqrt() * (1 - alpha) / (1 - bar[t]) * z0
        mean = mean + alpha.sqrt() * (1 - before) / (1 - bar[t]) * z
        variance = (1 - before) / (1 - bar[t]) * (1 - alpha)
        z = mean + variance.clamp_min(0).sqrt() * normal(seed=number + 1).double()
    assert torch.allclose(found.double(), z, rtol=1e-3, atol=1e-3)


def test_the_posterior_mean_is_that_of_diffusers_ddpm() -> None:
    """One step in the middle, without noise, against `DDPMScheduler`."""
    scheduler = DDPMScheduler(
        1000, beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False
    )
    z, z0, t = normal(seed=4), normal(seed=5), 500
    bar = scheduler.alphas_cumprod
    alpha = bar[t] / bar[t - 1]
    mean = (
        bar[t - 1].sqrt() * (1 - alpha) / (1 - bar[t]) * z0
        + alpha.sqrt() * (1 - bar[t - 1]) / (1 - bar[t]) * z
    )
    drawn = torch.stack(
        [scheduler.step(z0, t, z, generator=torch.Generator().manual_seed(i)).prev_sample for i in range(400)]
    )
    spread = ((1 - bar[t - 1]) / (1 - bar[t]) * (1 - alpha)).sqrt()
    assert torch.allclose(drawn.mean(0), mean, atol=float(5 * spread / 20))
    assert drawn.std(0).mean().item() == pytest.approx(float(spread), rel=0.02)


def test_latents_beyond_one_are_not_cut() -> None:
    process = Diffusion(DiffusionConfig(prediction="sample", steps=5))
    found = process.sample(lambda z, t: torch.full_like(z, 7.0), SHAPE, random_noise())
    assert torch.allclose(found, torch.full_like(found, 7.0), atol=1e-3)


def test_more_steps_than_timesteps_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than the 10 timesteps"):
        DiffusionConfig(timesteps=10, steps=11)


def test_the_settings_bring_no_weights() -> None:
    assert not Diffusion(DiffusionConfig()).state_dict()


@pytest.mark.parametrize("steps", [7, 10, 15])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_network_that_knows_the_noise_gives_the_latent_exactly(steps: int, eta: float) -> None:
    """Also where the steps do not divide T."""
    process = Diffusion(DiffusionConfig(steps=steps, eta=eta))
    z0 = normal(seed=6)

    def predict(z: Tensor, t: Tensor) -> Tensor:
        return (z - process.sqrt_alpha_bar(t) * z0) / process.sqrt_one_minus_alpha_bar(t)

    found = process.sample(predict, SHAPE, lambda shape, step=0: normal(*shape, seed=step))
    assert torch.allclose(found, z0, atol=1e-3)
