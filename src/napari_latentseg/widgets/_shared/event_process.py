"""One long command of a viewer in a child process: its state, its events, and how it ended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qtpy.QtCore import QObject, Signal

from napari_latentseg.widgets._shared.child_process import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    ChildProcess,
    error_line,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["EventProcess", "ProcessState"]

ProcessState = Literal[
    "idle", "preparing", "running", "stopping", "validating", "reading", "done", "stopped", "failed"
]


class EventProcess(QObject):
    """Base of the processes of a viewer: one at a time each; they continue when their window is closed.

    Parameters
    ----------
    viewer
        The viewer whose window asks before it closes.
    parent
        Qt parent, which owns this.

    Signals
    -------
    changed
        Any of the attributes has changed.

    Attributes
    ----------
    work
        What is done, at the beginning of a sentence: ``"The evaluation"``.
    busy_states
        The states in which a process is in progress.
    child
        The process.
    state
        Stage of the work; ``"idle"`` before the first, then ``"preparing"`` and others.
    error, details
        The error in one line, and the rest of the error output; empty where there is none.
    """

    changed = Signal()

    work: ClassVar[str]
    busy_states: ClassVar[frozenset[ProcessState]]
    state: ProcessState

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self.child = ChildProcess(viewer, self)
        self.child.lines_received.connect(self._on_lines)
        self.child.ended.connect(self._on_ended)
        self.child.closed.connect(self._on_closed)
        self.error = self.details = ""

    @property
    def busy(self) -> bool:
        """Whether the work is in progress."""
        return self.state in self.busy_states

    def stop(self) -> None:
        """Ask the process to stop in good order."""
        if self.child.is_running and self.state != "stopping":
            self.child.request_stop(self._has_results)
            self.state = "stopping"
            self.changed.emit()

    def _has_results(self) -> bool:
        """Whether the process may have something to keep where it is stopped now."""
        return True

    @abstractmethod
    def _parse(self, line: bytes) -> Any:
        """The event of a line; raises `ValueError` where it is none."""

    @abstractmethod
    def _apply_events(self, events: Sequence[Any]) -> None:
        """Take over the events that arrived together, and tell of them."""

    @abstractmethod
    def _on_success(self, *, is_partial: bool) -> None:
        """The process has ended well, but for images that it could not use where it is partial."""

    def _on_interrupted(self) -> None:
        """The process was stopped before there was anything to keep."""
        self._set_ended("stopped")

    def _unexpected_end(self, reason: str) -> str:
        """The error where the process crashed."""
        return f"{self.work} ended unexpectedly ({reason})."

    def _on_lines(self, lines: list[bytes]) -> None:
        events = []
        for line in lines:
            try:
                events.append(self._parse(line))
            except ValueError:  # a warning of a library, for the details of an error
                self.child.add_error_output(line.decode("utf-8", "replace") + "\n")
        if events:
            self._apply_events(events)

    def _on_ended(self, code: int | None) -> None:
        if self.child.failed_to_start:
            self._set_ended("failed", f"{self.work} could not be started.")
        elif code in (0, EXIT_PARTIAL):
            self._on_success(is_partial=code == EXIT_PARTIAL)
        elif code == EXIT_INTERRUPTED or self.child.was_ended:
            self._on_interrupted()
        elif code == EXIT_BAD_INPUT:
            self._set_ended("failed", error_line(self.child.error_output) or f"{self.work} was refused.")
        else:
            reason = "it was killed, or crashed" if code is None else f"code {code}"
            self._set_ended("failed", self._unexpected_end(reason))

    def _on_closed(self, was_running: bool) -> None:
        if was_running:
            self._set_ended("stopped")

    def _set_ended(self, state: ProcessState, error: str = "") -> None:
        self.state, self.error = state, error
        self.details = self.child.error_output.strip() if state == "failed" else ""
        self.changed.emit()
