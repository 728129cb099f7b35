"""Oblique series of several volumes (diffusion): their results can be written as NIfTI."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from napari_latentseg.io import read_scan
from napari_latentseg.io.convert import convert
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.io.result_format import impossible_formats, result_suffix

TILT = 0.3
ORIENTATION = [1, 0, 0, 0, float(f"{np.cos(TILT):.10f}"), float(f"{np.sin(TILT):.10f}")]
NORMAL = np.array([0, -np.sin(TILT), np.cos(TILT)])
B_VALUES = (0, 500, 1000)


def test_diffusion_has_results_in_nifti_without_a_unit_of_time(made, tmp_path):
    volumes = made.ramp(3, 4, 5, 6)
    for number, (b_value, volume) in enumerate(zip(B_VALUES, volumes, strict=True)):
        made.series(
            tmp_path / "in" / str(number), volume, made.positions(4, 2.5 * NORMAL, (-10, 20, 5)),
            ImageOrientationPatient=ORIENTATION, PixelSpacing=[1.5, 1.25], DiffusionBValue=float(b_value),
        )  # fmt: skip
    scan = read_scan(tmp_path / "in")
    assert (scan.axes, scan.array.shape, scan.geometry.units[0]) == ("tzyx", (3, 4, 5, 6), "pixel")
    impossible = impossible_formats(scan)
    assert not {None, "nifti", "nrrd"} & set(impossible)
    assert {"tiff", "dicom-seg"} <= set(impossible)
    assert result_suffix(None, ImageHeader.of(scan)) == ".nii.gz"
    convert(tmp_path / "in", tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj).T, volumes)
    assert written.header.get_xyzt_units() == ("mm", "unknown")
    last = np.array([-10, 20, 5]) + 5 * 1.25 * np.array(ORIENTATION[:3]) + 4 * 1.5 * np.array(ORIENTATION[3:])
    last = last + 3 * 2.5 * NORMAL
    assert np.allclose((written.affine @ [5, 4, 3, 1])[:3], last * (-1, -1, 1), rtol=0, atol=1e-4)
