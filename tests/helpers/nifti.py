"""NIfTI files for tests, and where other libraries find their voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.io import nifti

HEADER = ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
          "qoffset_z", "sform_code", "qform_code", "xyzt_units", "toffset")  # fmt: skip
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.5, -0.75, 3.0]), [-91.5, 20.25, 300.125]
)
NAME = "Doe^Jane"


def ramp(shape: tuple[int, ...], dtype: object = np.int16) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 120).astype(dtype).reshape(shape)


def build(
    path: Path, array: np.ndarray, affine: np.ndarray = OBLIQUE, *, kind=nib.Nifti1Image, **fields
) -> Path:
    """A file whose header holds these fields, and a patient's name wherever there is room for text."""
    image = kind(array, affine)
    image.set_sform(affine, int(fields.pop("sform", 1)))
    image.set_qform(affine, int(fields.pop("qform", 1)))
    image.header.set_xyzt_units(*fields.pop("units", ("mm", "sec")))
    image.header["descrip"] = image.header["aux_file"] = image.header["intent_name"] = NAME
    for key, value in fields.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """The indices of all corners, one a row."""
    return np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, len(shape))


def positions(geometry: Geometry, index: np.ndarray) -> np.ndarray:
    """Where a geometry has these `zyx` voxels: `zyx` in its own frame and units."""
    return index @ geometry.matrix[:-1, :-1].T + geometry.matrix[:-1, -1]


def nibabel_positions(path: Path, index: np.ndarray) -> np.ndarray:
    """Where nibabel has these `zyx` voxels: `zyx` of LPS, in mm."""
    return (nib.affines.apply_affine(nib.load(path).affine, index[:, ::-1]) * (-1, -1, 1))[:, ::-1]


def itk_positions(path: Path, index: np.ndarray) -> np.ndarray:
    """Where ITK has these `zyx` voxels: `zyx` of LPS, in mm."""
    image = sitk.ReadImage(str(path))
    return np.array([image.TransformIndexToPhysicalPoint([int(i) for i in row[::-1]])[::-1] for row in index])


def write_back(path: Path, scan: Scan, array: np.ndarray | None = None) -> Path:
    """Write an array, by default zeros, with the geometry and the header of a scan."""
    array = np.zeros(scan.spatial_shape, np.uint8) if array is None else array
    nifti.write(path, array, scan.spatial_axes, scan.geometry, scan.properties)
    return path
