"""A model with an intensity window sees the same grey for the same value of the scan, wherever it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.made_ct import write_ct_set

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.protocols import PROTOCOLS
from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.inference.evaluate import Evaluation
from napari_latentseg.inference.fit import scan_statistics
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reconstruction import ReconstructionEvaluation
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model
from napari_latentseg.utils.device import Compute

ONE = InferenceSettings(samples=1, source="none")


@pytest.fixture(scope="module")
def windowed(make_tiny_model: Callable[..., Path]) -> Path:
    return make_tiny_model("tiny-window", preprocess={"mode": "whole", "size": 64, "window": [-175, 250]})


@pytest.fixture(scope="module")
def model(windowed: Path) -> Model:
    return load_model(windowed)


def ct(metal: bool = False) -> Scan:
    values = np.random.default_rng(0).normal(0, 120, (2, 70, 60)).round().astype(np.int16)
    if metal:
        values[:, :4, :30] = 3000
    return Scan(values, "zyx", Geometry.from_spacing("zyx", (5.0, 1.0, 1.0), "mm"), modality="CT")


def seen(model: Model, scan: Scan, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The images that the networks are given."""
    images: list[np.ndarray] = []
    whole = type(model.method).encode

    def encode(method: object, batch: torch.Tensor) -> torch.Tensor:
        images.extend(batch.numpy().copy())
        return whole(method, batch)

    with monkeypatch.context() as patch:
        patch.setattr(type(model.method), "encode", encode)
        Predictor(model, "cpu", engine="torch").segment(scan, ONE)
    return images


@pytest.mark.usefixtures("no_encodings")
def test_metal_elsewhere_does_not_change_what_the_networks_see(
    model: Model, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, metal = (seen(model, ct(m), monkeypatch) for m in (False, True))
    assert len(plain) == len(metal) == 2
    assert all(np.array_equal(a[:, 20:], b[:, 20:]) for a, b in zip(plain, metal, strict=True))
    by_percentiles = [seen(tiny_model, ct(m), monkeypatch) for m in (False, True)]
    assert not np.array_equal(by_percentiles[0][0][:, 20:], by_percentiles[1][0][:, 20:])


def test_a_scan_that_is_not_in_the_unit_is_refused_by_name_and_values(model: Model) -> None:
    scan = ct().replace(array=np.random.default_rng(0).random((2, 70, 60)).astype(np.float32))
    for compute in (
        lambda: Predictor(model, "cpu").segment(scan, ONE),
        lambda: scan_statistics(model, Compute("cpu", "float32"), scan, "fixed"),
    ):
        with pytest.raises(
            BadInput, match="window from -175 to 250 leaves nothing; give the scan in the unit"
        ):
            compute()


SCORES: dict[str, Callable[[Predictor, list[Case]], Evaluation | ReconstructionEvaluation]] = {
    "as the files are": lambda predictor, cases: Evaluation(predictor, ONE, cases),
    "by a protocol": lambda predictor, cases: Evaluation(predictor, ONE, cases, protocol=PROTOCOLS["sdseg"]),
    "reconstruction": ReconstructionEvaluation,
}


@pytest.mark.parametrize("scores", SCORES)
def test_an_image_that_the_window_empties_is_left_out_of_a_score_with_the_reason(
    scores: str, model: Model, tmp_path: Path
) -> None:
    import nibabel as nib

    folder = write_ct_set(tmp_path / "btcv", 2, side=(40, 44), slices=(3, 4))
    for mask in (folder / "masks").iterdir():
        volume = nib.load(mask)
        nib.save(nib.Nifti1Image((np.asarray(volume.dataobj) > 0).astype(np.uint8), volume.affine), mask)
    image = folder / "images" / "ct1.nii.gz"
    volume = nib.load(image)
    nib.save(nib.Nifti1Image(np.asarray(volume.dataobj).astype(np.int16) + 5000, volume.affine), image)
    evaluation = SCORES[scores](Predictor(model, "cpu"), find_cases(folder))
    assert list(evaluation.run()) == [0.5, 1.0]
    (left_out,) = evaluation.report().left_out
    assert left_out.name == "ct1"
    assert "window from -175 to 250 leaves nothing" in left_out.reason


def test_fine_tuning_learns_from_the_same_greys(windowed: Path, tmp_path: Path) -> None:
    import nibabel as nib

    folder = write_ct_set(tmp_path / "btcv", 1, side=(40, 44), slices=(3, 4))
    mask = folder / "masks" / "ct0.nii.gz"
    volume = nib.load(mask)
    nib.save(nib.Nifti1Image((np.asarray(volume.dataobj) > 0).astype(np.uint8), volume.affine), mask)
    card = read_card(windowed)
    (case,) = collect_cases([folder], card)
    whole = card.replace(preprocess=card.preprocess.replace(window=None))
    values = case.read_scan().array
    for slice_values, windowed_slice, plain in zip(
        values, read_slices(case, card), read_slices(case, whole), strict=True
    ):
        is_air = float((slice_values < -900).mean())
        assert float((windowed_slice.image == 0).float().mean()) == pytest.approx(is_air, abs=0.1)
        assert not torch.equal(windowed_slice.image, plain.image)


def test_the_card_names_the_window(windowed: Path, tiny_model_folder: Path) -> None:
    text = card_text(read_card(windowed))
    assert "Works on:      whole slices at 64 x 64 pixels; values from -175 to 250" in text
    assert "values from" not in card_text(read_card(tiny_model_folder))
