"""Folders and zips of DICOM files as they come, and patients' names in them."""

from __future__ import annotations

import logging
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.dicom_folders import a_report, two_series, volume

from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom import files as dicom_files
from napari_latentseg.io.dicom import reader

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
    assert scan.notes == ("skipped 1 file: no DICOM",)
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
    version = whole.index(b"PK\x01\x02") + 6  # that is needed to unpack a member, in the directory of the zip
    path.write_bytes(whole[:version] + b"\x66" + whole[version + 1 :])
    with pytest.raises(BadInput, match=r"^a.zip: is a damaged zip"):
        read_scan(path)


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
    with pytest.raises(BadInput, match=f"^{name}: cannot be read"):
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
        "skipped 2 files: no DICOM",
        "skipped 1 file: no image",
    )


def test_files_without_an_ending(made, tmp_path):
    path = made.save(made.dataset(made.ramp(5, 6)), tmp_path / "IM000001")
    assert read_scan(path).array.shape == (1, 5, 6)
    assert read_scan(path.rename(tmp_path / "1.2.840.17")).array.shape == (1, 5, 6)


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
