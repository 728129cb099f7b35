"""An evaluation in a child process: napari stays responsive, and all of its memory is freed at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QObject

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.click_report import ClickReport, read_click_report
from napari_latentseg.evaluation.events import (
    EvaluationEvent,
    EvaluationNote,
    EvaluationProgress,
    parse_evaluation_event,
)
from napari_latentseg.evaluation.report_file import read_evaluation
from napari_latentseg.evaluation.worst_images import WorstImage, read_worst_images
from napari_latentseg.utils.scratch import make_scratch_folder, remove_scratch_folder
from napari_latentseg.widgets._shared.event_process import EventProcess, ProcessState
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import time_left_text
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.widgets.evaluate.request import EvaluationRequest

__all__ = ["EvaluationProcess", "evaluation_of"]


class EvaluationProcess(EventProcess):
    """The evaluation of a viewer: one at a time; it continues when its window is closed.

    Attributes
    ----------
    request
        Arguments of the last evaluation; None before the first.
    folder
        Holds the files of the last evaluation until the next one begins or napari is closed.
    report, worst_images
        Its figures and its worst images; None and none until it has ended well. By clicks there are no worst
        images: the figures hold each object.
    notes
        What was passed over in the folder.
    done
        How much is done, in [0, 1].
    """

    work: ClassVar[str] = "The evaluation"
    busy_states: ClassVar[frozenset[ProcessState]] = frozenset(
        {"preparing", "running", "stopping", "reading"}
    )

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self.request: EvaluationRequest | None = None
        self.folder: Path | None = None
        self._reset("idle")

    def _reset(self, state: ProcessState) -> None:
        self.state = state
        self.report: EvaluationReport | ClickReport | None = None
        self.worst_images: list[WorstImage] = []
        self.notes: list[str] = []
        self.done = 0.0
        self.error = self.details = ""
        self._start_time = time.monotonic()

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
        kept = "Its figures are lost; the model and the images are not changed."
        self.child.start(request.command_line(self.folder), "a model is being evaluated", kept)
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

    def _has_results(self) -> bool:
        return False  # figures of some of the images would be taken for those of all

    def _parse(self, line: bytes) -> EvaluationEvent:
        return parse_evaluation_event(line)

    def _apply_events(self, events: Sequence[EvaluationEvent]) -> None:
        for event in events:
            match event:
                case EvaluationProgress():
                    if self.state == "preparing":
                        self.state = "running"
                        self._start_time = time.monotonic()
                    self.done = event.done
                case EvaluationNote():
                    self.notes.append(event.text)
        self.changed.emit()

    def _on_success(self, *, is_partial: bool) -> None:
        self._read()

    def _read(self) -> None:
        """Read the figures, which takes a moment for thousands of images."""
        folder, request = self.folder, self.request
        assert folder is not None
        assert request is not None
        self.state = "reading"
        self.changed.emit()

        def read() -> tuple[EvaluationReport | ClickReport, list[WorstImage]]:
            scores = folder / "scores.json"
            if request.clicks is not None:
                return read_click_report(scores), []
            return read_evaluation(scores, with_statistics=True), read_worst_images(folder / "worst")

        def show(result: tuple[EvaluationReport | ClickReport, list[WorstImage]]) -> None:
            if folder == self.folder:
                self.report, self.worst_images = result
                self._set_ended("done")

        run_in_thread(
            read,
            show,
            lambda error: self._set_ended("failed", str(error)),
            owner=self,
        )

    def _on_closed(self, was_running: bool) -> None:
        super()._on_closed(was_running)
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self.folder is not None:
            remove_scratch_folder(self.folder)
            self.folder = None


@per_viewer
def evaluation_of(viewer: ViewerModel) -> EvaluationProcess:
    """The evaluation of a viewer; it lives as long as the viewer."""
    return EvaluationProcess(viewer, session_of(viewer))
