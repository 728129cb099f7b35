"""Addresses of an archive in `info`, `convert`, `segment` and `batch`; `archive find` and `archive store`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from tests.helpers.dicom import NAME, SECRET, positions, series
from tests.helpers.dicomweb_server import StubArchive, running

from napari_latentseg.core.record import RunRecord
from napari_latentseg.io import read_scan

MR, CT = "1.2.826.0.1.17", "1.2.826.0.1.18"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = np.random.default_rng(3)
    mr = values.integers(0, 4000, (4, 24, 20), dtype=np.uint16)
    ct = values.integers(-900, 900, (3, 24, 20), dtype=np.int16)
    folder = tmp_path / "images"
    named = {"FrameOfReferenceUID": "1.2.826.0.1.4"}
    series(folder / "mr", mr, positions(4), SeriesInstanceUID=MR, **named)
    series(
        folder / "ct", ct, positions(3), SeriesInstanceUID=CT, Modality="CT", StudyDate="20210303", **named
    )
    return folder


@pytest.fixture
def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubArchive]:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with running(StubArchive().add_folder(folder)) as stub:
        yield stub


def test_find_lists_the_series(cli, archive: StubArchive) -> None:
    ended = cli("archive", "find", archive.address, "--date", "2020-01-01..2021-12-31")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == ["NUMBER", "1", "2"]
    (only,) = json.loads(cli("archive", "find", archive.address, "--modality", "ct", "--json").out)["series"]
    assert (only["modality"], only["images"], only["date"]) == ("CT", 3, "2021-03-03")
    assert (
        cli("archive", "find", archive.address, "--modality", "CT", "--addresses").out.strip()
        == only["address"]
    )
    assert cli("archive", "find", archive.address, "--patient", "nobody").out.strip() == "no series matches"


def test_info_lists_what_matches_and_describes_the_chosen_one(cli, archive: StubArchive) -> None:
    listed = cli("info", archive.address)
    assert listed.code == 0
    assert listed.out.splitlines()[-1] == "choose one with --series N"
    assert not any(method == "GET" and "/series/" in path for method, path, _ in archive.requests)
    chosen = json.loads(cli("info", archive.address, "--series", 2, "--json").out)
    assert (chosen["modality"], chosen["shape"]) == ("CT", [3, 24, 20])


def test_convert_writes_what_the_folder_gives(
    cli, archive: StubArchive, folder: Path, tmp_path: Path
) -> None:
    assert cli("convert", f"{archive.address}?modality=MR", tmp_path / "a.nii.gz").code == 0
    assert cli("convert", folder / "mr", tmp_path / "b.nii.gz").code == 0
    first, second = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(first.affine, second.affine)
    np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))


def test_a_segmented_series_is_stored_back(
    cli, archive: StubArchive, folder: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "out"
    ended = cli("segment", f"{archive.address}?modality=CT", "-m", tiny_model_folder, "-n", 3, "-o", out,
                "--format", "dicom-seg")  # fmt: skip
    assert ended.code == 0, ended
    for name in (CT, NAME, SECRET):
        assert name not in ended.out + "".join(ended.errors)
    (record,) = out.glob("*_run.json")
    assert (
        RunRecord.model_validate_json(record.read_text()).input.sha256
        == read_scan(folder / "ct").content_sha256
    )
    written = sorted(out.glob("*.dcm"))
    stored = cli("archive", "store", *written, "--to", archive.address)
    assert stored.out.strip() == f"stored {len(written)} files"
    mask = next(ds for ds in archive.instances if ds.Modality == "SEG" and ds.SegmentationType == "BINARY")
    assert mask.PatientID == SECRET
    assert mask == pydicom.dcmread(next(path for path in written if path.name.endswith("_mask.dcm")))


def test_batch_takes_each_series_that_matches(
    cli, archive: StubArchive, tmp_path: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "out"
    planned = cli("batch", archive.address, "-m", tiny_model_folder, "-o", out, "--dry-run")
    assert planned.code == 0
    assert "1.2.826" not in planned.out
    assert len(planned.out.splitlines()) == 2
    ended = cli("batch", archive.address, "-m", tiny_model_folder, "-n", 3, "-o", out, "--deidentify")
    assert ended.code == 0, ended
    assert "1.2.826" not in (out / "cases.tsv").read_text()
    assert len(list(out.rglob("*_run.json"))) == 2
    again = cli(
        "batch", archive.address, "-m", tiny_model_folder, "-n", 3, "-o", out, "--deidentify", "--resume"
    )
    assert again.code == 0
    assert again.out.count("skipped") == 2


def test_a_list_names_series_of_an_archive(
    cli, archive: StubArchive, tmp_path: Path, tiny_model_folder: Path
) -> None:
    table, out = tmp_path / "list.csv", tmp_path / "out"
    table.write_text(
        f"case,path\nknee,{archive.series_address(MR)}\nwrong,dicomweb://jane:secret@pacs/x\n"
        f"gone,{archive.series_address(MR)}0\n"
    )
    ended = cli("batch", "--list", table, "-m", tiny_model_folder, "-n", 3, "-o", out)
    assert ended.code == 3
    assert (out / "knee" / "knee_run.json").is_file()
    assert f"\t{archive.series_address(MR)}\t" in (out / "cases.tsv").read_text()
    assert any("wrong" in line and "user or password" in line for line in ended.errors)
    assert any("no such series" in line for line in ended.errors)
    assert "secret" not in "".join(ended.errors) + (out / "cases.tsv").read_text()


@pytest.mark.parametrize("command", ["info", "convert", "segment", "batch"])
def test_a_server_that_refuses_is_one_line(
    refused, archive: StubArchive, tmp_path: Path, tiny_model_folder: Path, command: str
) -> None:
    archive.fault = "403"
    rest = {
        "info": (),
        "convert": (tmp_path / "a.nii.gz",),
        "segment": ("-m", tiny_model_folder, "-o", tmp_path / "out"),
        "batch": ("-m", tiny_model_folder, "-o", tmp_path / "out"),
    }[command]
    line = refused(command, f"{archive.address}?patient={SECRET}", *rest)
    assert "archive 127.0.0.1: does not permit this (HTTP 403)" in line
    assert SECRET not in line


def test_an_address_in_place_of_a_file_to_store_does_not_name_the_patient(refused):
    line = refused("archive", "store", f"dicomweb://host/studies?patient={SECRET}", "--to", "dicomweb://host")
    assert "studies: is not a file" in line
    assert SECRET not in line
