"""A command of ours in a child process that prints its events, one JSON object a line."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QTimer, Signal

from napari_latentseg.widgets._shared.closing import WorkInProgress, watch_closing
from napari_latentseg.widgets._shared.confirm_close import confirm_before_closing

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["EXIT_BAD_INPUT", "EXIT_INTERRUPTED", "EXIT_PARTIAL", "ChildProcess", "error_line"]

EXIT_BAD_INPUT = 2  # exit codes of our command line
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130

_MAX_DETAILS_CHARS = 20_000  # of the error output; a traceback of torch fits
_END_TIMEOUT_MS = 2000  # for the process to end by itself when napari is closed
_STOP_GRACE_MS = 1000  # after this, a person takes Cancel for broken


class ChildProcess(QObject):
    """Runs one command of ours at a time; napari asks before it closes, and ends the command if it does.

    Parameters
    ----------
    viewer
        The viewer whose window asks.
    parent
        Qt parent, which owns this.

    Signals
    -------
    lines_received
        The complete lines that the process has printed since the last time, a list of bytes.
    ended
        Exit code of the process; None where it could not be started, was killed or crashed.
    closed
        napari is closed: whether a process was running, which has been ended.

    Attributes
    ----------
    kept
        What stays of the work and what is lost if napari is closed now, for the question before it closes.
    error_output
        The end of what the process wrote to its standard error.
    failed_to_start
        Whether there has been no process at all.
    was_ended
        Whether the process was ended since it did not stop by itself, see `request_stop`.
    """

    lines_received = Signal(object)
    ended = Signal(object)
    closed = Signal(bool)

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._process: QProcess | None = None
        self._release_napari: Callable[[], None] = lambda: None
        self._what = self.kept = ""
        watch_closing(viewer, self.work_in_progress)
        self._partial_line = b""
        self.error_output = ""
        self.failed_to_start = self.was_ended = False
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.end)

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None

    @property
    def process_id(self) -> int:
        """Of the operating system; 0 without a process."""
        return 0 if self._process is None else int(self._process.processId())

    def start(self, arguments: Sequence[str], description: str = "", kept: str = "") -> None:
        """Start the Python interpreter with these arguments.

        Parameters
        ----------
        arguments
            The command and its options, without the name of the program.
        description
            The work, for the question before napari is closed; where empty, it closes without one.
        kept
            See the attribute; it may change while the process runs.
        """
        self._partial_line, self.error_output = b"", ""
        self.failed_to_start = self.was_ended = False
        process = QProcess(self)
        process.setProgram(sys.executable)
        # -P: a file in the current folder must not be imported in place of a module
        process.setArguments(["-P", "-m", "napari_latentseg", *arguments])
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_errors)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._process = process
        viewer = self._viewer()
        self._what = f"{description[:1].upper()}{description[1:]}." if description else ""
        self.kept = kept
        if viewer is not None and description:
            self._release_napari = confirm_before_closing(viewer, description, self.end)
        process.start()

    def work_in_progress(self) -> WorkInProgress | None:
        """The work, for the question before napari is closed."""
        return WorkInProgress(self._what, self.kept) if self.is_running and self._what else None

    def request_stop(self, has_results: Callable[[], bool] = lambda: True) -> None:
        """Ask the process to stop in good order; see `napari_latentseg.cli.interrupt`.

        Parameters
        ----------
        has_results
            Whether the process may have something to keep. Where it has not, and has not stopped a second
            later, it is ended: loading and compiling a model take many seconds, in which it stops at nothing.
        """
        process = self._process
        if process is None:
            return
        process.write(b"stop\n")

        def end(send: Callable[[], None]) -> None:
            if self._process is process and not has_results():
                self.was_ended = True
                send()

        QTimer.singleShot(_STOP_GRACE_MS, lambda: end(process.terminate))
        QTimer.singleShot(2 * _STOP_GRACE_MS, lambda: end(process.kill))

    def end(self, *_: Any) -> bool:
        """End the process at once because napari closes: ask it to stop, terminate it, then kill it.

        Returns
        -------
        bool
            True, as napari requires of a function that cancels a task.
        """
        process = self._process
        is_running = process is not None and process.state() != QProcess.ProcessState.NotRunning
        if process is not None and is_running:
            process.finished.disconnect(self._on_finished)
            process.errorOccurred.disconnect(self._on_error)
            process.write(b"stop\n")
            process.terminate()
            if not process.waitForFinished(_END_TIMEOUT_MS):
                process.kill()
                process.waitForFinished(_END_TIMEOUT_MS)
            self._forget_process()
        self.closed.emit(is_running)
        return True

    def add_error_output(self, text: str) -> None:
        """Keep a text that was not meant for us, such as a warning of a library, among the details."""
        self.error_output = (self.error_output + text)[-_MAX_DETAILS_CHARS:]

    def _read(self) -> None:
        if self._process is None:
            return
        *lines, self._partial_line = (
            self._partial_line + self._process.readAllStandardOutput().data()
        ).split(b"\n")
        if lines:
            self.lines_received.emit(lines)

    def _read_errors(self) -> None:
        if self._process is not None:
            self.add_error_output(self._process.readAllStandardError().data().decode("utf-8", "replace"))

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.failed_to_start = True
            self._forget_process()
            self.ended.emit(None)

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_errors()
        if self._partial_line:
            self.lines_received.emit([self._partial_line])
        self._forget_process()
        self.ended.emit(code if status == QProcess.ExitStatus.NormalExit else None)

    def _forget_process(self) -> None:
        self._release_napari()
        self._release_napari = lambda: None
        process, self._process = self._process, None
        if process is not None:
            QTimer.singleShot(0, process.deleteLater)  # not now: this may be called by one of its signals


def error_line(error_output: str) -> str:
    """The last error of our command line in its error output; empty without any."""
    lines = [line for line in error_output.splitlines() if line.strip()]
    line = next((line for line in reversed(lines) if line.startswith("error: ")), "".join(lines[-1:]))
    return line.removeprefix("error: ")
