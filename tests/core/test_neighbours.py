"""Neighbouring slices as the channels of an image (2.5D)."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes


def volume(depth: int = 5, spacing: float = 1.0, unit: str = "mm") -> Scan:
    """A volume in which slice i has the value i / 10 everywhere."""
    values = np.broadcast_to(np.arange(depth, dtype=np.float32)[:, None, None] / 10, (depth, 4, 6)).copy()
    return Scan(values, "zyx", Geometry.from_spacing("zyx", (spacing, 1.0, 1.0), unit))


def seen(planes: Planes, number: int) -> list[int]:
    """Which slices are in red, green and blue."""
    return [round(10 * float(v)) for v in planes[number][0, 0]]


@pytest.mark.parametrize(
    ("number", "expected"), [(0, [0, 0, 1]), (1, [0, 1, 2]), (3, [2, 3, 4]), (4, [3, 4, 4])]
)
@pytest.mark.parametrize("is_lazy", [False, True])
def test_the_neighbours_are_red_and_blue(number: int, expected: list[int], is_lazy: bool) -> None:
    scan = volume()
    if is_lazy:
        scan = scan.replace(array=da.from_array(scan.array, chunks=(1, 4, 6)))
    planes = Planes.from_scan(scan, neighbours=1)
    assert planes.channel_count == 3
    assert planes.notes == ()
    assert seen(planes, number) == expected


@pytest.mark.parametrize(
    ("spacing", "unit", "distance", "expected"),
    [
        (1.0, "mm", 1.0, [3, 4, 5]),
        (0.5, "mm", 1.0, [2, 4, 6]),
        (5.0, "mm", 1.0, [3, 4, 5]),  # nothing is nearer than the next slice
        (300.0, "um", 1.0, [1, 4, 7]),
        (1.0, "px", 3.0, [3, 4, 5]),  # no physical unit: the adjacent slices
    ],
)
def test_the_distance_is_in_millimetres(
    spacing: float, unit: str, distance: float, expected: list[int]
) -> None:
    planes = Planes.from_scan(volume(9, spacing, unit), neighbours=distance)
    assert seen(planes, 4) == expected


def test_neighbours_do_not_cross_from_one_volume_of_a_time_series_to_the_next() -> None:
    values = np.broadcast_to(np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1) / 10, (2, 3, 4, 4)).copy()
    planes = Planes.from_scan(Scan(values, "tzyx", Geometry.from_spacing("tzyx")), neighbours=1)
    assert [seen(planes, i) for i in (2, 3)] == [[1, 2, 2], [3, 3, 4]]


@pytest.mark.parametrize("axes", ["tyx", "yx"])
def test_without_a_slice_axis_a_slice_stands_for_its_neighbours(axes: str) -> None:
    values = np.random.default_rng(0).random((3, 4, 6)[-len(axes) :]).astype(np.float32)
    scan = Scan(values, axes, Geometry.from_spacing(axes))
    with_neighbours, alone = Planes.from_scan(scan, neighbours=1), Planes.from_scan(scan)
    assert "this image has none" in with_neighbours.notes[-1]
    assert all(np.array_equal(a, b) for a, b in zip(with_neighbours, alone, strict=True))


def test_the_order_is_that_of_the_patient_and_not_that_of_the_file() -> None:
    matrix = np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]  # world x, y, z of an array z, y, x
    labels = ("z", "y", "x")
    upwards = Geometry.from_matrix(matrix, ("mm",) * 3, labels, frame="LPS")
    downwards = Geometry.from_matrix(matrix @ np.diag([-1.0, 1, 1, 1]), ("mm",) * 3, labels, frame="LPS")
    scan = volume()
    feet_first = Planes.from_scan(scan.replace(geometry=upwards), neighbours=1)
    head_first = Planes.from_scan(
        scan.replace(array=scan.array[::-1].copy(), geometry=downwards), neighbours=1
    )
    for i in range(5):
        assert np.array_equal(feet_first[i], head_first[4 - i])
    assert seen(feet_first, 2) == [1, 2, 3]


def test_a_volume_in_colour_is_read_as_grey_and_that_is_said() -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), np.uint8)
    planes = Planes.from_scan(Scan(values, "zyxc", Geometry.from_spacing("zyx")), neighbours=1)
    assert planes[1] == pytest.approx(values.mean(axis=-1).transpose(1, 2, 0) / 255, abs=1e-6)
    assert "grey" in planes.notes[-1]


def test_a_part_of_a_slice_has_the_same_neighbours() -> None:
    values = np.random.default_rng(0).random((4, 8, 8)).astype(np.float32)
    planes = Planes.from_scan(Scan(values, "zyx", Geometry.from_spacing("zyx")), neighbours=1)
    cropped = planes.crop((2, 1, 7, 6))
    assert np.array_equal(cropped[1], planes[1][2:7, 1:6])
    assert np.array_equal(planes.read_rgb(2, slice(1, 3), slice(0, 5)), planes[2][1:3, :5])
