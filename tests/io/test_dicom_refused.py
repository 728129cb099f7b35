"""DICOM folders that are refused in one clear line."""

from __future__ import annotations

import logging
import os
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from tests.helpers.dicom_folders import a_report, two_series, volume, without_a_slice

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom import reader

Spoil = Callable[[SimpleNamespace, Path], object]


def no_files(made, folder):
    (folder / "notes.txt").write_text("hello")


def two_directions(made, folder):
    volume(made, folder / "a")
    volume(made, folder / "b", ImageOrientationPatient=[0, 1, 0, 0, 0, 1])


def one_of_four(made, folder):
    volume(made, folder)
    (folder / "001.dcm").unlink()


def unequal(made, folder):
    places = made.positions(4)
    places[2][2] += 0.4
    made.series(folder, made.ramp(4, 5, 6), places)


def bent(made, folder):
    places = made.positions(5)
    places[2][0] += 1.0
    made.series(folder, made.ramp(5, 5, 6), places)


def different_at_one_place(made, folder):
    volume(made, folder)
    made.save(made.dataset(made.ramp(5, 6) + np.int16(9)), folder / "again.dcm")


def crooked(made, folder):
    volume(made, folder, ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0])


def no_spacing(made, folder):
    volume(made, folder, PixelSpacing=[0, 1])


def truncated(made, folder):
    volume(made, folder)
    file = folder / "003.dcm"
    file.write_bytes(file.read_bytes()[:-9])


def truncated_compressed(made, folder):
    ds = made.dataset(made.ramp(50, 60))
    ds.compress(pydicom.uid.RLELossless)
    file = made.save(ds, folder / "a.dcm")
    file.write_bytes(file.read_bytes()[:-500])


def no_pixels(made, folder):
    ds = made.dataset(made.ramp(5, 6))
    del ds.PixelData
    made.save(ds, folder / "a.dcm")


def empty_file(made, folder):
    volume(made, folder)
    (folder / "001.dcm").write_bytes(b"")


def wrong_syntax(made, folder):
    ds = made.dataset(made.ramp(50, 60))
    ds.PixelData = pydicom.encaps.encapsulate([b"this is no JPEG at all. "])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    made.save(ds, folder / "a.dcm")


def film(made, folder):
    ds = made.dataset(made.ramp(50, 60))
    ds.PixelData = pydicom.encaps.encapsulate([b"a film"])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    made.save(ds, folder / "a.dcm")


def broken_header(made, folder):
    volume(made, folder)
    (folder / "001.dcm").write_bytes(b"\0" * 128 + b"DICM" + os.urandom(50))


def header_cut_short(made, folder):
    volume(made, folder)
    file = folder / "003.dcm"
    file.write_bytes(file.read_bytes()[:700])


def bad_number(made, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = made.dataset(made.ramp(5, 6))
        ds.NumberOfFrames = 1
        ds._dict[ds["NumberOfFrames"].tag] = pydicom.dataelem.RawDataElement(
            ds["NumberOfFrames"].tag, "IS", 2, b"Do", 0, False, True
        )
        made.save(ds, folder / "a.dcm")


def not_dicom(made, folder):
    volume(made, folder)
    (folder / "001.dcm").write_bytes(b"x")


def zeros(made, folder):
    volume(made, folder)
    (folder / "001.dcm").unlink()
    (folder / "IM1").write_bytes(bytes(5000))


def no_slope(made, folder):
    volume(made, folder, RescaleSlope=0, RescaleIntercept=0)


def a_segmentation(made, folder):
    made.save(made.dataset(made.ramp(5, 6), Modality="SEG"), folder / "a.dcm")


def a_segmentation_by_its_class(made, folder, kind="66.4"):
    ds = made.dataset(made.ramp(5, 6), Modality="OT")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
    made.save(ds, folder / "a.dcm")


def segments_of_no_class(made, folder):
    made.save(made.dataset(made.ramp(5, 6), SegmentSequence=[pydicom.Dataset()]), folder / "a.dcm")


def tiles(made, folder):
    ds = made.dataset(made.ramp(5, 6), TotalPixelMatrixColumns=60, TotalPixelMatrixRows=50)
    made.save(ds, folder / "a.dcm")


def four_channels(made, folder):
    ds = made.dataset(made.ramp(5, 8), SamplesPerPixel=4, Columns=2, PhotometricInterpretation="CMYK")
    made.save(ds, folder / "a.dcm")


REFUSED: dict[str, tuple[Spoil, str]] = {
    "no DICOM at all": (no_files, "holds no DICOM file"),
    "a report": (a_report, "holds no image"),
    "two series": (two_series, r"holds 2 series: 1 \(MR, 4 of 5x6\), 2 \(MR, 4 of 5x6\); .*--series N"),
    "two directions": (two_directions, "holds 2 series"),
    "a missing slice of four": (one_of_four, "lacks 1 of 4 slices, the first after slice 1"),
    "a missing slice": (without_a_slice, "lacks 1 of 6 slices, the first after slice 2"),
    "unequal steps": (unequal, r"its 4 slices are not equally spaced \(1.6 to 2.4 mm\)"),
    "a slice out of line": (bent, "do not lie in one line"),
    "two slices at one place": (different_at_one_place, "different images at the same positions"),
    "crooked directions": (crooked, r"^000\.dcm: .*not at right angles"),
    "a spacing of 0": (no_spacing, "invalid spacing"),
    "cut short": (truncated, r"^003\.dcm: is cut short"),
    "cut short, compressed": (truncated_compressed, r"^a\.dcm: is cut short"),
    "no pixels": (no_pixels, "ends before its pixels"),
    "an empty file": (empty_file, r"^001\.dcm: is empty"),
    "a file of which one byte is left": (not_dicom, r"^001\.dcm: is not a DICOM file, or is damaged"),
    "a file of zeros": (zeros, r"^IM1: is not a DICOM file, or is damaged"),
    "not the syntax it says": (wrong_syntax, r"^a\.dcm: is not DICOM whose pixels can be read"),
    "a film in MPEG": (film, r"^a\.dcm: has a transfer syntax that is not supported \(MPEG2"),
    "a broken header": (broken_header, r"^001\.dcm: is not a DICOM file"),
    "cut short in its header": (header_cut_short, r"^003\.dcm: ends before its pixels"),
    "a name where a number should be": (bad_number, r"^a\.dcm: has text in place of its number of frames"),
    "a slope of 0": (no_slope, "invalid rescale slope"),
    "a segmentation": (a_segmentation, "is a segmentation"),
    "a segmentation that says another modality": (a_segmentation_by_its_class, "is a segmentation"),
    "a label map": (partial(a_segmentation_by_its_class, kind="66.7"), "is a segmentation"),
    "segments without the class": (segments_of_no_class, "is a segmentation"),
    "a whole slide": (tiles, "whole-slide"),
    "printing colours": (four_channels, "colour model that is not supported"),
}


@pytest.mark.parametrize(("spoil", "why"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("packed", [False, True])
def test_refused_in_one_line_that_names_nobody(made, tmp_path, caplog, spoil, why, packed):
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / made.secrets[0] / "study"
    folder.mkdir(parents=True)
    spoil(made, folder)
    path = folder
    if packed:
        path = tmp_path / "study.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, Path(made.secrets[0]) / file.relative_to(folder))
    caplog.clear()
    with warnings.catch_warnings(record=True) as said, pytest.raises(BadInput, match=why) as caught:
        np.asarray(reader.read(path).array)
    line = str(caught.value)
    assert "\n" not in line
    for secret in made.secrets:
        assert secret not in line + caplog.text + "".join(str(w.message) for w in said)
