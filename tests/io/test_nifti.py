from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti
from napari_latentseg.io._ras import from_ras

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


def ours(geometry: Geometry, index: np.ndarray) -> np.ndarray:
    return index @ geometry.matrix[:-1, :-1].T + geometry.matrix[:-1, -1]


def by_nibabel(path: Path, index: np.ndarray) -> np.ndarray:
    """Where nibabel finds these `zyx` elements: `zyx` of LPS."""
    return (nib.affines.apply_affine(nib.load(path).affine, index[:, ::-1]) * (-1, -1, 1))[:, ::-1]


def by_itk(path: Path, index: np.ndarray) -> np.ndarray:
    image = sitk.ReadImage(str(path))
    return np.array([image.TransformIndexToPhysicalPoint([int(i) for i in row[::-1]])[::-1] for row in index])


def write_back(path: Path, scan: Scan, array: np.ndarray | None = None) -> Path:
    array = np.zeros(scan.spatial_shape, np.uint8) if array is None else array
    nifti.write(path, array, scan.spatial_axes, scan.geometry, scan.properties)
    return path


# --- values ---------------------------------------------------------------------------------------

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
    "slope that is no number is none": ("i2", np.nan, 5.0, "i2"),
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
        ours(scan.geometry, corners((2, 3, 4))), by_nibabel(tmp_path / "a.nii", corners((2, 3, 4)))
    )


@pytest.mark.parametrize(
    ("written", "named"), [("a.nii", "b.nii.gz"), ("a.nii.gz", "b.nii"), ("a.nii", "b.NII")]
)
def test_what_it_holds_counts_not_its_name(tmp_path, written, named):
    build(tmp_path / written, ramp((4, 3, 2))).rename(tmp_path / named)
    assert np.array_equal(nifti.read(tmp_path / named).array, ramp((4, 3, 2)).T)


