"""The sides of the patient at the edges of a view."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.orientation import EdgeLetters, edge_letters


@pytest.mark.parametrize(
    ("row_axis", "column_axis", "expected"),
    [
        ("y", "x", "APRL"),  # axial, as radiologists look at it: the patient's right at the left
        ("z", "x", "ISRL"),  # coronal, head down as napari draws it
        ("z", "y", "ISAP"),
        ("x", "y", "RLAP"),
    ],
)
def test_the_three_planes(row_axis, column_axis, expected):
    assert edge_letters({row_axis: 1.0}, {column_axis: 1.0}) == EdgeLetters(*expected)


def test_a_view_that_is_flipped():
    assert edge_letters({"z": 1.0}, {"x": 1.0}, rows_go_down=False, columns_go_right=False) == EdgeLetters(
        *"SILR"
    )


@pytest.mark.parametrize(("row_axis", "column_axis"), [("t", "x"), ("y", "t"), ("x", "x")])
def test_no_sides(row_axis, column_axis):
    assert edge_letters({row_axis: 1.0}, {column_axis: 1.0}) is None


@pytest.mark.parametrize(
    ("degrees", "top", "bottom"),
    [(0, "A", "P"), (19, "A", "P"), (21, "AI", "PS"), (44, "AI", "PS"), (46, "IA", "SP"), (71, "I", "S")],
)
def test_a_tilted_view_gets_a_second_letter_from_20_degrees_on(degrees, top, bottom):
    tilt = np.radians(degrees)
    letters = edge_letters({"y": np.cos(tilt), "z": np.sin(tilt)}, {"x": 2.0})
    assert letters == EdgeLetters(top, bottom, "R", "L")


def test_a_direction_along_no_axis_has_no_side():
    assert edge_letters({}, {"x": 1.0}) is None
