"""One channel, and planes along another axis of the patient."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from tests.helpers.segmentation import segmentation

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.reorient import WORLD_AXIS_OF_PLANE, reorient, restore_orientation, select_channel
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

VOLUME = np.arange(60).reshape(3, 4, 5)


def lying(order: tuple[int, ...], signs: tuple[int, ...] = (1, 1, 1), tilt: float = 0.1) -> Scan:
    """A volume whose axis i runs along axis order[i] of the patient, nearly."""
    linear = np.zeros((3, 3))
    for axis, (along, sign) in enumerate(zip(order, signs, strict=True)):
        linear[along, axis] = sign * (axis + 1)
    matrix = np.eye(4)
    matrix[:3, :3] = linear + tilt * np.roll(np.abs(linear), 1, axis=0)
    matrix[:3, 3] = 5, 6, 7
    return Scan(VOLUME, "zyx", Geometry.from_matrix(matrix, ("mm",) * 3, tuple("zyx"), "LPS"))


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_axis_nearest_to_that_of_the_patient_is_taken(order, signs, plane):
    scan = lying(order, signs)
    turned, taken = reorient(scan, plane)
    along = turned.geometry.matrix[:3, 0]
    assert np.argmax(np.abs(along)) == WORLD_AXIS_OF_PLANE[plane]
    assert turned.array.shape == tuple(VOLUME.shape[i] for i in taken)
    index = np.array([1, 2, 1, 1])
    before = np.ones(4)
    before[list(taken)] = index[:3]
    assert turned.geometry.matrix @ index == pytest.approx(scan.geometry.matrix @ before)
    assert turned.array[1, 2, 1] == VOLUME[tuple(before[:3].astype(int))]


def test_as_acquired_is_as_it_is():
    scan = lying((2, 1, 0))
    assert reorient(scan, "acquired") == (scan, (0, 1, 2))


@pytest.mark.parametrize("plane", list(WORLD_AXIS_OF_PLANE))
def test_a_result_lies_as_the_scan_does(plane):
    scan = lying((1, 2, 0))
    turned, order = reorient(scan, plane)
    mean = np.asarray(turned.array, dtype=np.float32)[None]
    found = replace(
        segmentation(), mask=turned.array.astype(np.uint8), mean=mean, variance=mean, geometry=turned.geometry
    )
    back = restore_orientation(found, scan, order)
    assert np.array_equal(back.mask, VOLUME)
    assert np.array_equal(back.mean[0], VOLUME)
    assert np.array_equal(back.variance[0], VOLUME)
    assert back.geometry == scan.geometry


def test_a_series_keeps_its_time():
    scan = lying((1, 2, 0))
    matrix = np.eye(5)
    matrix[1:, 1:] = scan.geometry.matrix
    geometry = Geometry.from_matrix(matrix, ("s", "mm", "mm", "mm"), tuple("tzyx"), "LPS")
    turned, order = reorient(Scan(np.stack([VOLUME] * 2), "tzyx", geometry), "axial")
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2, 3]
    assert turned.array.shape[0] == 2


@pytest.mark.parametrize(
    ("scan", "plane", "why"),
    [
        (lying((0, 1, 2)), "diagonal", "not known"),
        (
            Scan(VOLUME, "zyx", Geometry.from_spacing("zyx", unit="mm")),
            "axial",
            "not a volume in patient coordinates",
        ),
        (
            Scan(VOLUME[0], "yx", Geometry.from_spacing("yx", unit="mm")),
            "axial",
            "not a volume in patient coordinates",
        ),
    ],
)
def test_what_has_no_such_plane(scan, plane, why):
    with pytest.raises(BadInput, match=why):
        reorient(scan, plane)


def test_one_channel():
    array = np.arange(40).reshape(4, 5, 2)
    scan = Scan(array, "yxc", Geometry.from_spacing("yx"), levels=(array[::2, ::2],))
    found = select_channel(scan, 2)
    assert found.axes == "yx"
    assert np.array_equal(found.array, array[..., 1])
    assert np.array_equal(found.levels[0], array[::2, ::2, 1])
    for wrong in (0, 3):
        with pytest.raises(BadInput, match="channels 1 to 2"):
            select_channel(scan, wrong)
    with pytest.raises(BadInput, match="no channels"):
        select_channel(found, 1)
