"""NIfTI: units, headers and positions, also as nibabel and ITK read them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.nifti import (
    HEADER,
    OBLIQUE,
    build,
    corners,
    itk_positions,
    nibabel_positions,
    positions,
    ramp,
    write_back,
)

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import nifti
from napari_latentseg.io._ras import from_ras

# --- geometry -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (("mm", "sec"), ("s", "mm", "mm", "mm")),
        (("micron", "msec"), ("ms", "um", "um", "um")),
        (("meter", "usec"), ("us", "m", "m", "m")),
        ((0, 0), ("pixel", "mm", "mm", "mm")),
        (("mm", "hz"), ("pixel", "mm", "mm", "mm")),
    ],
    ids=str,
)
def test_units(tmp_path, units, expected):
    path = build(tmp_path / "a.nii", ramp((4, 3, 2, 5)), units=units)
    scan = nifti.read(path)
    assert scan.geometry.units == expected
    again = write_back(tmp_path / "b.nii", scan)
    assert nib.load(again).header["xyzt_units"] == nib.load(path).header["xyzt_units"]


def test_a_unit_of_length_that_nobody_knows_is_a_millimetre(tmp_path):
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3, 2)), xyzt_units=7 + 56))
    assert scan.geometry.units == ("mm", "mm", "mm")


@pytest.mark.parametrize(("step", "read"), [(2.5, 2.5), (0.0, 1.0), (-1.0, 1.0), (np.nan, 1.0)])
def test_time_steps(tmp_path, step, read):
    path = build(tmp_path / "a.nii", ramp((4, 3, 2, 5)), toffset=7)
    raw = bytearray(path.read_bytes())
    raw[92:96] = np.array([step], "<f4").tobytes()
    path.write_bytes(raw)
    scan = nifti.read(path)
    assert scan.geometry.spacing == pytest.approx((read, 3.0, 0.75, 0.5))
    assert scan.geometry.matrix[0, 4] == 7
    again = nifti.read(write_back(tmp_path / "b.nii", scan))
    assert again.geometry == scan.geometry


CODES = [(1, 1), (1, 0), (0, 1), (0, 0), (2, 1), (1, 2), (4, 0), (3, 3)]


@pytest.mark.parametrize(("sform", "qform"), CODES)
@pytest.mark.parametrize("units", ["mm", "unknown", "micron"])
def test_the_header_comes_back_as_it_was(tmp_path, sform, qform, units):
    affine = OBLIQUE.copy()
    other = affine.copy()
    other[:3, 3] += 5
    image = nib.Nifti1Image(ramp((4, 3, 2)), affine)
    image.set_sform(affine, sform)
    image.set_qform(other, qform)  # the two may say different things; we read it as ITK does
    image.header.set_xyzt_units(units)
    nib.save(image, tmp_path / "a.nii.gz")
    scan = nifti.read(tmp_path / "a.nii.gz")
    assert np.allclose(
        positions(scan.geometry, corners((2, 3, 4))),
        itk_positions(tmp_path / "a.nii.gz", corners((2, 3, 4))) * (1000 if units == "micron" else 1),
    )
    for array in (ramp((2, 3, 4), np.uint8), ramp((2, 3, 4), np.uint16), ramp((2, 3, 4), np.float32) / 7):
        path = write_back(tmp_path / "b.nii.gz", scan, array)
        first, second = nib.load(tmp_path / "a.nii.gz"), nib.load(path)
        for key in HEADER:
            assert np.array_equal(first.header[key], second.header[key]), key
        assert np.array_equal(first.header["pixdim"][:4], second.header["pixdim"][:4])
        assert second.get_data_dtype() == array.dtype
        assert np.array_equal(second.dataobj, array.T)
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), array)


def test_the_header_comes_back_through_json_too(tmp_path):
    scan = nifti.read(build(tmp_path / "a.nii.gz", ramp((4, 3, 2)), sform=0, qform=2))
    kept = scan.replace(properties=json.loads(json.dumps(dict(scan.properties))))
    header = nib.load(write_back(tmp_path / "b.nii.gz", kept)).header
    assert (header["sform_code"], header["qform_code"]) == (0, 2)


def test_a_part_of_an_image_without_a_place_gets_an_affine_of_its_own(tmp_path):
    scan = nifti.read(build(tmp_path / "a.nii", ramp((8, 6, 4)), np.diag([2.0, 2, 2, 1]), sform=0, qform=0))
    matrix = scan.geometry.matrix
    matrix[:-1, -1] += matrix[:-1, :-1] @ (1, 2, 3)
    part = Geometry.from_matrix(matrix, scan.geometry.units, scan.geometry.axis_labels, "LPS")
    nifti.write(tmp_path / "b.nii", np.zeros((2, 2, 2), np.uint8), "zyx", part, scan.properties)
    assert np.allclose(
        nibabel_positions(tmp_path / "b.nii", corners((2, 2, 2))), positions(part, corners((2, 2, 2)))
    )


FOUND_OR_NOT = {
    "as it was": (0.0, (0, 2)),
    "rounded": (1e-12, (0, 2)),
    "moved": (0.5, (2, 2)),
}


@pytest.mark.parametrize(("shift", "codes"), FOUND_OR_NOT.values(), ids=FOUND_OR_NOT.keys())
def test_a_moved_geometry_goes_before_the_old_header(tmp_path, shift, codes):
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3, 2)), sform=0, qform=2))
    matrix = scan.geometry.matrix
    matrix[:-1, -1] += shift
    moved = Geometry.from_matrix(matrix, scan.geometry.units, scan.geometry.axis_labels, "LPS")
    nifti.write(tmp_path / "b.nii", np.zeros((2, 3, 4), np.uint8), "zyx", moved, scan.properties)
    header = nib.load(tmp_path / "b.nii").header
    assert (header["sform_code"], header["qform_code"]) == codes
    assert np.allclose(
        nibabel_positions(tmp_path / "b.nii", corners((2, 3, 4))),
        positions(moved, corners((2, 3, 4))),
        atol=1e-4,
    )


def test_properties_of_another_kind_do_no_harm(tmp_path):
    geometry = Geometry.from_spacing("zyx", (3, 2, 1), "mm")
    for properties in ({"place": 3}, {"nifti": 1}, {"nifti": 9, "place": {}}, {"pixdim": "x"}):
        nifti.write(tmp_path / "b.nii", np.zeros((2, 3, 4), np.uint8), "zyx", geometry, properties)
        assert nifti.read(tmp_path / "b.nii").geometry.spacing == (3, 2, 1)


def test_a_flat_plane_keeps_its_height(tmp_path):
    affine = np.diag([0.5, 0.75, 4.0, 1.0])
    affine[:3, 3] = (1, 2, 33)
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3)), affine))
    assert scan.geometry.spacing == (0.75, 0.5)
    assert scan.geometry.voxel_volume == (0.375, "mm2")
    again = write_back(tmp_path / "b.nii", scan)
    assert np.array_equal(nib.load(again).affine, affine)
    assert nifti.read(again).geometry == scan.geometry


def test_a_plane_of_a_volume_does_not_take_the_place_of_the_first(tmp_path):
    affine = np.diag([0.5, 0.75, 4.0, 1.0])
    affine[:3, 3] = (1, 2, 33)
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3, 2)), affine))
    geometry = Geometry.from_matrix(scan.geometry.matrix[1:, 1:], ("mm", "mm"), ("y", "x"), "LPS")
    nifti.write(tmp_path / "b.nii", np.zeros((3, 4), np.uint8), "yx", geometry, scan.properties)
    assert nifti.read(tmp_path / "b.nii").geometry == geometry
    assert nib.load(tmp_path / "b.nii").affine[2, 3] == 0


def test_a_standing_plane_knows_where_it_is(tmp_path):
    affine = np.eye(4)[[2, 0, 1, 3]]
    affine[:3, 3] = (10, 20, 30)
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3)), affine))
    again = write_back(tmp_path / "b.nii", scan)
    assert np.array_equal(nib.load(again).affine, affine)
    assert np.allclose(positions(scan.geometry, corners((1, 3, 4))), itk_positions(again, corners((1, 3, 4))))


def test_a_mask_of_one_time_of_a_series(tmp_path):
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3, 2, 5)), sform=0, qform=1))
    matrix = scan.geometry.matrix[1:, 1:]
    geometry = Geometry.from_matrix(matrix, scan.geometry.units[1:], ("z", "y", "x"), "LPS")
    nifti.write(tmp_path / "b.nii", np.zeros((2, 3, 4), np.uint8), "zyx", geometry, scan.properties)
    assert np.array_equal(nib.load(tmp_path / "b.nii").affine, nib.load(tmp_path / "a.nii").affine)


# --- geometry, against two other libraries --------------------------------------------------------

angles = st.floats(-np.pi, np.pi)
steps = st.floats(0.05, 20)
places = st.floats(-1500, 1500)
flips = st.sampled_from([-1.0, 1.0])
orders = st.permutations(range(3))


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any place and direction, of either hand: axes turned, flipped and exchanged."""
    quarter = draw(st.booleans())
    turned = [np.pi / 2 * draw(st.integers(-2, 2)) if quarter else draw(angles) for _ in range(3)]
    linear = nib.eulerangles.euler2mat(*turned) @ np.diag([draw(flips) * draw(steps) for _ in range(3)])
    return nib.affines.from_matvec(linear[:, draw(orders)], [draw(places) for _ in range(3)])


