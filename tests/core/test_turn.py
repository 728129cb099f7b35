"""Arrays that lie in one place but are stored in different orientations."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.turn import find_turn, misplacement
from napari_latentseg.io import read_scan

VALUES = np.random.default_rng(0).integers(0, 4, (3, 4, 5)).astype(np.uint8)
OBLIQUE = np.array([[0.4, -0.24, 0, 7], [0.3, 0.32, 0, -8], [0, 0, 2, 30], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("flips", [*product((1, -1), repeat=3)])
def test_nibabel_s_48_orientations_are_turned_back_exactly(tmp_path, order, flips) -> None:
    turned = np.array(list(zip(order, flips, strict=True)))
    for name, values, affine in (
        ("image", VALUES, OBLIQUE),
        ("mask", apply_orientation(VALUES, turned), OBLIQUE @ inv_ornt_aff(turned, VALUES.shape)),
    ):
        image = nib.Nifti1Image(values, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, tmp_path / f"{name}.nii")
    image, mask = read_scan(tmp_path / "image.nii"), read_scan(tmp_path / "mask.nii")
    turn = find_turn(mask.geometry, mask.spatial_shape, image.geometry, image.spatial_shape)
    assert turn is not None
    np.testing.assert_array_equal(turn.apply(np.asarray(mask.array)), np.asarray(image.array))
    back = turn.apply_to_geometry(mask.geometry, mask.spatial_shape)
    assert image.geometry.agrees_with(back, image.spatial_shape)


def lps(matrix: np.ndarray) -> Geometry:
    return Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")


def moved(row: int, column: int, value: float) -> Geometry:
    matrix = np.diag([5.0, 0.5, 0.5, 1])
    matrix[row, column] = value
    return lps(matrix)


TILTED = np.diag([5.0, 0.5, 0.5, 1])
TILTED[:2, :2] = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]) @ TILTED[:2, :2]
HERE = lps(np.diag([5.0, 0.5, 0.5, 1]))
SHAPE = (10, 20, 30)


@pytest.mark.parametrize(
    ("geometry", "shape", "why"),
    [
        (
            moved(2, 3, 7),
            SHAPE,
            "lies elsewhere in the patient than its image: 7 mm off along x, towards the left",
        ),
        (moved(1, 3, -7), SHAPE, "than its image: 7 mm off along y, towards the front"),
        (moved(0, 3, 2.5), SHAPE, "than its image: 2.5 mm off along z, towards the head"),
        (moved(0, 0, 4), SHAPE, "has a spacing of 4 mm along z, its image 5 mm"),
        (lps(TILTED), SHAPE, "is turned by 5.73 degrees against its image"),
        (HERE, (9, 20, 30), r"has shape \(9, 20, 30\), its image \(10, 20, 30\)"),
        (HERE, (10, 30, 20), r"has shape \(10, 30, 20\), its image \(10, 20, 30\)"),
    ],
)
def test_what_lies_elsewhere_is_told_with_its_axis_and_distance(geometry, shape, why: str) -> None:
    assert find_turn(geometry, shape, HERE, SHAPE) is None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(misplacement(geometry, shape, HERE, SHAPE))


def test_a_single_slice_of_another_thickness_lies_where_its_image_does() -> None:
    assert find_turn(moved(0, 0, 1), (1, 20, 30), HERE, (1, 20, 30)) is not None
