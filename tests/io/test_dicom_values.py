"""Stored values of DICOM that other readers get wrong: unused bits, palettes, lookup tables, 12-bit JPEG."""

from __future__ import annotations

import sys

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom import reader

TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def compressed(made, array: np.ndarray, frame: bytes, syntax: str, **changes: object) -> pydicom.Dataset:
    """A dataset whose pixels are one compressed frame."""
    ds = made.dataset(array, **changes)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def read_values(made, ds: pydicom.Dataset, path) -> np.ndarray:
    return np.asarray(reader.read(made.save(ds, path)).array).squeeze()


# --- bits that are not stored ---------------------------------------------------------------------


def frame_of(array: np.ndarray, syntax: str) -> bytes:
    encode = {
        JPEG2000Lossless: lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True),
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEGLosslessSV1: lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16),
    }[syntax]
    return bytes(encode(array))


@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_unused_bits_is_no_value(made, tmp_path, syntax, signed):
    """12 bits stored, an overlay in bit 12, and all 16 compressed: values are the low 12 bits."""
    stored = made.ramp(16, 16, dtype=np.uint16) * 16
    overlay = np.uint16(1 << 12) * (np.arange(256).reshape(16, 16) % 5 == 0)
    array = (stored | overlay).astype(np.uint16)
    expected = stored.astype(np.int32)
    if signed:
        expected = np.where(expected >= 2048, expected - 4096, expected)
    changes = TWELVE_BITS | {"PixelRepresentation": int(signed)}
    ds = (
        made.dataset(array, **changes)
        if syntax is None
        else compressed(made, array, frame_of(array, syntax), syntax, **changes)
    )
    assert np.array_equal(read_values(made, ds, tmp_path / "a.dcm"), expected)


@pytest.mark.parametrize("high_bit", [15, 12])
def test_values_in_the_upper_bits_are_refused(made, tmp_path, high_bit):
    ds = made.dataset(made.ramp(4, 4, dtype=np.uint16), BitsStored=12, HighBit=high_bit)
    made.save(ds, tmp_path / "a.dcm")
    with pytest.raises(BadInput, match=rf"upper bits \(high bit {high_bit}, 12 bits stored\)"):
        reader.read(tmp_path)


# --- palettes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_has_the_same_colours_in_either_byte_order(made, tmp_path, big_endian, bits):
    """Entries of 8 bits lie two to a word, and words are swapped as a whole."""
    indices = made.ramp(4, 4, dtype=np.uint8)
    ramps = np.stack([np.arange(16) * 16, 255 - np.arange(16), np.arange(16) * 3]).astype(np.uint16)
    ds = made.dataset(
        indices, PhotometricInterpretation="PALETTE COLOR", ImagePositionPatient=None,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
    )  # fmt: skip
    for name, ramp in zip(("Red", "Green", "Blue"), ramps, strict=True):
        words = (ramp << 8).astype("<u2") if bits == 16 else ramp.astype(np.uint8).view("<u2")
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [16, 0, bits])
        data = words.astype(">u2" if big_endian else "<u2").tobytes()
        setattr(ds, f"{name}PaletteColorLookupTableData", data)
    path = tmp_path / "a.dcm"
    if big_endian:
        ds.PixelData = indices.tobytes()
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=False)
    else:
        made.save(ds, path)
    assert np.array_equal(np.asarray(reader.read(path).array), ramps.T.astype(np.uint8)[indices])


# --- modality LUTs --------------------------------------------------------------------------------


def with_lut(made, entries: object, descriptor: list[int], vr: str, **changes: object) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.ModalityLUTType = "US"
    item.add_new("LUTData", vr, entries)
    changes = {"ImagePositionPatient": None} | changes
    return made.dataset(made.ramp(4, 4, dtype=np.uint16), ModalityLUTSequence=[item], **changes)


TABLE = np.array([7, 4095, 100, 2000], np.uint16)  # for stored values from 2 on


@pytest.mark.parametrize(
    ("entries", "bits", "vr"),
    [
        (TABLE.tolist(), 12, "US"),
        (TABLE.tolist(), 16, "US"),
        (TABLE.astype("<u2").tobytes(), 12, "OW"),
        ((TABLE % 256).astype(np.uint8).tobytes(), 8, "OW"),
    ],
)
def test_a_lookup_table_of_any_depth_gives_the_values(made, tmp_path, entries, bits, vr):
    table = TABLE % 256 if bits == 8 else TABLE
    expected = table[np.clip(np.arange(16).reshape(4, 4) - 2, 0, 3)]  # the ends hold beyond them
    ds = with_lut(made, entries, [4, 2, bits], vr)
    assert np.array_equal(read_values(made, ds, tmp_path / "a.dcm"), expected)


def test_an_empty_lookup_table_is_none(made, tmp_path):
    ds = made.dataset(made.ramp(4, 4), ModalityLUTSequence=[pydicom.Dataset()])
    assert np.array_equal(read_values(made, ds, tmp_path / "a.dcm"), made.ramp(4, 4))
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", None)
    item.add_new("LUTData", "OW", None)
    ds = made.dataset(made.ramp(4, 4), ModalityLUTSequence=[item])
    assert np.array_equal(read_values(made, ds, tmp_path / "b.dcm"), made.ramp(4, 4))


