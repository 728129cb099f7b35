"""`batch`: many cases, one model, a table, and what becomes of the cases that fail."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers import dicom

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


def test_without_names_of_files_none_is_written(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    (scans / "anna-meier.png").write_bytes(b"no picture")
    write_image(scans / "berta-schulz.png", 5)
    out = tmp_path / "out"
    report = batch(scans, tiny_model_folder, out, samples=1, deidentify=True)
    assert (report.count("done"), report.count("failed")) == (5, 1)
    for path in out.rglob("*"):
        assert "anna" not in path.name
        assert "berta" not in path.name
        if path.is_file() and path.suffix != ".tif":
            text = path.read_text("utf-8")
            assert "anna" not in text
            assert "berta" not in text
    again = batch(scans, tiny_model_folder, out, samples=1, deidentify=True, resume=True)
    assert again.count("skipped") == 5


def test_a_failure_names_no_file_either(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Clara Huber"
    folder.mkdir()
    header = "ObjectType = Image\nNDims = 2\nDimSize = 8 8\nElementType = MET_UCHAR\n"
    (folder / "t1.mhd").write_text(f"{header}ElementDataFile = Clara Huber.raw\n")  # which is not there
    (folder / "huber.png").write_bytes(b"no picture")
    write_image(folder / "photo.png")
    table = tmp_path / "cases.csv"
    lines = [f"{code},{folder / name}" for code, name in (("p1", "t1.mhd"), ("p2", "huber.png"))]
    table.write_text("\n".join(["case,path", *lines, f"p3,{folder / 'gone huber.nii'}"]) + "\n")
    for source, out in ((table, tmp_path / "listed"), (folder, tmp_path / "found")):
        report = batch(source, tiny_model_folder, out, samples=1, deidentify=True)
        assert report.count("failed") == (3 if source == table else 2)
        text = (out / "cases.tsv").read_text("utf-8")
        assert "huber" not in text.lower()
        assert "clara" not in text.lower()
    assert rows(tmp_path / "listed")["p2"]["reason"].startswith("p2: is not a PNG, JPEG or BMP image")


def test_a_dry_run_lists_the_cases_and_writes_nothing(
    scans: Path, tiny_model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    (scans / "notes.txt").write_text("x")
    options = ["-m", str(tiny_model_folder), "-o", str(tmp_path / "out"), "--dry-run"]
    assert main(["batch", str(scans), *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "passed over: file that is not an image (1)",
        *(f"{name}: {scans / path}" for name, path in
          {"a": "a.png", "b": "b.png", "x_c": "x/c.png", "y_c": "y/c.png"}.items()),
    ]  # fmt: skip
    table = tmp_path / "cases.csv"
    table.write_text("case,path\np1,scans/a.png\np2,scans/lost.png\n")
    assert main(["batch", "--list", str(table), *options]) == 3
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"p1: {scans / 'a.png'}"]
    assert "row 3 of cases.csv" in captured.err
    assert main(["batch", str(scans), *options, "--events", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "events: and --json both print on the standard output" in captured.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_refuses_what_a_run_would_refuse(
    scans: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="it is a file"):
        batch(scans, tiny_model_folder, tmp_path / "file", dry_run=True)
    with pytest.raises(BadInput, match="nowhere is not on this machine"):
        batch(scans, tiny_model_folder, tmp_path / "out", dry_run=True, codec="nowhere")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cases.tsv").write_text("x")
    with pytest.raises(BadInput, match="holds cases of a batch already"):
        batch(scans, tiny_model_folder, tmp_path / "out", dry_run=True)


def test_codes_of_a_list_are_named_in_records(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("case;path\np-1;scans/a.png\np-2;scans/x/c.png\n")
    batch(table, tiny_model_folder, tmp_path / "out", samples=1)
    assert read_segmentation(tmp_path / "out" / "p-2").record.case == "p-2"


def test_series_of_dicom_have_results_of_their_own(tiny_model_folder: Path, tmp_path: Path) -> None:
    for name, uid in (("a", "1.2.3"), ("b", "1.2.4")):
        array = np.random.default_rng(len(uid)).integers(0, 99, (3, 20, 24), dtype=np.int16)
        dicom.series(tmp_path / "in" / "study" / name, array, dicom.positions(3), SeriesInstanceUID=uid)
    for path in (tmp_path / "in" / "study" / "b").iterdir():
        path.rename(tmp_path / "in" / "study" / "a" / f"b-{path.name}")
    report = batch(tmp_path / "in", tiny_model_folder, tmp_path / "out", samples=1)
    assert [outcome.state for outcome in report.outcomes] == ["done", "done"]
    for outcome in report.outcomes:
        assert outcome.case.startswith("study_a_")
        assert read_segmentation(tmp_path / "out" / outcome.case).mask.shape == (3, 20, 24)
    again = batch(tmp_path / "in", tiny_model_folder, tmp_path / "out", samples=1, resume=True)
    assert again.count("skipped") == 2


def test_a_volume_has_a_most_doubtful_slice(tiny_model_folder: Path, tmp_path: Path) -> None:
    from napari_latentseg import rank

    array = np.random.default_rng(3).integers(0, 99, (5, 20, 24), dtype=np.int16)
    dicom.series(tmp_path / "in", array, dicom.positions(5))
    (outcome,) = batch(tmp_path / "in", tiny_model_folder, tmp_path / "out", samples=4).outcomes
    findings = rank(read_segmentation(tmp_path / "out" / outcome.case))
    assert outcome.doubtful_slice == str(findings[0].index[0] + 1)
