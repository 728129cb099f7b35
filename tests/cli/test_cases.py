"""`cases`: the list of a folder or batch, and what changed between two readings."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg import CaseList, Geometry, Scan, batch, read_scan
from napari_latentseg.io.file_hashes import path_sha256


@pytest.fixture
def results(tmp_path: Path, write_ellipses: Callable[..., Path], tiny_model_folder: Path) -> Path:
    batch(write_ellipses(tmp_path / "set", 3) / "images", tiny_model_folder, tmp_path / "out", samples=3)
    return tmp_path / "out"


def test_the_list_of_a_batch(cli: Callable, refused: Callable, results: Path, tmp_path: Path) -> None:
    with CaseList(results) as cases:
        cases.decide("case_1", "Anna", "reject", seconds=90, rating=1, comment="=1+1")
    lines = cli("cases", results).out.splitlines()
    assert lines[0].split() == ["case", "state", "reader", "fit", "doubt", "size", "minutes", "rating"]
    assert lines[-1].split()[:3] == ["case_1", "rejected", "Anna"]
    assert "1.5" in lines[-1]
    (row,) = json.loads(cli("cases", results, "--state", "rejected", "--json").out)
    assert (row["case"], row["readers"], row["seconds"], row["rating"]) == ("case_1", "Anna", 90, 1)
    table = tmp_path / "list.csv"
    assert cli("cases", results, "--csv", table).out == f"{table}: 3 cases\n"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["segmented", "segmented", "rejected"]
    assert rows[-1]["comment"] == "'=1+1"
    assert float(rows[0]["target_low"]) <= float(rows[0]["target_size"]) <= float(rows[0]["target_high"])
    assert "already exists" in refused("cases", results, "--csv", table)
    assert cli("cases", results, "--csv", table, "--overwrite").code == 0


def test_what_changed_between_two_readings(cli: Callable, refused: Callable, results: Path) -> None:
    assert "has 0 of the 2 readings" in refused("cases", results, "--case", "case_0")
    geometry = Geometry.from_spacing("yx", (1, 1), "mm")
    with CaseList(results) as cases:
        for reader, width in (("Anna", 10), ("Ben", 9)):
            labels = np.zeros((48, 64), np.uint8)
            labels[5:15, 5 : 5 + width] = 1
            cases.decide("case_0", reader, "approve", mask=Scan(labels, "yx", geometry))
    out = cli("cases", results, "--case", "case_0").out
    assert "Anna" in out
    assert "Ben" in out
    assert "0.947" in out
    figures = json.loads(cli("cases", results, "--case", "case_0", "--json").out)
    assert figures


def test_results_without_their_images_are_told_apart_from_an_empty_folder(
    cli: Callable,
    refused: Callable,
    write_ellipses: Callable[..., Path],
    tiny_model_folder: Path,
    tmp_path: Path,
) -> None:
    images, out = write_ellipses(tmp_path / "set", 1) / "images", tmp_path / "out"
    assert cli("segment", images / "case_0.png", "-m", tiny_model_folder, "-n", 3, "-o", out).code == 0
    message = refused("cases", out)
    assert f"{out}: holds results, and none of their images; give the folder of the images" in message
    assert "(--results)" in message
    (row,) = json.loads(cli("cases", images, "--results", out, "--json").out)
    assert (row["case"], row["state"]) == ("case_0", "segmented")
    batched = refused("batch", out, "-m", tiny_model_folder, "-o", tmp_path / "other")
    assert f"{out}: holds results of earlier runs, and no image; give the folder of images" in batched
    (tmp_path / "empty").mkdir()
    assert "holds no image" in refused("cases", tmp_path / "empty")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nowhere",), "no such file or folder"),
        ((".", "--state", "aproved"), "did you mean 'approved'?"),
    ],
)
def test_what_is_refused(
    refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in refused("cases", *arguments)


def read_twice(results: Path, name: str, shift: int = 1) -> None:
    geometry = Geometry.from_spacing("yx", (1, 1), "mm")
    with CaseList(results) as cases:
        for reader, width in (("Anna", 10), ("Ben", 10 - shift)):
            labels = np.zeros((48, 64), np.uint8)
            labels[5:15, 5 : 5 + width] = 1
            cases.decide(name, reader, "approve", mask=Scan(labels, "yx", geometry))


def test_the_consensus_of_the_cases_that_were_read_twice(
    cli: Callable, refused: Callable, results: Path, tmp_path: Path
) -> None:
    out = tmp_path / "agreed"
    asked = ("cases", results, "--consensus", "majority", "--out", out)
    assert "has no case that two readers have approved" in refused(*asked)
    assert not out.exists()
    for name in ("case_0", "case_2"):
        read_twice(results, name)
    with CaseList(results) as cases:
        cases.decide("case_1", "Anna", "approve", mask=read_scan(cases.reading_paths("case_0")["Ben"]))
    assert cli(*asked).out == "".join(f"{out / name}_consensus.nii.gz\n" for name in ("case_0", "case_2"))
    mask = read_scan(out / "case_0_consensus.nii.gz")
    assert mask.geometry.spacing == (1, 1)
    assert np.count_nonzero(mask.array) == 90  # what both have marked
    text = (out / "case_0_consensus.json").read_text("utf-8")
    record = json.loads(text)
    assert record["method"] == "majority"
    assert record["classes"] == [{"name": "target", "label": 1}]  # as the record of the batch names it
    assert [reading["reader"] for reading in record["readings"]] == ["reader 1", "reader 2"]
    assert record["mask_sha256"] == path_sha256(out / "case_0_consensus.nii.gz")
    assert not {"Anna", "Ben", "case_0", str(tmp_path)} & set(text.replace('"', " ").split())
    again = cli(*asked)
    assert again.code == 1
    assert "case_0: case_0_consensus.nii.gz already exists" in again.out
    named = cli(*asked, "--overwrite", "--name-readers", "--case", "case_2", "--json")
    assert [row["case"] for row in json.loads(named.out)] == ["case_2"]
    record = json.loads((out / "case_2_consensus.json").read_text("utf-8"))
    assert [reading["reader"] for reading in record["readings"]] == ["Anna", "Ben"]


def test_one_case_that_has_no_consensus_does_not_stop_the_others(
    cli: Callable, results: Path, tmp_path: Path
) -> None:
    for name in ("case_0", "case_1"):
        read_twice(results, name)
    with CaseList(results) as cases:
        cases.reading_paths("case_0")["Ben"].unlink()
    out = tmp_path / "agreed"
    ended = cli("cases", results, "--consensus", "majority", "-o", out, "--format", "nrrd")
    assert ended.code == 1
    assert "case_0: the mask of Ben is gone" in ended.out
    assert sorted(path.name for path in out.iterdir()) == ["case_1_consensus.json", "case_1_consensus.nrrd"]


def test_a_consensus_weighted_by_staple_says_how_reliable_each_reader_is(
    cli: Callable, results: Path, tmp_path: Path
) -> None:
    pytest.importorskip("SimpleITK")
    read_twice(results, "case_0", shift=3)
    cli("cases", results, "--consensus", "staple", "--out", tmp_path / "agreed")
    record = json.loads((tmp_path / "agreed" / "case_0_consensus.json").read_text("utf-8"))
    assert [row["reader"] for row in record["performance"]] == ["reader 1", "reader 2"]
    assert all(0 < row["sensitivity"] <= 1 for row in record["performance"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--consensus", "vote", "--out", "x"), "'vote' is not known"),
        (("--consensus", "majority"), "give --out FOLDER"),
        (("--consensus", "majority", "--out", "out/masks"), "lies in the folder of the list"),
        (("--consensus", "majority", "--out", "x", "--format", "gif"), "'gif' is not known"),
        (("--consensus", "majority", "--out", "x", "--case", "case_9"), "there is none named 'case_9'"),
        (("--name-readers",), "give --consensus, too"),
    ],
)
def test_a_consensus_that_is_refused(
    refused: Callable, results: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(results.parent)
    read_twice(results, "case_0")
    assert why in refused("cases", "out", *arguments)
    assert not (results.parent / "x").exists()
