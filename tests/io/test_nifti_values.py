"""NIfTI: axes, types of the values, scaling and colours."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from tests.helpers.nifti import (
    OBLIQUE,
    build,
    corners,
    nibabel_positions,
    positions,
    ramp,
)

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import nifti

SHAPES = {
    "plane": ((4, 3), np.eye(4), "yx", (3, 4)),
    "volume": ((4, 3, 2), OBLIQUE, "zyx", (2, 3, 4)),
    "one slice": ((4, 3, 1), OBLIQUE, "zyx", (1, 3, 4)),
    "series": ((4, 3, 2, 5), OBLIQUE, "tzyx", (5, 2, 3, 4)),
    "series of one slice": ((4, 3, 1, 5), OBLIQUE, "tzyx", (5, 1, 3, 4)),
    "series of one": ((4, 3, 2, 1), OBLIQUE, "zyx", (2, 3, 4)),
    "series of one, in five dimensions": ((4, 3, 2, 1, 1), OBLIQUE, "zyx", (2, 3, 4)),
    "one element": ((1, 1, 1), OBLIQUE, "zyx", (1, 1, 1)),
    "sagittal plane": ((4, 3), np.eye(4)[[2, 0, 1, 3]], "zyx", (1, 3, 4)),
    "oblique plane": ((4, 3), OBLIQUE, "zyx", (1, 3, 4)),
}


@pytest.mark.parametrize(("stored", "affine", "axes", "shape"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_axes(tmp_path, stored, affine, axes, shape, kind):
    array = ramp(stored)
    scan = nifti.read(build(tmp_path / "a.nii.gz", array, affine, kind=kind))
    assert (scan.axes, scan.array.shape, scan.format) == (axes, shape, "nifti")
    assert np.array_equal(np.asarray(scan.array).T.ravel(), array.ravel())
    assert scan.geometry.frame == "LPS"
    assert scan.geometry.axis_labels == tuple(axes)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4"])
def test_values_keep_their_type(tmp_path, dtype):
    array = ramp((4, 3, 2), dtype)
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(array.dtype)
    nib.save(nib.Nifti1Image(array, OBLIQUE, header), tmp_path / "a.nii")
    scan = nifti.read(tmp_path / "a.nii")
    assert scan.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert scan.array.dtype.isnative
    assert np.array_equal(scan.array, array.T)


SCALED = {
    "int16, CT": ("i2", 1.0, -1024.0, "f4"),
    "uint8": ("u1", 0.37, 12.5, "f4"),
    "int16, small steps": ("i2", 1e-4, 0.0, "f4"),
    "int32": ("i4", 2.0, 1.0, "f4"),
    "beyond float32": ("i2", 1e36, 0.0, "f8"),
    "float32": ("f4", 3.0, 1.0, "f4"),
    "float64": ("f8", 3.0, 1.0, "f8"),
    "none": ("i2", 1.0, 0.0, "i2"),
    "slope 0 is none": ("i2", 0.0, 5.0, "i2"),
    "slope that is not a number is none": ("i2", np.nan, 5.0, "i2"),
}


@pytest.mark.parametrize(("dtype", "slope", "inter", "expected"), SCALED.values(), ids=SCALED.keys())
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2)])
def test_scaling(tmp_path, dtype, slope, inter, expected, shape):
    array = ramp(shape, dtype)
    path = build(tmp_path / "a.nii", array, np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()  # nibabel sets these itself when it saves
    path.write_bytes(raw)
    scan = nifti.read(path)
    assert scan.array.dtype == np.dtype(expected)
    np.testing.assert_allclose(scan.array, nib.load(path).get_fdata().T, rtol=1e-6)


def test_the_values_do_not_change_with_the_file(tmp_path):
    path = build(tmp_path / "a.nii", ramp((4, 3, 2)))
    scan = nifti.read(path)
    with path.open("r+b") as file:
        file.seek(352)
        file.write(b"\xff" * 48)
    assert np.array_equal(scan.array, ramp((4, 3, 2)).T)


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
def test_colours(tmp_path, names):
    plain = ramp((4, 3, 2, len(names)), np.uint8)
    array = np.empty((4, 3, 2), [(n, "u1") for n in names])
    for i, name in enumerate(names):
        array[name] = plain[..., i]
    scan = nifti.read(build(tmp_path / "a.nii", array))
    assert (scan.axes, scan.array.dtype) == ("zyxc", np.uint8)
    assert np.array_equal(scan.array, plain.transpose(2, 1, 0, 3))
    assert np.allclose(
        positions(scan.geometry, corners((2, 3, 4))),
        nibabel_positions(tmp_path / "a.nii", corners((2, 3, 4))),
    )


@pytest.mark.parametrize(
    ("written", "named"), [("a.nii", "b.nii.gz"), ("a.nii.gz", "b.nii"), ("a.nii", "b.NII")]
)
def test_what_it_holds_counts_not_its_name(tmp_path, written, named):
    build(tmp_path / written, ramp((4, 3, 2))).rename(tmp_path / named)
    assert np.array_equal(nifti.read(tmp_path / named).array, ramp((4, 3, 2)).T)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        (bool, np.uint8),
        (np.int64, np.int32),
        (np.uint64, np.int32),
        (np.float16, np.float32),
        (">u2", np.uint16),
    ],
)
def test_types_that_become_others(tmp_path, dtype, stored):
    array = np.array([[[0, 1], [1, 0]]]).astype(dtype)
    nifti.write(tmp_path / "a.nii", array, "zyx", Geometry.from_spacing("zyx", unit="mm"), {})
    scan = nifti.read(tmp_path / "a.nii")
    assert scan.array.dtype == stored
    assert np.array_equal(scan.array, array)
