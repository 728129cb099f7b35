"""An evaluation in a child process: napari stays responsive, and all of its memory is freed at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QObject, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.events import EvaluationNote, EvaluationProgress, parse_evaluation_event
from napari_latentseg.evaluation.report_file import read_evaluation
from napari_latentseg.evaluation.worst_images import WorstImage, read_worst_images
from napari_latentseg.utils.scratch import make_scratch_folder, remove_scratch_folder
from napari_latentseg.widgets._shared.child_process import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    ChildProcess,
    error_line,
)
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import time_left_text
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.widgets.evaluate.request import EvaluationRequest

__all__ = ["EvaluationProcess", "EvaluationState", "evaluation_of"]

EvaluationState = Literal["idle", "preparing", "running", "stopping", "reading", "done", "stopped", "failed"]


class EvaluationProcess(QObject):
    """The evaluation of a viewer: one at a time; it continues when its window is closed.

    Signals
    -------
    changed
        Any of the attributes has changed.

    Attributes
    ----------
    state
        Stage of the evaluation.
    request
        Arguments of the last evaluation; None before the first.
    folder
        Holds the files of the last evaluation until the next one begins or napari is closed.
    report, worst_images
        Its figures and its worst images; None and none until it has ended well.
    notes
        What was passed over in the folder.
    done
        How much is done, in [0, 1].
    error, details
        The error in one line, and the rest of the error output; empty where there is none.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self.child = ChildProcess(viewer, self)
        self.child.lines_received.connect(self._on_lines)
        self.child.ended.connect(self._on_ended)
        self.child.closed.connect(self._on_closed)
        self.request: EvaluationRequest | None = None
        self.folder: Path | None = None
        self._reset("idle")

    def _reset(self, state: EvaluationState) -> None:
        self.state: EvaluationState = state
        self.report: EvaluationReport | None = None
        self.worst_images: list[WorstImage] = []
        self.notes: list[str] = []
        self.done = 0.0
        self.error = self.details = ""
        self._start_time = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether an evaluation is in progress."""
        return self.state in ("preparing", "running", "stopping", "reading")

    @property
    def page(self) -> Path | None:
        """The page of the last evaluation; None until it has ended well."""
        return None if self.report is None or self.folder is None else self.folder / "report.html"

    def start(self, request: EvaluationRequest) -> None:
        """Start the process.

        Raises
        ------
        BadInput
            While another evaluation is in progress, or if the temporary folder cannot be written.
        """
        if self.busy:
            raise BadInput("evaluation", "another model is being evaluated", "wait for it, or cancel it")
        self._remove_folder()
        try:
            self.folder = make_scratch_folder()
        except OSError as error:
            why = f"cannot be written ({error.strerror})"
            raise BadInput("the temporary folder", why, "free some disk space") from error
        self._reset("preparing")
        self.request = request
        self.child.start(request.command_line(self.folder), "a model is being evaluated")
        self.changed.emit()

    def stop(self) -> None:
        """Ask the process to stop after the batch that it is computing; nothing is kept."""
        if self.child.is_running and self.state != "stopping":
            self.child.request_stop()
            self.state = "stopping"
            self.changed.emit()

    def progress_text(self) -> str:
        """What is being done, in one line."""
        if self.state == "preparing":
            return "reading the folder and loading the model"
        if self.state == "stopping":
            return "stopping"
        if self.state == "reading" or self.done >= 1:
            return "writing the report"
        return f"scoring{time_left_text(time.monotonic() - self._start_time, self.done)}"

    def _on_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                event = parse_evaluation_event(line)
            except ValueError:  # a warning of a library, for the details of an error
                self.child.add_error_output(line.decode("utf-8", "replace") + "\n")
                continue
            match event:
                case EvaluationProgress():
                    if self.state == "preparing":
                        self.state = "running"
                        self._start_time = time.monotonic()
                    self.done = event.done
                case EvaluationNote():
                    self.notes.append(event.text)
        self.changed.emit()

    def _on_ended(self, code: int | None) -> None:
        if self.child.failed_to_start:
            self._set_ended("failed", "The evaluation could not be started.")
        elif code in (0, EXIT_PARTIAL):
            self._read()
        elif code == EXIT_INTERRUPTED:
            self._set_ended("stopped")
        elif code == EXIT_BAD_INPUT:
            self._set_ended("failed", error_line(self.child.error_output) or "The evaluation was refused.")
        else:
            reason = "it was killed, or crashed" if code is None else f"code {code}"
            self._set_ended("failed", f"The evaluation ended unexpectedly ({reason}).")

    def _read(self) -> None:
        """Read the figures, which takes a moment for thousands of images."""
        folder = self.folder
        assert folder is not None
        self.state = "reading"
        self.changed.emit()

        def show(result: tuple[EvaluationReport, list[WorstImage]]) -> None:
            if folder == self.folder:
                self.report, self.worst_images = result
                self._set_ended("done")

        run_in_thread(
            lambda: (
                read_evaluation(folder / "scores.json", with_statistics=True),
                read_worst_images(folder / "worst"),
            ),
            show,
            lambda error: self._set_ended("failed", str(error)),
            owner=self,
        )

    def _on_closed(self, was_running: bool) -> None:
        if was_running:
            self._set_ended("stopped")
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self.folder is not None:
            remove_scratch_folder(self.folder)
            self.folder = None

    def _set_ended(self, state: EvaluationState, error: str = "") -> None:
        self.state, self.error = state, error
        self.details = self.child.error_output.strip() if state == "failed" else ""
        self.changed.emit()


@per_viewer
def evaluation_of(viewer: ViewerModel) -> EvaluationProcess:
    """The evaluation of a viewer; it lives as long as the viewer."""
    return EvaluationProcess(viewer, session_of(viewer))
