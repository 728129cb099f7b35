"""A scan on its way into the window: read in a thread, with its progress shown and a button to stop it.

napari calls a reader on the GUI thread and waits for it, so nothing is read there. A window reads one scan at
a time: files that are dropped together come in their order, and do not fight for the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from napari.utils.notifications import show_error
from pint import get_application_registry
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QInputDialog, QProgressDialog, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.formats._progress import told_to
from napari_latentseg.widgets.beside import Errand
from napari_latentseg.widgets.reading import LayerData, Survey, layers_of_scan, survey_of

__all__ = ["Opener", "choose_series", "opener_of"]

_PATIENCE_MS = 500  # what is read sooner shows no progress


@dataclass
class _Job:
    path: Path
    done: Callable[[list[LayerData]], Any]
    errand: Errand | None = None


class Opener(QObject):
    """Reads scans for one window, one after another.

    Parameters
    ----------
    window
        Over which progress and questions are shown; when it goes, the reading ends.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._jobs: deque[_Job] = deque()
        self._dialog: QProgressDialog | None = None

    def _window(self) -> QWidget:
        return cast(QWidget, self.parent())  # not kept: it would outlive its closing

    def open(self, path: Path, done: Callable[[list[LayerData]], Any]) -> None:
        """Read a path when those before it are through.

        Parameters
        ----------
        path
            A file or folder. Of several series a person is asked for one.
        done
            Is given the layers as napari takes them, in the GUI thread; an empty list where the reading was
            cancelled, or failed, which has been told by then. Not called when the window is gone.
        """
        job = _Job(path, done)
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._begin(job)

    def cancel(self) -> None:
        """Give up what is being read, at once; the thread stops at its next file."""
        if self._jobs:
            self._end(self._jobs[0], [])

    def _begin(self, job: _Job) -> None:
        def look() -> Survey | list[LayerData]:
            survey = survey_of(job.path)
            return survey if len(survey.several) > 1 else _layers(survey, None)

        def settle(found: Survey | list[LayerData]) -> None:
            if not isinstance(found, Survey):
                self._end(job, found)
                return
            self._close_dialog()
            number = choose_series(job.path, found.several, self._window())
            if number is None:
                self._end(job, [])
            else:
                self._work(job, lambda: _layers(found, number), lambda layers: self._end(job, layers))

        self._dialog = dialog = QProgressDialog(f"Reading {job.path.name}", "Cancel", 0, 0, self._window())
        dialog.setWindowTitle("LatentSeg")
        dialog.setMinimumDuration(_PATIENCE_MS)
        dialog.setAutoClose(False)
        dialog.setAutoReset(False)
        dialog.canceled.connect(self.cancel)
        self._work(job, look, settle)

    def _work(self, job: _Job, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        def guarded(errand: Errand) -> Any:
            with told_to(errand.step):
                return work()

        def failed(error: BaseException) -> None:
            _explain(job.path, error)
            self._end(job, [])

        job.errand = Errand(self, guarded, then, failed, self._show_progress)
        job.errand.start()

    def _show_progress(self, at: int, total: int) -> None:
        if self._dialog is not None:
            self._dialog.setMaximum(total)
            self._dialog.setValue(at)
            self._dialog.setLabelText(f"Reading {self._jobs[0].path.name}: {at} of {total} files")

    def _close_dialog(self) -> None:
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.canceled.disconnect(self.cancel)  # closing it would count as Cancel
            dialog.close()
            dialog.deleteLater()

    def _end(self, job: _Job, layers: list[LayerData]) -> None:
        if job.errand is not None:
            job.errand.stop()
        self._close_dialog()
        self._jobs.popleft()
        job.done(layers)
        if self._jobs:
            self._begin(self._jobs[0])


def _layers(survey: Survey, number: int | None) -> list[LayerData]:
    found = layers_of_scan(survey.read(number), survey.name)
    # napari's table of units takes a third of a second when it is first asked, which is with the first layer
    get_application_registry().parse_units("mm")
    return found


def opener_of(window: QWidget) -> Opener:
    """The one of a window."""
    found = window.findChild(Opener)
    return found if isinstance(found, Opener) else Opener(window)


def _explain(path: Path, error: BaseException) -> None:
    if not isinstance(error, BadInput):  # a fault of ours, or of a library; its text may quote the header
        error = BadInput(
            path.name, f"could not be read ({type(error).__name__})", "report it, with the kind of file"
        )
    show_error(str(error))


def choose_series(path: Path, several: tuple[Any, ...], window: QWidget | None = None) -> int | None:
    """Which of several series a person wants, from 1; None where they want none."""
    lines = [f"{i + 1}: {_line(one)}" for i, one in enumerate(several)]
    line, wanted = QInputDialog.getItem(
        window,
        "Which series?",
        f"{path.name} holds {len(lines)} series. Open this one:",
        lines,
        0,
        editable=False,
    )
    return lines.index(line) + 1 if wanted else None


def _line(one: Any) -> str:
    if isinstance(one, str):
        return one
    size = " × ".join(map(str, one.shape)) or f"{one.count} pictures"
    return ", ".join(part for part in (one.modality, one.description, size, one.problem) if part)