@pytest.mark.parametrize(("relationship", "applied"), [("LOG", False), ("DISP", False), ("LIN", True)])
def test_the_table_of_an_angiogram_back_to_intensity_is_not_applied(made, tmp_path, relationship, applied):
    ds = with_lut(
        made, TABLE.tolist(), [4, 2, 16], "US", Modality="XA", PixelIntensityRelationship=relationship
    )
    scan = reader.read(made.save(ds, tmp_path / "a.dcm"))
    stored = np.arange(16).reshape(4, 4)
    expected = TABLE[np.clip(stored - 2, 0, 3)] if applied else stored
    assert np.array_equal(np.asarray(scan.array), expected)
    assert any("X-ray intensity is not applied" in note for note in scan.notes) != applied


# --- JPEG -----------------------------------------------------------------------------------------


@pytest.fixture
def without_libjpeg(monkeypatch):
    """As where pylibjpeg-libjpeg, which is GPL, is not installed."""
    from pydicom.pixels.decoders import pylibjpeg

    monkeypatch.setitem(sys.modules, "libjpeg", None)
    monkeypatch.setattr(pylibjpeg, "_DECODERS", {})


def smooth(maximum: int) -> np.ndarray:
    x, y = np.mgrid[:16, :16] / 15
    return np.round((x + y) / 2 * maximum).astype(np.uint16 if maximum > 255 else np.uint8)


def test_lossy_jpeg_of_12_bits_is_read(made, tmp_path, without_libjpeg):
    array = smooth(4095)
    frame = bytes(imagecodecs.jpeg_encode(array, level=98, bitspersample=12))
    ds = compressed(made, array, frame, JPEGExtended12Bit, **TWELVE_BITS)
    values = read_values(made, ds, tmp_path / "a.dcm")
    assert np.abs(values.astype(int) - array).max() <= 16  # of 4095, at this quality
    assert values.max() > 4000


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless])
def test_lossless_jpeg_is_read_exactly_without_a_gpl_package(made, tmp_path, without_libjpeg, bits, syntax):
    array = (
        np.random.default_rng(bits)
        .integers(0, 2**bits, (16, 12))
        .astype(np.uint8 if bits == 8 else np.uint16)
    )
    encode = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else imagecodecs.ljpeg_encode
    arguments = {} if syntax == JPEGLSLossless else {"bitspersample": bits}
    ds = compressed(made, array, bytes(encode(array, **arguments)), syntax, BitsStored=bits, HighBit=bits - 1)
    assert np.array_equal(read_values(made, ds, tmp_path / "a.dcm"), array)


def test_jpeg_in_grey_and_in_colour_is_read_without_a_gpl_package(made, tmp_path, without_libjpeg):
    grey = smooth(255)
    ds = compressed(made, grey, bytes(imagecodecs.jpeg8_encode(grey, level=98)), JPEGBaseline8Bit)
    assert np.abs(read_values(made, ds, tmp_path / "a.dcm").astype(int) - grey).max() <= 2
    colours = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    ds = compressed(
        made, colours, bytes(imagecodecs.jpeg8_encode(colours, level=98, subsampling="444")),
        JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL",
    )  # fmt: skip
    assert np.abs(read_values(made, ds, tmp_path / "b.dcm").astype(int) - colours).max() <= 4


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.999", "1.3.6.1.4.1.5962.300.1"]
)
def test_an_unknown_transfer_syntax_is_named_as_the_reason(made, tmp_path, syntax):
    ds = made.dataset(made.ramp(8, 8))
    path = made.save(ds, tmp_path / "a.dcm")
    content = path.read_bytes()
    known, unknown = b"1.2.840.10008.1.2.1\0", syntax.encode() + b"\0" * (len(syntax) % 2)
    header = bytearray(content.replace(known, unknown, 1))
    at = header.index(unknown)
    header[at - 2 : at] = len(unknown).to_bytes(2, "little")
    header[140:144] = (int.from_bytes(header[140:144], "little") + len(unknown) - len(known)).to_bytes(
        4, "little"
    )
    path.write_bytes(header)
    with pytest.raises(
        BadInput, match=r"^a\.dcm: has a transfer syntax that is not supported \(a private or"
    ):
        reader.read(path)


def replace_text(path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def test_a_decimal_comma_is_the_reason(made, tmp_path):
    path = made.save(made.dataset(made.ramp(4, 4), PixelSpacing=[0.7, 0.7]), tmp_path / "a.dcm")
    replace_text(path, b"0.7\\0.7", b"0,7\\0,7")
    with pytest.raises(BadInput, match=r"^a\.dcm: has text in place of its pixel spacing"):
        reader.read(path)


def test_a_series_number_of_text_costs_nothing(made, tmp_path):
    path = made.save(made.dataset(made.ramp(4, 4), SeriesNumber=98765432), tmp_path / "a.dcm")
    replace_text(path, b"98765432", b"KNEE2021")
    assert np.array_equal(np.asarray(reader.read(path).array)[0], made.ramp(4, 4))


def test_frames_with_one_position_keep_the_slice_thickness(made, tmp_path):
    """Cone-beam CT: the place of the other frames is not in the file."""
    ds = made.dataset(
        made.ramp(4, 5, 6), NumberOfFrames=4, Modality="CT", PixelSpacing=[0.3, 0.3], SliceThickness=0.3
    )
    scan = reader.read(made.save(ds, tmp_path / "a.dcm"))
    assert (scan.axes, scan.geometry.spacing, scan.geometry.units) == ("zyx", (0.3,) * 3, ("mm",) * 3)
    assert scan.geometry.frame == ""
    assert any("one position for all frames" in note for note in scan.notes)
    assert any("taken from their thickness" in note for note in scan.notes)
