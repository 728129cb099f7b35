"""`batch`: many cases, one model, a table, and what becomes of the cases that fail."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import batch, read_segmentation
from napari_latentseg.api.batch import segment_case
from napari_latentseg.batches.events import parse_batch_event
from napari_latentseg.cli import main
from napari_latentseg.errors import BadInput


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)
    Image.fromarray(values).save(path)


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cases.tsv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four images, two of them in folders of their own."""
    for seed, name in enumerate(("a.png", "b.png", "x/c.png", "y/c.png")):
        write_image(tmp_path / "scans" / name, seed)
    return tmp_path / "scans"


def test_each_case_has_a_folder_and_a_row(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    report = batch(scans, tiny_model_folder, tmp_path / "out", samples=3)
    assert [outcome.case for outcome in report.outcomes] == ["a", "b", "x_c", "y_c"]
    table = rows(tmp_path / "out")
    assert list(table) == ["a", "b", "x_c", "y_c"]
    assert {row["state"] for row in table.values()} == {"done"}
    for name, row in table.items():
        assert row["result"] == f"{name}/{name}_run.json"
        segmentation = read_segmentation(tmp_path / "out" / name)
        assert segmentation.record.case == ""  # the name of a file may be that of a patient
        size = segmentation.geometry.voxel_volume[0] * np.count_nonzero(segmentation.mask)
        assert float(row["target_size"]) == pytest.approx(size)
        assert float(row["target_low"]) <= size <= float(row["target_high"])
        assert row["unit"] == segmentation.geometry.voxel_volume[1]


def test_bad_files_cost_only_themselves(
    scans: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bad.png", "empty.nii.gz", "x/cut.tif"):
        (scans / name).write_bytes(b"" if "empty" in name else b"no picture")
    options = ["-m", str(tiny_model_folder), "-n", "1", "-o", str(tmp_path / "out")]
    assert main(["batch", str(scans), *options]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert errors[-1].startswith("error: 3 of 7 cases failed")
    table = rows(tmp_path / "out")
    assert {name for name, row in table.items() if row["state"] == "failed"} == {"bad", "empty", "x_cut"}
    assert all(row["reason"] for row in table.values() if row["state"] == "failed")
    assert "0 bytes" in table["empty"]["reason"]


def test_finished_cases_are_skipped_and_changed_ones_done_again(
    scans: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    def run(**changes: Any) -> dict[str, str]:
        options: dict[str, Any] = {"samples": 1, "resume": True}
        report = batch(scans, tiny_model_folder, tmp_path / "out", **(options | changes))
        return {outcome.case: outcome.state for outcome in report.outcomes}

    assert set(run(resume=False).values()) == {"done"}
    with pytest.raises(BadInput, match="holds cases of a batch already; continue it with --resume"):
        run(resume=False)
    assert set(run().values()) == {"skipped"}
    write_image(scans / "b.png", seed=9)
    assert run() == {"a": "skipped", "b": "done", "x_c": "skipped", "y_c": "skipped"}
    (tmp_path / "out" / "a" / "a_mask.tif").unlink()
    assert run()["a"] == "done"
    assert set(run(threshold=0.3).values()) == {"done"}
    assert set(run(threshold=0.3, device="cpu").values()) == {"skipped"}
    table = rows(tmp_path / "out")
    assert {row["state"] for row in table.values()} == {"skipped"}
    assert all(row["target_size"] for row in table.values())


def test_the_events_are_lines(scans: Path, tiny_model_folder: Path, tmp_path: Path, capfd: Any) -> None:
    (scans / "b.png").write_bytes(b"no picture")
    options = ["-m", str(tiny_model_folder), "-n", "1", "-o", str(tmp_path / "out"), "--events"]
    assert main(["batch", str(scans), *options]) == 3
    events = [parse_batch_event(line) for line in capfd.readouterr().out.splitlines()]
    assert [e.event for e in events if e.event != "progress"] == ["start", *["case"] * 4, "end"]
    ended = [e for e in events if e.event == "case"]
    assert [(e.case, e.state) for e in ended] == [
        ("a", "done"), ("b", "failed"), ("x_c", "done"), ("y_c", "done"),
    ]  # fmt: skip
    assert Path(ended[0].result).is_file()
    assert ended[1].reason
    assert ended[1].result == ""
    assert {e.case for e in events if e.event == "progress"} == {"a", "x_c", "y_c"}


def test_json_is_one_object(scans: Path, tiny_model_folder: Path, tmp_path: Path, capsys: Any) -> None:
    options = ["-m", str(tiny_model_folder), "-n", "1", "-o", str(tmp_path / "out"), "--json"]
    assert main(["batch", str(scans), *options]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["done"], content["failed"], content["stopped"]) == (4, 0, False)
    assert [case["case"] for case in content["cases"]] == ["a", "b", "x_c", "y_c"]


def test_a_segment_case_can_be_pickled() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(segment_case)) is segment_case


def test_a_request_to_stop_gives_up_the_case_at_hand(
    scans: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    ended: list[str] = []

    def on_event(event: Any) -> None:
        if event.event == "case":
            ended.append(event.case)

    report = batch(
        scans, tiny_model_folder, tmp_path / "out", samples=1, on_event=on_event,
        should_stop=lambda: len(ended) == 2,
    )  # fmt: skip
    assert report.is_stopped
    assert list(rows(tmp_path / "out")) == ["a", "b"]
    again = batch(scans, tiny_model_folder, tmp_path / "out", samples=1, resume=True)
    assert [outcome.state for outcome in again.outcomes] == ["skipped", "skipped", "done", "done"]
