"""Two patients whose results are told apart by their numbers, and three ways to write them into a folder."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from tests.helpers.dicom import positions, series
from tests.helpers.segmentation import segmentation

from napari_latentseg import api
from napari_latentseg.api import inference
from napari_latentseg.cli import main
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.models.card import ModelCard

NAMES = ("a", "b")
MODEL = "breast-ultrasound"
MOVED_THRESHOLD = 0.7
_SHAPE = (2, 16, 16)
_CORRECTED = 2  # voxels that a person adds
_UNSURE = 4  # voxels between the two thresholds


@dataclass(frozen=True)
class Patient:
    """A patient with a DICOM series. The masks of the first have an odd number of voxels, others an even."""

    name: str
    path: Path
    scan: Scan

    @property
    def sha256(self) -> str:
        return self.scan.content_sha256

    def result(self, run: int, mask: str = "model") -> Segmentation:
        """The result of a run, like no other: its mask is the model's, thresholded anew, or corrected."""
        size = 1 + NAMES.index(self.name) + 2 * run
        mean = np.full((1, *_SHAPE), 0.1, np.float32)
        mean.flat[:size] = 0.9
        mean.flat[size : size + _UNSURE] = 0.6
        example = segmentation(self.scan.geometry)
        record = example.record.replace(
            input=example.record.input.model_copy(update={
                "sha256": self.sha256, "format": self.scan.format, "axes": self.scan.axes,
                "shape": _SHAPE, "dtype": str(self.scan.array.dtype),
                "spacing": self.scan.geometry.spacing, "units": self.scan.geometry.units,
            }),
            seed=run, time=f"2026-01-01T{run // 3600:02}:{run // 60 % 60:02}:{run % 60:02}+00:00",
            planes=2, planes_done=2, classes=card().classes, volume_unit="mm3",
        )  # fmt: skip
        result = replace(
            example, mask=(mean[0] > 0.5).astype(np.uint8), mean=mean, variance=mean / 4, axes="zyx",
            geometry=self.scan.geometry, format=self.scan.format, properties=dict(self.scan.properties),
            source=self.scan.source, classes=card().classes, record=record,
        )  # fmt: skip
        if mask == "thresholded":
            return result.with_threshold(MOVED_THRESHOLD)
        if mask == "corrected":
            corrected = result.mask.copy()
            corrected.flat[-_CORRECTED:] = 1
            edited = record.replace(mask_edited=True, mask_state="corrected")
            return replace(result, mask=corrected, model_mask=result.mask, record=edited)
        return result


def owner_of(voxels: int) -> str:
    """Whose mask has so many voxels."""
    return NAMES[1 - voxels % 2]


@cache
def card() -> ModelCard:
    """The card of the model that stands for all."""
    return api.locate_model(MODEL).card


def make_patients(folder: Path) -> dict[str, Patient]:
    """Two patients, whose series have the same name."""
    patients = {}
    for number, name in enumerate(NAMES):
        values = np.random.default_rng(number).integers(0, 900, _SHAPE).astype(np.int16)
        path = series(folder / name / "T1", values, positions(2), SeriesInstanceUID=f"1.2.3.{number}")
        patients[name] = Patient(name, path, read_scan(path))
    return patients


Write = Callable[..., None]
"""Called with patient, result, folder and stem; raises BadInput where it is refused."""


def write_from_python(
    patient: Patient, result: Segmentation, folder: Path, stem: str, *, format: str | None = None,
    extras: bool = False, cases: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """Write with `write_result`."""
    api.write_result(
        result, folder, stem, scan=patient.scan, card=card(), format=format, table=extras, contours=extras,
        report=folder / f"{stem}_report.html" if extras else None,
        append_to=folder / "cases.csv" if cases else None, overwrite=overwrite,
    )  # fmt: skip


def write_from_command_line(
    patient: Patient, result: Segmentation, folder: Path, stem: str, *, format: str | None = None,
    extras: bool = False, cases: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """Write with `segment`, whose run has this result."""
    arguments: list[Any] = ["segment", patient.path, "--model", MODEL, "--out", folder]
    arguments += ["--case", stem] if stem != "T1" else []
    arguments += ["--format", format] if format else []
    arguments += ["--table", "--contours", "--report", folder / f"{stem}_report.html"] if extras else []
    arguments += ["--append-to", folder / "cases.csv"] if cases else []
    arguments += ["--overwrite"] if overwrite else []
    state = SimpleNamespace(original=patient.scan)
    run = SimpleNamespace(finish=lambda progress: result, state=state, model=None)
    with patch.object(inference, "start_run", lambda *_, **__: run):
        command(*arguments)


def write_from_window(
    patient: Patient, result: Segmentation, folder: Path, stem: str, *, format: str | None = None,
    extras: bool = False, cases: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """Write as the export dialog does: what `check_export` finds in the way keeps Save from being clicked."""
    from napari_latentseg.widgets.segment import export

    settings = export.ExportSettings(
        folder, stem, False, format, contours=extras, table=extras, report=extras,
        append_to=folder / "cases.csv" if cases else None, overwrite=overwrite,
    )  # fmt: skip
    if problem := export.check_export(result, settings).problem:
        raise BadInput("export", problem, "")
    shown = SimpleNamespace(
        segmentation=result, shown_mask=lambda: SimpleNamespace(segmentation=result),
        job=SimpleNamespace(scan=patient.scan), card=card(),
        layers=SimpleNamespace(image=SimpleNamespace(name="image"), viewer=SimpleNamespace()),
    )  # fmt: skip
    with (
        patch.object(export, "run_in_thread", lambda function, on_done, on_error: on_done(function())),
        patch.object(export, "show_info"),
    ):
        export.export_result(shown, folder, settings=settings)


WRITERS: dict[str, Write] = {
    "python": write_from_python,
    "command line": write_from_command_line,
    "window": write_from_window,
}


def command(*arguments: object) -> str:
    """Run a command in this process; what it printed.

    Raises
    ------
    BadInput
        With the line on the standard error, where it is refused.
    """
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([str(argument) for argument in arguments])
    lines = errors.getvalue().splitlines()
    if code:
        assert code == 2, lines
        assert len(lines) == 1, lines
        raise BadInput("command", lines[0], "")
    return out.getvalue()


class Killed(BaseException):
    """Stands for the end of the process: no handler of errors and no cleanup runs to its end."""


@contextlib.contextmanager
def broken_move(folder: Path, step: int, error: BaseException) -> Iterator[list[str]]:
    """Let the n-th move into a folder fail; gives a list that then holds the name that was to be moved."""
    move, count, failed = Path.replace, [0], []

    def moving(source: Path, target: Path) -> Path:
        if Path(target).parent == folder:
            count[0] += 1
            if count[0] == step:
                failed.append(Path(target).name)
                raise error
        return move(source, target)

    keeps_files = patch("shutil.rmtree") if isinstance(error, Killed) else contextlib.nullcontext()
    with patch.object(Path, "replace", moving), keeps_files:
        yield failed
