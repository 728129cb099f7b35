"""NIfTI: which of sform and qform counts, and that results lie where SimpleITK shows the image."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from tests.helpers.geometries import by_itk, places
from tests.helpers.nifti import OBLIQUE, ramp

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import format_for, nifti, read_scan, read_scan_lazy
from napari_latentseg.io.convert import convert

SHAPE = (2, 3, 4)
TURN = np.eye(4)
TURN[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
SHEAR = np.eye(4)
SHEAR[1, 2] = 0.3


def saved(path, sform, qform, codes):
    image = nib.Nifti1Image(ramp(SHAPE[::-1]), None)
    image.header.set_sform(sform, 1)
    image.header.set_qform(qform, 1)
    image.header["sform_code"], image.header["qform_code"] = codes
    nib.save(image, path)
    return path


def moved(by):
    affine = OBLIQUE.copy()
    affine[:3, 3] += by
    return affine


@pytest.mark.parametrize("codes", list(itertools.product(range(4), repeat=2)), ids=str)
@pytest.mark.parametrize("sform", [moved(12.0), TURN @ OBLIQUE, OBLIQUE], ids=["moved", "turned", "the same"])
def test_image_and_results_lie_where_simpleitk_shows_the_image(tmp_path, sform, codes):
    path = saved(tmp_path / "a.nii", sform, OBLIQUE, codes)
    scan = read_scan(path)
    expected = by_itk(path, SHAPE)
    assert np.abs(places(scan.geometry, SHAPE) - expected).max() < 1e-3
    for name in ("mask.nii.gz", "mask.nrrd", "mask.mha"):
        mask = tmp_path / name
        format_for(mask).write(mask, np.ones(SHAPE, np.uint8), "zyx", scan.geometry, scan.properties)
        assert np.abs(by_itk(mask, SHAPE) - expected).max() < 1e-3, name
        assert np.abs(places(read_scan(mask).geometry, SHAPE) - expected).max() < 1e-3, name


def test_without_codes_there_is_no_place_in_the_patient_and_a_note_says_so(tmp_path):
    scan = read_scan(saved(tmp_path / "a.nii", OBLIQUE, OBLIQUE, (0, 0)))
    assert (scan.geometry.frame, scan.geometry.units) == ("", ("mm", "mm", "mm"))
    assert scan.geometry.spacing == pytest.approx((3.0, 0.75, 0.5))
    assert [note for note in scan.notes if "does not say how the image lies" in note]


@pytest.mark.parametrize(
    ("codes", "counts"), [((1, 1), "sform"), ((1, 2), "sform"), ((2, 1), "qform"), ((4, 1), "qform")], ids=str
)
def test_two_places_are_noted(tmp_path, codes, counts):
    scan = read_scan(saved(tmp_path / "a.nii", moved([0.0, 12.0, 0.0]), OBLIQUE, codes))
    assert scan.notes == (
        f"sform and qform place the image differently, by up to 12 mm; the {counts} counts",
    )


def test_two_forms_that_differ_by_rounding_are_one_place(tmp_path):
    assert read_scan(saved(tmp_path / "a.nii", moved(1e-4), OBLIQUE, (2, 1))).notes == ()


def test_a_sheared_sform_counts_because_no_qform_can_be_sheared(tmp_path):
    sheared = OBLIQUE @ SHEAR
    scan = read_scan(saved(tmp_path / "a.nii", sheared, OBLIQUE, (2, 1)))
    expected = nib.affines.apply_affine(sheared, [(3, 2, 1)])[0] * (-1, -1, 1)
    assert np.allclose(places(scan.geometry, SHAPE)[-1][::-1], expected, atol=1e-4)
    assert "the sform counts" in scan.notes[0]


@pytest.mark.parametrize("reader", [read_scan, read_scan_lazy])
@pytest.mark.parametrize(
    ("codes", "thickness", "step", "notes"),
    [((0, 1), 0, 1, 1), ((0, 0), 0, 1, 1), ((0, 1), 3, 3, 0), ((1, 0), 0, 3, 0), ((1, 1), 0, 3, 0)],
)
def test_a_slice_of_unknown_thickness_says_so(tmp_path, reader, codes, thickness, step, notes):
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    image = nib.Nifti1Image(ramp((4, 3, 1)), None)
    image.header.set_sform(affine, 1)
    image.header.set_qform(affine, 1)
    image.header["sform_code"], image.header["qform_code"] = codes
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[88:92] = np.array([thickness], "<f4").tobytes()  # pixdim[3]
    (tmp_path / "a.nii").write_bytes(raw)
    scan = reader(tmp_path / "a.nii")
    assert scan.geometry.spacing == (step, 0.5, 0.5)
    said = [note for note in scan.notes if note.endswith("volumes are those of 1 mm")]
    assert len(said) == notes


@pytest.mark.parametrize(("unit", "notes"), [("micron", 1), ("mm", 0)])
def test_nrrd_in_micrometres_is_written_with_a_note(tmp_path, unit, notes):
    """ITK, and with it 3D Slicer, ignores the unit in the header."""
    image = nib.Nifti1Image(ramp((4, 3, 2)), np.diag([25.0, 25, 25, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    said = convert(tmp_path / "a.nii", tmp_path / "b.nrrd")
    assert len([note for note in said if "ignore the unit of length" in note]) == notes
    assert np.abs(np.diff(by_itk(tmp_path / "b.nrrd", SHAPE), axis=0)).max() == 75  # as if millimetres
    convert(tmp_path / "a.nii", tmp_path / "b.mha")  # which is written in millimetres
    step = 0.025 if unit == "micron" else 25
    assert np.ptp(by_itk(tmp_path / "b.mha", SHAPE)[:, 2]) == pytest.approx(3 * step)


# --- time ----------------------------------------------------------------------------------------

SERIES = ramp((5, 4, 3, 2))


@pytest.mark.parametrize(
    ("unit", "step", "expected", "notes"),
    [
        ("sec", 2.5, (2.5, "s"), 0),
        ("unknown", 2.5, (2.5, "s"), 1),
        ("unknown", 1.0, (1.0, "pixel"), 0),
        ("unknown", 0.0, (1.0, "pixel"), 0),
    ],
)
def test_a_time_axis_without_a_unit_is_counted_or_noted(tmp_path, unit, step, expected, notes):
    image = nib.Nifti1Image(SERIES, OBLIQUE)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert (scan.geometry.spacing[0], scan.geometry.units[0]) == expected
    assert len([note for note in scan.notes if "no unit of time" in note]) == notes
    nifti.write(tmp_path / "b.nii", np.asarray(scan.array), "tzyx", scan.geometry, scan.properties)
    assert read_scan(tmp_path / "b.nii").geometry == scan.geometry


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_an_oblique_series_whose_times_are_only_counted_can_be_written(tmp_path, name):
    """As a diffusion series is, whose fourth axis counts its weightings."""
    matrix = np.eye(5)
    matrix[1:, 1:] = (np.diag([-1.0, -1, 1, 1]) @ TURN @ OBLIQUE)[::1, ::1]
    geometry = Geometry.from_matrix(matrix, ("pixel", "mm", "mm", "mm"), tuple("tzyx"), "LPS")
    array = ramp((5, *SHAPE))
    format_for(tmp_path / name).write(tmp_path / name, array, "tzyx", geometry, {})
    scan = read_scan(tmp_path / name)
    assert np.array_equal(np.asarray(scan.array), array)
    assert np.allclose(places(scan.geometry, array.shape), places(geometry, array.shape), atol=1e-4)
    if name != "a.mha":  # which has no unit of time, and is read with a note
        assert scan.geometry.units == geometry.units
    if name == "a.nii.gz":
        assert nib.load(tmp_path / name).header.get_xyzt_units() == ("mm", "unknown")
