"""bench/finetune.py: halves of a set, cells that are passed over, and the table; nothing is taught."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("finetune")


def result(new: float, own: float) -> dict[str, Any]:
    before = {"new": 0.7, "unseen": 10, "own": 0.78, "own_images": 6}
    return {"before": before, "after": {"new": new, "own": own}, "steps": 100}


def test_no_image_is_taught_and_scored_and_frames_of_a_video_stay_together(
    bench: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for number in range(1, 13):
        (tmp_path / "images" / f"{number}.jpg").touch()
    scored, taught = bench.halves(tmp_path)
    assert scored == ["1", "2", "3", "4", "5", "6"]
    assert taught == ["7", "8", "9", "10", "11", "12"]


def test_the_table_has_a_row_a_cell_in_a_fixed_order_and_goes_between_the_markers(
    bench: ModuleType, tmp_path: Path
) -> None:
    for base, data_set, count, new, own in (
        ("breast-ultrasound", "ph2", 10, 0.774, 0.777),
        ("retina-vessels", "drive", 10, 0.76, 0.78),
        ("retina-vessels", "drive", 4, 0.745, 0.776),
    ):
        bench.Cell(base, data_set, count, 2.0).write(tmp_path, result(new, own))
    document = tmp_path / "doc.md"
    document.write_text(
        "above\n<!-- bench/finetune.py: begin -->\nold\n<!-- bench/finetune.py: end -->\nbelow"
    )
    command = [sys.executable, str(BENCH / "finetune.py"), "table", str(tmp_path), "--write", str(document)]
    subprocess.run(command, check=True, capture_output=True)
    text = document.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow")
    assert "old" not in text
    assert [line.split(" | ")[1:] for line in text.splitlines() if "retina-vessels |" in line] == [
        ["drive (10 unseen)", "4", "100", "70.0", "74.5", "+4.5", "78.0", "77.6", "-0.4 |"],
        ["drive (10 unseen)", "10", "100", "70.0", "76.0", "+6.0", "78.0", "78.0", "+0.0 |"],
    ]
    assert text.index("retina-vessels") < text.index("breast-ultrasound")


def test_what_is_there_is_not_measured_again_and_a_failed_cell_is_named(
    bench: ModuleType, tmp_path: Path
) -> None:
    done = bench.Cell("retina-vessels", "drive", 4, 2.0)
    done.write(tmp_path, result(0.745, 0.776))
    before = json.loads(done.path(tmp_path).read_text())
    command = [sys.executable, str(BENCH / "finetune.py"), "run", "--data", str(tmp_path / "none")]
    command += ["--out", str(tmp_path), "--pairs", "retina-vessels:drive", "--counts"]
    subprocess.run([*command, "4"], check=True)
    assert json.loads(done.path(tmp_path).read_text()) == before
    failed = subprocess.run([*command, "4", "1"], capture_output=True, text=True)
    assert failed.returncode
    assert "failed: cell-retina-vessels-drive-1-2min" in failed.stderr
