"""A model that sees neighbouring slices sees them in training, in use and when it is taught."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.made_ct import write_ct_set

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model

DETERMINISTIC = InferenceSettings(samples=1, source="none")


@pytest.fixture(scope="module")
def model_folder(make_tiny_model: Callable[..., Path]) -> Path:
    return make_tiny_model("tiny-neighbours", preprocess={"mode": "whole", "size": 64, "neighbours": 1.0})


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


def volume() -> Scan:
    values = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    return Scan(values, "zyx", Geometry.from_spacing("zyx", (1.0, 1.0, 1.0), "mm"))


@pytest.mark.usefixtures("no_encodings")
def test_the_networks_see_the_slice_between_its_neighbours(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[np.ndarray] = []
    encode = type(model.method).encode

    def record(method: object, batch: torch.Tensor) -> torch.Tensor:
        images.extend(batch.numpy().copy())
        return encode(method, batch)

    monkeypatch.setattr(type(model.method), "encode", record)
    scan = volume()
    Predictor(model, "cpu", engine="torch").segment(scan, DETERMINISTIC)
    expected = scan.array.astype(np.float32) / 255
    assert len(images) == 3
    for image in images:
        number = int(np.argmin([np.abs(image[1] - e).mean() for e in expected]))
        assert image[1] == pytest.approx(expected[number], abs=1e-6)
        assert image[0] == pytest.approx(expected[max(number - 1, 0)], abs=1e-6)
        assert image[2] == pytest.approx(expected[min(number + 1, 2)], abs=1e-6)


@pytest.mark.usefixtures("no_encodings")
def test_a_neighbour_changes_the_answer_and_the_slice_after_it_does_not(model: Model) -> None:
    predictor = Predictor(model, "cpu", engine="torch")
    scan = volume()
    changed_last = scan.array.copy()
    changed_last[2] = 255 - changed_last[2]
    before, after = (
        predictor.segment(each, DETERMINISTIC).mean[0] for each in (scan, scan.replace(array=changed_last))
    )
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])


def test_a_case_to_learn_from_has_its_neighbours(model_folder: Path, tmp_path: Path) -> None:
    import nibabel as nib

    folder = write_ct_set(tmp_path / "btcv", 1, side=(40, 44), slices=(4, 5))
    mask = folder / "masks" / "ct0.nii.gz"
    labels = nib.load(mask)
    nib.save(nib.Nifti1Image((np.asarray(labels.dataobj) > 0).astype(np.uint8), labels.affine), mask)
    card = read_card(model_folder)
    (case,) = collect_cases([folder], card)
    slices = read_slices(case, card)
    assert len(slices) == 4
    for lower, upper in itertools.pairwise(slices):
        assert torch.equal(lower.image[2], upper.image[1])
        assert torch.equal(upper.image[0], lower.image[1])
        assert not torch.equal(lower.image[1], upper.image[1])


def test_the_card_says_so(model_folder: Path) -> None:
    assert "neighbours 1 mm before and after" in card_text(read_card(model_folder))
