"""Methods whose masks are folded into channels in place of the codec's latents of masks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.finetuning.new_structure import promptless_model
from napari_latentseg.methods.base import Batch, Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.folder import Model
from napari_latentseg.networks.folded_masks import FoldedMasks
from napari_latentseg.networks.losses import pixel_cross_entropy

FOLDED: dict[str, Any] = {"width": 16, "levels": ["out"], "mask_latents": "folded", "latent_weight": 0}
METHODS = {
    "gms": FOLDED | {"classes": 2, "cross_entropy_weight": 1, "conditioner": "trained"},
    "prompted": FOLDED | {"classes": 2, "cross_entropy_weight": 1, "prompt_channels": 16},
    "wave-gms": FOLDED | {"cross_entropy_weight": 1, "align_weight": 0},
}
SKIPS = {"gms": {"skips": True, "conditioner": "pyramid"}, "prompted": {"skips": True},
         "wave-gms": {"skips": True, "conditioner": "pyramid"}}  # fmt: skip
VARIANTS = {name: (name, settings) for name, settings in METHODS.items()} | {
    f"{name}, skips": (name, settings | SKIPS[name]) for name, settings in METHODS.items()
}


@pytest.fixture
def codec() -> Codec:
    torch.manual_seed(7)
    return build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1)).freeze()


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS))
def method(request: pytest.FixtureRequest, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> Method:
    """Each of the methods, with a codec that cannot decode."""
    torch.manual_seed(8)

    def refuse(latents: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the decoder was used")

    monkeypatch.setattr(codec, "decode", refuse)
    return build_method(request.param[0], codec, request.param[1])


def batch(method: Method) -> Batch:
    generator = torch.Generator().manual_seed(9)
    masks = torch.zeros(2, method.class_count, 64, 64)
    masks[:, :, 8:40, 16:56] = 1
    return Batch(torch.rand(2, 3, 64, 64, generator=generator), masks)


def test_a_mask_comes_back_as_it_was() -> None:
    folded = FoldedMasks(8)
    masks = (torch.rand(3, 1, 16, 24) > 0.5).float()
    latents = folded.encode_mask(masks)
    assert latents.shape == (3, folded.channels, 2, 3)
    assert torch.equal(folded.mask_pixels(latents), masks)
    assert torch.equal(folded.decode_mask(latents) > 0.5, masks > 0.5)
    # its 8 x 8 pixels, and none of a neighbour's
    assert torch.equal(latents[1, :, 1, 2].reshape(8, 8), masks[1, 0, 8:, 16:])


def test_probabilities_are_those_that_the_cross_entropy_trains() -> None:
    """Where a pixel is foreground in three of four images, the best value means 0.75."""
    pixel = torch.full((1,), 0.5 + math.log(3) / 8, dtype=torch.float64, requires_grad=True)
    masks = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(pixel_cross_entropy(pixel.expand(4), masks), pixel)
    assert slope.item() == pytest.approx(0, abs=1e-12)
    assert FoldedMasks(8).mask_probabilities(pixel).item() == pytest.approx(0.75)


def test_it_learns_without_the_decoder(method: Method) -> None:
    method.train()
    data = batch(method)
    optimizer = torch.optim.AdamW(method.trainable_modules.parameters(), 3e-3)
    losses = []
    for step in range(25):
        optimizer.zero_grad()
        terms = method.loss(data, torch.Generator().manual_seed(step))
        assert set(terms) == {"dice", "cross_entropy"}
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(float(sum(term.item() for term in terms.values())))
    assert min(losses[-5:]) < 0.7 * losses[0]


def test_it_begins_with_nothing_there(method: Method) -> None:
    """Random certainty would have to be unlearnt first."""
    method.eval()
    with torch.inference_mode():
        found = method.sample(method.encode(batch(method).images))
    assert float(found.median()) < 0.1
    assert float((found > 0.5).float().mean()) < 0.02


def test_answers_are_probabilities_of_the_size_of_the_image(method: Method) -> None:
    method.eval()
    with torch.inference_mode():
        found = method.sample(method.encode(batch(method).images))
    assert found.shape[0] == 2
    assert found.shape[-2:] == (64, 64)
    assert 0 <= float(found.min()) < float(found.max()) <= 1


def test_it_is_a_variant_and_says_so(method: Method) -> None:
    assert "folded masks" in method.deviations_from_paper


@pytest.mark.parametrize("skips", [False, True])
def test_a_new_structure_keeps_the_masks_of_what_was_pointed_at(codec: Codec, skips: bool) -> None:
    settings = METHODS["prompted"] | {"skips": skips}
    prompted = build_method("prompted", codec, settings)
    card = ModelCard(
        name="pointed", title="Pointed", method="prompted", settings=settings, codec=None,
        preprocess=Preprocess(mode="whole", size=64), augment=AugmentationConfig(),
        classes=tuple(ClassInfo(label=n, name=f"class {n}", color="#112233") for n in (1, 2)),
        sources=prompted.available_sources(),
    )  # fmt: skip
    model = promptless_model(Model(prompted, card, Path("unused")), "cyst")
    assert model.card.settings["mask_latents"] == "folded"
    assert model.card.settings["skips"] == skips
    of_new, of_prompted = (m.mapper.heads["out"].state_dict() for m in (model.method, prompted))
    assert all(torch.equal(of_new[name], weight) for name, weight in of_prompted.items())


def test_its_masks_lose_nothing(codec: Codec) -> None:
    method = build_method("gms", codec, METHODS["gms"])
    masks = batch(method).masks
    decoded = method.reconstruct(torch.rand(2, 3, 64, 64), masks).masks
    assert torch.equal(decoded > 0.5, masks > 0.5)


def test_a_latent_loss_is_that_of_the_pixels(codec: Codec) -> None:
    method = build_method("gms", codec, METHODS["gms"] | {"latent_weight": 0.5})
    data = batch(method)
    with torch.no_grad():
        pixels = method.mask_codec.mask_pixels(
            method.mapper(method.encode(data.images))["out"].reshape(4, 64, 8, 8)
        )
    expected = (pixels - data.masks.reshape(4, 1, 64, 64)).square().mean()
    assert method.loss(data)["latent"].item() == pytest.approx(0.5 * expected.item(), rel=1e-4)


@pytest.mark.parametrize("skips", [{}, SKIPS["gms"]], ids=["folded", "skips"])
def test_fine_tuning_uses_the_same_masks(codec: Codec, skips: dict[str, Any]) -> None:
    method = build_method("gms", codec, METHODS["gms"] | skips).eval()
    spec, data = method.fine_tune_spec(), batch(method)
    with torch.no_grad():
        features = spec.cache_features(method.encode(data.images))
        targets = spec.encode_masks(data.masks)
        assert targets.shape == (2, 2 * 64, 8, 8)
        terms = spec.loss(features, targets, data.masks, None, None, 2)
        torch.testing.assert_close(spec.sample(features, None), method.sample(method.encode(data.images)))
        of_one = spec.loss(features, targets, data.masks, None, None, 1)
    assert of_one == terms  # nothing is saved where nothing is decoded
    trained = method.loss(data)
    assert terms["dice"].item() == pytest.approx(trained["dice"].item(), rel=1e-4)
