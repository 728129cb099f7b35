"""A batch in a child process: napari stays responsive, and survives a file that crashes a library."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.batches.case_rows import CaseRow, read_case_rows, table_name
from napari_latentseg.batches.events import (
    BatchEvent,
    BatchStart,
    CaseEnd,
    CaseProgress,
    parse_batch_event,
)
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.event_process import EventProcess, ProcessState
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import time_left_text
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_latentseg.widgets.batch.request import BatchRequest

__all__ = ["BatchProcess", "batch_of"]


_READ_DELAY_MS = 500  # cases that end within it are read from the table together


class BatchProcess(EventProcess):
    """The batch of a viewer: one at a time; it continues when its window is closed.

    Signals
    -------
    rows_changed
        The `CaseRow`s that are new or have changed, a list.
    rows_replaced
        The rows are those of another batch.

    Attributes
    ----------
    request
        Arguments of the last batch; None before the first.
    out
        The folder of the results; None before the first.
    rows
        The rows of its table of cases, by case.
    case_count
        How many cases there are; None before they were counted.
    """

    rows_changed = Signal(object)
    rows_replaced = Signal()

    work: ClassVar[str] = "The batch"
    busy_states: ClassVar[frozenset[ProcessState]] = frozenset({"preparing", "running", "stopping"})

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_READ_DELAY_MS)
        self._timer.timeout.connect(self._read_table)
        self.request: BatchRequest | None = None
        self.out: Path | None = None
        self._reset("idle")

    def _reset(self, state: ProcessState) -> None:
        self.state = state
        self.rows: dict[str, CaseRow] = {}
        self.case_count: int | None = None
        self.error = self.details = ""
        self._ended_cases: set[str] = set()  # of this run; the table may have others
        self._skipped_count = 0
        self._running_cases: dict[str, float] = {}
        self._start_time = time.monotonic()

    @property
    def failure_count(self) -> int:
        """How many cases have failed."""
        return sum(row.state == "failed" for row in self.rows.values())

    @property
    def fraction(self) -> float | None:
        """How much is done, in [0, 1]; None before the cases were counted."""
        if not self.case_count:
            return None
        return min(1.0, (len(self._ended_cases) + sum(self._running_cases.values())) / self.case_count)

    def start(self, request: BatchRequest) -> None:
        """Start the process.

        Raises
        ------
        BadInput
            While another batch is in progress.
        """
        if self.busy:
            raise BadInput("batch", "another folder is being segmented", "wait for it, or cancel it")
        rows = self.rows if request.resume and request.out == self.out else {}
        self._reset("preparing")
        self.request, self.out, self.rows = request, request.out, rows
        kept = "Finished cases are kept; the folder can be continued from them the next time."
        self.child.start(request.command_line(), "a folder is being segmented", kept)
        self.rows_replaced.emit()
        self.changed.emit()

    def show_folder(self, out: Path | None, rows: Iterable[CaseRow]) -> None:
        """Show the results of an earlier batch in a folder, unless a batch is in progress or they are shown.

        Parameters
        ----------
        out
            The folder; None where none is chosen.
        rows
            The rows of its table.
        """
        if self.busy or out == self.out:
            return
        self._reset("idle")
        self.out, self.rows = out, {row.case: row for row in rows}
        self.rows_replaced.emit()
        self.changed.emit()

    def progress_text(self) -> str:
        """What is being done, in one line."""
        if self.state == "preparing":
            return "listing the cases and loading the model"
        if self.state == "stopping" and self.case_count is None:
            return "stopping"
        parts = [f"{len(self._ended_cases)} of {count_text(self.case_count or 0, 'case')}"]
        if self.failure_count:
            parts.append(f"{self.failure_count} failed")
        text = ", ".join(parts)
        if self.state == "stopping":
            return f"{text}; stopping"
        if self._running_cases:
            text += f"; now {', '.join(self._running_cases)}"
        return text + self._time_left_text()

    def _time_left_text(self) -> str:
        """The time left, from the cases that were computed: those that were skipped took none."""
        computed = len(self._ended_cases) - self._skipped_count + sum(self._running_cases.values())
        to_compute = (self.case_count or 0) - self._skipped_count
        if to_compute <= 0:
            return ""
        return time_left_text(time.monotonic() - self._start_time, computed / to_compute)

    def _parse(self, line: bytes) -> BatchEvent:
        return parse_batch_event(line)

    def _apply_events(self, events: Sequence[BatchEvent]) -> None:
        changed_rows: dict[str, CaseRow] = {}
        for event in events:
            if row := self._apply(event):
                changed_rows[row.case] = row
        if changed_rows:
            self.rows_changed.emit(list(changed_rows.values()))
            if not self._timer.isActive():
                self._timer.start()
        self.changed.emit()

    def _apply(self, event: BatchEvent) -> CaseRow | None:
        """Take over an event; the row that it changes."""
        match event:
            case BatchStart():
                self.case_count = event.cases
                if self.state == "preparing":
                    self.state = "running"
                self._start_time = time.monotonic()
            case CaseProgress():
                self._running_cases[event.case] = event.done
            case CaseEnd():
                self._running_cases.pop(event.case, None)
                self._ended_cases.add(event.case)
                self._skipped_count += event.state == "skipped"
                return self._take_over(event)
        return None

    def _take_over(self, event: CaseEnd) -> CaseRow:
        name = table_name(event.case)
        row = self.rows.get(name, CaseRow(name))
        if event.state != "skipped":  # what the table says of it stays
            row = replace(
                row, state=event.state, reason=event.reason, seconds=event.seconds, result=event.result
            )
        elif not row.state:
            row = replace(row, state="done", seconds=event.seconds, result=event.result)
        self.rows[name] = row
        return row

    def _read_table(self) -> None:
        """Read the sizes of the cases that have ended; events do not have them."""
        request = self.request
        if request is None:
            return

        def show(rows: list[CaseRow]) -> None:
            if self.request is not request:
                return
            changed = [row for row in rows if self.rows.get(row.case) != row]
            self.rows.update({row.case: row for row in changed})
            if changed:
                self.rows_changed.emit(changed)
                self.changed.emit()

        run_in_thread(lambda: read_case_rows(request.out), show, lambda error: None, owner=self)

    def _on_success(self, *, is_partial: bool) -> None:
        self._set_ended("done")

    def _unexpected_end(self, reason: str) -> str:
        return f"{super()._unexpected_end(reason)} Finished cases are kept."

    def _set_ended(self, state: ProcessState, error: str = "") -> None:
        self._running_cases.clear()
        self._timer.start(0)
        super()._set_ended(state, error)


@per_viewer
def batch_of(viewer: ViewerModel) -> BatchProcess:
    """The batch of a viewer; it lives as long as the viewer."""
    return BatchProcess(viewer, session_of(viewer))
