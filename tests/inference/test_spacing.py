"""A model that works at a spacing of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from tests.helpers.predicted import scan_of

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.methods.gms import GMS
from napari_latentseg.models.folder import Model
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import read_dataset

TILES = {"mode": "tiles", "size": 64, "long_side": 160, "overlap": 16}
RADIUS, CENTRE = 14.0, (31.0, 26.0)  # mm


class Bright(GMS):
    """Calls what is bright the class, so that what comes out is what went in."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def sample(self, condition: torch.Tensor, noise: object = None) -> torch.Tensor:
        return condition.mean(dim=1, keepdim=True)


def bright(model: Model, spacing: float | None = 1.0, **more: object) -> Model:
    method = Bright(model.method.codec, model.method.config)
    preprocess = Preprocess.model_validate(TILES | {"spacing": spacing} | more)
    return replace(model, method=method, card=model.card.model_copy(update={"preprocess": preprocess}))


def disc(down: float, across: float) -> np.ndarray:
    """A disc of `RADIUS` mm about `CENTRE`, in an image of 60 by 55 mm whose pixels are so large."""
    rows = (np.arange(round(60 / down)) + 0.5) * down
    columns = (np.arange(round(55 / across)) + 0.5) * across
    away = np.hypot(rows[:, None] - CENTRE[0], columns - CENTRE[1])
    return (255 * (away < RADIUS)).astype(np.uint8)


def spaced(model: Model, down: float, across: float, unit: str = "mm", **asked: object) -> Segmentation:
    scan = scan_of(disc(down, across), geometry=Geometry.from_spacing("yx", (down, across), unit))
    request = InferenceSettings.for_model(model.card, samples=3, **asked)
    return Predictor(model, "cpu", "float32").segment(scan, request)


@pytest.mark.parametrize("spacing", [0.5, 1.0, 1.7])
@pytest.mark.parametrize(("down", "across"), [(0.5, 0.5), (0.4, 1.1), (1.3, 0.6), (2.0, 0.5)])
def test_a_disc_comes_out_in_its_place(tiny_model: Model, spacing: float, down: float, across: float) -> None:
    found = spaced(bright(tiny_model, spacing), down, across)
    height, width = found.mask.shape
    assert found.record.working_size == (round(height * down / spacing), round(width * across / spacing))
    rows, columns = found.mask.nonzero()
    middle = ((rows.mean() + 0.5) * down, (columns.mean() + 0.5) * across)
    assert middle == pytest.approx(CENTRE, abs=0.15)
    area = len(rows) * down * across
    assert np.sqrt(area / np.pi) == pytest.approx(RADIUS, rel=0.03)
    assert np.ptp(rows) * down == pytest.approx(2 * RADIUS, abs=2 * max(down, spacing))
    assert np.ptp(columns) * across == pytest.approx(2 * RADIUS, abs=2 * max(across, spacing))


def test_a_box_is_at_the_model_s_spacing_too(tiny_model: Model) -> None:
    found = spaced(bright(tiny_model), 0.5, 0.8, box=(20, 10, 100, 60))
    assert found.record.working_size == (40, 40)
    truth = disc(0.5, 0.8)[20:100, 10:60] > 0
    inside = found.mask[20:100, 10:60] > 0
    assert 2 * (truth & inside).sum() / (truth.sum() + inside.sum()) > 0.97


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("um", 1000.0), ("cm", 0.1)])
def test_any_unit_of_length_is_one(tiny_model: Model, unit: str, scale: float) -> None:
    geometry = Geometry.from_spacing("yx", (0.5 * scale, 0.8 * scale), unit)
    request = InferenceSettings.for_model(bright(tiny_model).card, samples=1)
    run = Predictor(bright(tiny_model), "cpu", "float32").start(
        scan_of(disc(0.5, 0.8), geometry=geometry), request
    )
    assert run.state.working_size == (60, 55)


def test_without_a_physical_unit_the_longer_side_rules(tiny_model: Model) -> None:
    found = spaced(bright(tiny_model), 0.5, 0.5, "pixel")
    assert found.record.working_size == (160, 147)
    assert spaced(bright(tiny_model, None), 0.5, 0.5).record.working_size == (160, 147)


def test_a_spacing_that_cannot_be_is_refused(tiny_model: Model) -> None:
    with pytest.raises(BadInput, match="spacing: at the model's 1 mm a pixel the slice would have"):
        spaced(bright(tiny_model), 0.5, 0.8, "m")


def test_training_sees_the_scale_that_a_run_does(tiny_model: Model, tmp_path: Path) -> None:
    """Of files with a spacing; those without have their longer side brought to the configured one."""
    plane = disc(0.5, 0.8)
    for part, values in (("images", plane.copy()), ("masks", (plane > 0).astype(np.uint8))):
        (tmp_path / part).mkdir()
        for number in range(2):
            values[0, 0] = number  # two images, or they would be one case
            image = nibabel.Nifti1Image(values.T[..., None], np.diag([0.8, 0.5, 3.0, 1.0]))
            image.header.set_xyzt_units("mm")
            nibabel.save(image, tmp_path / part / f"case_{number}.nii.gz")
    config = load_config("gms-small").model_copy(
        update={"preprocess": Preprocess.model_validate(TILES | {"spacing": 1.0})}
    )
    data = read_dataset(tmp_path, config)
    example = [*data.train, *data.validation][0]
    assert tuple(example.image.shape[1:]) == (60, 55)
    run = spaced(bright(tiny_model), 0.5, 0.8)
    assert run.record.working_size == (60, 55)
    area = float(example.mask.sum())  # a pixel is 1 mm2
    assert np.sqrt(area / np.pi) == pytest.approx(RADIUS, rel=0.02)
