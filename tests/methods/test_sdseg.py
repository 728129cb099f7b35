"""SDSeg against its equations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.helpers.parameter_counts import parameter_counts
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.noise import random_noise
from napari_latentseg.methods.registry import build_method
from napari_latentseg.methods.sdseg import SDSeg, SDSegConfig
from napari_latentseg.models.store import open_codec
from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy

SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}
SMALL_VAE = SD_VAE | {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
COMPACT = {"channels": 8, "widths": (8, 8), "blocks": (1, 1)}
UNET = {"widths": (16, 32), "attention": (False, True), "layers_per_block": 1, "heads": 4, "norm_groups": 8}


@pytest.fixture(scope="module")
def codec() -> Callable[[str], Codec]:
    torch.manual_seed(7)
    made = {
        "kl": build_codec("kl", **SMALL_VAE).freeze(),
        "compact": build_codec("compact", **COMPACT).freeze(),
    }
    return made.__getitem__


@pytest.fixture
def sdseg(codec) -> Callable[..., SDSeg]:
    def of(kind: str = "kl", **settings: object) -> SDSeg:
        torch.manual_seed(8)
        return SDSeg(codec(kind), SDSegConfig(**({"denoiser": UNET} | settings)))

    return of


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float()
    return Batch(torch.rand(2, 3, 32, 32, generator=generator), masks)


def fill_conv_in(method: SDSeg) -> None:
    """Give the silenced channels weights, so that the image counts."""
    torch.nn.init.normal_(method.denoiser.unet.conv_in.weight, std=0.1)


# --- the parts -----------------------------------------------------------------------------------------


def test_parameters_at_full_size() -> None:
    with torch.device("meta"):
        method = SDSeg(build_codec("kl", **SD_VAE), SDSegConfig())
    counts = parameter_counts(method)
    assert counts["denoiser"] == 294_973_828
    assert counts["conditioner"] == 34_163_592 + 36
    assert counts["denoiser"] + counts["conditioner"] == 329_137_456  # the paper's 329.0 M
    assert counts["latent_scale"] == 0
    assert method.size_multiple == 8 * 16


def test_the_image_encoder_begins_as_the_mean_of_the_codecs_without_its_scale(sdseg, batch: Batch) -> None:
    method = sdseg().eval()
    autoencoder = method.codec.autoencoder
    mean = autoencoder.encode(2 * batch.images - 1).latent_dist.mean
    torch.testing.assert_close(method.encode(batch.images), mean, atol=1e-4, rtol=1e-4)
    scaled = sdseg(scaled_condition=True).eval()
    torch.testing.assert_close(scaled.encode(batch.images), 0.18215 * mean, atol=1e-4, rtol=1e-4)


def test_the_image_has_no_effect_at_the_start(sdseg, batch: Batch) -> None:
    """The channels that SDSeg adds to the U-Net's first convolution begin at zero."""
    method = sdseg().eval()
    noise = PositionalNoise(0, 0, [(0, 0)] * 2)
    z_c = method.encode(batch.images)
    assert torch.equal(method.sample(z_c, noise), method.sample(-z_c, noise))


def test_the_image_encoder_drops_as_it_is_told(sdseg, batch: Batch) -> None:
    method = sdseg().train()
    assert not torch.equal(method.encode(batch.images), method.encode(batch.images))
    still = sdseg(conditioner_dropout=0).train()
    assert torch.equal(still.encode(batch.images), still.encode(batch.images))


