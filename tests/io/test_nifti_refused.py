"""NIfTI: what cannot be written, broken files, and patients' names."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from tests.helpers.nifti import (
    NAME,
    build,
    ramp,
    write_back,
)

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti

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
        "holds no colours or channels",
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
    "affine that is not a number": lambda raw: with_bytes(raw, 280, np.full(12, np.nan, "<f4").tobytes()),
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


@pytest.mark.parametrize("datatype", [0, 1, 77])
def test_a_type_of_values_that_nobody_reads_is_named(tmp_path, datatype):
    """1 is single bits, 0 is unknown: the file is not damaged."""
    raw = build(tmp_path / "a.nii", ramp((4, 3, 2))).read_bytes()
    (tmp_path / "a.nii").write_bytes(with_bytes(raw, 70, bytes([datatype, 0])))
    with pytest.raises(BadInput, match=rf"a type that is not supported \(datatype {datatype}\)"):
        nifti.read(tmp_path / "a.nii")


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
