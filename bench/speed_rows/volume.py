"""A large volume: our time against nnU-Net's own 2D predictor, and our memory with few and many samples."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from napari_latentseg import load_model
from speed_rows.measure import (
    HERE,
    NotMeasured,
    Server,
    Settings,
    environment,
    in_seconds,
    interleave,
    ratios,
    run_child,
)
from speed_rows.section import Row, Section
from speed_rows.segment_child import made_scan
from speed_rows.whole import SegmentNew

TEXT = """\
512 x 512 x 100 of 16 bits, from an array in memory to the result, breast-ultrasound with n = 5,
float32. Beside: nnU-Net's own 2D predictor with its defaults (mirroring along both axes, steps of half
a patch, Gaussian weights), random weights, and the plan of its default planner for volumes of this
shape. Memory: the peak of a process of its own (largest resident set), the volume included."""

SIDE = 512
NNUNET_SLICES = 10  # each slice is a patch of its own, so the time grows with their number alone


def child(slices: int, side: int, samples: int, settings: Settings, **options: Any) -> dict[str, Any]:
    """Time and memory of one `segment` in a process of its own."""
    command: list[str | Path] = [sys.executable, Path(__file__).with_name("segment_child.py")]
    values = {"slices": slices, "side": side, "samples": samples} | options
    for name, value in values.items():
        command += [f"--{name}", str(value)]
    with tempfile.TemporaryDirectory() as home:
        usage = run_child(command, environment(HERE, Path(home), settings.threads), Path(home))
    return dict(json.loads(usage.stdout.splitlines()[-1]))


def time_row(settings: Settings) -> Row:
    slices = 4 if settings.quick else 100
    what = f"{SIDE} x {SIDE} x {slices}, n = 5"
    if settings.nnunet_python is None:
        return Row(what, note="give --nnunet-python: a Python in which nnunetv2 is installed")
    model, scan = load_model("breast-ultrasound"), made_scan(slices, SIDE)
    ours = SegmentNew(model, partial(made_scan, slices, SIDE), settings.repeats, samples=5)
    SegmentNew(model, partial(made_scan, 1, SIDE), 1, samples=5)()  # compiles the model
    measured_slices = 1 if settings.quick else NNUNET_SLICES
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder, "volume.npy")
        np.save(array, np.asarray(scan.array)[:measured_slices])
        command = [
            settings.nnunet_python, Path(__file__).with_name("nnunet_child.py"), array, str(settings.threads),
            Path(folder, "nnunet"), str(slices),
        ]  # fmt: skip
        nnunet = Server(command, environment(HERE, Path(folder), settings.threads), Path(folder))
        try:
            calls: Mapping[str, Callable[[], float | None]] = {
                "ours": ours,
                "nnU-Net": lambda: slices / measured_slices * float(nnunet.ask()["seconds"]),
            }
            times = interleave(calls, settings.repeats, warm_up=False)
            plan = nnunet.ready
        finally:
            nnunet.close()
    patch, features = (", ".join(map(str, plan[name])) for name in ("patch", "features"))
    note = (
        f"nnU-Net: patch {patch}; features {features}; {plan['parameters'] / 1e6:.1f} M parameters; "
        f"{measured_slices} slices timed, times {slices // measured_slices}"
    )
    return Row(
        what, in_seconds(times["ours"]), f"nnU-Net {in_seconds(times['nnU-Net'])}",
        ratios(times["nnU-Net"], times["ours"]), ">= 1", note,
    )  # fmt: skip


def memory_row(settings: Settings) -> Row:
    slices, rounds = (4, 1) if settings.quick else (100, 2)
    peaks: dict[int, list[int]] = {5: [], 50: []}
    for _ in range(rounds):
        for samples, values in peaks.items():
            values.append(child(slices, SIDE, samples, settings)["peak"])
    few, many = (median(values) / 2**20 for values in peaks.values())
    return Row(
        f"memory, {SIDE} x {SIDE} x {slices}, n = 50 against n = 5", f"n = 50: {many:.0f} MB",
        f"n = 5: {few:.0f} MB", ratios(peaks[50], peaks[5]), "<= 1.05",
    )  # fmt: skip


def measure(settings: Settings) -> Section:
    rows: list[Row] = []
    for row in (time_row, memory_row):
        try:
            rows.append(row(settings))
        except NotMeasured as error:
            rows.append(Row(row.__name__.replace("_", " "), note=str(error)))
    return Section("volume", "A large volume", TEXT, tuple(rows))
