"""A fine-tuning in a child process: napari stays responsive, and all of its memory is freed at the end."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.training.events import (
    Caching,
    FineTuneData,
    FineTuneEpoch,
    FineTuneEvent,
    FineTuneSaved,
    Judged,
    Judging,
    Preview,
    PreviewCase,
    parse_finetune_event,
)
from napari_latentseg.utils.scratch import remove_scratch_folder
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.train.confirm_close import confirm_before_closing

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["FineTuneRequest", "TrainingProcess", "TrainingState", "training_of"]

TrainingState = Literal["idle", "preparing", "running", "stopping", "validating", "done", "failed"]

_MAX_DETAILS_CHARS = 20_000  # of the error output; a traceback of torch fits
_END_TIMEOUT_MS = 2000  # for the process to end by itself when napari is closed
_EXIT_INTERRUPTED = 130  # exit codes of our command line
_EXIT_BAD_INPUT = 2
_EXIT_PARTIAL = 3  # some images could not be read; the `data` event names them


@dataclass(frozen=True)
class FineTuneRequest:
    """The arguments of a fine-tuning.

    Attributes
    ----------
    base
        Name of the base model.
    data
        Folders with the training data, as the command line takes them.
    minutes
        Training time.
    name
        Name of the new model if both are kept; empty to let the training take the next free one.
    device, seed
        As the command line takes them.
    labels
        What the labels of the masks mean, as the command line takes it; empty for what the folder says.
    resume
        Whether to resume a stopped training of that name.
    temporary_data
        The folder among `data` that is deleted after the decision about the new model, or None.
    """

    base: str
    data: tuple[Path, ...]
    minutes: float
    name: str
    device: str = "auto"
    seed: int = 0
    labels: str = ""
    resume: bool = False
    temporary_data: Path | None = None

    def command_line(self) -> list[str]:
        """The arguments of the Python interpreter that start the training."""
        # -P: a file in the current folder must not be imported in place of a module
        command = ["-P", "-m", "napari_latentseg", "finetune", self.base]
        for folder in self.data:
            command += ["--data", str(folder)]
        command += ["--minutes", f"{self.minutes:g}", "--device", self.device]
        command += ["--seed", str(self.seed), "--events"]
        if self.name:
            command += ["--name", self.name]
        if self.labels:
            command += ["--labels", self.labels]
        return [*command, "--resume"] if self.resume else command


class TrainingProcess(QObject):
    """The training of a viewer: one at a time; it continues when the Train widget is closed.

    Signals
    -------
    changed
        Any of the attributes has changed.
    event_received
        A `FineTuneEvent` of the process.

    Attributes
    ----------
    state
        Stage of the training.
    request
        Arguments of the last training; None before the first.
    data, judged, saved
        The events of these kinds; None until they arrive.
    epochs
        The epochs so far, including those before a training was stopped and resumed.
    preview
        The latest thumbnails of some validation cases.
    stage_fraction
        Progress of encoding or validation, in [0, 1].
    error, details
        The error in one line, and the rest of the error output; empty where there is none.
    """

    changed = Signal()
    event_received = Signal(object)

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._process: QProcess | None = None
        self._release_napari: Callable[[], None] = lambda: None
        self.request: FineTuneRequest | None = None
        self._reset("idle")
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.end)

    def _reset(self, state: TrainingState) -> None:
        self.state: TrainingState = state
        self.data: FineTuneData | None = None
        self.epochs: list[FineTuneEpoch] = []
        self.preview: tuple[PreviewCase, ...] = ()
        self.judged: Judged | None = None
        self.saved: FineTuneSaved | None = None
        self.stage_fraction = 0.0
        self.error = self.details = ""
        self._partial_line = b""
        self._stderr_text = ""

    @property
    def busy(self) -> bool:
        """Whether a training is in progress."""
        return self.state in ("preparing", "running", "stopping", "validating")

    @property
    def can_resume(self) -> bool:
        """Whether the last training was stopped and can be resumed."""
        if self.request is None or self.saved is None or self.state != "done":
            return False
        return self.saved.stopped and self.saved.name == self.request.name

    def start(self, request: FineTuneRequest) -> None:
        """Start the process.

        Raises
        ------
        BadInput
            While another training is in progress.
        """
        if self.busy:
            raise BadInput("train", "another training is in progress", "wait for it, or stop it")
        if self.request is not None and self.request.temporary_data != request.temporary_data:
            self._remove_temporary_data()
        epochs = self.epochs if request.resume else []
        self._reset("preparing")
        self.epochs = epochs
        self.request = request
        process = QProcess(self)
        process.setProgram(sys.executable)
        process.setArguments(request.command_line())
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_errors)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._process = process
        viewer = self._viewer()
        if viewer is not None:
            self._release_napari = confirm_before_closing(viewer, "a model is being trained", self.end)
        process.start()
        self.changed.emit()

    def resume(self, minutes: float) -> None:
        """Resume the training that was stopped.

        Parameters
        ----------
        minutes
            Total training time, with the time before it was stopped.

        Raises
        ------
        BadInput
            If there is none, or another training is in progress.
        """
        if not self.can_resume or self.request is None:
            raise BadInput("train", "there is no stopped training to resume", "start one")
        self.start(replace(self.request, resume=True, minutes=minutes))

    def stop(self) -> None:
        """Ask the process to stop: it keeps and validates the best weights so far."""
        if self._process is not None and self.busy:
            self._process.write(b"stop\n")
            if self.state != "validating":
                self.state = "stopping"
            self.changed.emit()

    def end(self, *_: Any) -> bool:
        """End the process at once because napari closes: ask it to stop, terminate it, then kill it.

        Returns
        -------
        bool
            True, as napari requires of a function that cancels a task.
        """
        process = self._process
        if process is not None and process.state() != QProcess.ProcessState.NotRunning:
            process.finished.disconnect(self._on_finished)
            process.errorOccurred.disconnect(self._on_error)
            process.write(b"stop\n")
            process.terminate()
            if not process.waitForFinished(_END_TIMEOUT_MS):
                process.kill()
                process.waitForFinished(_END_TIMEOUT_MS)
            self._set_ended("failed", "Training ended because napari was closed.")
        self._remove_temporary_data()
        return True

    def show_candidate(self, judged: Judged, saved: FineTuneSaved) -> None:
        """Show a model from an earlier session that was neither adopted nor discarded.

        Parameters
        ----------
        judged, saved
            The last events of the training that produced it.
        """
        if not self.busy:
            self._reset("done")
            self.judged, self.saved = judged, saved
            self.changed.emit()

    def dismiss_error(self) -> None:
        """Forget the error of the last training, once another one is being prepared."""
        if self.state == "failed":
            self._reset("idle")
            self.changed.emit()

    def finish_decision(self) -> None:
        """Return to the idle state after the new model was adopted or discarded."""
        self._remove_temporary_data()
        self._reset("idle")
        self.changed.emit()

    def _remove_temporary_data(self) -> None:
        if self.request is not None and self.request.temporary_data is not None:
            remove_scratch_folder(self.request.temporary_data)

    def _read(self) -> None:
        if self._process is None:
            return
        *lines, self._partial_line = (
            self._partial_line + self._process.readAllStandardOutput().data()
        ).split(b"\n")
        for line in lines:
            self._handle_line(line)
        self.changed.emit()

    def _handle_line(self, line: bytes) -> None:
        try:
            event = parse_finetune_event(line)
        except ValueError:  # a warning of a library, for the details of an error
            self._add_error_text(line.decode("utf-8", "replace") + "\n")
            return
        self._apply(event)
        self.event_received.emit(event)

    def _apply(self, event: FineTuneEvent) -> None:
        match event:
            case FineTuneEpoch():
                self.epochs.append(event)
                if self.state == "preparing":
                    self.state = "running"
            case Judging():
                self.state = "validating"
                self.stage_fraction = event.done
            case Caching():
                self.stage_fraction = event.done
            case FineTuneData():
                self.data = event
            case Preview():
                self.preview = event.cases
            case Judged():
                self.judged = event
            case FineTuneSaved():
                self.saved = event
                if self.request is not None:  # its name, where none was given; resuming needs it
                    self.request = replace(self.request, name=event.name)

    def _add_error_text(self, text: str) -> None:
        self._stderr_text = (self._stderr_text + text)[-_MAX_DETAILS_CHARS:]

    def _read_errors(self) -> None:
        if self._process is not None:
            self._add_error_text(self._process.readAllStandardError().data().decode("utf-8", "replace"))

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._set_ended("failed", "The training could not be started.")

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_errors()
        if self._partial_line:
            self._handle_line(self._partial_line)
        if status != QProcess.ExitStatus.NormalExit:
            self._set_ended("failed", _unexpected_end("it was killed, or crashed"))
        elif code in (0, _EXIT_PARTIAL) and self.saved is not None and self.judged is not None:
            self._set_ended("done", "")
        elif code == _EXIT_INTERRUPTED:
            self._set_ended("failed", "Stopped before the first training step. Nothing was changed.")
        elif code == _EXIT_BAD_INPUT:
            self._set_ended("failed", _error_line(self._stderr_text))
        else:
            self._set_ended("failed", _unexpected_end(f"code {code}"))

    def _set_ended(self, state: TrainingState, error: str) -> None:
        self.state, self.error = state, error
        self.details = self._stderr_text.strip() if state == "failed" else ""
        self._release_napari()
        self._release_napari = lambda: None
        process, self._process = self._process, None
        if process is not None:
            QTimer.singleShot(0, process.deleteLater)  # not now: this may be called by one of its signals
        self.changed.emit()


def _error_line(stderr_text: str) -> str:
    """The last error of our command line in its error output."""
    lines = [line for line in stderr_text.splitlines() if line.strip()]
    error_line = next((line for line in reversed(lines) if line.startswith("error: ")), "".join(lines[-1:]))
    return error_line.removeprefix("error: ") or "The training was refused."


def _unexpected_end(reason: str) -> str:
    return f"The training ended unexpectedly ({reason}). The base model is unchanged."


@per_viewer
def training_of(viewer: ViewerModel) -> TrainingProcess:
    """The training of a viewer; it lives as long as the viewer."""
    return TrainingProcess(viewer, session_of(viewer))
