"""GMS against its equations, written out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.helpers.parameter_counts import parameter_counts
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.gms import GMS, GMSConfig
from napari_latentseg.methods.registry import METHODS, build_method, method_class

NETWORKS = {
    "kl": {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "tiny": {
        "encoder_block_out_channels": (8,) * 4,
        "decoder_block_out_channels": (8,) * 4,
        "num_encoder_blocks": (1,) * 4,
        "num_decoder_blocks": (1,) * 4,
    },
    "compact": {"channels": 8, "widths": (8, 8), "blocks": (1, 1)},
}


@pytest.fixture(scope="module")
def codec() -> Callable[[str], Codec]:
    torch.manual_seed(7)
    made = {kind: build_codec(kind, **network).freeze() for kind, network in NETWORKS.items()}
    return made.__getitem__


@pytest.fixture
def gms(codec) -> Callable[..., GMS]:
    def of(kind: str = "kl", **settings: object) -> GMS:
        torch.manual_seed(8)
        return GMS(codec(kind), GMSConfig(**({"width": 16} | settings)))

    return of


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float()
    masks[1] *= torch.rand(32, 32, generator=generator) < 0.1
    return Batch(torch.rand(2, 3, 32, 32, generator=generator), masks)


# --- the objective -------------------------------------------------------------------------------------

LEVELS = {
    "three, as published": ("level2", "level1", "out"),
    "four": ("level3", "level2", "level1", "out"),
    "one": ("out",),
}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS.keys())
@pytest.mark.parametrize("kind", ["kl", "compact"])
def test_the_terms_are_those_of_the_equations(gms, batch: Batch, kind: str, levels: tuple[str, ...]) -> None:
    method = gms(kind, levels=levels, posterior_noise="none", latent_weight=0.5, dice_weight=2.0)
    with torch.no_grad():
        z_image = method.codec.encode(batch.images)
        z_mask = method.codec.encode(batch.masks.repeat(1, 3, 1, 1))
        latent = dice = 0.0
        for z in method.mapper(z_image, levels).values():
            latent += float(((z - z_mask) ** 2).sum()) / z_mask.numel()  # Equation 3
            for image, mask in zip(method.codec.decode(z), batch.masks, strict=True):  # Equation 4
                p = image.mean(0).clamp(0, 1)
                inside, both = float((p * mask[0]).sum()), float(p.sum() + mask.sum())
                dice += (1 - (2 * inside + 1e-5) / (both + 1e-5)) / 2

    found = method.loss(batch)  # Equation 5, its terms apart
    assert list(found) == ["latent", "dice"]
    assert found["latent"].item() == pytest.approx(0.5 * latent, rel=1e-4)
    assert found["dice"].item() == pytest.approx(2 * dice, rel=1e-4)


def test_the_pixel_cross_entropy_is_a_term_of_its_own(gms, batch: Batch) -> None:
    method = gms("compact", cross_entropy_weight=0.5, levels=("level1", "out"))
    with torch.no_grad():
        levels = method.mapper(method.codec.encode(batch.images), ("level1", "out")).values()
        pixels = [method.codec.decode(z).mean(1, keepdim=True) for z in levels]
    expected = sum(
        nn.functional.binary_cross_entropy(torch.sigmoid(8 * (p - 0.5)), batch.masks) for p in pixels
    )
    found = method.loss(batch)
    assert set(found) == {"latent", "dice", "cross_entropy"}
    assert found["cross_entropy"].item() == pytest.approx(0.5 * expected.item(), rel=1e-4)


def test_without_a_pixel_term_nothing_is_decoded(gms, batch: Batch) -> None:
    method = gms(dice_weight=0)
    asked: list[int] = []
    hook = method.codec.autoencoder.decoder.register_forward_hook(lambda *_: asked.append(1))
    assert set(method.loss(batch)) == {"latent"}
    assert not asked
    hook.remove()


def test_masks_of_two_classes_are_refused(gms, batch: Batch) -> None:
    with pytest.raises(ValueError, match="one channel"):
        gms().loss(Batch(batch.images, batch.masks.repeat(1, 2, 1, 1)))
    with pytest.raises(ValueError, match="3 channels, not 1"):
        gms("compact", classes=3).loss(batch)


# --- several classes -----------------------------------------------------------------------------------


@pytest.fixture
def of_two(batch: Batch) -> Batch:
    """Two classes; the second was not looked for in the first image."""
    masks = torch.cat([batch.masks, batch.masks.flip(2)], dim=1)
    return Batch(batch.images, masks, torch.tensor([[True, False], [True, True]]))


def test_each_class_has_a_latent_and_a_term_of_its_own(gms, of_two: Batch) -> None:
    method = gms("compact", classes=2, levels=("level1", "out"), cross_entropy_weight=1)
    found = method.loss(of_two)
    with torch.no_grad():
        rows = [(0, 0), (1, 0), (1, 1)]  # image, class
        target = torch.cat([method.codec.encode_mask(of_two.masks[i : i + 1, k : k + 1]) for i, k in rows])
        levels = method.mapper(method.codec.encode(of_two.images), ("level1", "out")).values()
        expected = sum(
            float(((torch.stack([z[i, 8 * k : 8 * k + 8] for i, k in rows]) - target) ** 2).mean())
            for z in levels
        )
    assert found["latent"].item() == pytest.approx(expected, rel=1e-4)


def test_the_dice_of_a_class_may_be_that_of_the_batch(gms, of_two: Batch) -> None:
    method = gms("compact", classes=2, levels=("out",), dice_over="batch")
    found = method.loss(of_two)["dice"]
    with torch.no_grad():
        pixels = method.predict_masks(method.encode(of_two.images))
    expected = 0.0
    for k, rows in enumerate(([0, 1], [1])):
        p, mask = pixels[rows, k], of_two.masks[rows, k]
        expected += float(1 - (2 * (p * mask).sum() + 1e-5) / (p.sum() + mask.sum() + 1e-5)) / 2
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert found.item() != pytest.approx(
        gms("compact", classes=2, levels=("out",)).loss(of_two)["dice"].item()
    )


@torch.inference_mode()
def test_several_classes_come_out_side_by_side(gms, of_two: Batch) -> None:
    method = gms("compact", classes=2).eval()
    assert method.class_count == 2
    z = method.encode(of_two.images)
    found = method.sample(z)
    assert found.shape == (2, 2, 32, 32)
    latents = method.mapper(z)["out"]
    for k in range(2):
        alone = method.codec.decode_mask(latents[:, 8 * k : 8 * k + 8])
        torch.testing.assert_close(found[:, k : k + 1], alone)
    assert (found[:, 0] - found[:, 1]).abs().max() > 0.01


def test_what_was_not_looked_for_teaches_nothing(gms, of_two: Batch) -> None:
    method = gms("compact", classes=2)
    other = of_two.masks.clone()
    other[0, 1] = 1 - other[0, 1]
    same = method.loss(Batch(of_two.images, other, of_two.annotated))
    torch.testing.assert_close(same, method.loss(of_two))


def test_one_class_has_the_weights_that_it_always_had(gms) -> None:
    names = {k: v.shape for k, v in gms("compact").trainable_modules.state_dict().items()}
    assert names["mapper.heads.out.2.weight"] == (8, 16, 3, 3)
    of_three = gms("compact", classes=3).trainable_modules.state_dict()
    assert of_three["mapper.heads.out.2.weight"].shape == (24, 16, 3, 3)
    assert {k for k in names if of_three[k].shape != names[k]} == {
        f"mapper.heads.{level}.2.weight" for level in ("level3", "level2", "level1", "out")
    }


# --- noise on the image latent in training -------------------------------------------------------------


def given_to_the_mapper(method: GMS, batch: Batch, seed: int) -> Tensor:
    seen: list[Tensor] = []
    hook = method.mapper.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    method.loss(batch, torch.Generator().manual_seed(seed))
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(("noise", "factor"), [("official", 1 / 0.18215), ("scaled", 1.0)])
def test_posterior_noise_comes_in_half_of_the_steps(gms, batch: Batch, noise: str, factor: float) -> None:
    """Where it comes it is normal, as wide as the posterior; in the paper's code, as the raw latent's."""
    method = gms(posterior_noise=noise, dice_weight=0).train()
    mean, std = method.codec.posterior(batch.images)
    drawn = []
    for seed in range(40):
        noisy = (given_to_the_mapper(method, batch, seed) - mean) / (std * factor)
        if noisy.any():
            drawn.append(noisy)
    assert 12 <= len(drawn) <= 28
    every = torch.stack(drawn)
    assert every.mean().item() == pytest.approx(0, abs=0.1)
    assert every.std().item() == pytest.approx(1, abs=0.1)
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    ("kind", "settings", "training"),
    [
        ("kl", {"posterior_noise": "none"}, True),
        ("kl", {}, False),  # validation sees the mean
        ("compact", {}, True),  # no posterior to draw from
        ("compact", {"conditioner": "trained"}, True),
    ],
)
def test_no_noise_where_none_belongs(
    gms, batch: Batch, kind: str, settings: dict[str, object], training: bool
) -> None:
    method = gms(kind, dice_weight=0, **settings).train(training)
    expected = method.codec.encode(batch.images)
    assert all(torch.equal(given_to_the_mapper(method, batch, seed), expected) for seed in range(10))


def test_the_generator_settles_the_noise(gms, batch: Batch) -> None:
    method = gms().train()
    noisy = [given_to_the_mapper(method, batch, seed) for seed in (3, 3, 4, 5, 6)]
    assert torch.equal(noisy[0], noisy[1])
    assert any(not torch.equal(noisy[0], other) for other in noisy[2:])


# --- samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kl", "tiny", "compact"])
@torch.inference_mode()
def test_draws_are_probabilities_and_all_the_same(gms, batch: Batch, kind: str) -> None:
    method = gms(kind).eval()
    samples = list(method.sample_many(batch.images, 3, torch.Generator().manual_seed(0)))
    assert len(samples) == 3
    assert samples[0].shape == (2, method.class_count, 32, 32)
    assert samples[0].min() >= 0
    assert samples[0].max() <= 1
    assert all(torch.equal(samples[0], other) for other in samples[1:])
    assert torch.equal(samples[0], method.sample(method.encode(batch.images)))


@torch.inference_mode()
def test_a_draw_is_the_decoded_out_level(gms, batch: Batch) -> None:
    method = gms().eval()
    z = method.mapper(method.codec.encode(batch.images))["out"]
    expected = method.codec.decode(z).mean(1, keepdim=True).clamp(0, 1)
    torch.testing.assert_close(method.sample(method.encode(batch.images)), expected)


@torch.inference_mode()
def test_an_image_is_seen_alike_alone_and_in_a_batch(gms, batch: Batch) -> None:
    method = gms().eval()
    together = method.sample(method.encode(batch.images))
    alone = torch.cat([method.sample(method.encode(image[None])) for image in batch.images])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.01


@torch.inference_mode()
def test_the_trained_conditioner_is_what_encodes(gms, batch: Batch) -> None:
    method = gms("compact", conditioner="trained").eval()
    assert torch.equal(
        method.encode(batch.images), method.codec.encode(batch.images)
    )  # a copy, to begin with
    method.conditioner.head.bias.add_(1)
    torch.testing.assert_close(method.encode(batch.images), method.codec.encode(batch.images) + 1)


# --- training ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "conditioner"),
    [("kl", "frozen"), ("tiny", "frozen"), ("compact", "frozen"), ("compact", "trained")],
)
def test_a_step_changes_what_is_trained_and_leaves_the_codec(
    gms, batch: Batch, kind: str, conditioner: str
) -> None:
    method = gms(kind, conditioner=conditioner, posterior_noise="none").train()
    parts = {"mapper", "conditioner"} if conditioner == "trained" else {"mapper"}
    assert set(method.trainable_modules) == parts
    before = {k: v.clone() for k, v in method.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-3)
    torch.stack(list(method.loss(batch).values())).sum().backward()
    unreached = {
        n for n, p in method.trainable_modules.named_parameters() if p.grad is None or not p.grad.any()
    }
    # level3 has no loss; a bias of the keys shifts all scores of a row alike, which a softmax does not see
    assert all(n.startswith("mapper.heads.level3.") or n.endswith(".key.bias") for n in unreached)
    assert all(p.grad is None for p in method.codec.parameters())
    optimizer.step()
    after = method.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in changed} == parts
    assert {"mapper.stem.weight", "mapper.heads.out.2.weight"} <= changed


def test_the_dice_term_alone_reaches_the_mapper_through_the_decoder(gms, batch: Batch) -> None:
    method = gms("compact", latent_weight=0).train()
    method.loss(batch)["dice"].backward()
    assert method.mapper.stem.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in method.codec.parameters())


def test_a_codec_that_was_not_frozen_is() -> None:
    codec = build_codec("compact", **NETWORKS["compact"]).train()
    method = GMS(codec, GMSConfig(width=16, conditioner="trained"))
    assert not any(p.requires_grad for p in codec.parameters())
    assert not codec.training
    assert all(p.requires_grad for p in method.trainable_modules.parameters())


def test_training_leaves_the_codec_in_evaluation(gms) -> None:
    method = gms().train()
    assert method.mapper.training
    assert not any(m.training for m in method.codec.modules())


def test_parameter_counts(codec) -> None:
    counts = parameter_counts(GMS(codec("kl"), GMSConfig()))
    assert counts["mapper"] == 1_564_976
    assert set(counts) == {"mapper"}


# --- names ---------------------------------------------------------------------------------------------

# Kind of the codec, settings, and what must be said of them; only the first is the method as published.
VARIANTS: dict[str, tuple[str, dict[str, object], str]] = {
    "as published": ("kl", {}, ""),
    "levels in another order": ("kl", {"levels": ("out", "level1", "level2")}, ""),
    "width": ("kl", {"width": 16}, "width 16"),
    "classes": ("kl", {"classes": 3}, "3 classes"),
    "levels": ("kl", {"levels": ("level1", "out")}, "supervised at level1 and out"),
    "latent weight": ("kl", {"latent_weight": 0.25}, "latent weight 0.25"),
    "dice weight": ("kl", {"dice_weight": 2}, "dice weight 2"),
    "Dice of the batch": ("kl", {"dice_over": "batch"}, "Dice over the batch"),
    "cross-entropy": ("kl", {"cross_entropy_weight": 1}, "pixel cross-entropy"),
    "no noise": ("kl", {"posterior_noise": "none"}, "no posterior noise"),
    "scaled noise": ("kl", {"posterior_noise": "scaled"}, "scaled posterior noise"),
    "TAESD": ("tiny", {}, "tiny codec in place of SD-VAE"),
    "compact codec": ("compact", {}, "compact codec in place of SD-VAE"),
    "noise without a posterior": ("compact", {"posterior_noise": "none"}, "compact codec in place of SD-VAE"),
    "pyramid": (
        "compact",
        {"conditioner": "pyramid"},
        "trained conditioner over an ImageNet network, compact codec in place of SD-VAE",
    ),
    "several": (
        "compact",
        {"conditioner": "trained", "cross_entropy_weight": 1, "posterior_noise": "none"},
        "trained conditioner, pixel cross-entropy, compact codec in place of SD-VAE",
    ),
}


@pytest.mark.parametrize(("kind", "settings", "expected"), VARIANTS.values(), ids=VARIANTS.keys())
def test_what_differs_from_the_paper_is_said(
    codec, kind: str, settings: dict[str, object], expected: str
) -> None:
    method = build_method("gms", codec(kind), settings)
    assert method.deviations_from_paper == expected


def test_another_kl_codec_is_not_sd_vae() -> None:
    codec = build_codec("kl", norm_num_groups=4, block_out_channels=(8, 8), **{
        name: NETWORKS["kl"][name][:2] for name in ("down_block_types", "up_block_types")
    })  # fmt: skip
    assert GMS(codec, GMSConfig()).deviations_from_paper == "4-channel codec, 1:2, in place of SD-VAE"


def test_it_has_no_samples_of_its_own(gms) -> None:
    assert gms().sampling_sources == ()
    assert method_class("gms") is GMS
    assert METHODS[GMS.name] is GMS


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 32}, "gms settings, widht: is not known; did you mean 'width'?"),
        ({"width": 24}, "gms settings, width: must be a multiple of 16; correct it"),
        ({"width": 0}, "gms settings, width: "),
        ({"conditioner": "both"}, "gms settings, conditioner: "),
        ({"levels": ["out", "level4"]}, r"gms settings, levels\.1: "),
        ({"levels": ["level1"]}, "gms settings, levels: .*'out'"),
        ({"levels": []}, "gms settings, levels: .*'out'"),
        ({"levels": ["out", "out"]}, "gms settings, levels: .*may occur once"),
        ({"latent_weight": -1}, "gms settings, latent_weight: "),
        ({"latent_weight": 0, "dice_weight": 0}, "gms settings, as a whole: .*above 0"),
        ({"posterior_noise": "some"}, "gms settings, posterior_noise: "),
    ],
    ids=str,
)
def test_a_setting_that_is_wrong_is_named(codec, settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message) as found:
        build_method("gms", codec("compact"), settings)
    assert found.value.remedy


def test_a_method_that_is_not_known() -> None:
    with pytest.raises(BadInput, match="no method 'unet'; use one of gms"):
        method_class("unet")


# --- what a step spares ----------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [(), (1,), (0, 2, 3), (0, 1, 2, 3, 4, 5)])
def test_empty_masks_are_encoded_once(gms, monkeypatch: pytest.MonkeyPatch, empty: tuple[int, ...]) -> None:
    method = gms("compact", classes=2)
    masks = (torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    masks[list(empty)] = 0
    expected = method.codec.encode_mask(masks)
    encoded: list[int] = []

    def counted(given: Tensor) -> Tensor:
        encoded.append(len(given))
        return type(method.codec).encode_mask(method.codec, given)

    monkeypatch.setattr(method.codec, "encode_mask", counted)
    assert torch.allclose(method._encode_masks(masks), expected, atol=1e-5)
    assert encoded == [6 - max(0, len(empty) - 1)]
