"""Read scans in a thread, with a progress dialog and a cancel button.

napari calls a reader on the GUI thread and waits for it, so nothing is read there. A window reads one scan at
a time: files that are dropped together open in their order, and do not compete for the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QInputDialog, QProgressDialog, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.io._progress import report_progress_to
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.background_task import BackgroundTask
from napari_latentseg.widgets._shared.layers import METADATA_KEY, NOTES_KEY
from napari_latentseg.widgets._shared.plain_text import show_error, show_info
from napari_latentseg.widgets._shared.unit_registry import prepare_unit_registry
from napari_latentseg.widgets.opening.layer_data import LayerData, ScanSurvey, layers_of_scan, survey_path

__all__ = ["ScanOpener", "choose_series", "opener_of"]

_PROGRESS_DELAY_MS = 500  # no dialog flashes up for small files


@dataclass
class _ReadJob:
    path: Path
    on_done: Callable[[list[LayerData]], Any]
    task: BackgroundTask | None = None


class ScanOpener(QObject):
    """Reads scans for one window, one after another.

    Parameters
    ----------
    window
        Parent of the dialogs; reading stops when it is closed.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._jobs: deque[_ReadJob] = deque()
        self._dialog: QProgressDialog | None = None

    def _window(self) -> QWidget:
        return cast(QWidget, self.parent())  # not stored: a reference would keep it alive

    def open(self, path: Path, on_done: Callable[[list[LayerData]], Any]) -> None:
        """Read a path after those before it.

        Parameters
        ----------
        path
            A file or folder. Of several series the user chooses one.
        on_done
            Called in the GUI thread with the layer data; with an empty list where the user cancelled, or
            after an error, which was shown. Not called once the window is closed.
        """
        job = _ReadJob(path, on_done)
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._start_job(job)

    def cancel(self) -> None:
        """Cancel the current job at once; the thread stops at its next file."""
        if self._jobs:
            self._finish(self._jobs[0], [])

    def _start_job(self, job: _ReadJob) -> None:
        def survey() -> ScanSurvey | list[LayerData]:
            layer_survey = survey_path(job.path)
            return layer_survey if len(layer_survey.series) > 1 else _read_layers(layer_survey, None)

        def on_surveyed(survey_or_layers: ScanSurvey | list[LayerData]) -> None:
            if not isinstance(survey_or_layers, ScanSurvey):
                self._finish(job, survey_or_layers)
                return
            self._close_dialog()
            series_number = choose_series(job.path, survey_or_layers.series, self._window())
            if series_number is None:
                self._finish(job, [])
            else:
                self._run_task(
                    job,
                    lambda: _read_layers(survey_or_layers, series_number),
                    lambda layers: self._finish(job, layers),
                )

        self._dialog = dialog = QProgressDialog(f"Reading {job.path.name}", "Cancel", 0, 0, self._window())
        dialog.setWindowTitle("LatentSeg")
        dialog.setMinimumDuration(_PROGRESS_DELAY_MS)
        dialog.setAutoClose(False)
        dialog.setAutoReset(False)
        dialog.canceled.connect(self.cancel)
        self._run_task(job, survey, on_surveyed)

    def _run_task(self, job: _ReadJob, function: Callable[[], Any], on_done: Callable[[Any], None]) -> None:
        def guarded(task: BackgroundTask) -> Any:
            with report_progress_to(task.report_progress):
                return function()

        def failed(error: BaseException) -> None:
            _show_read_error(job.path, error)
            self._finish(job, [])

        job.task = BackgroundTask(self, guarded, on_done, failed, self._show_progress)
        job.task.start()

    def _show_progress(self, done: int, total: int) -> None:
        if self._dialog is not None:
            self._dialog.setMaximum(total)
            self._dialog.setValue(done)
            self._dialog.setLabelText(
                f"Reading {self._jobs[0].path.name}: {done} of {count_text(total, 'file')}"
            )

    def _close_dialog(self) -> None:
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.canceled.disconnect(self.cancel)  # closing it would count as Cancel
            dialog.close()
            dialog.deleteLater()

    def _finish(self, job: _ReadJob, layers: list[LayerData]) -> None:
        if job.task is not None:
            job.task.stop()
        self._close_dialog()
        self._jobs.popleft()
        try:
            job.on_done(layers)
            _show_notes(job.path, layers)
        finally:  # the next file is read, whatever became of this one
            if self._jobs:
                self._start_job(self._jobs[0])


def _read_layers(survey: ScanSurvey, number: int | None) -> list[LayerData]:
    layers = layers_of_scan(survey.read(number), survey.layer_name(number))
    prepare_unit_registry()
    return layers


def opener_of(window: QWidget) -> ScanOpener:
    """The opener of a window."""
    existing = window.findChild(ScanOpener)
    return existing if isinstance(existing, ScanOpener) else ScanOpener(window)


def _show_read_error(path: Path, error: BaseException) -> None:
    if not isinstance(error, BadInput):  # an internal error; its text may quote patient data from the header
        error = BadInput(
            path.name, f"could not be read ({type(error).__name__})", "report it, with the type of the file"
        )
    show_error(str(error))


def _show_notes(path: Path, layers: list[LayerData]) -> None:
    """Show what the reader assumed or left out; the channels of a file have the same notes."""
    notes = dict.fromkeys(
        note for _, arguments, _ in layers for note in arguments["metadata"][METADATA_KEY][NOTES_KEY]
    )
    if notes:
        show_info(f"{path.name}: {'; '.join(notes)}")


def choose_series(path: Path, series: tuple[Any, ...], window: QWidget | None = None) -> int | None:
    """Ask which of several series to open, from 1; None where the user cancels."""
    lines = [f"{i + 1}: {_series_text(series_info)}" for i, series_info in enumerate(series)]
    line, accepted = QInputDialog.getItem(
        window,
        "Choose a series",
        f"{path.name} has {len(lines)} series. Open:",
        lines,
        0,
        editable=False,
    )
    return lines.index(line) + 1 if accepted else None


def _series_text(series_info: Any) -> str:
    if isinstance(series_info, str):
        return series_info
    size = " × ".join(map(str, series_info.shape)) or count_text(series_info.count, "image")
    return ", ".join(
        part for part in (series_info.modality, series_info.description, size, series_info.problem) if part
    )
