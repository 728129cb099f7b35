"""TIFF: pixel sizes and positions from OME, ImageJ and resolution tags."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from tests.helpers.tiff import ramp

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import tiff

MICRO = "\N{MICRO SIGN}m"
OME = {
    "micrometres by default": (
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25},
        "yx",
        (0.25, 0.5),
        ("um", "um"),
    ),
    "every axis its own": (
        {
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "mm",
            "PhysicalSizeY": 0.25,
            "PhysicalSizeYUnit": "mm",
            "PhysicalSizeZ": 3.0,
            "PhysicalSizeZUnit": "mm",
        },
        "zyx",
        (3, 0.25, 0.5),
        ("mm",) * 3,
    ),
    "several units become that of x": (
        {
            "PhysicalSizeX": 500,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.25,
            "PhysicalSizeYUnit": MICRO,
            "PhysicalSizeZ": 0.003,
            "PhysicalSizeZUnit": "mm",
        },
        "zyx",
        (3000, 250, 500),
        ("nm",) * 3,
    ),
    "centimetres": (
        {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "cm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "cm"},
        "yx",
        (0.25, 0.5),
        ("cm",) * 2,
    ),
    "inches": (
        {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "in", "PhysicalSizeY": 2, "PhysicalSizeYUnit": "in"},
        "yx",
        (50.8, 25.4),
        ("mm",) * 2,
    ),
    "angstrom": (
        {
            "PhysicalSizeX": 1,
            "PhysicalSizeXUnit": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}",
            "PhysicalSizeY": 2,
            "PhysicalSizeYUnit": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}",
        },
        "yx",
        (0.2, 0.1),
        ("nm",) * 2,
    ),
    "pixels": (
        {"PhysicalSizeX": 2, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 3, "PhysicalSizeYUnit": "pixel"},
        "yx",
        (3, 2),
        ("pixel",) * 2,
    ),
    "no length": (
        {
            "PhysicalSizeX": 2,
            "PhysicalSizeXUnit": "reference frame",
            "PhysicalSizeY": 3,
            "PhysicalSizeYUnit": "reference frame",
        },
        "yx",
        (1, 1),
        ("pixel",) * 2,
    ),
    "x alone": ({"PhysicalSizeX": 2}, "yx", (1, 1), ("pixel",) * 2),
    "no depth": ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, "zyx", (1, 0.5, 0.5), ("pixel", "um", "um")),
    "zero": ({"PhysicalSizeX": 0, "PhysicalSizeY": 0.5}, "yx", (1, 1), ("pixel",) * 2),
    "infinite": ({"PhysicalSizeX": "INF", "PhysicalSizeY": 0.5}, "yx", (1, 1), ("pixel",) * 2),
    "time": (
        {"PhysicalSizeX": 2, "PhysicalSizeY": 2, "TimeIncrement": 1.5, "TimeIncrementUnit": "min"},
        "tyx",
        (90, 2, 2),
        ("s", "um", "um"),
    ),
    "time in milliseconds": (
        {"TimeIncrement": 40, "TimeIncrementUnit": "ms"},
        "tyx",
        (40, 1, 1),
        ("ms", "pixel", "pixel"),
    ),
}


@pytest.mark.parametrize(("metadata", "axes", "spacing", "units"), OME.values(), ids=OME.keys())
def test_sizes_of_ome(tmp_path, metadata, axes, spacing, units):
    shape = (5, 30, 20)[-len(axes) :]
    tifffile.imwrite(
        tmp_path / "a.ome.tif", ramp(shape), ome=True, metadata={"axes": axes.upper(), **metadata}
    )
    scan = tiff.read(tmp_path / "a.ome.tif")
    assert scan.axes == axes
    assert scan.geometry.spacing == pytest.approx(spacing)
    assert scan.geometry.units == units
    assert scan.geometry.frame == ""


def test_position_of_ome(tmp_path):
    planes = {"PositionX": [0.1] * 5, "PositionXUnit": ["mm"] * 5, "PositionY": [7.0] * 5,
              "PositionZ": [-3.0, -1, 1, 3, 5], "PositionZUnit": [MICRO] * 5}  # fmt: skip
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 1.0,
        "PhysicalSizeY": 1.0,
        "PhysicalSizeZ": 2.0,
        "Plane": planes,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((5, 30, 20)), ome=True, metadata=metadata)
    matrix = tiff.read(tmp_path / "a.ome.tif").geometry.matrix
    assert matrix[:, -1] == pytest.approx([-3, 0, 100, 1])  # a position without a unit is in no known frame


STACKS: dict[str, tuple[float | None, list[float], float, str]] = {
    "as given": (3.0, [0, 3, 6, 9], 3.0, ""),
    "nearly as given": (3.0, [0, 3.05, 6, 9.02], 3.0, ""),
    "downwards": (3.0, [9, 6, 3, 0], 3.0, ""),
    "not given": (None, [0, 3, 6, 9], 3.0, ""),
    "not given, downwards": (None, [9, 6, 3, 0], 3.0, ""),
    "another distance": (1.0, [0, 3, 6, 9], 1.0, "do not fit the distance"),
    "with a gap": (3.0, [0, 3, 9, 12], 3.0, "not equally spaced"),
    "no positions": (3.0, [0, 0, 0, 0], 3.0, ""),
}


@pytest.mark.parametrize(("given", "positions", "step", "note"), STACKS.values(), ids=STACKS.keys())
def test_the_distance_of_slices_and_their_positions(tmp_path, given, positions, step, note):
    planes = {"PositionZ": [float(z) for z in positions], "PositionZUnit": [MICRO] * 4}
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "Plane": planes}
    if given is not None:
        metadata["PhysicalSizeZ"] = given
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((4, 30, 20)), ome=True, metadata=metadata)
    scan = tiff.read(tmp_path / "a.ome.tif")
    assert (scan.geometry.spacing, scan.geometry.units) == ((step, 1, 1), ("um",) * 3)
    assert note in " ".join(scan.notes)
    assert len(scan.notes) == bool(note)
    falls = positions[0] > positions[-1]
    assert scan.geometry.matrix[0].tolist() == [-step if falls else step, 0, 0, positions[0]]


def test_slices_that_go_down_keep_their_place_when_they_are_written(tmp_path):
    geometry = Geometry.from_matrix(
        [[-3.0, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], ("um",) * 3, ("z", "y", "x")
    )
    tiff.write(tmp_path / "a.ome.tif", ramp((4, 30, 20)), "zyx", geometry, {})
    assert tiff.read(tmp_path / "a.ome.tif").geometry == geometry


@pytest.mark.parametrize(("axis", "unit"), [(0, "pixel"), (1, "um"), (2, "um")], ids=str)
def test_no_other_axis_can_be_flipped(tmp_path, axis, unit):
    matrix = np.eye(4)
    matrix[axis, axis] = -1
    geometry = Geometry.from_matrix(matrix, (unit,) * 3, ("z", "y", "x"))
    with pytest.raises(BadInput, match="flipped"):
        tiff.write(tmp_path / "a.tif", ramp((4, 30, 20)), "zyx", geometry, {})
    assert list(tmp_path.iterdir()) == []


def test_uneven_positions_give_no_distance(tmp_path):
    planes = {"PositionZ": [0.0, 3, 9, 12], "PositionZUnit": [MICRO] * 4}
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "Plane": planes}
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((4, 30, 20)), ome=True, metadata=metadata)
    assert tiff.read(tmp_path / "a.ome.tif").geometry.units == ("pixel", "um", "um")


def test_a_size_along_one_axis_alone_is_noted(tmp_path):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((30, 20)), ome=True, metadata=metadata)
    scan = tiff.read(tmp_path / "a.ome.tif")
    assert scan.geometry.units == ("pixel",) * 2
    assert scan.notes == ("the file gives the size of a pixel along one axis alone; sizes are in pixels",)


IMAGEJ = {
    "micron": ({"unit": "micron", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("um",) * 3),
    "micro sign": ({"unit": "\\u00B5m", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("um",) * 3),
    "um": ({"unit": "um", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("um",) * 3),
    "millimetres": ({"unit": "mm", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("mm",) * 3),
    "inches": ({"unit": "inch", "spacing": 1.0}, (1.0, 2.0), (25.4, 12.7, 25.4), ("mm",) * 3),
    "no depth": ({"unit": "um"}, (4.0, 2.0), (1, 0.5, 0.25), ("pixel", "um", "um")),
    "depth in another unit": (
        {"unit": "um", "zunit": "mm", "spacing": 0.002},
        (4.0, 2.0),
        (2, 0.5, 0.25),
        ("um",) * 3,
    ),
    "no unit": ({"spacing": 3.0}, (4.0, 2.0), (1, 1, 1), ("pixel",) * 3),
    "pixels": ({"unit": "pixel", "spacing": 3.0}, (4.0, 2.0), (1, 1, 1), ("pixel",) * 3),
}


@pytest.mark.parametrize(("metadata", "resolution", "spacing", "units"), IMAGEJ.values(), ids=IMAGEJ.keys())
def test_sizes_of_imagej(tmp_path, metadata, resolution, spacing, units):
    tifffile.imwrite(
        tmp_path / "a.tif",
        ramp((5, 30, 20)),
        imagej=True,
        resolution=resolution,
        metadata={"axes": "ZYX", **metadata},
    )
    scan = tiff.read(tmp_path / "a.tif")
    assert scan.geometry.spacing == pytest.approx(spacing)
    assert scan.geometry.units == units


def test_time_of_imagej(tmp_path):
    metadata = {"axes": "TYX", "finterval": 2.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", ramp((5, 30, 20)), imagej=True, resolution=(2, 2), metadata=metadata)
    geometry = tiff.read(tmp_path / "a.tif").geometry
    assert (geometry.spacing, geometry.units) == ((2.5, 0.5, 0.5), ("s", "um", "um"))


def test_a_resolution_to_print_with_is_no_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20)), resolution=(300, 300), resolutionunit="inch")
    assert tiff.read(tmp_path / "a.tif").geometry == Geometry.from_spacing("yx")
