"""`--spacing`: the size of a pixel that the file does not state."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

MODEL = "tiny-taught"


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "photograph.png"
    Image.fromarray(rng.integers(0, 256, (48, 64), dtype=np.uint8)).save(path)
    return path


def test_a_photograph_becomes_millimetres(cli, own_home, photograph: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = cli("segment", photograph, "--model", MODEL, "-n", 3, "--spacing", "0.2", "--format", "nifti",
                "--table", "--out", out)  # fmt: skip
    assert ended.code == 0, ended
    record = json.loads((out / "photograph_run.json").read_text())
    assert record["input"]["spacing"] == [0.2, 0.2]
    assert record["input"]["units"] == ["mm", "mm"]
    assert record["volume_unit"] == "mm2"
    assert any("given" in note for note in record["input"]["notes"])
    mask = nibabel.load(out / "photograph_mask.nii.gz")
    assert mask.header.get_zooms()[:2] == pytest.approx((0.2, 0.2))
    table = (out / "photograph_measurements.csv").read_text("utf-8-sig")
    assert "area (mm2)" in next(csv.reader(io.StringIO(table)))


def test_convert(cli, photograph: Path, tmp_path: Path) -> None:
    target = tmp_path / "photograph.nii.gz"
    assert cli("convert", photograph, target).code == 2
    assert cli("convert", photograph, target, "--spacing", "0.5,0.25").code == 0
    assert nibabel.load(target).header.get_zooms()[:2] == pytest.approx((0.25, 0.5))  # x first


@pytest.mark.parametrize(
    ("spacing", "why"),
    [
        ("0", "spacing: 0 mm is not possible"),
        ("a", "'a' is not a list of numbers"),
        ("1,2,3", "3 numbers for the axes y, x"),
        ("nan", "not possible"),
    ],
)
def test_what_cannot_be_is_one_line(
    cli, own_home, photograph: Path, tmp_path: Path, spacing: str, why: str
) -> None:
    ended = cli("segment", photograph, "--model", MODEL, "--spacing", spacing, "--out", tmp_path / "out")
    assert ended.code == 2
    assert why in " ".join(ended.errors)
    assert not (tmp_path / "out").exists()


def test_a_file_with_a_spacing_keeps_it(cli, own_home, photograph: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    assert cli("convert", photograph, scan, "--spacing", "0.5").code == 0
    ended = cli("segment", scan, "--model", MODEL, "--spacing", "0.2", "--out", tmp_path / "out")
    assert ended.code == 2
    assert "has one already" in " ".join(ended.errors)
