"""Geometries drawn by hypothesis, and the same place seen by libraries that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry

CLOSE = 1e-4  # mm

_angle = st.floats(-3.0, 3.0, allow_nan=False)
_step = st.floats(0.05, 6.0, allow_nan=False)
_place = st.floats(-400.0, 400.0, allow_nan=False)
_hand = st.sampled_from([-1.0, 1.0])


def corners(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The indices of all corners, one a row."""
    return np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, len(shape))


def places(geometry: Geometry, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Where the corners of an image of this shape lie."""
    return corners(shape) @ geometry.matrix[:-1, :-1].T + geometry.matrix[:-1, -1]


@st.composite
def oblique(draw: st.DrawFn, shears: bool = False) -> Geometry:
    """A volume in the patient: turned in any way, unequal spacings, both hands."""
    turn = nib.eulerangles.euler2mat(draw(_angle), draw(_angle), draw(_angle))
    linear = turn @ np.diag([draw(_step) * draw(_hand) for _ in range(3)])
    if shears:
        linear = linear @ (np.eye(3) + np.triu(np.full((3, 3), draw(st.floats(-0.4, 0.4))), 1))
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = [draw(_place) for _ in range(3)]
    return Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")


@st.composite
def upright(draw: st.DrawFn, labels: str = "zyx", unit: str = "mm") -> Geometry:
    """Axis-aligned, with unequal spacings and a place."""
    matrix = np.diag([*(draw(_step) for _ in labels), 1.0])
    matrix[:-1, -1] = [0.0 if a == "t" else draw(_place) for a in labels]
    units = tuple("s" if a == "t" else unit for a in labels)
    return Geometry.from_matrix(matrix, units, tuple(labels))


def by_itk(path: Path, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Where ITK finds the corners: in our order of axes, LPS."""
    image = sitk.ReadImage(str(path))
    return np.array(
        [image.TransformIndexToPhysicalPoint([int(i) for i in row[::-1]])[::-1] for row in corners(shape)]
    )


def itk_image(array: NDArray[Any], geometry: Geometry) -> Any:
    """The volume as ITK holds it."""
    image = sitk.GetImageFromArray(array)
    linear = geometry.matrix[:-1, :-1][::-1, ::-1]
    steps = np.linalg.norm(linear, axis=0)
    image.SetSpacing([float(v) for v in steps])
    image.SetDirection([float(v) for v in (linear / steps).ravel()])
    image.SetOrigin([float(v) for v in geometry.matrix[:-1, -1][::-1]])
    return image


def by_nibabel(path: Path, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Where nibabel finds the corners: in our order of axes, brought to LPS."""
    found = nib.affines.apply_affine(nib.load(path).affine, corners(shape)[:, ::-1]) * (-1, -1, 1)
    return np.asarray(found[:, ::-1])
