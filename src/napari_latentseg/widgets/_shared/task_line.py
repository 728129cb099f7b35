"""One piece of work at a time in a thread, with a line of status, a progress bar and Cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.io._progress import report_progress_to
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.background_task import BackgroundTask
from napari_latentseg.widgets._shared.closing import WorkInProgress, watch_closing_at
from napari_latentseg.widgets._shared.plain_text import PlainLabel

__all__ = ["TaskLine", "enable"]


class TaskLine(QWidget):
    """The status line and progress bar of one piece of work at a time.

    Parameters
    ----------
    status
        What the line says at first.
    waiting
        What a button says that cannot be used meanwhile.
    failed
        What the line says of an error that is not one of ours, which may quote what it was given.
    parent
        Its dialog.

    Attributes
    ----------
    cancel
        The button that cancels; the dialog has it among its others.
    changed
        Emitted when work has begun or ended.
    """

    changed = Signal()

    def __init__(self, status: str, *, waiting: str, failed: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._waiting, self._failed = waiting, failed
        self._task: BackgroundTask | None = None
        self._is_watched = False
        self._doing = self._noun = self._when_cancelled = ""
        self.status = PlainLabel(status)
        self.status.setWordWrap(True)
        self.progress = QProgressBar()
        self.progress.setVisible(False)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.status)
        layout.addWidget(self.progress)
        self._refresh()

    @property
    def busy_reason(self) -> str:
        """Why nothing else can begin; empty if it can."""
        return self._waiting if self._task is not None else ""

    def work_in_progress(self) -> WorkInProgress | None:
        """The work, for the question before napari is closed."""
        if self._task is None:
            return None
        kept = self._when_cancelled.removeprefix("Cancelled").removeprefix("; ")
        return WorkInProgress(
            f"{self._doing} is in progress.", f"{kept[:1].upper()}{kept[1:]}." if kept else ""
        )

    def start(
        self,
        doing: str,
        function: Callable[[], Any],
        on_done: Callable[[Any], None],
        *,
        noun: str = "image",
        when_cancelled: str = "Cancelled; nothing is kept",
    ) -> None:
        """Call a function in a thread, then `on_done` with what it returned; a failure becomes the status.

        Parameters
        ----------
        doing
            What the line says meanwhile.
        function
            May take as long as it likes; what it tells `io._progress` is shown, and ends it after Cancel.
        on_done
            Called in the GUI thread; it calls `finish`.
        noun
            What the progress counts; where empty, it is shown as a percentage.
        when_cancelled
            What the line says after Cancel.
        """

        def work(task: BackgroundTask) -> Any:
            with report_progress_to(task.report_progress):
                return function()

        self._doing, self._noun, self._when_cancelled = doing, noun, when_cancelled
        self._be_watched()
        self._task = BackgroundTask(self, work, on_done, self._fail, self._show_progress)
        self.status.setText(f"{doing} ...")
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self._task.start()
        self._refresh()

    def finish(self, text: str) -> None:
        """End the work, and say how it went."""
        self._task = None
        self.progress.setVisible(False)
        self.status.setText(text)
        self._refresh()

    def _be_watched(self) -> None:
        """Once the line lies in its dialog, and that in the window of napari."""
        if not self._is_watched:
            self._is_watched = True
            watch_closing_at(self, self.work_in_progress)

    def _refresh(self) -> None:
        enable(self.cancel, "" if self._task is not None else "Nothing is in progress")
        self.changed.emit()

    def _show_progress(self, done: int, total: int) -> None:
        if total:
            self.progress.setRange(0, total)
            self.progress.setValue(done)
            counted = (
                f"{done} of {count_text(total, self._noun)}" if self._noun else f"{100 * done // total} %"
            )
            self.status.setText(f"{self._doing}: {counted}")

    def _fail(self, error: BaseException) -> None:
        is_known = isinstance(error, BadInput | Cancelled)
        self.finish(str(error) if is_known else f"{self._failed} ({type(error).__name__})")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.stop()
            self.finish(self._when_cancelled)


def enable(button: QPushButton, problem: str) -> None:
    """Enable a button, or say in its tooltip why it cannot be used."""
    button.setEnabled(not problem)
    button.setToolTip(problem)
