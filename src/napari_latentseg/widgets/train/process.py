"""A fine-tuning in a process of its own, so that napari stays quick and all of its memory comes back."""

from __future__ import annotations

import shutil
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.training.events import parse_finetune_event
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.train.confirm_close import confirm_before_closing

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["FineTuneRequest", "TrainingProcess", "TrainingState", "training_of"]

TrainingState = Literal["idle", "preparing", "running", "stopping", "judging", "done", "failed"]

_MAX_DETAILS_CHARS = 20_000  # characters
_END_TIMEOUT_MS = 2000  # milliseconds that a process has to end when napari does
_EXIT_INTERRUPTED = 130
_EXIT_BAD_INPUT = 2


@dataclass(frozen=True)
class FineTuneRequest:
    """What is to be taught.

    Attributes
    ----------
    base
        The name of the model to begin from.
    data
        Folders to learn from, as the command line takes them.
    minutes
        Of time.
    name
        Of the new model, should both be kept.
    device, seed
        As the command line takes them.
    resume
        Whether a training of that name that was stopped goes on.
    temporary_data
        A folder among `data` that is removed when it is not needed any more; None where there is none.
    """

    base: str
    data: tuple[Path, ...]
    minutes: float
    name: str
    device: str = "auto"
    seed: int = 0
    resume: bool = False
    temporary_data: Path | None = None

    def command_line(self) -> list[str]:
        """Of Python, to start it."""
        command = ["-m", "napari_latentseg", "finetune", self.base]
        for folder in self.data:
            command += ["--data", str(folder)]
        command += ["--minutes", f"{self.minutes:g}", "--name", self.name, "--device", self.device]
        command += ["--seed", str(self.seed), "--events"]
        return [*command, "--resume"] if self.resume else command


