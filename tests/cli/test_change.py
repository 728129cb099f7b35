"""`change`: two results of one patient on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.two_dates import two_dates, write_dates

from napari_latentseg.io.convert import write_scan


def test_the_command_line(cli: Callable, refused: Callable, tmp_path: Path) -> None:
    first, second = write_dates(tmp_path, two_dates(), (8.0, 11.0))
    images = [tmp_path / f"scan{number}.nii.gz" for number in (0, 1)]
    for scan, path in zip(two_dates(), images, strict=True):
        write_scan(scan, path)
    ended = cli("change", first, second)
    assert (ended.code, ended.errors) == (0, [])
    assert "larger than the measurement uncertainty" in ended.out
    assert "not calibrated: the model is not on this machine" in ended.out
    page, table, figures = (tmp_path / f"change.{suffix}" for suffix in ("html", "csv", "json"))
    options = ("--first-image", images[0], "--second-image", images[1])
    for out in (page, table, figures):
        assert cli("change", first, second, *options, "-o", out).code == 0
        assert "already exists" in refused("change", first, second, "-o", out)
    known = json.loads(figures.read_text("utf-8"))
    assert known == json.loads(cli("change", first, second, "--json").out)
    assert known["classes"][0]["exceeds_doubt"] is True
    line = dict(zip(*(row.split(",") for row in table.read_text("utf-8").splitlines()), strict=True))
    assert float(line["change"]) == known["classes"][0]["change"]
    text = page.read_text("utf-8")
    assert "larger than the measurement" in text
    assert text.count("data:image/png") == 3
    assert str(tmp_path) not in text
    assert "scan0" not in text
    shown = dict(re.findall(r'data-figure="classes\.0\.(\w+)">([^<]+)<', text))
    assert float(shown["percent"].replace("\N{NO-BREAK SPACE}%", "")) == pytest.approx(
        known["classes"][0]["percent"], abs=0.5
    )


def test_bad_input_on_the_command_line_is_one_line(refused: Callable, tmp_path: Path) -> None:
    first, second = write_dates(tmp_path, two_dates(), (8.0, 11.0))
    assert "no such file or folder" in refused("change", first, tmp_path / "none")
    assert "both are of the same image" in refused("change", first, first)
    assert "needs the images of both dates" in refused("change", first, second, "--register")
    assert "change.xlsx" in refused("change", first, second, "-o", tmp_path / "change.xlsx")
    record = first / "p0_run.json"
    before = record.read_bytes()
    refused("change", first, second, "-o", record, "--overwrite")
    assert record.read_bytes() == before
