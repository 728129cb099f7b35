"""`cases`: the list of a folder or batch, and what changed between two readings."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg import CaseList, Geometry, Scan, batch


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
    assert "is there already" in refused("cases", results, "--csv", table)
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
