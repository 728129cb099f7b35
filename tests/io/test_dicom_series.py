"""Folders and zips as they come: what is put together, and what is refused in one clear line."""

from __future__ import annotations

import logging
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom import files as dicom_files
from napari_latentseg.io.dicom import reader

Spoil = Callable[[SimpleNamespace, Path], object]


def volume(made: SimpleNamespace, folder: Path, count: int = 4, **changes: object) -> Path:
    return made.series(folder, made.ramp(count, 5, 6), made.positions(count), **changes)


# --- what is refused ------------------------------------------------------------------------------


def no_files(made, folder):
    (folder / "notes.txt").write_text("hello")


def a_report(made, folder):
    kind = "1.2.840.10008.5.1.4.1.1.88.11"
    ds = made.dataset(made.ramp(2, 2), Modality="SR", SOPClassUID=kind, Rows=None, Columns=None)
    del ds.PixelData
    made.save(ds, folder / "a.dcm")


def two_series(made, folder):
    volume(made, folder / "a")
    volume(made, folder / "b", SeriesInstanceUID="1.2.9", SeriesNumber=7)


def two_directions(made, folder):
    volume(made, folder / "a")
    volume(made, folder / "b", ImageOrientationPatient=[0, 1, 0, 0, 0, 1])


def missing(made, folder):
    volume(made, folder, 6)
    (folder / "002.dcm").unlink()


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


def no_slope(made, folder):
    volume(made, folder, RescaleSlope=0, RescaleIntercept=0)


def a_segmentation(made, folder):
    made.save(made.dataset(made.ramp(5, 6), Modality="SEG"), folder / "a.dcm")


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
    "a missing slice": (missing, "lacks 1 of 6 slices, the first after slice 2"),
    "unequal steps": (unequal, r"its 4 slices are not equally spaced \(1.6 to 2.4 mm\)"),
    "a slice out of line": (bent, "do not lie in one line"),
    "two slices at one place": (different_at_one_place, "different images at the same positions"),
    "crooked directions": (crooked, r"^000\.dcm: .*not at right angles"),
    "a spacing of 0": (no_spacing, "invalid spacing"),
    "cut short": (truncated, r"^003\.dcm: is cut short"),
    "cut short, compressed": (truncated_compressed, r"^a\.dcm: is cut short"),
    "no pixels": (no_pixels, "ends before its pixels"),
    "an empty file": (empty_file, r"^001\.dcm: is empty"),
    "not the syntax it says": (wrong_syntax, r"^a\.dcm: is not DICOM whose pixels can be read"),
    "a film in MPEG": (film, r"^a\.dcm: has a transfer syntax that is not supported \(MPEG2"),
    "a broken header": (broken_header, r"^001\.dcm: is not a DICOM file"),
    "cut short in its header": (header_cut_short, r"^003\.dcm: ends before its pixels"),
    "a name where a number should be": (bad_number, r"^a\.dcm: is not a DICOM file, or is damaged"),
    "a slope of 0": (no_slope, "invalid rescale slope"),
    "a segmentation": (a_segmentation, "is a segmentation"),
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


# --- zips and folders -----------------------------------------------------------------------------


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_read_like_its_folder(made, tmp_path):
    folder = volume(made, tmp_path / "a")
    files = {f"deep/er/{f.name}": f.read_bytes() for f in folder.iterdir()}
    path = packed(tmp_path / "a.zip", files | {"deep/notes.txt": b"hello", "DICOMDIR": b"x"})
    scan = read_scan(path)
    assert np.array_equal(np.asarray(scan.array), made.ramp(4, 5, 6))
    assert scan.notes == ("1 files that are not DICOM were skipped",)
    assert scan.geometry == reader.read(folder).geometry