@settings(max_examples=60, deadline=None)
@given(affines(), st.tuples(*[st.integers(1, 30)] * 3), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_a_volume_lies_where_it_should_for_everyone(tmp_path_factory, affine, shape, dtype):
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    geometry = Geometry.from_matrix(from_ras(affine, 3), ("mm",) * 3, ("z", "y", "x"), "LPS")
    nifti.write(path, ramp(shape, dtype), "zyx", geometry, {})
    index = corners(shape)
    expected = positions(geometry, index)
    scan = nifti.read(path)
    assert np.abs(itk_positions(path, index) - expected).max() < 1e-4
    assert np.abs(nibabel_positions(path, index) - expected).max() < 1e-4
    assert np.abs(positions(scan.geometry, index) - expected).max() < 1e-4
    assert np.array_equal(scan.array, ramp(shape, dtype))
    assert scan.array.dtype == dtype
    second = path.with_name("b.nii.gz")
    write_back(second, scan, np.asarray(scan.array))
    assert nifti.read(second).geometry == scan.geometry


@settings(max_examples=30, deadline=None)
@given(
    affines(),
    st.sampled_from([(1, 0), (0, 1), (2, 1), (1, 1)]),
    st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
)
def test_a_file_of_another_writer_is_read_and_written_without_loss(tmp_path_factory, affine, codes, kind):
    folder = tmp_path_factory.mktemp("nifti")
    build(folder / "a.nii", ramp((5, 4, 3)), affine, kind=kind, sform=codes[0], qform=codes[1])
    scan = nifti.read(folder / "a.nii")
    write_back(folder / "b.nii", scan)
    index = corners((3, 4, 5))
    assert np.abs(positions(scan.geometry, index) - nibabel_positions(folder / "a.nii", index)).max() < 1e-9
    assert np.array_equal(nib.load(folder / "a.nii").affine, nib.load(folder / "b.nii").affine)
    if kind is nib.Nifti1Image:  # ITK reads no other
        assert np.array_equal(itk_positions(folder / "a.nii", index), itk_positions(folder / "b.nii", index))


@settings(max_examples=30, deadline=None)
@given(affines(), st.floats(-0.5, 0.5))
def test_a_sheared_volume(tmp_path_factory, affine, shear):
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    slanted = affine @ np.array([[1, 0, shear, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    geometry = Geometry.from_matrix(from_ras(slanted, 3), ("mm",) * 3, ("z", "y", "x"), "LPS")
    nifti.write(path, ramp((3, 4, 5)), "zyx", geometry, {})
    index = corners((3, 4, 5))
    assert np.abs(nibabel_positions(path, index) - positions(geometry, index)).max() < 1e-4
    qform = nib.load(path).header.get_qform(coded=True)[0]
    if qform is not None:  # whoever reads that one must not be led astray
        assert np.abs(nib.affines.apply_affine(qform - nib.load(path).affine, index)).max() < 2e-3


@pytest.mark.parametrize("axes", ["yx", "tyx", "tzyx"])
def test_other_axes(tmp_path, axes):
    shape = (5, 2, 3, 4)[-len(axes) :] if axes != "tyx" else (5, 3, 4)
    spacing = {"t": 2.5, "z": 3.0, "y": 0.75, "x": 0.5}
    matrix = np.diag([*(spacing[a] for a in axes), 1.0])
    matrix[:-1, -1] = [{"t": 1.5, "z": -4, "y": 5, "x": -6}[a] for a in axes]
    units = tuple("s" if a == "t" else "mm" for a in axes)
    geometry = Geometry.from_matrix(matrix, units, tuple(axes), "LPS")
    nifti.write(tmp_path / "a.nii.gz", ramp(shape, np.uint8), axes, geometry, {})
    scan = nifti.read(tmp_path / "a.nii.gz")
    assert scan.axes == ("tzyx" if axes == "tyx" else axes)
    keep = [i for i, a in enumerate(scan.axes) if a in axes] + [len(scan.axes)]
    assert np.allclose(scan.geometry.matrix[np.ix_(keep, keep)], matrix)
    assert np.array_equal(np.squeeze(scan.array), ramp(shape, np.uint8))
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert image.GetSpacing()[:2] == pytest.approx((0.5, 0.75))
    assert image.GetOrigin()[:2] == pytest.approx((-6, 5))
    if axes.startswith("t"):
        assert image.GetSpacing()[3] == pytest.approx(2.5)


UNITS = {
    "nanometres": (("nm",) * 3, ("um",) * 3, 1e-3),
    "centimetres": (("cm",) * 3, ("mm",) * 3, 10.0),
    "metres": (("m",) * 3, ("m",) * 3, 1.0),
    "micrometres": (("um",) * 3, ("um",) * 3, 1.0),
}


@pytest.mark.parametrize(("given_units", "stored", "factor"), UNITS.values(), ids=UNITS.keys())
def test_written_units(tmp_path, given_units, stored, factor):
    matrix = np.diag([3.0, 2, 1, 1]) + np.eye(4)[:, ::-1] * [[7], [0], [0], [0]]
    geometry = Geometry.from_matrix(matrix, given_units, tuple("zyx"))
    nifti.write(tmp_path / "a.nii", ramp((2, 3, 4)), "zyx", geometry, {})
    scan = nifti.read(tmp_path / "a.nii")
    assert scan.geometry.units == stored
    assert np.allclose(scan.geometry.matrix[:3], matrix[:3] * factor)
    assert scan.geometry.voxel_volume[0] == pytest.approx(geometry.voxel_volume[0] * factor**3)


def test_several_units_become_one(tmp_path):
    geometry = Geometry.from_matrix(np.diag([2.0, 500, 500, 1]), ("um", "nm", "nm"), tuple("zyx"))
    nifti.write(tmp_path / "a.nii", ramp((2, 3, 4)), "zyx", geometry, {})
    scan = nifti.read(tmp_path / "a.nii")
    assert scan.geometry.units == ("um",) * 3
    assert scan.geometry.spacing == pytest.approx((2, 0.5, 0.5))


@pytest.mark.parametrize(
    ("shape", "origin", "version"),
    [((2, 3, 4), 0.0, 1), ((2, 3, 4), 1234567.891, 2), ((1, 1, 40_000), 0.0, 2)],
)
def test_nifti_2_where_the_first_cannot(tmp_path, shape, origin, version):
    matrix = np.diag([3.0, 0.3, 0.3, 1.0])
    matrix[:-1, -1] = origin
    geometry = Geometry.from_matrix(matrix, ("mm",) * 3, tuple("zyx"), "LPS")
    nifti.write(tmp_path / "a.nii", ramp(shape, np.uint8), "zyx", geometry, {})
    assert nib.load(tmp_path / "a.nii").header["sizeof_hdr"] == {1: 348, 2: 540}[version]
    assert np.allclose(nifti.read(tmp_path / "a.nii").geometry.matrix, matrix, atol=1e-4, rtol=1e-9)


@pytest.mark.parametrize(("frame", "code"), [("LPS", 1), ("", 2)])
def test_only_a_patient_is_in_the_scanner(tmp_path, frame, code):
    geometry = Geometry.from_matrix(np.diag([3.0, 2, 1, 1]), ("mm",) * 3, tuple("zyx"), frame)
    nifti.write(tmp_path / "a.nii", ramp((2, 3, 4)), "zyx", geometry, {})
    header = nib.load(tmp_path / "a.nii").header
    assert (header["sform_code"], header["qform_code"]) == (code, code)


@pytest.mark.parametrize(("shift", "origin"), [(1e-8, 0.0), (1e-5, 1e-5)])
def test_a_header_is_reused_within_rounding_alone(tmp_path: Path, shift: float, origin: float) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "a.nii")
    scan = nifti.read(tmp_path / "a.nii")
    matrix = scan.geometry.matrix
    matrix[0, 3] += shift
    moved = Geometry.from_matrix(matrix, scan.geometry.units, scan.geometry.axis_labels, "LPS")
    nifti.write(tmp_path / "b.nii", scan.array, "zyx", moved, scan.properties)
    assert nifti.read(tmp_path / "b.nii").geometry.origin[0] == pytest.approx(origin, abs=1e-9)
