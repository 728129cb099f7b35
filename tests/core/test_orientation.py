"""The sides of the patient at the edges of a view."""

from __future__ import annotations

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
    assert edge_letters(row_axis, column_axis) == EdgeLetters(*expected)


def test_a_view_that_is_flipped():
    assert edge_letters("z", "x", rows_go_down=False, columns_go_right=False) == EdgeLetters(*"SILR")


@pytest.mark.parametrize(("row_axis", "column_axis"), [("t", "x"), ("y", "t"), ("x", "x")])
def test_no_sides(row_axis, column_axis):
    assert edge_letters(row_axis, column_axis) is None