@pytest.mark.parametrize("name", ["../up.dcm", "a/../../up.dcm", "/etc/up.dcm", "..\\up.dcm", "C:/up.dcm"])
def test_a_zip_cannot_lead_out(tmp_path, name):
    with pytest.raises(BadInput, match="lead out of the zip"):
        read_scan(packed(tmp_path / "a.zip", {name: b"x"}))


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.zip", {"a.dcm": b"\0" * (80 * 2**20)})
    with pytest.raises(BadInput, match="more than is safe"):
        read_scan(path)
    monkeypatch.setattr(dicom_files, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(BadInput, match="more than is safe"):
        read_scan(packed(tmp_path / "b.zip", {f"{i}.dcm": os.urandom(400) for i in range(3)}))


def test_a_zip_that_declares_less_than_it_holds(made, tmp_path):
    content = volume(made, tmp_path / "a", 1).joinpath("000.dcm").read_bytes()
    path = packed(tmp_path / "a.zip", {"a.dcm": content})
    data = bytearray(path.read_bytes())
    true = len(content).to_bytes(4, "little")
    for at in (data.find(true), data.rfind(true)):
        data[at : at + 4] = (len(content) - 20).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"damaged|cut short"):
        read_scan(path)


def test_damaged_zips(made, tmp_path):
    folder = volume(made, tmp_path / "a")
    path = packed(tmp_path / "a.zip", {f.name: f.read_bytes() for f in folder.iterdir()})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput):
        read_scan(path)
    path.write_bytes(whole[:300] + bytes(50) + whole[350:])
    with pytest.raises(BadInput):
        np.asarray(read_scan(path).array)


def test_too_many_files(made, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_files, "MAX_FILES", 3)
    with pytest.raises(BadInput, match="more than 3 files"):
        reader.read(volume(made, tmp_path))


def test_links_in_a_circle_are_not_followed(made, tmp_path):
    folder = volume(made, tmp_path / "a")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    scan = reader.read(folder)
    assert scan.array.shape == (4, 5, 6)
    assert scan.notes == ("1 linked folders were not entered",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(made, tmp_path):
    os.mkfifo(volume(made, tmp_path) / "pipe")
    assert reader.read(tmp_path).array.shape == (4, 5, 6)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
@pytest.mark.parametrize("name", ["001.dcm", "deep"])
def test_what_may_not_be_read(made, tmp_path, name):
    volume(made, tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / name).chmod(0)
    with pytest.raises(BadInput, match=f"^{name}: may not be"):
        reader.read(tmp_path)
    (tmp_path / name).chmod(0o700)


def test_stray_files_are_passed_over_with_a_note(made, tmp_path):
    volume(made, tmp_path / "deep" / "er")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    a_report(made, tmp_path / "report")
    scan = read_scan(tmp_path)
    assert np.array_equal(np.asarray(scan.array), made.ramp(4, 5, 6))
    assert scan.notes == (
        "2 files that are not DICOM were skipped",
        "1 files that are not images were skipped",
    )


def test_files_without_an_ending(made, tmp_path):
    path = made.save(made.dataset(made.ramp(5, 6)), tmp_path / "IM000001")
    assert read_scan(path).array.shape == (1, 5, 6)
    assert read_scan(path.rename(tmp_path / "1.2.840.17")).array.shape == (1, 5, 6)


# --- several series -------------------------------------------------------------------------------


def test_a_series_is_chosen_by_its_number_or_its_hash(made, tmp_path):
    two_series(made, tmp_path)
    infos = reader.list_series(tmp_path)
    assert [(i.number, i.modality, i.axes, i.shape, i.count) for i in infos] == [
        (1, "MR", "zyx", (4, 5, 6), 4), (2, "MR", "zyx", (4, 5, 6), 4),
    ]  # fmt: skip
    assert [i.problem for i in infos] == ["", ""]
    assert infos[0].spacing == pytest.approx((2, 1, 1))
    for info in infos:
        for series in (info.number, info.uid):
            found = reader.read(tmp_path, series)
            assert found.properties["dicom_series"] == info.uid
    assert read_scan(tmp_path, series=2).properties["dicom_series"] == infos[1].uid
    with pytest.raises(BadInput, match="no series '3'"):
        reader.read(tmp_path, 3)


def test_a_series_with_a_problem_does_not_hide_the_others(made, tmp_path):
    missing(made, tmp_path)
    volume(made, tmp_path / "b", SeriesInstanceUID="1.2.9", SeriesNumber=7)
    infos = reader.list_series(tmp_path)
    assert "lacks 1 of 6" in infos[0].problem
    assert reader.read(tmp_path, 2).array.shape == (4, 5, 6)
    with pytest.raises(BadInput, match="lacks 1 of 6"):
        reader.read(tmp_path, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"FrameOfReferenceUID": "1.2.77"},
        {"PixelSpacing": [1, 1.1]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},
    ],
)
def test_what_does_not_fit_is_not_stacked(made, tmp_path, changes):
    volume(made, tmp_path / "a")
    made.series(tmp_path / "b", made.ramp(2, 5, 6), made.positions(2, first=(0, 0, 8)), **changes)
    assert [i.count for i in reader.list_series(tmp_path)] == [4, 2]