# --- the objective -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_the_terms_are_those_of_the_equations(sdseg, batch: Batch, prediction: str) -> None:
    """Noise and latent told apart as the paper writes them, in double precision (Equations 1 to 3)."""
    method = sdseg(prediction=prediction, latent_weight=0.5).eval()
    fill_conv_in(method)
    method.latent_scale.value.fill_(0.7)
    given: list[tuple[Tensor, ...]] = []
    hook = method.denoiser.register_forward_hook(lambda _, args, found: given.append((*args, found)))
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    found = method.loss(batch, generator)
    hook.remove()
    ((z_t, t, z_c, predicted),) = given

    generator.set_state(state)
    assert torch.equal(t, method.diffusion.sample_timesteps(2, generator))
    epsilon = torch.randn(z_t.shape, generator=generator).double()
    bar = method.diffusion.alphas_cumprod[t].double()[:, None, None, None]
    z0 = 0.7 * method.codec.encode_mask(batch.masks).double()
    torch.testing.assert_close(
        z_t.double(), bar.sqrt() * z0 + (1 - bar).sqrt() * epsilon, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(z_c, method.encode(batch.images))
    if prediction == "epsilon":
        noise = predicted.double()
        start = (z_t.double() - (1 - bar).sqrt() * noise) / bar.sqrt()  # Equation 2
    else:
        start = predicted.double()
        noise = (z_t.double() - bar.sqrt() * start) / (1 - bar).sqrt()
    assert set(found) == {"noise", "latent"}
    assert found["noise"].item() == pytest.approx((noise - epsilon).abs().mean().item(), rel=1e-3)
    assert found["latent"].item() == pytest.approx(0.5 * (start - z0).abs().mean().item(), rel=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_the_pixel_losses_look_at_the_mask_of_the_predicted_latent(
    sdseg, batch: Batch, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the true latent, or the true noise, they are those of the codec's own round trip."""
    method = sdseg(prediction=prediction, pixel_weight=0.5)
    method.latent_scale.value.fill_(0.7)
    z0 = 0.7 * method.codec.encode_mask(batch.masks)

    def perfect(z_t: Tensor, t: Tensor, z_c: Tensor) -> Tensor:
        noise = (z_t - method.diffusion.sqrt_alpha_bar(t) * z0) / method.diffusion.sqrt_one_minus_alpha_bar(t)
        return z0 if prediction == "sample" else noise

    monkeypatch.setattr(method, "denoise", perfect)
    found = method.loss(batch, torch.Generator().manual_seed(3))
    pixels = method.codec.decode(z0 / 0.7).mean(1, keepdim=True)
    assert set(found) == {"noise", "latent", "dice", "cross_entropy"}
    overlap = 0.5 * dice_loss(pixels.clamp(0, 1), batch.masks).item()
    assert found["dice"].item() == pytest.approx(overlap, abs=2e-3)
    expected = 0.5 * pixel_cross_entropy(pixels, batch.masks).item()
    assert found["cross_entropy"].item() == pytest.approx(expected, rel=2e-2)


def test_the_pyramid_joins_the_codec_s_latent(sdseg, batch: Batch) -> None:
    """At the start it adds nothing; then it learns, and the codec does not."""
    method = sdseg(conditioner="pyramid", scaled_condition=True)
    torch.testing.assert_close(method.eval().encode(batch.images), method.codec.encode(batch.images))
    assert set(method.pretrained_modules) == {"efficientnet-lite0"}
    torch.nn.init.normal_(method.conditioner.out.weight)
    method.encode(batch.images).square().mean().backward()
    assert all(p.grad is not None for p in method.pretrained_modules["efficientnet-lite0"].parameters())
    assert all(p.grad is None for p in method.codec.parameters())


def test_a_step_changes_both_networks_and_leaves_the_codec(sdseg, batch: Batch) -> None:
    method = sdseg().train()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    optimizer = torch.optim.AdamW(method.trainable_modules.parameters(), 1e-3, weight_decay=0)
    for _ in range(2):  # in the first the image has no effect yet, and no gradient
        optimizer.zero_grad()
        torch.stack(list(method.loss(batch).values())).sum().backward()
        optimizer.step()
    after = method.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in changed} == {"denoiser", "conditioner"}
    assert {"conditioner.network.1.weight", "denoiser.unet.conv_in.weight"} <= changed
    assert all(p.grad is None for p in method.codec.parameters())


def test_masks_of_two_classes_are_refused(sdseg, batch: Batch) -> None:
    with pytest.raises(ValueError, match="one channel"):
        sdseg().loss(Batch(batch.images, batch.masks.repeat(1, 2, 1, 1)))


# --- the scale of the latents --------------------------------------------------------------------------


def test_the_scale_makes_the_latents_of_masks_vary_by_one(sdseg, batch: Batch) -> None:
    method = sdseg()
    (stage,) = method.stages()
    empty = Batch(batch.images, torch.zeros_like(batch.masks))  # tells nothing of the others
    with torch.no_grad():
        stage.on_start([empty, batch])
    latents = method.codec.encode_mask(batch.masks) * method.latent_scale.value
    assert latents.std().item() == pytest.approx(1, rel=1e-5)


def test_enough_masks_are_enough(sdseg, batch: Batch) -> None:
    asked: list[int] = []

    def batches():
        for number in range(1000):
            asked.append(number)
            yield batch

    with torch.no_grad():
        sdseg().stages()[0].on_start(batches())
    assert len(asked) == 32  # two masks each, 64 in all


def test_masks_that_are_all_empty_are_refused_in_words(sdseg, batch: Batch) -> None:
    empty = Batch(batch.images, torch.zeros_like(batch.masks))
    (stage,) = sdseg().stages()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match="masks: are empty, or have constant latents"):
            stage.on_start([empty])


def test_a_codec_that_makes_all_alike_is_refused_in_words(sdseg, batch: Batch) -> None:
    method = sdseg("compact")
    method.codec = build_codec("compact", **COMPACT).freeze()
    for weight in method.codec.parameters():
        torch.nn.init.zeros_(weight)
    with pytest.raises(BadInput, match="masks: are empty, or have constant latents"), torch.no_grad():
        method.stages()[0].on_start([batch])


def test_a_saved_model_has_its_scale(make_tiny_model: Callable[..., Path]) -> None:
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.store import load_model

    folder = make_tiny_model("tiny-sdseg-base")
    settings = {"denoiser": UNET, "prediction": "sample", "steps": 3}
    tiny, _ = open_codec("tiny-codec")
    method = build_method("sdseg", tiny, settings).eval()
    method.latent_scale.value.fill_(0.125)
    fill_conv_in(method)
    for weight in method.trainable_modules.parameters():
        weight.data = weight.data.half().float()  # as they are kept
    card = read_card(folder).model_copy(
        update={"method": "sdseg", "settings": settings, "sources": ("noise",), "name": "tiny-sdseg"}
    )
    out = folder.parent / "tiny-sdseg"
    save_model_folder(out, method, card)
    again = load_model(out).method
    assert again.latent_scale.value.item() == 0.125
    images = torch.rand(1, 3, 64, 64)
    noise = PositionalNoise(4, 0, [(0, 0)])
    with torch.inference_mode():
        torch.testing.assert_close(
            again.sample(again.encode(images), noise), method.sample(method.encode(images), noise)
        )


# --- samples -------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_one_step_is_equation_2_at_the_last_timestep(sdseg, batch: Batch) -> None:
    method = sdseg().eval()
    fill_conv_in(method)
    method.latent_scale.value.fill_(0.5)
    z_c = method.encode(batch.images)
    start = torch.randn(z_c.shape, generator=torch.Generator().manual_seed(1))
    bar = method.diffusion.alphas_cumprod[999]
    epsilon = method.denoiser(start, torch.tensor([999, 999]), z_c)
    z0 = (start - (1 - bar).sqrt() * epsilon) / bar.sqrt()
    expected = method.codec.decode_mask(z0 / 0.5)
    found = method.sample(z_c, random_noise(torch.Generator().manual_seed(1)))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"steps": 4}, {"prediction": "sample", "steps": 4, "eta": 1.0}])
