"""A report or a table that is written from a result replaces nothing of another image, or of a result."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.helpers.patients import Patient, command, make_patients, write_from_python

from napari_latentseg.errors import BadInput
from napari_latentseg.io.file_hashes import path_sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of two patients, the first with a report and a table."""
    patients: dict[str, Patient] = make_patients(tmp_path)
    out = tmp_path / "out"
    write_from_python(patients["a"], patients["a"].result(1), out, "A", extras=True)
    write_from_python(patients["b"], patients["b"].result(2), out, "B")
    return out


FILES = {"sizes.csv": ("measure", "--csv"), "r.html": ("report", "--out")}


@pytest.mark.parametrize("name", FILES)
def test_that_of_another_image_stays_unless_it_is_to_be_overwritten(folder: Path, name: str) -> None:
    what, option = FILES[name]
    for _ in range(2):  # its own it may replace
        command(what, folder / "A_run.json", option, folder / name)
    before = path_sha256(folder / name)
    with pytest.raises(BadInput, match=f"{name}: already exists, and is not a .* of this image.*--overwrite"):
        command(what, folder / "B_run.json", option, folder / name)
    assert path_sha256(folder / name) == before
    command(what, folder / "B_run.json", option, folder / name, "--overwrite")
    assert path_sha256(folder / name) != before


@pytest.mark.parametrize(("name", "file"), [("measure", "A_measurements.csv"), ("report", "A_report.html")])
@pytest.mark.parametrize("stem", "AB")
def test_a_file_that_a_record_names_stays_as_the_record_says(
    folder: Path, name: str, file: str, stem: str
) -> None:
    before = path_sha256(folder / file)
    option = "--csv" if name == "measure" else "--out"
    with pytest.raises(BadInput, match=f"{file}: is a file of the result A_run.json"):
        command(name, folder / f"{stem}_run.json", option, folder / file, "--overwrite")
    assert path_sha256(folder / file) == before


def test_measure_adds_to_a_table_of_cases_with_the_objects_or_without(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"

    def rows() -> list[tuple[str, str]]:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return [(row["case"], row["object"]) for row in csv.DictReader(file)]

    command("measure", folder / "A_run.json", "--append-to", table)
    wholes, objects = [row for row in rows() if not row[1]], [row for row in rows() if row[1]]
    assert {case for case, _ in rows()} == {"A"}
    assert wholes
    assert objects
    command("measure", folder / "A_run.json", "--append-to", table, "--no-objects")
    assert rows() == wholes
    command("measure", folder / "B_run.json", "--append-to", table)
    assert {case for case, _ in rows()} == {"A", "B"}
    (tmp_path / "other").mkdir()
    (folder / "B_run.json").rename(tmp_path / "other" / "A_run.json")
    for path in folder.glob("B_*"):
        path.rename(tmp_path / "other" / path.name.replace("B_", "A_"))
    before = table.read_bytes()
    with pytest.raises(BadInput, match="has the case 'A' with another image"):
        command("measure", tmp_path / "other" / "A_run.json", "--append-to", table)
    assert table.read_bytes() == before
    with pytest.raises(BadInput, match="is a table of cases"):
        command("measure", folder / "A_run.json", "--csv", table, "--overwrite")


def test_the_table_says_which_image_it_is_of(folder: Path, tmp_path: Path) -> None:
    command("measure", folder / "A_run.json", "--csv", tmp_path / "sizes.csv")
    with (tmp_path / "sizes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    image = make_patients(tmp_path)["a"].sha256
    assert {row["image"] for row in rows} == {f"sha256:{image[:16]}"}
