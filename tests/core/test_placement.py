"""Where a scan is drawn: in its own planes where it is oblique, at its place where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from tests.helpers.geometries import CLOSE, corners, oblique, places, upright

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.placement import Placement, placement_of

SHAPE = (7, 30, 20)


@given(upright())
def test_an_upright_scan_is_drawn_where_it_lies(geometry):
    assert placement_of(geometry, SHAPE) is None


@given(oblique(shears=True))
def test_an_oblique_scan_is_drawn_with_scale_alone_and_keeps_its_exact_place(geometry):
    placement = placement_of(geometry, SHAPE)
    if placement is None:
        assert geometry.is_axis_aligned
        return
    drawn = np.array(placement.drawn)
    assert np.array_equal(drawn[:-1, :-1], np.diag(np.diag(drawn)[:-1]))
    np.testing.assert_allclose(np.abs(np.diag(drawn)[:-1]), geometry.spacing, rtol=1e-4)
    assert np.array_equal(placement.exact_matrix(drawn), geometry.matrix)
    nearly = placement.exact_matrix(drawn + 1e-7)  # not taken for the matrix itself, but composed
    np.testing.assert_allclose(nearly, geometry.matrix, atol=CLOSE)


@given(oblique())
def test_a_layer_that_was_moved_is_moved_along_its_own_axes(geometry):
    placement = placement_of(geometry, SHAPE)
    if placement is None:
        return
    step = np.eye(4)
    step[:3, 3] = [2, -3, 5]  # in voxels
    moved = Geometry.from_matrix(
        placement.exact_matrix(np.array(placement.drawn) @ step), geometry.units, geometry.axis_labels, "LPS"
    )
    there = (corners(SHAPE) + np.array([2, -3, 5])) @ geometry.matrix[:3, :3].T + geometry.matrix[:3, 3]
    np.testing.assert_allclose(places(moved, SHAPE), there, atol=CLOSE)


def test_what_a_header_rounds_is_drawn_at_its_place():
    matrix = np.diag([5.0, 0.5, -0.5, 1.0])
    matrix[:3, 3] = (10, -100, 120)
    matrix[1, 2] = 1e-6
    placement = placement_of(Geometry.from_matrix(matrix, ("mm",) * 3, tuple("zyx"), "LPS"), SHAPE)
    assert placement is not None
    matrix[1, 2] = 0
    np.testing.assert_array_equal(placement.drawn, matrix)


@pytest.mark.parametrize(
    ("letters", "rows", "columns"),
    [
        ("LIP", 1, 1),  # sagittal, as scanners store it
        ("PIL", 1, 1),  # coronal
        ("RSA", -1, -1),  # sagittal, as NIfTI often has it: drawn head up, face to the left
        ("PSR", -1, -1),
    ],
)
def test_slices_are_drawn_as_radiologists_look_at_them(letters, rows, columns):
    unit = {"L": (0, 0, 1), "R": (0, 0, -1), "P": (0, 1, 0), "A": (0, -1, 0), "S": (1, 0, 0), "I": (-1, 0, 0)}
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose([unit[letter] for letter in letters]) * (3.0, 0.5, 0.5)
    placement = placement_of(Geometry.from_matrix(matrix, ("mm",) * 3, tuple("zyx"), "LPS"), SHAPE)
    assert placement is not None
    drawn = np.array(placement.drawn)
    assert drawn.diagonal()[:3].tolist() == [3.0, rows * 0.5, columns * 0.5]
    low = (drawn[:3] @ np.array([[*corner, 1] for corner in corners(SHAPE)]).T).min(axis=1)
    assert low.tolist() == [0, 0, 0]


def test_the_letters_of_an_unknown_frame_do_not_matter():
    turned = [[0, 1.0, 0], [1.0, 0, 0], [0, 0, 1]]
    placement = placement_of(Geometry.from_matrix(turned, ("pixel",) * 2, ("y", "x")), (5, 4))
    assert placement is not None
    assert placement.ndim == 2
    assert Placement(placement.drawn, placement.exact) == placement