@torch.inference_mode()
def test_the_seed_settles_a_sample_and_the_batch_does_not_count(
    sdseg, batch: Batch, settings: dict[str, object]
) -> None:
    method = sdseg("compact", **settings).eval()
    fill_conv_in(method)
    z_c = method.encode(batch.images)
    places = [(0, 0), (4, 8)]
    together = method.sample(z_c, PositionalNoise(1, 0, places))
    assert together.shape == (2, method.class_count, 32, 32)
    assert 0 <= together.min() < together.max() <= 1
    assert torch.equal(together, method.sample(z_c, PositionalNoise(1, 0, places)))
    alone = torch.cat(
        [method.sample(z_c[i : i + 1], PositionalNoise(1, 0, places[i : i + 1])) for i in range(2)]
    )
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=0)
    assert (together - method.sample(z_c, PositionalNoise(1, 1, places))).abs().max() > 0.01
    assert (together - method.sample(z_c, PositionalNoise(2, 0, places))).abs().max() > 0.01


def test_it_samples_by_noise_of_its_own(sdseg) -> None:
    method = sdseg()
    assert method.sampling_sources == ("noise",)
    assert not method.is_deterministic
    assert method.size_multiple == 16


# --- names ---------------------------------------------------------------------------------------------

# Kind of the codec, settings, and what must be said of them besides the first.
VARIANTS: dict[str, tuple[str, dict[str, object], str]] = {
    "as published": ("kl", {}, ""),
    "latent weight": ("kl", {"latent_weight": 2}, ", latent weight 2"),
    "prediction": ("kl", {"prediction": "sample"}, ", predicts the latent, not the noise"),
    "steps": ("kl", {"steps": 10, "eta": 1}, ", 10 steps, eta 1"),
    "pixels": ("kl", {"pixel_weight": 1}, ", pixel losses"),
    "pyramid": ("kl", {"conditioner": "pyramid"}, ", image encoder over an ImageNet network"),
    "no dropout": ("kl", {"conditioner_dropout": 0}, ", no dropout in the image encoder"),
    "less dropout": ("kl", {"conditioner_dropout": 0.1}, ", dropout 0.1 in the image encoder"),
    "scaled": ("kl", {"scaled_condition": True}, ", scaled image latent"),
    "codec": ("compact", {}, ", no dropout in the image encoder, compact codec in place of SD-VAE"),
}


