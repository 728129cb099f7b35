"""DICOM values and places, against SimpleITK where it reads the same files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom import reader


def corners(shape: tuple[int, ...]) -> np.ndarray:
    return np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(len(shape), -1).T


def world(scan: Scan, index: np.ndarray) -> np.ndarray:
    """Where elements lie, x first."""
    return (np.c_[index, np.ones(len(index))] @ scan.geometry.matrix.T)[:, -2::-1]


# --- places ---------------------------------------------------------------------------------------

SIZES = st.floats(0.2, 7.0)
GEOMETRIES = st.fixed_dictionaries(
    {
        "angles": st.tuples(*[st.floats(-180, 180)] * 3),
        "spacing": st.tuples(SIZES, SIZES),
        "step": SIZES,
        "tilt": st.sampled_from([0.0, 0.0, -0.3, 0.4]),
        "first": st.tuples(*[st.floats(-500, 500)] * 3),
        "order": st.permutations(range(4)),
        "hand": st.sampled_from([-1, 1]),
    }
)


@settings(max_examples=40, deadline=None)
@given(GEOMETRIES)
def test_any_geometry_lies_where_simpleitk_puts_it(made, geometry):
    turn = Rotation.from_euler("xyz", geometry["angles"], degrees=True).as_matrix()
    row, column, normal = turn.T
    step = geometry["hand"] * geometry["step"] * (normal + geometry["tilt"] * column)
    where = made.positions(4, step, geometry["first"])
    volume = made.ramp(4, 5, 6)
    folder = Path(tempfile.mkdtemp())
    try:
        made.series(
            folder, volume, where, geometry["order"],
            ImageOrientationPatient=[float(f"{v:.12f}") for v in (*row, *column)],
            PixelSpacing=[float(f"{v:.12g}") for v in geometry["spacing"]],
        )  # fmt: skip
        scan = reader.read(folder)
        assert (scan.axes, scan.geometry.frame, scan.geometry.units) == ("zyx", "LPS", ("mm",) * 3)
        for file in folder.iterdir():  # one by one, SimpleITK knows no tilt
            alone = sitk.ReadImage(str(file))
            values = sitk.GetArrayFromImage(alone)
            z = next(k for k in range(4) if np.array_equal(np.asarray(scan.array[k]), values[0]))
            for _, y, x in corners((1, 5, 6)):
                expected = alone.TransformIndexToPhysicalPoint((int(x), int(y), 0))
                assert np.allclose(world(scan, np.array([[z, y, x]]))[0], expected, rtol=0, atol=1e-4)
        if geometry["tilt"] == 0:
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
            whole = sitk.ReadImage(names)
            assert np.array_equal(sitk.GetArrayFromImage(whole), np.asarray(scan.array))
            for index in corners((4, 5, 6)):
                expected = whole.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
                assert np.allclose(world(scan, index[None])[0], expected, rtol=0, atol=1e-4)
        back = folder / "back.nii.gz"
        reader.write(back, volume, scan.axes, scan.geometry, scan.properties)
        assert np.allclose(read_scan(back).geometry.matrix, scan.geometry.matrix, atol=1e-4)
    finally:
        shutil.rmtree(folder)


def test_a_tilted_gantry_is_a_sheared_affine(made, tmp_path):
    made.series(tmp_path, made.ramp(5, 4, 4), made.positions(5, (0, 0.7, 2.0)))
    matrix = reader.read(tmp_path).geometry.matrix
    assert np.allclose(matrix[:3, 0], (2.0, 0.7, 0))  # z, y, x of one step
    assert np.allclose(matrix[:3, 1:3], [[0, 0], [1, 0], [0, 1]])


def test_frames_of_one_file_are_sorted_by_place(made, tmp_path):
    volume, where = made.ramp(4, 5, 6), made.positions(4, (0, 0, -2.5), (1, 2, 30))
    path = made.save(made.frames(volume, where, PixelSpacing=[0.5, 0.7]), tmp_path / "a.dcm")
    scan = reader.read(path)
    assert np.array_equal(np.asarray(scan.array), volume[::-1])
    assert scan.geometry.spacing == pytest.approx((2.5, 0.5, 0.7))
    assert np.allclose(scan.geometry.matrix[:3, 3], (22.5, 2, 1))


@pytest.mark.parametrize(("changes", "step"), [({"SpacingBetweenSlices": 4}, 4), ({"SliceThickness": 3}, 3)])
def test_one_slice_is_a_stack_of_one_as_thick_as_it_says(made, tmp_path, changes, step):
    path = made.save(made.dataset(made.ramp(5, 6), **changes), tmp_path / "a.dcm")
    scan = reader.read(path)
    assert (scan.axes, scan.array.shape) == ("zyx", (1, 5, 6))
    assert scan.geometry.spacing == pytest.approx((step, 1, 1))


FLAT = {"ImagePositionPatient": None, "ImageOrientationPatient": None}


def region(x: float, y: float) -> pydicom.Dataset:
    found = pydicom.Dataset()
    found.PhysicalUnitsXDirection = found.PhysicalUnitsYDirection = 3
    found.PhysicalDeltaX, found.PhysicalDeltaY = x, y
    return found


@pytest.mark.parametrize(
    ("changes", "spacing", "unit"),
    [
        ({"PixelSpacing": [0.3, 0.4]}, (0.3, 0.4), "mm"),
        ({"PixelSpacing": None}, (1, 1), "pixel"),
        ({"PixelSpacing": None, "PixelAspectRatio": [3, 2]}, (1.5, 1), "pixel"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2), "mm"),
        ({"PixelSpacing": None, "SequenceOfUltrasoundRegions": [region(0.02, -0.01)]}, (0.1, 0.2), "mm"),
        (
            {"PixelSpacing": None, "SequenceOfUltrasoundRegions": [region(0.02, 0.01), region(0.3, 0.3)]},
            (1, 1),
            "pixel",
        ),
    ],
)
def test_pictures_without_a_place(made, tmp_path, changes, spacing, unit):
    path = made.save(made.dataset(made.ramp(5, 6), **FLAT, **changes), tmp_path / "a.dcm")
    scan = reader.read(path)
    assert (scan.axes, scan.geometry.frame) == ("yx", "")
    assert scan.geometry.spacing == pytest.approx(spacing)
    assert scan.geometry.units == (unit, unit)


@pytest.mark.parametrize(
    ("changes", "axes", "step", "unit"),
    [
        ({"Modality": "US", "FrameTime": 40}, "tyx", 0.04, "s"),
        ({"Modality": "US", "CineRate": 20}, "tyx", 0.05, "s"),
        ({"Modality": "US"}, "tyx", 1, "pixel"),
        ({"FrameTimeVector": [0, 30, 30]}, "tyx", 0.03, "s"),
        ({"FrameTimeVector": [0, 30, 90]}, "tyx", 1, "pixel"),
        ({"Modality": "NM", "SpacingBetweenSlices": 4}, "zyx", 4, "mm"),
    ],
)
def test_films_and_plain_stacks(made, tmp_path, changes, axes, step, unit):
    volume = made.ramp(3, 5, 6)
    path = made.save(made.dataset(volume, NumberOfFrames=3, **FLAT, **changes), tmp_path / "a.dcm")
    scan = reader.read(path)
    assert (scan.axes, scan.geometry.units[0]) == (axes, unit)
    assert scan.geometry.spacing[0] == pytest.approx(step)
    assert np.array_equal(np.asarray(scan.array), volume)


def test_frames_of_a_dose_lie_at_their_offsets(made, tmp_path):
    volume = made.ramp(3, 5, 6, dtype=np.uint32)
    changes = {"GridFrameOffsetVector": [0, 2.5, 5], "DoseGridScaling": 0.5, "Modality": "RTDOSE"}
    where = {"ImagePositionPatient": [1, 2, 3], "FrameIncrementPointer": 0x3004000C}
    path = made.save(made.dataset(volume, NumberOfFrames=3, **changes, **where), tmp_path / "a.dcm")
    scan = reader.read(path)
    assert np.array_equal(np.asarray(scan.array), volume * 0.5)
    assert np.allclose(scan.geometry.matrix[:3, 3], (3, 2, 1))
    assert scan.geometry.spacing == pytest.approx((2.5, 1, 1))


# --- values ---------------------------------------------------------------------------------------

VALUES = {
    "plain": (np.int16, {}, np.int16, lambda v: v),
    "bytes": (np.uint8, {}, np.uint8, lambda v: v),
    "a CT": (np.uint16, {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": -1024},
             np.int16, lambda v: v.astype(int) - 1024),
    "a CT of all bits": (np.uint16, {"RescaleSlope": 1, "RescaleIntercept": -1024}, np.int32,
                         lambda v: v.astype(int) - 1024),
    "a PET": (np.uint16, {"RescaleSlope": 0.25, "RescaleIntercept": 0}, np.float32, lambda v: v * 0.25),
    "white is zero": (np.uint8, {"PhotometricInterpretation": "MONOCHROME1"}, np.uint8, lambda v: 255 - v),
    "white is zero, 12 bits": (
        np.uint16, {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11},
        np.uint16, lambda v: 4095 - v,
    ),
    "white is zero, signed": (np.int16, {"PhotometricInterpretation": "MONOCHROME1"}, np.int16,
                              lambda v: -1 - v),
}  # fmt: skip


@pytest.mark.parametrize(("stored", "changes", "dtype", "meant"), VALUES.values(), ids=VALUES.keys())
def test_values(made, tmp_path, stored, changes, dtype, meant):
    array = made.ramp(5, 6, dtype=stored)
    scan = reader.read(made.save(made.dataset(array, **changes), tmp_path / "a.dcm"))
    assert scan.array.dtype == dtype
    assert np.array_equal(np.asarray(scan.array[0]), meant(array))


def test_bits_that_are_not_stored_do_not_count(made, tmp_path):
    array = made.ramp(5, 6, dtype=np.uint16)
    dirty = array | np.uint16(0xF000)
    path = made.save(made.dataset(dirty, BitsStored=12, HighBit=11), tmp_path / "a.dcm")
    assert np.array_equal(reader.read(path).array[0], array)


def test_slices_with_scales_of_their_own(made, tmp_path):
    for k, where in enumerate(made.positions(3)):
        ds = made.dataset(np.full((4, 4), 10, np.uint16), ImagePositionPatient=where, RescaleSlope=k + 0.5)
        ds.RescaleIntercept = 0
        made.save(ds, tmp_path / f"{k}.dcm")
    scan = reader.read(tmp_path)
    assert scan.array.dtype == np.float32
    assert np.asarray(scan.array[:, 0, 0]).tolist() == [5, 15, 25]


def test_a_palette_becomes_colours(made, tmp_path):
    array = made.ramp(4, 4, dtype=np.uint8)
    ds = made.dataset(array, PhotometricInterpretation="PALETTE COLOR", **FLAT)
    for name, scale in (("Red", 1), ("Green", 2), ("Blue", 3)):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [16, 0, 16])
        table = (np.arange(16) * scale << 8).astype("<u2").tobytes()
        setattr(ds, f"{name}PaletteColorLookupTableData", table)
    scan = reader.read(made.save(ds, tmp_path / "a.dcm"))
    assert scan.axes == "yxc"
    assert np.array_equal(np.asarray(scan.array), array[..., None] * np.array([1, 2, 3], np.uint8))


SYNTAXES = [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless,
            JPEGLSLossless]  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("colours", [False, True])
def test_transfer_syntaxes(made, tmp_path, syntax, colours):
    array = made.ramp(64, 48, 3, dtype=np.uint8) if colours else made.ramp(64, 48)
    for k, where in enumerate(made.positions(3)):
        ds = made.dataset(array + array.dtype.type(k), ImagePositionPatient=where)
        if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = syntax
        made.save(ds, tmp_path / f"{k}.dcm")
    scan = reader.read(tmp_path)
    assert scan.axes == ("zyxc" if colours else "zyx")
    for k in range(3):
        assert np.array_equal(np.asarray(scan.array[k]), array + array.dtype.type(k))


def test_big_endian(made, tmp_path):
    array = made.ramp(5, 6)
    ds = made.dataset(array)
    ds.PixelData = array.astype(">i2").tobytes()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "a.dcm", ds, implicit_vr=False, little_endian=False)
    scan = reader.read(tmp_path / "a.dcm")
    assert np.array_equal(np.asarray(scan.array[0]), array)
    assert scan.array.dtype.isnative


def test_a_series_is_lazy_and_goes_to_another_process(made, tmp_path):
    import pickle

    volume = made.ramp(4, 5, 6)
    made.series(tmp_path, volume, made.positions(4), [2, 0, 3, 1])
    scan = reader.read(tmp_path)
    assert isinstance(scan.array, da.Array)
    assert scan.array.chunks == ((1,) * 4, (5,), (6,))
    again = pickle.loads(pickle.dumps(scan))
    assert np.array_equal(np.asarray(again.array), volume)
    assert np.array_equal(np.asarray(scan.array[1:3, 2, ::2]), volume[1:3, 2, ::2])
    (tmp_path / "001.dcm").unlink()  # of the first place
    with pytest.raises(BadInput, match=r"^001\.dcm: no such file"):
        np.asarray(scan.array[0])
    assert np.array_equal(np.asarray(scan.array[1]), volume[1])


def test_the_real_series(data_dir):
    for folder in sorted(data_dir.glob("dicom_brain_mr/*/*")):
        scan = reader.read(folder)
        whole = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
        assert np.array_equal(sitk.GetArrayFromImage(whole), np.asarray(scan.array))
        for index in corners(scan.array.shape):
            expected = whole.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
            assert np.allclose(world(scan, index[None])[0], expected, rtol=0, atol=1e-4)
