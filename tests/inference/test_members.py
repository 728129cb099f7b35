"""Samples from several predictors on one codec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tta import tta_transforms
from napari_latentseg.methods.gms import GMS
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import read_card
from napari_latentseg.models.folder import Model, save_model_folder
from napari_latentseg.models.store import load_model, open_codec
from napari_latentseg.sample_data import ultrasound_phantom


@pytest.fixture(scope="module")
def model(make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Three members with random weights."""
    card = read_card(make_tiny_model("tiny-members"))
    codec, _ = open_codec("tiny-codec")
    methods = []
    for seed in (7, 8, 9):
        torch.manual_seed(seed)
        methods.append(build_method("gms", codec, card.settings))
    folder = tmp_path_factory.mktemp("models") / "tiny-members"
    wanted = card.model_copy(update={"sources": ("members", "augment", "none"), "members": 3})
    save_model_folder(folder, methods[0], wanted, other_members=methods[1:])
    return load_model(folder)


@pytest.fixture(scope="module")
def sharing(make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Three members with random weights on one trained conditioner, and flips for augmentation."""
    settings = {"width": 16, "levels": ["out"], "conditioner": "trained"}
    augment = {"jitter": 0, "affine": 0, "horizontal_flip": 0.5, "vertical_flip": 0.5, "quarter_turn": 0}
    base = read_card(make_tiny_model("tiny-sharing", settings=settings))
    card = base.replace(
        augment=augment, members=3, member_parts="predictor", sources=("members-augment", "members", "none")
    )
    codec, _ = open_codec("tiny-codec")
    methods = []
    for seed in (7, 8, 9):
        torch.manual_seed(seed)
        methods.append(build_method("gms", codec, settings))
        methods[-1].share_conditioning(methods[0])
    folder = tmp_path_factory.mktemp("models") / "tiny-sharing"
    save_model_folder(folder, methods[0], card, other_members=methods[1:])
    return load_model(folder)


def predicted(model: Model, scan: Scan | None = None, **asked: object) -> Segmentation:
    request = InferenceSettings.for_model(model.card, precision="float32", **asked)
    return Predictor(model, "cpu", "float32").segment(scan or ultrasound_phantom().scan, request)


def alone(model: Model, number: int, scan: Scan | None = None) -> Segmentation:
    one = Model(model.members[number], model.card, model.folder)
    return predicted(one, scan, source="none")


def test_the_folder_holds_them_and_they_share_the_codec(model: Model) -> None:
    assert [p.name for p in sorted(model.folder.glob("*.safetensors"))] == [
        "member-2.safetensors", "member-3.safetensors", "weights.safetensors",
    ]  # fmt: skip
    assert (model.card.members, len(model.members)) == (3, 3)
    assert len({id(m.codec) for m in model.members}) == 1
    first, second, _ = (m.trainable_modules.state_dict() for m in model.members)
    assert not torch.equal(first["mapper.stem.weight"], second["mapper.stem.weight"])


def test_each_sample_is_that_of_another_member(model: Model) -> None:
    each = np.stack([alone(model, i).mean for i in range(3)])
    found = predicted(model, source="members", samples=3)
    np.testing.assert_allclose(found.mean, each.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.variance, each.var(0), atol=1e-6)
    assert found.variance.max() > 1e-4
    assert (found.record.samples, found.record.source) == (3, "members")
    assert {"weights.safetensors", "member-2.safetensors"} <= found.record.model.sha256.keys()
    two = predicted(model, source="members", samples=2)
    np.testing.assert_allclose(two.mean, each[:2].mean(0), atol=1e-6)
    assert two.variance is None


def test_the_other_sources_are_the_first_member_s(model: Model) -> None:
    only = Model(model.method, model.card, model.folder)
    for source in ("none", "augment"):
        np.testing.assert_array_equal(
            predicted(model, source=source).mean, predicted(only, source=source).mean
        )


def test_there_are_no_more_samples_than_members(model: Model) -> None:
    assert InferenceSettings.for_model(model.card).samples == 3  # though the card's default is four
    why = "samples: tiny-members has 3 members, and each of them gives one sample"
    with pytest.raises(BadInput, match=f"{why}; ask for 3 or fewer, or choose another source"):
        InferenceSettings.for_model(model.card, samples=4)
    request = InferenceSettings.for_model(model.card, samples=2, precision="float32")
    run = Predictor(model, "cpu", "float32").start(ultrasound_phantom().scan, request)
    assert list(run)
    run.extend(1)
    assert list(run)
    with pytest.raises(BadInput, match=why):
        run.extend(1)
    whole = predicted(model, samples=3)
    np.testing.assert_array_equal(run.result().mean, whole.mean)


def test_a_card_does_not_promise_members_that_are_not_there(model: Model, tiny_model_folder: Path) -> None:
    fields = read_card(tiny_model_folder).model_dump()
    with pytest.raises(ValueError, match="members is a sampling source, but the model has only one"):
        type(model.card).model_validate(fields | {"sources": ["members"]})
    import shutil

    broken = Path(shutil.copytree(model.folder, model.folder.parent / "broken"))
    card = model.card.model_copy(update={"members": 4})
    card.write(broken / "card.json")
    with pytest.raises(BadInput, match=r"does not list member-4\.safetensors"):
        load_model(broken)


def test_members_on_one_conditioner_encode_an_image_once(
    sharing: Model, model: Model, monkeypatch: pytest.MonkeyPatch, no_encodings: None
) -> None:
    encoded: list[int] = []
    encode = GMS.encode

    def counted(self: GMS, images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(GMS, "encode", counted)
    shared = predicted(sharing, source="members", engine="torch")
    assert sum(encoded) == 1
    encoded.clear()
    predicted(model, source="members", engine="torch")
    assert sum(encoded) == 3
    each = np.stack([alone(sharing, i).mean for i in range(3)])
    np.testing.assert_allclose(shared.mean, each.mean(0), atol=1e-6)
    assert shared.variance is not None
    assert shared.variance.max() > 1e-4


def test_more_samples_of_shared_members_use_the_first_encoding(sharing: Model, no_encodings: None) -> None:
    request = InferenceSettings.for_model(sharing.card, source="members", samples=1, precision="float32")
    run = Predictor(sharing, "cpu", "float32").start(ultrasound_phantom().scan, request)
    assert list(run)
    run.extend(2)
    assert list(run)
    np.testing.assert_allclose(
        run.result().mean, predicted(sharing, source="members", samples=3).mean, atol=1e-6
    )


def test_members_and_augmentation_take_turns(sharing: Model) -> None:
    """Sample i is of member i mod 3 on view i; there may be more samples than members."""
    views = [t for t, _ in zip(tta_transforms(sharing.card.augment, 0), range(5), strict=False)]
    assert len(set(views)) == 4  # two flips have four views, and the fifth is one of them
    scan = ultrasound_phantom().scan
    image = np.asarray(scan.array)
    samples = []
    for i, view in enumerate(views):
        turned = view.apply(image[None].astype(np.float32))[0]
        sample = alone(sharing, i % 3, scan.replace(array=turned.astype(image.dtype)))
        samples.append(view.invert(np.asarray(sample.mean))[..., : image.shape[0], : image.shape[1]])
    both = predicted(sharing, source="members-augment", samples=5)
    np.testing.assert_allclose(both.mean, np.mean(samples, axis=0), atol=1e-4)
    assert (both.record.samples, both.record.source) == (5, "members-augment")
    assert both.record.source_settings["horizontal_flip"] == 0.5
    assert InferenceSettings.for_model(sharing.card, samples=50).samples == 50


def test_members_and_augmentation_need_augmentation(sharing: Model) -> None:
    none = {"jitter": 0, "affine": 0, "horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0}
    card = sharing.card.replace(augment=none)
    with pytest.raises(BadInput, match="was trained without augmentation"):
        InferenceSettings.for_model(card, source="members-augment")


def test_the_first_member_alone_is_a_model_of_one(sharing: Model) -> None:
    first = sharing.first_alone()
    assert (first.card.members, first.card.sources, first.card.member_parts) == (1, ("none",), "all")
    assert first.members == (sharing.method,)