@pytest.mark.parametrize(("kind", "settings", "expected"), VARIANTS.values(), ids=VARIANTS.keys())
def test_what_differs_from_the_paper_is_said(
    sdseg, kind: str, settings: dict[str, object], expected: str
) -> None:
    assert (
        sdseg(kind, **settings).deviations_from_paper == f"U-Net trained from scratch, widths 16-32{expected}"
    )


def test_the_papers_settings_differ_by_their_beginning_alone() -> None:
    with torch.device("meta"):
        codec = build_codec("kl", **SD_VAE)
        assert SDSeg(codec, SDSegConfig()).deviations_from_paper == "U-Net trained from scratch"
        other = SDSegConfig.model_validate({"denoiser": SDSegConfig().denoiser.model_dump() | {"heads": 4}})
        assert SDSeg(codec, other).deviations_from_paper == "U-Net trained from scratch, another U-Net"
        begun = SDSegConfig(unet_sha256="0123456789abcdef" * 4)
        assert SDSeg(codec, begun).deviations_from_paper == ""


def test_the_unet_begins_with_zeros_where_the_settings_say_so(sdseg, batch: Batch) -> None:
    method = sdseg(zero_init=True).eval()
    z_c = method.encode(batch.images)
    assert not method.denoise(torch.ones_like(z_c), torch.tensor([5, 900]), z_c).any()
    assert sdseg().denoise(torch.ones_like(z_c), torch.tensor([5, 900]), z_c).any()


def test_sdseg_cvc_is_the_paper() -> None:
    """Section 3.2 of the paper; its code where the paper is silent."""
    from napari_latentseg.training.config_files import load_config
    from napari_latentseg.training.schedule import epoch_count, learning_rate_factor, warmup_epoch_count

    config = load_config("sdseg-cvc")
    assert SDSegConfig.model_validate(config.settings) == SDSegConfig(zero_init=True)
    assert (config.preprocess.mode, config.preprocess.size) == ("whole", 256)
    assert (config.batch_size, config.learning_rate, config.weight_decay) == (4, 4e-5, 0.01)
    assert (config.ema_decay, config.ema_warmup, config.precision) == (0.9999, True, "float32")
    ranges = config.augment
    assert (ranges.horizontal_flip, ranges.vertical_flip) == (0.5, 0.5)
    assert (ranges.quarter_turn, ranges.jitter, ranges.affine) == (0, 0, 0)
    batches = 122
    assert epoch_count(config, batches) * batches == pytest.approx(100_000, abs=batches)
    rates = [
        learning_rate_factor(config, step / batches, None, warmup_epoch_count(config, batches))
        for step in (0, 5_000, 10_000, 100_000)
    ]
    assert rates == pytest.approx([0, 0.5, 1, 1])
