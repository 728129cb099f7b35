"""Parts of slices that answer prompts."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.pointing import disc_answer, make_prompted_model

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.prompt_image import PromptImage
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.inference.slice_part import SlicePart
from napari_latentseg.models.store import load_model


@pytest.fixture(scope="module")
def model(make_tiny_model):
    return load_model(make_prompted_model(make_tiny_model))


def scan_of(shape, axes):
    values = np.random.default_rng(0).random(shape).astype("f4")
    return Scan(values, axes, Geometry.from_spacing(axes.removesuffix("c")))


def click(y, x):
    pointed = PointedObject()
    pointed.add_points([(y, x)], is_inside=True)
    return pointed


@pytest.mark.parametrize(("axes", "shape"), [("yx", (90, 70)), ("yxc", (90, 70, 3)), ("zyx", (4, 90, 70))])
def test_every_kind_of_image_answers(model, axes, shape) -> None:
    image = PromptImage(scan_of(shape, axes), model)
    plane = 2 if "z" in axes else 0
    answer = image.answer(SlicePart(plane, (10, 20, 80, 70)), click(40, 50), 4)
    assert answer.samples.shape == (4, 70, 50)
    np.testing.assert_allclose(answer.mean, answer.samples.mean(axis=0))
    assert answer.variance.shape == (70, 50)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_mask_lies_where_was_clicked(model, monkeypatch, step) -> None:
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    image = PromptImage(scan_of((300, 330), "yx"), model)
    part = SlicePart(0, (30, 60, 270, 300), step)
    answer = image.answer(part, click(150, 180), 1)
    assert answer.mean.shape == (240 // step, 240 // step)
    rows, columns = np.nonzero(answer.mask.values)
    assert abs(rows.mean() + answer.mask.top - 150) < 0.6
    assert abs(columns.mean() + answer.mask.left - 180) < 0.6
    assert abs(np.ptp(rows) + 1 - 15 * step) <= 2 * step


def test_a_mask_does_not_reach_beyond_its_part(model, monkeypatch) -> None:
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    image = PromptImage(scan_of((100, 100), "yx"), model)
    answer = image.answer(SlicePart(0, (0, 0, 60, 60)), click(58, 59), 1)
    assert answer.mask.top + answer.mask.values.shape[0] <= 60
    assert answer.mask.left + answer.mask.values.shape[1] <= 60


def test_nothing_above_the_threshold_is_no_mask(model, monkeypatch) -> None:
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    image = PromptImage(scan_of((60, 60), "yx"), model)
    pointed = click(20, 20)
    pointed.add_points([(20, 21)], is_inside=False)
    pointed.add_points([(20 + dy, 20 + dx) for dy in (-6, 6) for dx in (-6, 6)], is_inside=False)
    assert image.answer(SlicePart(0, (0, 0, 60, 60)), pointed, 1).mask is None


def test_clicks_outside_alone_are_not_answered(model) -> None:
    image = PromptImage(scan_of((60, 60), "yx"), model)
    pointed = PointedObject()
    pointed.add_points([(20, 20)], is_inside=False)
    assert image.answer(SlicePart(0, (0, 0, 60, 60)), pointed, 1) is None


def test_time_series_and_other_models_are_refused(model, tiny_model) -> None:
    with pytest.raises(BadInput, match="time series"):
        PromptImage(scan_of((2, 3, 40, 40), "tzyx"), model)
    image = PromptImage(scan_of((40, 40), "yx"), tiny_model)
    with pytest.raises(BadInput, match="takes no prompts"):
        image.prepare(SlicePart(0, (0, 0, 40, 40)))
