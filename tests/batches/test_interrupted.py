"""What a batch leaves when it is killed, stopped, or its disk is full, and how --resume ends it."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_latentseg import BadInput, batch
from napari_latentseg.api import case_run
from napari_latentseg.batches.batch_folder import BatchFolder
from napari_latentseg.batches.case_input import CaseInput
from napari_latentseg.batches.table import read_rows


def write_image(path: Path, seed: int = 0, shape: tuple[int, int] = (24, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(values).save(path)


def write_volume(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 200, (16, 16, 2), dtype=np.int16)
    nib.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(path)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed in range(5):
        write_image(tmp_path / "scans" / f"{seed}.png", seed)
    return tmp_path / "scans"


def results(out: Path) -> dict[str, bytes]:
    """The files of the results but for their records, which hold times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and ".batch" not in path.parts and path.suffix not in (".json", ".tsv")
    }


def leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.name.startswith((".part-", "work-"))]


PROGRAM = """
import os, signal, sys
from napari_latentseg.api import case_run, case_target
from napari_latentseg.batches import case_state, target
from napari_latentseg.cli import main

at, *arguments = sys.argv[1:]
module, name = {"result": (case_target, "write_result"), "files": (target.LayoutTarget, "commit"),
                "state": (case_state, "write_state")}[at.partition("-")[0]]
original, calls = getattr(module, name), 0

def die(*values, **options):
    global calls
    calls += 1
    if calls == int(at.partition("-")[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*values, **options)

setattr(module, name, die)
sys.exit(main(arguments))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("layout", "at"),
    [
        ("flat", "result-3"),
        ("flat", "state-4"),
        ("nnunet", "files-2"),
    ],
)
def test_a_killed_batch_is_finished_by_the_next(
    scans: Path, tiny_model_folder: Path, layout: str, at: str, tmp_path: Path
) -> None:
    for number, path in enumerate(sorted(scans.iterdir())):  # TIFF, of which results of PNG are, holds times
        path.unlink()
        write_volume(path.with_suffix(".nii.gz"), number)
    arguments = [str(scans), "-m", str(tiny_model_folder), "-n", "3", "--layout", layout]
    out, whole = tmp_path / "out", tmp_path / "whole"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, at, "batch", *arguments, "-o", str(out)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    before = len(read_rows(out / "cases.tsv"))
    assert 0 < before < 5
    report = batch(scans, tiny_model_folder, out, samples=3, layout=layout, resume=True)
    assert report.count("failed") == 0
    assert before <= report.count("skipped") <= before + 1
    assert report.count("done") + report.count("skipped") == 5
    assert list(read_rows(out / "cases.tsv")) == ["0", "1", "2", "3", "4"]
    batch(scans, tiny_model_folder, whole, samples=3, layout=layout)
    assert results(out) == results(whole)
    assert leftovers(out) == []


def test_a_full_disk_ends_the_batch_with_one_line(
    scans: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from napari_latentseg.io import tiff

    out, is_full = tmp_path / "out", True
    write = tiff.write

    def fill(path: Path, *rest: Any) -> None:
        if is_full and path.name == "2_mean.tif":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, *rest)

    monkeypatch.setattr(tiff, "write", fill)
    with pytest.raises(BadInput, match=r"No space left on device.*continue with --resume"):
        batch(scans, tiny_model_folder, out, samples=1)
    assert list(read_rows(out / "cases.tsv")) == ["0", "1"]
    assert leftovers(out) == []
    assert set(results(out)) == {f"{n}/{n}_{kind}.tif" for n in (0, 1) for kind in ("mask", "mean")}
    is_full = False
    report = batch(scans, tiny_model_folder, out, samples=1, resume=True)
    assert [outcome.state for outcome in report.outcomes] == ["skipped"] * 2 + ["done"] * 3


def test_an_image_that_changes_while_it_is_segmented_fails(
    scans: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = CaseInput.read

    def change(self: CaseInput) -> Any:
        scan = read(self)
        if self._case.name == "1":
            write_image(self._case.path, 77)
        if self._case.name == "2":
            self._case.path.touch()  # copied again, perhaps, but with the same content
        return scan

    monkeypatch.setattr(CaseInput, "read", change)
    report = batch(scans, tiny_model_folder, tmp_path / "out", samples=1)
    states = {outcome.case: outcome for outcome in report.outcomes}
    assert states["1"].state == "failed"
    assert "was changed while it was segmented" in states["1"].reason
    assert not (tmp_path / "out" / "1").exists()
    assert report.count("done") == 4


def test_a_fault_of_the_program_costs_one_case(
    scans: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = CaseInput.read

    def fail(self: CaseInput) -> Any:
        if self._case.name == "3":
            raise MemoryError
        if self._case.name == "2":
            raise KeyError("patient")
        return read(self)

    monkeypatch.setattr(CaseInput, "read", fail)
    report = batch(scans, tiny_model_folder, tmp_path / "out", samples=1)
    reasons = {outcome.case: outcome.reason for outcome in report.outcomes if outcome.state == "failed"}
    assert "failed because of a bug (KeyError)" in reasons["2"]
    assert "patient" not in reasons["2"]
    assert "does not fit into memory" in reasons["3"]
    assert report.count("done") == 3


def test_a_model_that_cannot_be_loaded_ends_the_batch(
    scans: Path, make_tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_tiny_model("tiny-damaged")
    (folder / "weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(BadInput, match=r"weights.safetensors.*then continue with --resume"):
        batch(scans, folder, tmp_path / "out", samples=1)
    assert read_rows(tmp_path / "out" / "cases.tsv") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:7"}, "no cuda:7 on this machine"),
        ({"plane": "upward"}, "plane: 'upward' is not known"),
        ({"channel": 0}, "channel: is 0"),
        ({"spacing": "wide"}, "spacing: 'wide' is text"),
        ({"part": 3, "parts": 2}, "part: is 3 of 2"),
        ({"samples": 0}, "samples: must be 1 or more"),
    ],
)
def test_what_no_case_could_have_ends_the_batch(
    scans: Path, tiny_model_folder: Path, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        batch(scans, tiny_model_folder, tmp_path / "out", **options)


def test_fail_fast_ends_at_the_first_failure(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    (scans / "1.png").write_bytes(b"no picture")
    report = batch(scans, tiny_model_folder, tmp_path / "out", samples=1, fail_fast=True)
    assert [outcome.state for outcome in report.outcomes] == ["done", "failed"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a child")
def test_ctrl_c_ends_with_130_and_a_whole_table(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    for seed in range(5, 60):
        write_image(scans / f"{seed}.png", seed)
    arguments = ["batch", str(scans), "-m", str(tiny_model_folder), "-n", "3", "-o", str(tmp_path / "out")]
    running = subprocess.Popen(
        [sys.executable, "-m", "napari_latentseg", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    running.stdout.readline()  # the first case is done
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert errors.splitlines()[-1] == "error: stopped"
    table = read_rows(tmp_path / "out" / "cases.tsv")
    assert len(table) == 1 + len([line for line in out.splitlines() if ": done," in line])
    assert 0 < len(table) < 60
    assert leftovers(tmp_path / "out") == []


def test_two_batches_in_one_folder_are_refused(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with BatchFolder(out).in_use():
        for options in ({}, {"part": 2, "parts": 3}):
            with pytest.raises(BadInput, match="another batch is writing into it"):
                batch(scans, tiny_model_folder, out, samples=1, resume=True, **options)
    with BatchFolder(out, 1, 3).in_use():
        with pytest.raises(BadInput, match="another batch is writing into it"):
            batch(scans, tiny_model_folder, out, samples=1, part=1, parts=3)
        report = batch(scans, tiny_model_folder, out, samples=1, part=2, parts=3)
    assert [outcome.case for outcome in report.outcomes] == ["1", "4"]


def test_parts_share_a_folder_and_a_table(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for part in (2, 1, 3):
        batch(scans, tiny_model_folder, out, samples=1, part=part, parts=3)
    rows = read_rows(out / "cases.tsv")
    assert list(rows) == ["0", "1", "2", "3", "4"]
    assert {row["state"] for row in rows.values()} == {"done"}
    with pytest.raises(BadInput, match="holds cases of a batch already"):
        batch(scans, tiny_model_folder, out, samples=1, part=2, parts=3)
    with pytest.raises(BadInput, match="holds cases of a batch already"):
        batch(scans, tiny_model_folder, out, samples=1)
    again = batch(scans, tiny_model_folder, out, samples=1, part=2, parts=3, resume=True)
    assert again.count("skipped") == 2
    whole = batch(scans, tiny_model_folder, out, samples=1, resume=True)
    assert whole.count("skipped") == 5
    assert len(read_rows(out / "cases.tsv")) == 5


def test_the_table_is_whole_at_every_moment(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    for seed in range(5, 25):
        write_image(scans / f"{seed}.png", seed)
    out, seen, ended = tmp_path / "out", [0], threading.Event()
    problems: list[str] = []

    def watch() -> None:
        while not ended.is_set():
            try:
                text = (out / "cases.tsv").read_text("utf-8")
            except FileNotFoundError:
                continue
            lines = text.splitlines()
            if not text.endswith("\n") or len({line.count("\t") for line in lines}) != 1:
                problems.append(text)
            if len(lines) - 1 != seen[-1]:
                seen.append(len(lines) - 1)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        batch(scans, tiny_model_folder, out, samples=1)
    finally:
        ended.set()
        watcher.join()
    assert problems == []
    assert seen == sorted(seen)
    assert len(seen) > 5  # it grew while the batch ran


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_nothing_of_a_case_is_kept(
    tiny_model_folder: Path, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for seed in range(count):
        write_image(tmp_path / "scans" / f"{seed:03}.png", seed, (16, 16))
    alive: list[weakref.ref[Any]] = []
    most = 0
    start = case_run._start

    def watch(*values: Any) -> Any:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))
        run = start(*values)
        alive.extend((weakref.ref(run), weakref.ref(run.state), weakref.ref(values[1])))
        return run

    monkeypatch.setattr(case_run, "_start", watch)
    report = batch(tmp_path / "scans", tiny_model_folder, tmp_path / "out", source="none")
    assert report.count("done") == count
    gc.collect()
    assert len(alive) == 3 * count
    assert sum(reference() is not None for reference in alive) == 0
    assert most <= 30  # a few wait for the garbage collector