# --- several frames at one position ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "step"),
    [
        ([{"TemporalPositionIdentifier": k + 1, "TemporalResolution": 500} for k in range(3)], (0.5, "s")),
        ([{"TemporalPositionIdentifier": k + 1} for k in range(3)], (1, "pixel")),
        ([{"TriggerTime": 40.0 * k} for k in range(3)], (0.04, "s")),
        ([{"DiffusionBValue": 500.0 * k} for k in range(3)], (1, "pixel")),
        ([{"AcquisitionNumber": k + 1} for k in range(3)], (1, "pixel")),
        ([{"AcquisitionTime": f"10000{k}"} for k in range(3)], (1, "pixel")),
    ],
)
def test_time_and_diffusion_make_a_first_axis(made, tmp_path, marks, step):
    whole = made.ramp(3, 4, 5, 6)
    for t in (2, 0, 1):
        made.series(tmp_path / str(t), whole[t], made.positions(4), [2, 3, 0, 1], **marks[t])
    scan = reader.read(tmp_path)
    assert scan.axes == "tzyx"
    assert np.array_equal(np.asarray(scan.array), whole)
    assert (scan.geometry.spacing[0], scan.geometry.units[0]) == (pytest.approx(step[0]), step[1])
    assert scan.geometry.spacing[1:] == pytest.approx((2, 1, 1))
    assert "3 steps of" in scan.notes[0]


def test_trigger_times_may_differ_from_slice_to_slice(made, tmp_path):
    whole = made.ramp(3, 2, 5, 6)
    for t in range(3):
        for z, where in enumerate(made.positions(2)):
            ds = made.dataset(whole[t, z], ImagePositionPatient=where, TriggerTime=30.0 * t + z)
            made.save(ds, tmp_path / f"{t}{z}.dcm")
    assert np.array_equal(np.asarray(reader.read(tmp_path).array), whole)


@pytest.mark.parametrize(
    "marks",
    [
        [{"ImageType": ["ORIGINAL", "PRIMARY", kind]} for kind in "MP"],
        [{"EchoTime": 3.0}, {"EchoTime": 6.0}],
    ],
)
def test_phase_and_echo_are_series_of_their_own(made, tmp_path, marks):
    whole = made.ramp(2, 4, 5, 6)
    for k in range(2):
        made.series(tmp_path / str(k), whole[k], made.positions(4), **marks[k])
    assert len(reader.list_series(tmp_path)) == 2
    for k in range(2):
        assert np.array_equal(np.asarray(reader.read(tmp_path, k + 1).array), whole[k])


def test_a_time_that_lacks_a_slice_is_refused(made, tmp_path):
    for t in range(3):
        volume(made, tmp_path / str(t), TemporalPositionIdentifier=t + 1)
    (tmp_path / "1" / "002.dcm").unlink()
    with pytest.raises(BadInput, match="different images"):
        reader.read(tmp_path)


def test_repeated_slices_are_left_out_with_a_note(made, tmp_path):
    folder = volume(made, tmp_path)
    (folder / "copy.dcm").write_bytes((folder / "002.dcm").read_bytes())
    scan = reader.read(folder)
    assert np.array_equal(np.asarray(scan.array), made.ramp(4, 5, 6))
    assert scan.notes == ("1 duplicate slices were left out",)


# --- privacy --------------------------------------------------------------------------------------


def test_nothing_that_names_somebody_goes_along(made, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    two_series(made, tmp_path)
    with warnings.catch_warnings(record=True) as said:
        scan = reader.read(tmp_path, 1)
        np.asarray(scan.array)
    told = repr((scan.properties, scan.notes, scan.geometry, scan.modality)) + caplog.text
    told += "".join(str(w.message) for w in said)
    for secret in (*made.secrets, "1.2.3"):
        assert secret not in told
    assert [i.description for i in reader.list_series(tmp_path)] == ["knee of Doe^Jane"] * 2
    for info in reader.list_series(tmp_path):
        assert "Doe" not in info.describe()
