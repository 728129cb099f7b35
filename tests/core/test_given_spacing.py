"""A spacing that a person gives to an image without a physical size."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.given_spacing import (
    GIVEN_SPACING_NOTE,
    geometry_with_spacing,
    give_spacing,
    spacing_from_ruler,
)
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

PIXELS_2D = Geometry.from_spacing("yx")
PIXELS_3D = Geometry.from_spacing("zyx")
TURNED = Geometry.from_matrix([[1, 1, 0], [-1, 1, 0], [0, 0, 1]], ("pixel",) * 2, ("y", "x"))
PIXELS_TIME = Geometry.from_spacing("tyx")


@pytest.mark.parametrize(
    ("geometry", "spacing", "expected"),
    [
        (PIXELS_2D, [0.2], (0.2, 0.2)),
        (PIXELS_2D, [0.2, 0.3], (0.2, 0.3)),
        (PIXELS_3D, [5, 0.5, 0.5], (5, 0.5, 0.5)),
        (PIXELS_3D, [1], (1, 1, 1)),
        (PIXELS_TIME, [0.4], (1, 0.4, 0.4)),
        (Geometry.from_spacing("yx", (2.0, 2.0)), [0.2], (0.2, 0.2)),
    ],
)
def test_the_spacing_is_that_of_the_array(geometry, spacing, expected):
    changed = geometry_with_spacing(geometry, spacing)
    assert changed.spacing == pytest.approx(expected)
    assert [unit for label, unit in zip(changed.axis_labels, changed.units, strict=True) if label != "t"] == [
        "mm"
    ] * (geometry.ndim - geometry.axis_labels.count("t"))
    if "t" in geometry.axis_labels:
        assert changed.units[0] == geometry.units[0]


def test_a_flip_and_an_origin_are_kept():
    flipped = Geometry.from_matrix([[-1, 0, 99], [0, 1, 10], [0, 0, 1]], ("pixel",) * 2, ("y", "x"))
    changed = geometry_with_spacing(flipped, [0.5])
    np.testing.assert_allclose(changed.matrix, [[-0.5, 0, 49.5], [0, 0.5, 5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("geometry", "spacing", "why"),
    [
        (PIXELS_2D, [0], "0 mm is not possible"),
        (PIXELS_2D, [-1], "-1 mm is not possible"),
        (PIXELS_2D, [float("nan")], "nan mm is not possible"),
        (PIXELS_2D, [1e9], "not possible"),
        (PIXELS_2D, [1, 2, 3], "3 numbers for the axes y, x"),
        (PIXELS_2D, [], "0 numbers"),
        (Geometry.from_spacing("yx", (0.5, 0.5), "mm"), [0.2], "has one already: 0.5 mm x 0.5 mm"),
        (
            Geometry.from_matrix([[1, 1, 0], [-1, 1, 0], [0, 0, 1]], ("pixel",) * 2, ("y", "x")),
            [1],
            "rotated",
        ),
    ],
)
def test_what_cannot_be_is_refused(geometry, spacing, why):
    with pytest.raises(BadInput, match=why):
        geometry_with_spacing(geometry, spacing)


def test_the_scan_says_that_it_was_given():
    scan = Scan(np.zeros((4, 5, 3), np.uint8), "yxc", PIXELS_2D, notes=("a",))
    given = give_spacing(scan, [0.25])
    assert given.notes == ("a", GIVEN_SPACING_NOTE)
    assert given.geometry.voxel_volume == (0.0625, "mm2")
    assert given.content_sha256 == scan.content_sha256


@pytest.mark.parametrize(
    ("start", "end", "length", "expected"),
    [((0, 0), (0, 100), 10, 0.1), ((10, 10), (40, 50), 25, 0.5), ((5.5, 3), (105.5, 3), 20, 0.2)],
)
def test_a_ruler(start, end, length, expected):
    assert spacing_from_ruler(start, end, length) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("end", "length", "why"),
    [
        ((0, 5), 10, "5.0 pixels apart"),
        ((0, 50), 0, "0 mm is not a length"),
        ((0, 50), float("inf"), "inf mm"),
    ],
)
def test_a_ruler_that_is_none(end, length, why):
    with pytest.raises(BadInput, match=why):
        spacing_from_ruler((0, 0), end, length)
