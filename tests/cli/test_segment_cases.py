"""`segment` with case codes, into folders and tables where something is already."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import napari_latentseg.api.inference as inference
from napari_latentseg.io.file_hashes import path_sha256


@pytest.fixture
def patients(tmp_path: Path) -> tuple[Path, Path]:
    """Two patients' images of the same name, each in a folder of its own."""
    paths = []
    for number in (1, 2):
        folder = tmp_path / f"patient-{number}"
        folder.mkdir()
        values = np.random.default_rng(number).integers(0, 256, (37, 53), dtype=np.uint8)
        Image.fromarray(values).save(folder / "T1.png")
        paths.append(folder / "T1.png")
    return paths[0], paths[1]


def forbid_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(inference, "load_chosen_model", loaded)


@pytest.fixture
def no_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_loading(monkeypatch)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path_sha256(path) for path in folder.iterdir()}


@pytest.fixture
def first(
    cli: Callable[..., Any], patients: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> tuple[Any, ...]:
    """The options of a run whose result is of the first patient, with one there already."""
    options = (
        "--model",
        tiny_model_folder,
        "-n",
        3,
        "--out",
        tmp_path / "out",
        "--append-to",
        tmp_path / "all.csv",
    )
    ended = cli(
        "segment", patients[0], *options, "--table", "--contours", "--report", tmp_path / "out/T1_report.html"
    )
    assert (ended.code, ended.errors) == (0, [])
    return options


def test_another_patient_is_refused_before_the_model_is_loaded(
    first, patients, refused, tmp_path: Path
) -> None:
    before, table = contents(tmp_path / "out"), (tmp_path / "all.csv").read_bytes()
    for options in ((), ("--format", "png"), ("--format", "nrrd", "--spacing", 0.5)):
        said = refused("segment", patients[1], *first, *options)
        assert "T1" in said
        assert "another image" in said
        assert "--overwrite" in said
    assert contents(tmp_path / "out") == before
    assert (tmp_path / "all.csv").read_bytes() == table


def test_a_code_of_its_own_keeps_them_apart(first, patients, cli, tmp_path: Path) -> None:
    before = contents(tmp_path / "out")
    ended = cli(
        "segment", patients[1], *first, "--case", "case-2", "--report", tmp_path / "out/case-2_report.html",
        "--append-objects",
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        f"case-2_{part}" for part in ("mask.tif", "mean.tif", "variance.tif", "report.html", "run.json")
    }
    record = json.loads((tmp_path / "out" / "case-2_run.json").read_text())
    assert (record["case"], sorted(record["files"])) == (
        "case-2", ["mask.tif", "mean.tif", "report.html", "variance.tif"],
    )  # fmt: skip
    assert "<dd>case-2</dd>" in (tmp_path / "out" / "case-2_report.html").read_text()
    with (tmp_path / "all.csv").open(encoding="utf-8-sig") as file:
        rows = [(row["case"], row["object"]) for row in csv.DictReader(file)]
    assert rows[:3] == [("T1", ""), ("case-2", ""), ("case-2", "1")]


def test_overwrite_replaces_all_of_the_other(first, patients, cli, tmp_path: Path) -> None:
    other = contents(tmp_path / "out")
    assert cli("segment", patients[1], *first, "--overwrite", "--format", "png").code == 0
    after = contents(tmp_path / "out")
    assert sorted(after) == ["T1_mask.png", "T1_mean.png", "T1_run.json", "T1_variance.png"]
    assert not set(after.values()) & set(other.values())
    assert cli("measure", tmp_path / "out").code == 0
    with (tmp_path / "all.csv").open(encoding="utf-8-sig") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_the_same_image_again_is_a_new_run(first, patients, cli, tmp_path: Path) -> None:
    assert cli("segment", patients[0], *first, "--seed", 3, "--format", "png").code == 0
    assert sorted(contents(tmp_path / "out")) == [
        "T1_mask.png",
        "T1_mean.png",
        "T1_run.json",
        "T1_variance.png",
    ]


@pytest.mark.usefixtures("no_model_is_loaded")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "nifti"), "format: .nii.gz: has no physical size"),
        (("--format", "metaimage"), "format: .mha: has no physical size"),
        (("--format", "dicom-seg"), "dicom-seg: refers to a DICOM series"),
        (("--spacing", 0.5, "--format", "png"), "format: .png: a PNG cannot hold a spacing"),
        (("--case", "con"), "case: 'con' is a name that Windows reserves"),
        (("--case", "a/b"), "case: 'a/b' holds '/'"),
        (("--case", "end."), "case: 'end.' begins or ends with"),
        (("--case", "x" * 65), "case: has 65 characters"),
        (("--append-to", "all.xlsx"), "all.xlsx: is not a file name for a table"),
    ],
)
def test_what_is_impossible_is_refused_before_the_model_is_loaded(
    patients, refused, tiny_model_folder: Path, tmp_path: Path, options: tuple[Any, ...], said: str
) -> None:
    given = ("segment", patients[0], "--model", tiny_model_folder, "--out", tmp_path / "out", *options)
    assert refused(*given).startswith(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_model_is_loaded")
def test_a_name_that_is_too_long(patients, refused, tiny_model_folder: Path, tmp_path: Path) -> None:
    long = tmp_path / f"{'x' * 245}.png"
    shutil.copy(patients[0], long)
    said = refused("segment", long, "--model", tiny_model_folder, "--out", tmp_path / "out")
    assert said == (
        "name: is too long for the files of a result; give a short case code (--case), or rename the image"
    )


def test_a_report_of_another_image_is_not_replaced(
    patients, cli, refused, tiny_model_folder, tmp_path
) -> None:
    options = ("--model", tiny_model_folder, "-n", 3, "--report", tmp_path / "r.html")
    for number in (1, 2):  # the report of the same image is replaced
        assert cli("segment", patients[0], *options, "--out", tmp_path / "a", "--seed", number).code == 0
    before = (tmp_path / "r.html").read_bytes()
    said = refused("segment", patients[1], *options, "--out", tmp_path / "b")
    assert "r.html: already exists, and is not a report of this image" in said
    assert (tmp_path / "r.html").read_bytes() == before
    assert not (tmp_path / "b").exists()


def test_a_changed_mask_is_measured_only_as_an_edited_one(first, cli, refused, tmp_path: Path) -> None:
    import tifffile

    mask = tmp_path / "out" / "T1_mask.tif"
    values = tifffile.imread(mask)
    tifffile.imwrite(mask, np.ones_like(values))
    for command in ("measure", "rank"):
        assert (
            "T1_mask.tif: was changed after the run that wrote it; if you edited it, add --edited"
            in refused(command, tmp_path / "out")
        )
    assert "add --edited" in refused("report", tmp_path / "out", "--out", tmp_path / "r.html")
    assert "add --edited" in refused("compare", mask, mask)
    measured = json.loads(cli("measure", tmp_path / "out", "--edited", "--json").out)
    assert measured[0]["value"] == values.size
    assert cli("rank", tmp_path / "out", "--edited").code == 0
    assert cli("compare", mask, mask, "--edited").code == 0
    assert cli("report", tmp_path / "out", "--edited", "--out", tmp_path / "r.html").code == 0
    assert "corrected by a person" in (tmp_path / "r.html").read_text()


def test_measure_does_not_replace_a_table_of_cases(first, refused, cli, tmp_path: Path) -> None:
    table = (tmp_path / "all.csv").read_bytes()
    assert "is a table of cases" in refused("measure", tmp_path / "out", "--csv", tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_bytes() == table
    for _ in range(2):  # its own table it may
        assert cli("measure", tmp_path / "out", "--csv", tmp_path / "sizes.csv").code == 0


def test_an_empty_code_does_not_give_way_to_the_name_of_the_file(
    refused, patients, tiny_model_folder: Path, tmp_path: Path, no_model_is_loaded
) -> None:
    out = tmp_path / "new"
    for code in ("", "  "):
        given = ("segment", patients[0], "--model", tiny_model_folder, "--out", out, "--case", code)
        assert refused(*given).startswith("case: is empty")
    assert not out.exists()
