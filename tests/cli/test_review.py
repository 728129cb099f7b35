"""`measure`, `rank`, `compare` and `report` on results that were written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_latentseg.review import MEASURES

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "Mustermann.nii.gz"
    values = RNG.integers(0, 900, (24, 20, 4)).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.diag([-0.7, -0.8, 2.5, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.fixture(scope="module")
def result(volume: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from napari_latentseg import api
    from napari_latentseg.io.write_results import write_segmentation

    out = tmp_path_factory.mktemp("result")
    write_segmentation(api.segment(volume, tiny_model_folder, samples=4), out, "knee")
    return out


def test_measure(cli, result: Path, volume: Path, tmp_path: Path) -> None:
    table = tmp_path / "new" / "a.csv"
    ended = cli("measure", result, "--image", volume, "--csv", table)
    assert (ended.code, ended.errors) == (0, [])
    mask = np.asarray(nibabel.load(result / "knee_mask.nii.gz").dataobj)
    with table.open(encoding="utf-8", newline="") as file:
        whole, *objects = csv.DictReader(file)
    assert float(whole["volume (mm3)"]) == pytest.approx(np.count_nonzero(mask) * 0.7 * 0.8 * 2.5)
    assert float(whole["intensity mean"]) > 0
    *rows, note = ended.out.splitlines()
    assert len(rows) == 1 + len(objects)
    assert note == "90 % intervals of 4 samples, not calibrated: the model is not on this machine."
    assert whole["interval note"] in note
    assert {row["segmented"] for row in (whole, *objects)} == {"all"}
    record = json.loads((result / "knee_run.json").read_text())
    assert float(whole["mean of samples (mm3)"]) == pytest.approx(np.mean(record["volumes"]["target"]))
    found = json.loads(cli("measure", result / "knee_run.json", "--json", "--no-objects").out)
    assert [row["title"] for row in found] == ["target"]
    assert found[0]["intensity"] is None
    assert cli("measure", result, "--quiet").out == ""


def test_rank(cli, refused, result: Path) -> None:
    ended = cli("rank", result / "knee_mean.nii.gz", "--top", 2)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert "4 samples from" in lines[0]
    assert len(lines) == 4
    found = json.loads(cli("rank", result, "--measure", "entropy", "--by", "objects", "--json").out)
    assert {one["measure"] for one in found["findings"]} == {"entropy"}
    values = [one["uncertainty"] for one in found["findings"]]
    assert values == sorted(values, reverse=True)
    listed = cli("rank", result, "--measure", "list").out
    needing = [key for key, measure in MEASURES.items() if measure.required == "samples"]
    assert "entropy" in listed
    assert not any(f"{key} " in listed for key in needing)  # they were not kept on disk
    assert "were not kept" in refused("rank", result, "--measure", needing[0])
    assert "not known" in refused("rank", "nowhere", "--by", "cells")  # before anything is read
    assert "'guess' is not known" in refused("rank", "nowhere", "--measure", "guess")


def test_report(cli, refused, result: Path, volume: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    ended = cli("report", result, "--image", volume, "--out", out, "--note", "Case 7")
    assert (ended.code, ended.errors) == (0, [])
    text = out.read_text("utf-8")
    assert "Case 7" in text
    assert "Mustermann" not in text
    assert "is not on this machine" in ended.out  # a model that was given by its folder
    assert ".html" in refused("report", result, "--out", tmp_path / "a.pdf")
    (tmp_path / "file").write_text("")
    no_folder = refused("report", "nowhere", "--out", tmp_path / "file" / "a.html")
    assert "file: cannot be the output folder: it is a file" in no_folder  # before anything is read
    assert "no such file" in refused("report", tmp_path / "none", "--out", out)


@pytest.mark.parametrize("command", ["measure", "report"])
def test_the_image_of_another_patient_is_refused(
    cli, refused, result: Path, volume: Path, tmp_path: Path, command: str
) -> None:
    image = nibabel.load(volume)
    other = tmp_path / "other.nii.gz"  # of the same size, in the same place
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine, image.header), other)
    out = tmp_path / "page.html"
    more = ("--out", out) if command == "report" else ()
    assert "is not the image that was segmented" in refused(command, result, "--image", other, *more)
    assert not out.exists()


@pytest.mark.parametrize(
    "part", [("--plane", "coronal"), ("--slices", "2-3"), ("--roi", "0,0,20,18"), ()], ids="-".join
)
def test_the_image_is_known_by_what_was_segmented_of_it(
    cli, volume: Path, tiny_model_folder: Path, tmp_path: Path, part: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    given = ("segment", volume, "--model", tiny_model_folder, "--out", out, "--sampling", "none")
    assert cli(*given, *part).code == 0
    ended = cli("measure", out, "--image", volume)
    assert (ended.code, ended.errors) == (0, [])


def test_segment_with_a_report_and_a_table(
    cli, refused, volume: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", tmp_path / "page.html"
    given = ("segment", volume, "--model", tiny_model_folder, "--out", out, "-n", 3, "--deidentify")
    ended = cli(*given, "--report", page, "--table")
    assert (ended.code, ended.errors) == (0, [])
    assert str(page) in ended.out
    text = page.read_text("utf-8")
    assert "A tiny model" in text
    assert "Mustermann" not in text
    (table,) = out.glob("*_measurements.csv")
    with table.open(encoding="utf-8", newline="") as file:
        assert float(next(csv.DictReader(file))["intensity mean"]) > 0
    assert ".html" in refused(*given, "--report", tmp_path / "page.pdf")


def test_the_card_of_that_very_model(cli, result: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    """An installed model of that name and version, with the same weights."""
    from napari_latentseg import api

    api.install_model(tiny_model_folder, replace=True)
    try:
        ended = cli("report", result, "--out", tmp_path / "a.html")
        assert "not at hand" not in ended.out
        assert "A tiny model" in (tmp_path / "a.html").read_text("utf-8")
    finally:
        api.remove_model(tiny_model_folder.name)


def test_compare(cli, result: Path, tmp_path: Path) -> None:
    mask = result / "knee_mask.nii.gz"
    same = cli("compare", mask, mask)
    assert (same.code, same.out) == (0, "target: Dice 1.000, IoU 1.000, HD95 0.00 mm\n")
    values = np.asarray(nibabel.load(mask).dataobj)
    other = tmp_path / "other.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.roll(values, 1, 0), nibabel.load(mask).affine), other)
    (found,) = json.loads(cli("compare", other, mask, "--json", "--assd").out)
    assert found["name"] == "label 1"  # no record beside it
    assert 0 < found["dsc"] < 1
    assert found["assd"] <= found["hd95"] <= 1.5
    assert found["unit"] == "mm"


def test_what_was_not_segmented_is_not_compared(
    cli, refused, volume: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    def run(name: str, *options: object) -> Path:
        given = ("segment", volume, "--model", tiny_model_folder, "-n", 3, "--case", name)
        assert cli(*given, "--out", tmp_path / name, *options).code == 0
        return tmp_path / name / f"{name}_mask.nii.gz"

    whole, some = run("whole"), run("some", "--slices", "2-3")
    planes = nibabel.load(whole).shape[2]
    for pair in ((some, whole), (whole, some)):
        ended = cli("compare", *pair)
        assert ended.code == 0
        row, note = ended.out.splitlines()
        assert row.startswith(f"target in 2 of {planes} slices: Dice 1.000,")
        assert note == f"Compared in 2 of {planes} slices only: the rest was not segmented."
        (found,) = json.loads(cli("compare", *pair, "--json").out)
        assert (found["dsc"], found["segmented"]) == (1.0, f"2 of {planes} slices")
    (found,) = json.loads(cli("compare", whole, whole, "--json").out)
    assert found["segmented"] == ""
    record_path = some.with_name("some_run.json")
    record = json.loads(record_path.read_text())
    record_path.write_text(json.dumps(record | {"segmented_slices": None, "slices": None, "complete": False}))
    assert "does not say which slices were segmented" in refused("compare", some, whole)


def test_compare_pictures(cli, refused, tmp_path: Path, tiny_model_folder: Path) -> None:
    mask, truth = np.zeros((2, 30, 40), np.uint8)
    mask[5:15, 5:15] = 1
    truth[5:15, 5:17] = 255
    for name, values in (
        ("mask", mask),
        ("truth", truth),
        ("small", truth[1:]),
        ("white", np.dstack([truth] * 3)),
        ("colours", np.dstack([truth, np.roll(truth, 8, axis=1), truth])),
    ):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    ended = cli("compare", tmp_path / "mask.png", tmp_path / "truth.png")
    assert ended.out == "label 1: Dice 0.909, IoU 0.833, HD95 2.00 pixels\n"
    named = cli("compare", tmp_path / "mask.png", tmp_path / "truth.png", "--model", tiny_model_folder)
    assert named.out.startswith("target: Dice 0.909")
    assert "has shape" in refused("compare", tmp_path / "mask.png", tmp_path / "small.png")
    assert cli("compare", tmp_path / "mask.png", tmp_path / "white.png").out == ended.out
    assert "colours.png: holds 3 colours: #00ff00 (" in refused(
        "compare", tmp_path / "mask.png", tmp_path / "colours.png"
    )


def test_what_takes_neither_torch_nor_qt(result: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from napari_latentseg.cli import main; "
        f"main(['rank', {str(result)!r}]); main(['measure', {str(result)!r}]); "
        f"main(['report', {str(result)!r}, '--out', {str(tmp_path / 'a.html')!r}]); "
        "print({'torch', 'napari', 'qtpy'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"
