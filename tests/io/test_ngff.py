"""The metadata of OME-Zarr: what of the field is read beyond the standard, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from pydantic import ValidationError
from tests.helpers.ngff import MOVE, SCALE, image, stored
from yaozarrs import v05

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.registry import format_for

LEVELS = [
    {"path": "0", "coordinateTransformations": [SCALE]},
    {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]},
]
# what yaozarrs refuses as a whole: metadata, axes, spacing and origin of the first level
BEYOND = {
    "channels last": (image("yxc"), "yxc", (3, 2), (0, 0)),
    "names alone": (image() | {"axes": ["z", "y", "x"]}, "zyx", (3, 2, 1), (0, 0, 0)),
    "no types": (image() | {"axes": [{"name": a} for a in "zyx"]}, "zyx", (3, 2, 1), (0, 0, 0)),
    "no steps": (image() | {"datasets": [{"path": "0"}]}, "zyx", (1, 1, 1), (0, 0, 0)),
    "identity": (image(steps=[{"type": "identity"}]), "zyx", (1, 1, 1), (0, 0, 0)),
    "moved, then scaled": (image(steps=[MOVE, SCALE]), "zyx", (3, 2, 1), (90, 40, 10)),
    "moved once more": (image(coordinateTransformations=[MOVE]), "zyx", (3, 2, 1), (30, 20, 10)),
    "levels in another order": (image(datasets=LEVELS), "zyx", (3, 2, 1), (0, 0, 0)),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_the_standard_forbids_but_can_be_read(tmp_path: Path, case: str):
    metadata, axes, spacing, origin = BEYOND[case]
    with pytest.raises(ValidationError):  # or this fallback is needed no longer
        v05.Multiscale.model_validate(metadata)
    scan = read_scan(stored(tmp_path, {"multiscales": [metadata]}))
    assert scan.axes == axes
    assert scan.geometry.spacing == spacing
    assert tuple(scan.geometry.matrix[:-1, -1]) == origin


def test_lengths_in_several_units_become_one(tmp_path: Path):
    axes = [
        {"name": name, "type": "space", "unit": unit}
        for name, unit in zip("zyx", ("micrometer", "nanometer", "nanometer"), strict=True)
    ]
    scan = read_scan(stored(tmp_path, {"multiscales": [image() | {"axes": axes}]}))
    assert scan.geometry.units == ("nm",) * 3  # contours and distances are computed from the numbers
    assert scan.geometry.spacing == pytest.approx((3000, 2, 1))


def test_a_channel_without_a_window_still_has_its_name(tmp_path: Path):
    omero = {"channels": [{"label": "DAPI", "color": "0000FF"}, {"label": "odd", "color": "blue"}, 7]}
    with pytest.raises(ValidationError):
        v05.Omero.model_validate(omero)
    path = stored(tmp_path, {"multiscales": [image("cyx", [])], "omero": omero})
    assert read_scan(path).properties["channels"] == [
        {"name": "DAPI", "colour": "#0000ff"},
        {"name": "odd", "colour": ""},
        {"name": "", "colour": ""},
    ]


@pytest.mark.parametrize("kind", ["scale", "translation"])
@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.0, 2.0], "of 2 numbers for 3 axes"),
        ([1.0] * 4, "of 4 numbers for 3 axes"),
        ([1.0], "not a list of numbers, one for each axis"),
        ([1.0, "Mustermann", 3.0], "not a list of numbers"),
        ("Mustermann", "not a list of numbers"),
        (None, "not a list of numbers"),
    ],
)
def test_wrong_numbers_are_refused_in_one_line(tmp_path: Path, kind: str, values: Any, why: str):
    path = stored(tmp_path, {"multiscales": [image(steps=[{"type": kind, kind: values}])]})
    with pytest.raises(BadInput, match=f"has a {kind}") as caught:
        read_scan(path)
    assert why in caught.value.why
    assert "Mustermann" not in caught.value.why + caught.value.remedy
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None  # pydantic's own text quotes the file


def test_what_is_written_is_valid(tmp_path: Path):
    values = np.zeros((2, 3, 700, 600), np.float32)
    geometry = Geometry.from_spacing("tzyx", (0.5, 2.0, 0.5, 0.25), "mm")
    path = tmp_path / "a.ome.zarr"
    format_for(path).write(path, values, "tzyx", geometry, {})
    attributes = zarr.open_group(path, mode="r").attrs.asdict()["ome"]
    written = v05.Image.model_validate(attributes)
    assert [len(d.coordinateTransformations) for d in written.multiscales[0].datasets] == [1, 2, 2]
    assert written.model_dump(exclude_none=True) == attributes


@pytest.mark.parametrize(
    ("scale", "steps"), [([-3.0, 2.0, 1.0], (-3, 2, 1)), ([3.0, -2.0, -1.0], (3, -2, -1))], ids=["z", "yx"]
)
def test_a_negative_scale_is_read_as_it_stands(tmp_path: Path, scale: list[float], steps: tuple[int, ...]):
    transforms = [{"type": "scale", "scale": scale}, MOVE]
    scan = read_scan(stored(tmp_path, {"multiscales": [image(steps=transforms)]}))
    assert np.array_equal(scan.geometry.matrix, [[steps[0], 0, 0, 30], [0, steps[1], 0, 20],
                                                 [0, 0, steps[2], 10], [0, 0, 0, 1]])  # fmt: skip
    assert np.asarray(scan.array)[:, 0, 0].tolist() == [0, 20, 40]  # values stay in their order


def test_slices_that_fall_are_written_and_rows_that_do_are_refused(tmp_path: Path):
    values = np.arange(3 * 700 * 600, dtype=np.int32).reshape(3, 700, 600)
    matrix = np.diag([-2.0, 0.5, 0.25, 1.0])
    matrix[:3, 3] = (12.0, -3.0, 4.0)
    falling = Geometry.from_matrix(matrix, ("um",) * 3, ("z", "y", "x"))
    path = tmp_path / "a.ome.zarr"
    format_for(path).write(path, values, "zyx", falling, {})
    (multiscale,) = v05.Image.model_validate(zarr.open_group(path, mode="r").attrs["ome"]).multiscales
    assert [d.coordinateTransformations[0].scale for d in multiscale.datasets] == [
        [-2.0, 0.5, 0.25], [-2.0, 1.0, 0.5], [-2.0, 2.0, 1.0],
    ]  # fmt: skip
    scan = read_scan(path)
    assert np.array_equal(scan.geometry.matrix, matrix)
    assert np.array_equal(np.asarray(scan.array), values)
    rows = Geometry.from_spacing("zyx", (2.0, -0.5, 0.25), "um")
    with pytest.raises(BadInput, match="rotated or flipped"):
        format_for(path).write(tmp_path / "b.ome.zarr", values, "zyx", rows, {})


@pytest.mark.parametrize("number", [0.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_size_is_refused(tmp_path: Path, number: float):
    steps = [{"type": "scale", "scale": [number, 2.0, 1.0]}]
    with pytest.raises(BadInput):
        read_scan(stored(tmp_path, {"multiscales": [image(steps=steps)]}))


def test_time_that_runs_backwards_is_refused(tmp_path: Path):
    steps = [{"type": "scale", "scale": [-1.0, 2.0, 1.0]}]
    with pytest.raises(BadInput, match="time points that run backwards"):
        read_scan(stored(tmp_path, {"multiscales": [image("tyx", steps)]}))