class TrainingProcess(QObject):
    """The training of a viewer: one at a time, kept when the widget that shows it is closed.

    Signals
    -------
    changed
        Another state, or another figure; see the attributes.
    event_received
        An event of the process, as it came.

    Attributes
    ----------
    state
        Where it stands.
    request
        What was asked for last.
    data, epochs, preview, judged, saved
        The events of these kinds that came; empty while none has.
    stage_fraction
        The fraction of the present step, from 0 to 1.
    error, details
        What went wrong, in one line, and what else was said.
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
        self.data: dict[str, Any] = {}
        self.epochs: list[dict[str, Any]] = []
        self.preview: dict[str, Any] = {}
        self.judged: dict[str, Any] = {}
        self.saved: dict[str, Any] = {}
        self.stage_fraction = 0.0
        self.error = self.details = ""
        self._partial_line = b""
        self._stderr_text = ""

    @property
    def busy(self) -> bool:
        """Whether a training is under way."""
        return self.state in ("preparing", "running", "stopping", "judging")

    @property
    def can_resume(self) -> bool:
        """Whether the last training was stopped, and can go on."""
        is_own_candidate = self.request is not None and self.saved.get("name") == self.request.name
        return is_own_candidate and self.state == "done" and bool(self.saved.get("stopped"))

    def start(self, request: FineTuneRequest) -> None:
        """Begin.

        Raises
        ------
        BadInput
            While another one is under way.
        """
        if self.busy:
            raise BadInput("train", "another training is under way", "wait for it, or stop it")
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
            self._release_napari = confirm_before_closing(viewer, "a model is being taught", self.end)
        process.start()
        self.changed.emit()

    def resume(self, minutes: float) -> None:
        """Go on with a training that was stopped.

        Parameters
        ----------
        minutes
            Of time, for all of it together.

        Raises
        ------
        BadInput
            Where there is none, or another one is under way.
        """
        if not self.can_resume or self.request is None:
            raise BadInput("train", "there is no training to go on with", "begin one")
        self.start(replace(self.request, resume=True, minutes=minutes))

    def stop(self) -> None:
        """Ask it to stop: it keeps the best that it has, and judges that."""
        if self._process is not None and self.busy:
            self._process.write(b"stop\n")
            if self.state != "judging":
                self.state = "stopping"
            self.changed.emit()

    def end(self, *_: Any) -> bool:
        """End it at once, because napari ends: first with a word, then by force.

        Returns
        -------
        bool
            True; what napari asks of such a function.
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
            self._set_ended("failed", "The training was ended, because napari was closed.")
        self._remove_temporary_data()
        return True

    def show_candidate(self, judged: dict[str, Any], saved: dict[str, Any]) -> None:
        """Show a model of an earlier day that waits for a decision.

        Parameters
        ----------
        judged, saved
            As the training that made it told them.
        """
        if not self.busy:
            self._reset("done")
            self.judged, self.saved = judged, saved
            self.changed.emit()

    def finish_decision(self) -> None:
        """A person has decided about the new model; there is nothing more to show."""
        self._remove_temporary_data()
        self._reset("idle")
        self.changed.emit()

    def _remove_temporary_data(self) -> None:
        if self.request is not None and self.request.temporary_data is not None:
            shutil.rmtree(self.request.temporary_data, ignore_errors=True)

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
            event = parse_finetune_event(line).as_dict()
        except ValueError:
            self._stderr_text = (self._stderr_text + line.decode("utf-8", "replace") + "\n")[
                -_MAX_DETAILS_CHARS:
            ]
            return
        kind = event["event"]
        if kind == "epoch":
            self.epochs.append(event)
            if self.state == "preparing":
                self.state = "running"
        elif kind == "judging":
            self.state = "judging"
            self.stage_fraction = float(event["done"])
        elif kind == "caching":
            self.stage_fraction = float(event["done"])
        elif kind in ("data", "preview", "judged", "saved"):
            setattr(self, kind, event)
        self.event_received.emit(event)

    def _read_errors(self) -> None:
        if self._process is not None:
            text = self._process.readAllStandardError().data().decode("utf-8", "replace")
            self._stderr_text = (self._stderr_text + text)[-_MAX_DETAILS_CHARS:]

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._set_ended("failed", "The training could not be started.")

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_errors()
        if self._partial_line:
            self._handle_line(self._partial_line)
        is_whole = status == QProcess.ExitStatus.NormalExit
        if is_whole and code == 0 and self.saved and self.judged:
            self._set_ended("done", "")
        elif is_whole and code == _EXIT_INTERRUPTED:
            self._set_ended("failed", "Stopped before anything was learnt. Nothing was changed.")
        elif is_whole and code == _EXIT_BAD_INPUT:
            lines = [line for line in self._stderr_text.splitlines() if line.strip()]
            error_line = next(
                (line for line in reversed(lines) if line.startswith("error: ")), "".join(lines[-1:])
            )
            self._set_ended("failed", error_line.removeprefix("error: ") or "The training was refused.")
        else:
            reason = f"code {code}" if is_whole else "it was killed, or crashed"
            text = f"The training ended unexpectedly ({reason}). The model that it began from is unchanged."
            self._set_ended("failed", text)

    def _set_ended(self, state: TrainingState, error: str) -> None:
        self.state, self.error = state, error
        self.details = self._stderr_text.strip() if state == "failed" else ""
        self._release_napari()
        self._release_napari = lambda: None
        process, self._process = self._process, None
        if process is not None:
            QTimer.singleShot(0, process.deleteLater)  # it may be telling us this itself
        self.changed.emit()


def training_of(viewer: ViewerModel) -> TrainingProcess:
    """The training of a viewer; it lives as long as that does.

    Parameters
    ----------
    viewer
        napari's own, or the proxy that it gives to plugins.
    """
    unwrapped_viewer = getattr(viewer, "__wrapped__", viewer)
    session = session_of(unwrapped_viewer)
    existing = session.findChild(TrainingProcess)
    return existing if existing is not None else TrainingProcess(unwrapped_viewer, session)
