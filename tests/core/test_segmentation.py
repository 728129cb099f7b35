from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any, get_args

import dask.array as da
import numpy as np
import pytest
from pydantic import ValidationError

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.doubt import doubt_of
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.record import SAMPLING_SOURCES, InputRecord, ModelRecord, RunRecord, SamplingSource
from napari_latentseg.core.segmentation import Segmentation

LESION = ClassInfo(label=7, name="lesion", color="#ff0000")
VESSEL = ClassInfo(label=2, name="vessel", color="#00ff00")

# Mean probabilities (class, place), threshold, classes, and the labels.
MASKS: dict[str, tuple[Any, float, tuple[ClassInfo, ...], list[int]]] = {
    "one class": ([[0.2, 0.6, 1.0]], 0.5, (LESION,), [0, 7, 7]),
    "at the threshold is not above it": ([[0.25, 0.5, 0.75]], 0.5, (LESION,), [0, 0, 7]),
    "a low threshold": ([[0.0, 0.125, 0.25]], 0.125, (LESION,), [0, 0, 7]),
    "several, the most probable": ([[0.6, 0.7, 0.1], [0.8, 0.6, 0.2]], 0.5, (LESION, VESSEL), [2, 7, 0]),
    "several, a tie": ([[0.75, 0.5], [0.75, 0.5]], 0.5, (VESSEL, LESION), [2, 0]),
    "a label of 255": ([[0.9]], 0.5, (LESION.model_copy(update={"label": 255}),), [255]),
    "nothing": ([[0.0, 0.0]], 0.5, (LESION,), [0, 0]),
    "not a number": ([[np.nan, 0.9]], 0.5, (LESION,), [0, 7]),
}


@pytest.mark.parametrize(("mean", "threshold", "classes", "expected"), MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("depth", [1, 2])
def test_mask(
    mean: Any, threshold: float, classes: tuple[ClassInfo, ...], expected: list[int], depth: int
) -> None:
    probabilities = np.array(mean, np.float32)
    if depth == 2:  # planes of one row
        probabilities = probabilities[:, None, None]
    found = labels_from_probabilities(probabilities, threshold, classes)
    assert found.dtype == np.uint8
    assert found.shape == probabilities.shape[1:]
    assert found.ravel().tolist() == expected


def record(**changes: Any) -> RunRecord:
    settings: dict[str, Any] = {
        "plugin_version": "0.1.0",
        "time": "2025-01-01T00:00:00+00:00",
        "input": InputRecord(
            sha256="0" * 64, format="nifti", axes="yx", shape=(1, 3), dtype="uint8", spacing=(1.0, 0.5),
            units=("mm", "mm"),
        ),
        "model": ModelRecord(
            name="lesions", version="1", method="gms", variant="", codec="compact", sha256={"codec": "0" * 64}
        ),
        "classes": (LESION,),
        "samples_asked": 8,
        "samples": 5,
        "planes_done": 1,
        "planes": 1,
        "source": "augment",
        "source_settings": {"rotate": 15.0},
        "seed": 3,
        "threshold": 0.5,
        "device": "cpu",
        "precision": "float32",
        "tile": None,
        "overlap": 0,
        "working_size": (64, 64),
        "seconds": 1.5,
        "complete": False,
        "volumes": {"lesion": [1.0, 2.0]},
        "volume_unit": "mm²",
        "versions": {"python": "3.12"},
    }  # fmt: skip
    return RunRecord(**(settings | changes))


@pytest.fixture
def run() -> Segmentation:
    mean = np.array([[[0.2, 0.6, 0.9]]], np.float32)
    return Segmentation(
        mask=labels_from_probabilities(mean, 0.5, (LESION,)),
        mean=mean,
        variance=np.full_like(mean, 0.01),
        volumes=np.array([[1.0], [2.0]]),
        axes="yx",
        geometry=Geometry.from_spacing("yx"),
        format="nifti",
        properties={"from": "the reader"},
        classes=(LESION,),
        record=record(),
    )


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.1, [7, 7, 7]), (0.5, [0, 7, 7]), (0.75, [0, 0, 7]), (0.95, [0, 0, 0])]
)
def test_cut_at_another_threshold(run: Segmentation, threshold: float, expected: list[int]) -> None:
    found = run.with_threshold(threshold)
    assert found.mask.ravel().tolist() == expected
    assert found.record.threshold == threshold
    # the volumes were counted at the run's own threshold, so at another they are no longer true
    kept = threshold == run.record.threshold
    assert found.volumes.tolist() == (run.volumes.tolist() if kept else [])
    assert found.record.volumes == (run.record.volumes if kept else {})
    for name in ("mean", "variance", "geometry", "properties", "axes", "classes", "format"):
        assert getattr(found, name) is getattr(run, name)
    assert found.record.samples == run.record.samples
    assert run.mask.ravel().tolist() == [0, 7, 7]
    assert run.record.threshold == 0.5


def test_a_spacing_given_afterwards_turns_pixels_into_millimetres(run: Segmentation) -> None:
    pixels = run.record.replace(
        input=run.record.input.replace(spacing=(1.0, 1.0), units=("pixel", "pixel")),
        volume_unit="pixel",
        cleanup=PostProcess(smallest=3),
    )
    given = replace(run, record=pixels).with_spacing([0.5])
    assert given.geometry.spacing == (0.5, 0.5)
    assert given.volumes.tolist() == [[0.25], [0.5]]
    assert given.record.volumes == {"lesion": [0.25, 0.5]}
    assert given.record.volume_unit == "mm2"
    assert given.record.input.spacing == (0.5, 0.5)
    assert given.record.input.units == ("mm", "mm")
    assert given.record.input.notes[-1] == GIVEN_SPACING_NOTE
    assert given.record.cleanup == PostProcess(smallest=0.75)
    assert given.mask is run.mask


def test_a_result_does_not_change(run: Segmentation) -> None:
    with pytest.raises(FrozenInstanceError):
        run.mask = run.mask
    with pytest.raises(ValidationError, match="frozen"):
        run.record.seed = 4


def test_the_record_comes_back_from_its_file() -> None:
    assert RunRecord.model_validate_json(record().model_dump_json()) == record()


@pytest.mark.parametrize(
    ("field", "value"),
    [("source", "luck"), ("tile", (1,)), ("seeds", 3), ("samples", "many"), ("volumes", None)],
)
def test_a_record_that_is_not_valid(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        record(**{field: value})


def test_the_record_says_what_it_is_not() -> None:
    assert "Not a medical device" in record().purpose
    assert "is not the variability between readers" in record().meaning


def test_every_source_is_put_in_words() -> None:
    assert set(SAMPLING_SOURCES) == set(get_args(SamplingSource))
    assert all(SAMPLING_SOURCES.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", 0), ("label", 256), ("name", ""), ("color", "red"), ("color", "#ff00"), ("color", "#gg0000")],
)
def test_a_class_that_is_not_valid(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        ClassInfo(**({"label": 1, "name": "a", "color": "#000000"} | {field: value}))


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.9, 0.1), (1.0, 0.0)]
)
def test_doubt_is_the_distance_to_the_nearer_certainty(probability: float, expected: float) -> None:
    mean = np.full((2, 3), probability, np.float32)
    assert doubt_of(mean).dtype == np.float32
    np.testing.assert_allclose(doubt_of(mean), expected, atol=1e-7)
    lazy = doubt_of(da.from_array(mean))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(np.asarray(lazy), doubt_of(mean))
