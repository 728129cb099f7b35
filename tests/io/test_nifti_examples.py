"""NIfTI files that others wrote."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from tests.helpers.nifti import (
    HEADER,
    corners,
    itk_positions,
    nibabel_positions,
    positions,
    write_back,
)

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti

EXAMPLES = {
    "anatomical.nii": "zyx",
    "functional.nii": "tzyx",
    "example4d.nii.gz": "tzyx",
    "example_nifti2.nii.gz": "tzyx",
    "standard.nii.gz": "zyx",
    "reoriented_anat_moved.nii": "zyx",
    "resampled_anat_moved.nii": "zyx",
}


def example(name: str) -> Path:
    path = Path(nib.__file__).parent / "tests" / "data" / name
    if not path.exists():
        pytest.skip("nibabel is here without its example files")
    return path


def check_round_trip(path: Path, folder: Path) -> Scan:
    scan = nifti.read(path)
    found = nib.load(path)
    np.testing.assert_allclose(scan.array, np.asarray(found.dataobj).T, rtol=1e-6)
    volume = scan.spatial_shape[-3:]
    index = corners(volume)
    matrix = scan.geometry.matrix[-4:, -4:]
    space = Geometry.from_matrix(matrix, scan.geometry.units[-3:], tuple("zyx"), "LPS")
    assert np.abs(positions(space, index) - nibabel_positions(path, index)).max() < 1e-9
    mask = write_back(folder / "mask.nii.gz", scan)
    written = nib.load(mask)
    assert np.array_equal(written.affine, found.affine)
    for key in HEADER:
        assert np.array_equal(written.header[key], found.header[key]), key
    if found.header["sizeof_hdr"] == 348:  # ITK reads no other
        first, second = sitk.ReadImage(str(path)), sitk.ReadImage(str(mask))
        assert second.GetOrigin() == first.GetOrigin()
        assert second.GetDirection() == first.GetDirection()
        assert second.GetSpacing() == first.GetSpacing()
    assert nifti.read(mask).geometry == scan.geometry
    return scan


@pytest.mark.parametrize(("name", "axes"), EXAMPLES.items(), ids=EXAMPLES.keys())
def test_examples_of_nibabel(tmp_path, name, axes):
    assert check_round_trip(example(name), tmp_path).axes == axes


def test_surfaces_are_no_scan():
    with pytest.raises(BadInput, match="6 dimensions"):
        nifti.read(example("row_major.dconn.nii"))


def test_hippocampus(tmp_path, data_dir):
    found = sorted((data_dir / "msd_hippocampus" / "images").glob("*.nii.gz"))[:3]
    assert found
    for path in found:
        image = check_round_trip(path, tmp_path)
        mask = nifti.read(path.parent.parent / "masks" / path.name)
        assert mask.geometry == image.geometry
        assert set(np.unique(mask.array)) <= {0, 1, 2}
        index = corners(image.spatial_shape)
        assert np.abs(positions(image.geometry, index) - itk_positions(path, index)).max() < 1e-4
