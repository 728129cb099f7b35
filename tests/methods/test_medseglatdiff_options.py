"""MedSegLatDiff with the settings of its first author's code, and those that depart from both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from tests.helpers.medseglatdiff import AUTOENCODER, begun_on, learn, noise_of, three_squares
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff
from napari_latentseg.methods.registry import build_method
from napari_latentseg.training.config_files import load_config

CODE = {
    "autoencoder": AUTOENCODER | {"channels": 3}, "mask_autoencoder": AUTOENCODER | {"channels": 1},
    "standardise": False, "quantised_condition": False, "trained_encoder": True, "unshift": False,
    "steps": 4, "eta": 0, "clamp": 1, "quantise_samples": False,
}  # fmt: skip


@pytest.fixture
def batch() -> Batch:
    return three_squares()


@pytest.fixture
def begun(batch: Batch) -> Callable[..., MedSegLatDiff]:
    return partial(begun_on, batch)


@torch.inference_mode()
def test_masks_and_images_may_have_latents_of_other_channels(begun, batch: Batch) -> None:
    method = begun(**CODE)
    conditioning = method.encode(batch.images)
    assert conditioning.shape == (3, 3, 8, 8)
    assert method.mask_autoencoder.encode(batch.masks).shape == (3, 1, 8, 8)
    shapes: list[tuple[int, ...]] = []
    hook = method.denoiser.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    sample = method.sample(conditioning, noise_of(1, 3))
    hook.remove()
    assert set(shapes) == {(3, 1, 8, 8)}
    assert sample.shape == batch.masks.shape


@torch.inference_mode()
def test_the_condition_is_the_encoders_output(begun, batch: Batch) -> None:
    method = begun(**CODE)
    continuous = method.image_autoencoder.network.encode(2 * batch.images - 1).latents
    torch.testing.assert_close(method.encode(batch.images), continuous)
    quantised = begun(**CODE | {"quantised_condition": True}).encode(batch.images)
    codes = method.image_autoencoder.codebook
    nearest = codes[torch.cdist(continuous.movedim(1, -1).reshape(-1, 3), codes).argmin(1)]
    torch.testing.assert_close(quantised.movedim(1, -1).reshape(-1, 3), nearest, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_latents_keep_their_scale_without_standardisation(begun, batch: Batch) -> None:
    assert torch.equal(begun(**CODE).mask_autoencoder.spread, torch.ones(1, 1, 1, 1))
    standardised = begun(**CODE | {"standardise": True}).mask_autoencoder
    assert not torch.equal(standardised.spread, torch.ones(1, 1, 1, 1))


@torch.inference_mode()
def test_predicted_latents_are_clamped(begun, batch: Batch) -> None:
    decoded: dict[float | None, Tensor] = {}
    for bound in (None, 0.25):
        method = begun(**CODE | {"clamp": bound})
        method.decode = lambda latents, bound=bound: decoded.setdefault(bound, latents)  # type: ignore[method-assign]
        method.sample(method.encode(batch.images), noise_of(1, 3))
    assert decoded[0.25].abs().max() <= 0.25
    assert (decoded[None].abs() > 0.25).any()  # type: ignore[index]


@torch.inference_mode()
def test_samples_are_decoded_as_they_are_or_quantised(begun, batch: Batch) -> None:
    latents = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for quantises in (False, True):
        method = begun(**CODE | {"quantise_samples": quantises})
        network = method.mask_autoencoder.network
        expected = network.quantize(latents)[0] if quantises else latents
        logits = network.decode(expected, force_not_quantize=True).sample
        torch.testing.assert_close(method.decode(latents), torch.sigmoid(logits))


@torch.inference_mode()
def test_a_grey_channel_and_stretched_images_do_not_depend_on_brightness(begun, batch: Batch) -> None:
    method = begun(**CODE | {"image_channels": 1, "stretch_images": True})
    assert method.image_autoencoder.network.encoder.conv_in.in_channels == 1
    images = batch.images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(method.encode(0.3 * images + 0.2), method.encode(images), atol=1e-4, rtol=1e-3)
    assert method.encode(torch.full((1, 3, 32, 32), 0.4)).isfinite().all()


@pytest.mark.parametrize("trains_encoder", [False, True])
def test_the_encoder_of_images_is_trained_with_the_diffusion_where_asked(
    begun, batch: Batch, trains_encoder: bool
) -> None:
    method = begun(**CODE | {"trained_encoder": trains_encoder})
    stage = method.stages()[1]
    before = {name: value.clone() for name, value in method.state_dict().items()}
    learn(method, stage, batch, steps=3, begin=False)
    after = method.state_dict()
    changed = {name.split(".network.")[0] for name in before if not torch.equal(before[name], after[name])}
    parts = {name.partition(".")[0] for name in changed}
    assert parts == ({"denoiser", "image_autoencoder"} if trains_encoder else {"denoiser"})
    unchanged = [name for name in before if ".decoder." in name or "quantize" in name]
    assert unchanged
    assert all(torch.equal(before[name], after[name]) for name in unchanged)


@torch.no_grad()
def test_the_latent_is_predicted_in_place_of_the_noise(begun, batch: Batch) -> None:
    method = begun(prediction="sample")
    terms = method.loss(batch, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    t = torch.randint(0, 1000, (3,), generator=generator)
    z0 = method.mask_autoencoder.encode(batch.masks)
    z_t = method.diffusion.add_noise(z0, torch.randn(z0.shape, generator=generator), t)
    expected = (method.denoiser(z_t, t, method.encode(batch.images)) - z0).square().mean()
    torch.testing.assert_close(terms, {"latent": expected})
    # a network that always gives one latent makes that the sample, whatever the noise
    method.denoise = lambda z_t, t, conditioning: torch.full_like(z_t, 0.5)  # type: ignore[method-assign]
    method.decode = lambda latents: latents  # type: ignore[method-assign]
    sample = method.sample(method.encode(batch.images), noise_of(1, 3))
    torch.testing.assert_close(sample, torch.full_like(sample, 0.5))


@torch.inference_mode()
def test_the_denoiser_is_never_in_half_precision_while_sampling(begun, batch: Batch) -> None:
    method = begun()
    seen: set[torch.dtype] = set()
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
        for module in method.denoiser.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        conditioning = method.encode(batch.images)
        method.sample(conditioning, noise_of(1, 3))
    for hook in hooks:
        hook.remove()
    assert seen == {torch.float32}


def test_autoencoders_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match="mask_autoencoder: must downsample as much as autoencoder"):
        build_method("medseglatdiff", None, {"mask_autoencoder": {"widths": [64, 128]}})


def test_the_authors_settings_are_said_to_differ_from_the_paper() -> None:
    config = load_config("medseglatdiff-cvc-code")
    with torch.device("meta"):
        method = build_method(config.method, None, config.settings)
    text = method.deviations_from_paper
    for words in ("image latent before quantisation", "50 steps", "DDIM", "predicted latents clamped"):
        assert words in text
    assert (config.ema_decay, config.warmup_steps, config.clip_gradient) == (0.9999, 5000, 1)
    assert config.for_stage("autoencoders").ema_decay == 0.9999
    augment = config.augment
    assert augment.horizontal_flip == 0.5
    assert not any((augment.vertical_flip, augment.quarter_turn, augment.jitter, augment.affine))


def test_the_author_stretches_nodules_and_gives_them_one_channel() -> None:
    config = load_config("medseglatdiff-lidc-code")
    with torch.device("meta"):
        method = build_method(config.method, None, config.settings)
    assert isinstance(method, MedSegLatDiff)
    assert method.config.stretch_images
    channels = (method.config.image_channels, method.config.autoencoder.channels)
    assert (*channels, method.config.for_masks.channels) == (1, 1, 1)


def test_masks_may_be_trained_with_the_squared_error(begun, batch: Batch) -> None:
    """Table I of the paper; then the weight changes neither the loss nor the probabilities."""
    method, weighted = begun(mask_loss="mse"), begun(mask_loss="mse", mask_weight=50)
    logits, _ = method.mask_autoencoder(batch.masks)
    expected = (torch.sigmoid(logits) - batch.masks).square().mean()
    for found in (method, weighted):
        assert float(found.autoencoder_loss(batch)["mask"]) == pytest.approx(float(expected), rel=1e-5)
        assert torch.allclose(found.reconstruct(batch.images, batch.masks).masks, torch.sigmoid(logits))
    assert "squared error for masks" in method.deviations_from_paper
