"""Whole commands of the command line: one cold `segment`, and `evaluate`; beside an earlier checkout."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_latentseg.models.store import load_model
from speed_rows.cases import validation_cases
from speed_rows.measure import (
    HERE,
    NotMeasured,
    Settings,
    Usage,
    environment,
    in_seconds,
    interleave,
    latentseg,
    ratios,
    run_child,
)
from speed_rows.section import Row, Section
from speed_rows.whole import hippocampus_volume

COLD_TEXT = """\
Processor seconds (user and system) of `napari-latentseg segment` on one hippocampus volume, from the
start of Python to the written files, n = 8. Beside: the same command of the checkout that --before
names. Models compiled earlier are used, as on every run but the first."""

EVALUATE_TEXT = """\
Seconds by the clock of `napari-latentseg evaluate` on 20 validation volumes of the hippocampus, n = 8,
from the start of Python to the end. Beside: the same command of the checkout that --before names."""

MODEL = "hippocampus-mr"


def write_volume(path: Path, seed: int = 0) -> None:
    """A made hippocampus volume as NIfTI."""
    nib.save(nib.Nifti1Image(hippocampus_volume(seed), np.eye(4)), path)


def _turns(calls: Mapping[str, Callable[[], Usage]], settings: Settings) -> dict[str, list[Usage]]:
    """What each command took in each round; once before, so that files are in memory and models compiled."""
    usages: dict[str, list[Usage]] = {name: [] for name in calls}

    def call_and_keep(name: str) -> None:
        usages[name].append(calls[name]())

    interleave({name: partial(call_and_keep, name) for name in calls}, settings.repeats)
    return {name: kept[1:] for name, kept in usages.items()}


def _row(what: str, aim: str, usages: Mapping[str, list[Usage]], seconds: Callable[[Usage], float]) -> Row:
    times = {name: [seconds(usage) for usage in each] for name, each in usages.items()}
    if "before" not in times:
        return Row(what, in_seconds(times["now"]), note="nothing beside it: give --before")
    ratio = ratios(times["now"], times["before"])
    return Row(what, in_seconds(times["now"]), f"before {in_seconds(times['before'])}", ratio, aim)


def _calls(
    settings: Settings, folder: Path, command: Callable[[str], list[str | Path]]
) -> dict[str, Callable[[], Usage]]:
    """The command by this checkout, and by the earlier one; each with its own home and output."""
    checkouts = {"now": HERE} | ({"before": settings.before} if settings.before is not None else {})
    calls: dict[str, Callable[[], Usage]] = {}
    for name, checkout in checkouts.items():
        home = folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        variables = environment(checkout, home, settings.threads)
        calls[name] = partial(_run_anew, folder, name, command(name), variables)
    return calls


def _run_anew(folder: Path, name: str, command: list[str | Path], variables: Mapping[str, str]) -> Usage:
    shutil.rmtree(folder / f"out-{name}", ignore_errors=True)
    return run_child(command, variables, folder)


def measure_cold(settings: Settings) -> Section:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_volume(folder / "volume.nii.gz")

        def command(name: str) -> list[str | Path]:
            out = folder / f"out-{name}"
            return latentseg(
                "segment",
                folder / "volume.nii.gz",
                "--model",
                MODEL,
                "--samples",
                "8",
                "--out",
                out,
                "--quiet",
            )

        calls = _calls(settings, folder, command)
        first = calls["now"]()  # compiles the model, where that is not done yet
        usages = _turns(calls, settings)
    rows = (
        _row("processor seconds of a cold `segment`", "<= 0.5", usages, lambda usage: usage.processor),
        _row("the same by the clock", "", usages, lambda usage: usage.wall),
        Row("the very first one, processor seconds", f"{first.processor:.1f} s"),
    )
    return Section("cold", "A cold start from the command line", COLD_TEXT, rows)


def measure_evaluate(settings: Settings) -> Section:
    count = 3 if settings.quick else 20
    what = f"`evaluate` of {count} volumes"
    try:
        cases = validation_cases(load_model(MODEL), settings.data)[:count]
    except NotMeasured as error:
        return Section("evaluate", "Scoring a model", EVALUATE_TEXT, (Row(what, note=str(error)),))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("images", "masks"):
            (folder / "data" / part).mkdir(parents=True)
        for case in cases:
            assert case.image_file is not None
            assert case.mask_file is not None
            shutil.copy(case.image_file, folder / "data" / "images")
            shutil.copy(case.mask_file, folder / "data" / "masks")

        def command(name: str) -> list[str | Path]:
            return latentseg(
                "evaluate", "--model", MODEL, "--data", folder / "data", "--samples", "8", "--quiet"
            )

        calls = _calls(settings, folder, command)
        usages = _turns(calls, settings)
    row = _row(what, "", usages, lambda usage: usage.wall)
    aim = Row("the same", values=tuple(usage.wall for usage in usages["now"]), unit=" s", aim="<= 15")
    return Section("evaluate", "Scoring a model", EVALUATE_TEXT, (row, *(() if settings.quick else (aim,))))