# --- geometry -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (("mm", "sec"), ("s", "mm", "mm", "mm")),
        (("micron", "msec"), ("ms", "um", "um", "um")),
        (("meter", "usec"), ("us", "m", "m", "m")),
        ((0, 0), ("s", "mm", "mm", "mm")),
        (("mm", "hz"), ("s", "mm", "mm", "mm")),
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
    image.set_qform(other, qform)  # the two may say different things, and a reader may prefer either
    image.header.set_xyzt_units(units)
    nib.save(image, tmp_path / "a.nii.gz")
    scan = nifti.read(tmp_path / "a.nii.gz")
    assert np.allclose(
        ours(scan.geometry, corners((2, 3, 4))), by_nibabel(tmp_path / "a.nii.gz", corners((2, 3, 4)))
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


def test_the_oldest_kind_of_header_keeps_its_place_only_at_its_size(tmp_path):
    """Without codes the origin lies in the middle, so a part of the image needs an affine of its own."""
    scan = nifti.read(build(tmp_path / "a.nii", ramp((8, 6, 4)), np.diag([2.0, 2, 2, 1]), sform=0, qform=0))
    matrix = scan.geometry.matrix
    matrix[:-1, -1] += matrix[:-1, :-1] @ (1, 2, 3)
    part = Geometry.from_matrix(matrix, scan.geometry.units, scan.geometry.axis_labels, "LPS")
    nifti.write(tmp_path / "b.nii", np.zeros((2, 2, 2), np.uint8), "zyx", part, scan.properties)
    assert np.allclose(by_nibabel(tmp_path / "b.nii", corners((2, 2, 2))), ours(part, corners((2, 2, 2))))


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
        by_nibabel(tmp_path / "b.nii", corners((2, 3, 4))), ours(moved, corners((2, 3, 4))), atol=1e-4
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
    assert np.allclose(ours(scan.geometry, corners((1, 3, 4))), by_itk(again, corners((1, 3, 4))))


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
    expected = ours(geometry, index)
    scan = nifti.read(path)
    assert np.abs(by_itk(path, index) - expected).max() < 1e-4
    assert np.abs(by_nibabel(path, index) - expected).max() < 1e-4
    assert np.abs(ours(scan.geometry, index) - expected).max() < 1e-4
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
    assert np.abs(ours(scan.geometry, index) - by_nibabel(folder / "a.nii", index)).max() < 1e-9
    assert np.array_equal(nib.load(folder / "a.nii").affine, nib.load(folder / "b.nii").affine)
    if kind is nib.Nifti1Image:  # ITK reads no other
        assert np.array_equal(by_itk(folder / "a.nii", index), by_itk(folder / "b.nii", index))


@settings(max_examples=30, deadline=None)
@given(affines(), st.floats(-0.5, 0.5))
def test_a_sheared_volume(tmp_path_factory, affine, shear):
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    slanted = affine @ np.array([[1, 0, shear, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    geometry = Geometry.from_matrix(from_ras(slanted, 3), ("mm",) * 3, ("z", "y", "x"), "LPS")
    nifti.write(path, ramp((3, 4, 5)), "zyx", geometry, {})
    index = corners((3, 4, 5))
    assert np.abs(by_nibabel(path, index) - ours(geometry, index)).max() < 1e-4
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


# --- refusals -------------------------------------------------------------------------------------

MM = Geometry.from_spacing("zyx", unit="mm")
VOLUME = np.zeros((2, 3, 4), np.uint8)
SERIES = np.zeros((2, 2, 3, 4), np.uint8)
MIXED = np.diag([2.0, 3, 1, 1, 1])
MIXED[0, 1] = 0.5
REFUSED = {
    "pixels": (VOLUME, "zyx", Geometry.from_spacing("zyx"), "physical size"),
    "pixels on one axis": (
        VOLUME,
        "zyx",
        Geometry.from_matrix(np.eye(4), ("pixel", "mm", "mm"), tuple("zyx")),
        "physical size",
    ),
    "an unknown unit": (VOLUME, "zyx", Geometry.from_spacing("zyx", unit="ell"), "physical size"),
    "channels": (
        np.zeros((3, 4, 3), np.uint8),
        "yxc",
        Geometry.from_spacing("yx", unit="mm"),
        "do not fit NIfTI",
    ),
    "time after space": (SERIES, "ztyx", Geometry.from_spacing("ztyx", unit="mm"), "do not fit NIfTI"),
    "too few axes": (VOLUME[0], "zyx", MM, "does not fit a geometry"),
    "another geometry": (VOLUME[0], "yx", MM, "does not fit a geometry"),
    "other labels": (VOLUME, "zyx", Geometry.from_spacing("tyx", unit="mm"), "does not fit a geometry"),
    "nothing": (VOLUME[:0], "zyx", MM, "does not fit a geometry"),
    "time mixed with space": (
        SERIES,
        "tzyx",
        Geometry.from_matrix(MIXED, ("s", "mm", "mm", "mm"), tuple("tzyx")),
        "time axis",
    ),
    "time that runs back": (
        SERIES,
        "tzyx",
        Geometry.from_spacing("tzyx", (-1.0, 1, 1, 1), "mm"),
        "time axis",
    ),
    "time in frames": (
        SERIES,
        "tzyx",
        Geometry.from_matrix(np.eye(5), ("pixel", "mm", "mm", "mm"), tuple("tzyx")),
        "time axis",
    ),
    "complex": (VOLUME.astype(complex), "zyx", MM, "complex128"),
    "text": (VOLUME.astype(str), "zyx", MM, "cannot be written"),
    "too large a number": (VOLUME.astype(np.int64) + 2**40, "zyx", MM, "32 bits"),
}


@pytest.mark.parametrize(("array", "axes", "geometry", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_said_is_not_written(tmp_path, array, axes, geometry, why):
    with pytest.raises(BadInput, match=why) as caught:
        nifti.write(tmp_path / "a.nii.gz", array, axes, geometry, {})
    assert caught.value.what.endswith("a.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "why"), [("a.tif", "not a name for"), ("no/folder/a.nii", "cannot be written")]
)
def test_where_it_cannot_be_written(tmp_path, name, why):
    with pytest.raises(BadInput, match=why):
        nifti.write(tmp_path / name, VOLUME, "zyx", MM, {})


def bit_turned(raw: bytes) -> bytes:
    """A compressed file in which one byte in the middle of what it holds is another."""
    packed = bytearray(gzip.compress(raw, compresslevel=0))
    packed[len(packed) // 2] ^= 0x10
    return bytes(packed)


def with_bytes(raw: bytes, start: int, value: bytes) -> bytes:
    return raw[:start] + value + raw[start + len(value) :]


BROKEN = {
    "text": lambda raw: b"patient: " + NAME.encode() * 60,
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "header cut": lambda raw: raw[:300],
    "no data": lambda raw: raw[:352],
    "data cut": lambda raw: raw[:-1],
    "half of the data": lambda raw: raw[: 352 + (len(raw) - 352) // 2],
    "a compressed text": lambda raw: gzip.compress(NAME.encode() * 60),
    "compressed, then damaged": bit_turned,
    "compressed, checksum cut": lambda raw: gzip.compress(raw)[:-4],
    "compressed, header only": lambda raw: gzip.compress(raw)[:12],
    "half of a pair": lambda raw: with_bytes(raw, 344, b"ni1\0"),
    "unknown type of values": lambda raw: with_bytes(raw, 70, b"\x4d\x00"),
    "dimensions below 0": lambda raw: with_bytes(raw, 42, b"\xf0\xff"),
    "more dimensions than there are": lambda raw: with_bytes(raw, 40, b"\x09\x00"),
    "more data than fits anywhere": lambda raw: with_bytes(
        raw, 40, np.array([7] + [32767] * 7, "<i2").tobytes()
    ),
    "no dimensions": lambda raw: with_bytes(raw, 40, bytes(16)),
    "affine that is no number": lambda raw: with_bytes(raw, 280, np.full(12, np.nan, "<f4").tobytes()),
    "affine of zeros": lambda raw: with_bytes(raw, 280, bytes(48)),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_broken_file_is_refused_in_one_line(tmp_path, caplog, breaking, name):
    raw = build(tmp_path / "whole.nii", ramp((4, 3, 2)), qform=0).read_bytes()
    (tmp_path / name).write_bytes(breaking(raw))
    with pytest.raises(BadInput) as caught:
        nifti.read(tmp_path / name)
    assert caught.value.what == str(tmp_path / name)
    assert caught.value.remedy
    assert "Doe" not in str(caught.value)
    assert not caplog.records


def test_no_part_of_a_compressed_file_will_do(tmp_path):
    whole = build(tmp_path / "a.nii.gz", ramp((9, 8, 7))).read_bytes()
    for n in range(1, len(whole), max(1, len(whole) // 60)):
        (tmp_path / "b.nii.gz").write_bytes(whole[:n])
        with pytest.raises(BadInput):
            nifti.read(tmp_path / "b.nii.gz")


@pytest.mark.parametrize(
    ("shape", "dtype", "why"),
    [((5,), "i2", "1 dimensions"), ((2, 2, 2, 2, 2), "i2", "5 dimensions"), ((2, 2, 2), "c8", "complex64"),
     ((2, 2, 1, 1, 3), "f4", "5 dimensions")],
)  # fmt: skip
def test_what_is_no_image_is_refused(tmp_path, shape, dtype, why):
    build(tmp_path / "a.nii", np.ones(shape, dtype))
    with pytest.raises(BadInput, match=why):
        nifti.read(tmp_path / "a.nii")


def test_missing(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        nifti.read(tmp_path / "a.nii")


def test_nothing_of_the_patient_is_kept(tmp_path):
    scan = nifti.read(build(tmp_path / "a.nii", ramp((4, 3, 2))))
    assert NAME.encode() in (tmp_path / "a.nii").read_bytes()
    assert NAME not in str(scan.properties)
    assert NAME.encode() not in write_back(tmp_path / "b.nii", scan).read_bytes()
    assert NAME.encode() not in gzip.decompress(write_back(tmp_path / "b.nii.gz", scan).read_bytes())


def test_a_header_that_must_be_mended_says_nothing(tmp_path, caplog):
    path = build(tmp_path / "a.nii", ramp((4, 3, 2)), qform=0)
    path.write_bytes(with_bytes(path.read_bytes(), 80, np.array([-1, -1, -1], "<f4").tobytes()))
    assert nifti.read(path).array.shape == (2, 3, 4)
    assert not caplog.records
    nib.load(path)
    assert "pixdim" in caplog.text  # for others nibabel speaks as before


# --- files that others wrote ----------------------------------------------------------------------

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
    assert np.abs(ours(space, index) - by_nibabel(path, index)).max() < 1e-9
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
        assert np.abs(ours(image.geometry, index) - by_itk(path, index)).max() < 1e-4


@pytest.mark.parametrize(("shift", "origin"), [(1e-8, 0.0), (1e-5, 1e-5)])
def test_a_header_is_reused_within_rounding_alone(tmp_path: Path, shift: float, origin: float) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "a.nii")
    scan = nifti.read(tmp_path / "a.nii")
    matrix = scan.geometry.matrix
    matrix[0, 3] += shift
    moved = Geometry.from_matrix(matrix, scan.geometry.units, scan.geometry.axis_labels, "LPS")
    nifti.write(tmp_path / "b.nii", scan.array, "zyx", moved, scan.properties)
    assert nifti.read(tmp_path / "b.nii").geometry.origin[0] == pytest.approx(origin, abs=1e-9)
