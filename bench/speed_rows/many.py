"""`batch` on many volumes: one worker, two workers, and a shell loop over `segment`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from napari_latentseg.utils.threads import core_count
from speed_rows.commands import MODEL, write_volume
from speed_rows.measure import (
    HERE,
    NotMeasured,
    Settings,
    environment,
    in_seconds,
    interleave,
    latentseg,
    ratios,
    run_child,
)
from speed_rows.section import Row, Section

TEXT = """\
`napari-latentseg batch` on 40 made hippocampus volumes, n = 8, seconds by the clock from the start of
Python to the end. Beside: a shell loop that calls `napari-latentseg segment` for one volume after the
other. One worker computes with all cores, so that further ones gain nothing on one machine; two workers
have half of the cores each. What sharing the work costs shows against one worker that has half of them,
too."""


OPTIONS = ("--model", MODEL, "--samples", "8", "--quiet")


def batch_command(folder: Path, workers: int) -> list[str | Path]:
    """`batch` on the folder "in", into the folder "out"."""
    several = ["--workers", str(workers)] if workers > 1 else []
    return latentseg("batch", folder / "in", "--out", folder / "out", *OPTIONS, *several)


def measure(settings: Settings) -> Section:
    count = 3 if settings.quick else 40
    what = [
        f"one worker, {count} volumes", f"two workers, {count} volumes", "two workers against one",
        "two workers of half of the cores against one of half of them",
    ]  # fmt: skip
    times, refusal = _times(count, settings)
    loop = f"loop {in_seconds(times['loop'])}"
    one = times["one worker"]
    rows = [Row(what[0], in_seconds(one), loop, ratios(times["loop"], one), ">= 2")]
    if refusal:
        rows += [Row(name, note=refusal) for name in what[1:]]
    else:
        two, half = times["two workers"], times["one worker of half of the cores"]
        rows += [
            Row(what[1], in_seconds(two), loop, ratios(times["loop"], two), ">= 2"),
            Row(what[2], in_seconds(two), f"one worker {in_seconds(one)}", ratios(one, two), ">= 1.7"),
            Row(what[3], in_seconds(two), f"one worker {in_seconds(half)}", ratios(half, two), ">= 1.7"),
        ]
    return Section("batch", "Many cases", TEXT, tuple(rows))


def _times(count: int, settings: Settings) -> tuple[dict[str, list[float]], str]:
    """Seconds of each way in each round, and why two workers were not measured; empty where they were."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        (folder / "home").mkdir()
        for number in range(count):
            write_volume(folder / "in" / f"volume_{number:02}.nii.gz", number)
        out = folder / "out"

        def run(commands: list[list[str | Path]], threads: int | None = None) -> float:
            shutil.rmtree(out, ignore_errors=True)
            variables = environment(HERE, folder / "home", threads)
            seconds = sum(run_child(command, variables, folder).wall for command in commands)
            written = len(list(out.rglob("*_run.json")))
            if written != count:
                raise NotMeasured(f"{written} of {count} results were written")
            return seconds

        loop = [
            latentseg("segment", path, *OPTIONS, "--out", out) for path in sorted((folder / "in").iterdir())
        ]
        calls: dict[str, Callable[[], float]] = {
            "one worker": partial(run, [batch_command(folder, 1)]),
            "loop": partial(run, loop),
        }
        calls["one worker"]()  # compiles the model
        refusal, two_workers = "", partial(run, [batch_command(folder, 2)])
        try:
            two_workers()
            calls["two workers"] = two_workers
            half_of_cores = max(1, core_count() // 2)
            calls["one worker of half of the cores"] = partial(run, [batch_command(folder, 1)], half_of_cores)
        except NotMeasured as error:
            refusal = str(error)
        return interleave(calls, settings.repeats, warm_up=False), refusal


def by_workers(counts: Sequence[int], settings: Settings) -> list[dict[str, float | str]]:
    """Time and memory of `batch` with so many workers, for the plot; memory of all its processes together."""
    volumes = 2 if settings.quick else 16
    points: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        for number in range(volumes):
            write_volume(folder / "in" / f"volume_{number:02}.nii.gz", number)
        variables = environment(HERE, folder)
        for count in (counts[0], *counts):  # the first time only to compile the model
            shutil.rmtree(folder / "out", ignore_errors=True)
            command = batch_command(folder, count)
            begin = time.perf_counter()
            process = subprocess.Popen(
                list(map(str, command)), env=variables, cwd=folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            peak = 0
            while process.poll() is None:
                peak = max(peak, _resident_bytes(process.pid))
                time.sleep(0.05)
            if process.returncode:
                raise NotMeasured(f"batch ended with {process.returncode}")
            seconds = time.perf_counter() - begin
            points.append({"axis": "workers", "value": count, "seconds": seconds, "megabytes": peak / 2**20})
    return points[1:]


def _resident_bytes(pid: int) -> int:
    """Of a process and all that it started; pages that they share count once for each."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total
