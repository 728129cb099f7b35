"""The learned variance, held against closed forms, a numeric integral and diffusers."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.methods.vlb import PosteriorStep, ancestral_sample, vlb_loss

SHAPE = (2, 3, 4, 4)
BAR = torch.tensor([0.9, 0.6, 0.3, 0.1])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def posterior(t: int) -> tuple[float, float, float, float]:
    """What of z_0 and z_t, the posterior's variance and beta, for t > 0, written out."""
    alpha, before, bar = float(BAR[t] / BAR[t - 1]), float(BAR[t - 1]), float(BAR[t])
    beta = 1 - alpha
    return (
        math.sqrt(before) * beta / (1 - bar),
        math.sqrt(alpha) * (1 - before) / (1 - bar),
        beta * (1 - before) / (1 - bar),
        beta,
    )


@pytest.mark.parametrize("t", [1, 2, 3])
def test_the_term_is_the_divergence_of_the_two_posteriors(t: int) -> None:
    z0, z_t, found, v = (normal(seed=i) for i in range(4))
    a, b, small, large = posterior(t)
    share = (v + 1) / 2
    spread = (0.5 * (share * math.log(large) + (1 - share) * math.log(small))).exp()
    true = Normal(a * z0 + b * z_t, math.sqrt(small))
    expected = kl_divergence(true, Normal(a * found + b * z_t, spread)).flatten(1).mean(1)
    term = vlb_loss(z0, z_t, found, v, BAR, torch.full((2,), t))
    assert torch.allclose(term, expected, rtol=1e-4)


def test_the_term_is_a_numeric_integral() -> None:
    """Of q (log q - log p), for a single number."""
    a, b, small, large = posterior(2)
    one = torch.ones(1, 1, 1, 1)
    term = vlb_loss(0.4 * one, -0.3 * one, 0.1 * one, 0.2 * one, BAR, torch.tensor([2]))
    spread = math.exp(0.5 * (0.6 * math.log(large) + 0.4 * math.log(small)))
    x = torch.linspace(-8, 8, 200_001, dtype=torch.double)
    q, p = Normal(a * 0.4 - b * 0.3, math.sqrt(small)), Normal(a * 0.1 - b * 0.3, spread)
    inside = q.log_prob(x).exp() * (q.log_prob(x) - p.log_prob(x))
    assert term.item() == pytest.approx(torch.trapezoid(inside, x).item(), rel=1e-4)


def test_the_first_timestep_is_a_likelihood_and_a_batch_may_mix() -> None:
    z0, z_t, found, v = (normal(seed=i) for i in range(4))
    smallest, largest = posterior(1)[2], 1 - float(BAR[0])
    share = (v + 1) / 2
    spread = (0.5 * (share * math.log(largest) + (1 - share) * math.log(smallest))).exp()
    expected = -Normal(found, spread).log_prob(z0).flatten(1).mean(1)
    mixed = vlb_loss(z0, z_t, found, v, BAR, torch.tensor([0, 3]))
    assert mixed[0].item() == pytest.approx(expected[0].item(), rel=1e-4)
    alone = vlb_loss(z0[1:], z_t[1:], found[1:], v[1:], BAR, torch.tensor([3]))
    assert mixed[1].item() == pytest.approx(alone.item(), rel=1e-5)


def test_a_perfect_guess_with_the_posterior_s_variance_costs_nothing() -> None:
    z0, z_t = normal(seed=1), normal(seed=2)
    term = vlb_loss(z0, z_t, z0, torch.full(SHAPE, -1.0), BAR, torch.tensor([1, 3]))
    assert torch.allclose(term, torch.zeros(2), atol=1e-5)


def test_it_teaches_the_variance_and_not_the_mean() -> None:
    found, v = normal(seed=3).requires_grad_(), normal(seed=4).requires_grad_()
    vlb_loss(normal(seed=1), normal(seed=2), found, v, BAR, torch.tensor([0, 2])).sum().backward()
    assert found.grad is None
    assert bool((v.grad != 0).all())


def test_the_mean_is_the_mended_equation_9() -> None:
    """sqrt(alpha_t), where the paper prints sqrt(alpha-bar_t): 3.6 times too small at t = 500."""
    bar = Diffusion(DiffusionConfig(beta_schedule="linear")).alphas_cumprod
    step = PosteriorStep.between(bar[500], bar[499])
    scheduler = DDPMScheduler(1000, prediction_type="sample", clip_sample=False)
    z, z0 = normal(seed=1), normal(seed=2)
    drawn = [
        scheduler.step(z0, 500, z, generator=torch.Generator().manual_seed(i)).prev_sample for i in range(200)
    ]
    spread = math.exp(0.5 * float(step.min_log_variance))
    assert torch.allclose(torch.stack(drawn).mean(0), step.mean(z0, z), atol=5 * spread / 200**0.5)
    printed = bar[500].sqrt() * (1 - bar[499]) / (1 - bar[500])
    assert float(step.zt_coefficient / printed) == pytest.approx(3.6, abs=0.1)


def guess(z: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(z) * 0.5


@pytest.mark.parametrize("steps", [40, 8])
def test_with_the_smallest_variance_it_is_the_fixed_sampler(steps: int) -> None:
    process = Diffusion(
        DiffusionConfig(timesteps=40, steps=steps, eta=1.0, prediction="sample", beta_end=0.2)
    )

    def noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
        return normal(*shape, seed=step)

    bar = process.alphas_cumprod
    learned = ancestral_sample(lambda z, t: (guess(z, t), torch.full_like(z, -1.0)), bar, SHAPE, noise, steps)
    assert torch.allclose(learned, process.sample(guess, SHAPE, noise), atol=1e-4)


def test_with_the_largest_variance_each_step_adds_beta() -> None:
    process = Diffusion(DiffusionConfig(timesteps=40, steps=40, prediction="sample", beta_end=0.2))
    bar = process.alphas_cumprod.double()

    def noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
        return normal(*shape, seed=step)

    found = ancestral_sample(
        lambda z, t: (guess(z, t), torch.full_like(z, 1.0)), process.alphas_cumprod, SHAPE, noise, 40
    )
    z = noise(SHAPE).double()
    for number, t in enumerate(range(39, -1, -1)):
        before = bar[t - 1] if t else torch.tensor(1.0, dtype=torch.double)
        alpha = bar[t] / before
        z = (
            before.sqrt() * (1 - alpha) / (1 - bar[t]) * guess(z, t)
            + alpha.sqrt() * (1 - before) / (1 - bar[t]) * z
        )
        if t:
            z = z + (1 - alpha).sqrt() * noise(SHAPE, number + 1).double()
    assert torch.allclose(found.double(), z, atol=1e-3)


def test_a_variance_in_between_is_diffusers_learned_range() -> None:
    bar = Diffusion(DiffusionConfig(beta_schedule="linear")).alphas_cumprod
    scheduler = DDPMScheduler(
        1000, prediction_type="sample", variance_type="learned_range", clip_sample=False
    )
    step = PosteriorStep.between(bar[300], bar[299])
    v = normal(seed=3)
    theirs = scheduler._get_variance(300, predicted_variance=v, variance_type="learned_range")
    assert torch.allclose(step.log_variance(v), theirs, rtol=1e-3)
