"""Work with an archive in a thread, with one line of status, a progress bar and Cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.io._progress import report_progress_to
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets.opening.reader_thread import BackgroundTask

__all__ = ["ArchiveTask", "enable"]


class ArchiveTask(QWidget):
    """The status line and progress bar of one piece of work at a time.

    Parameters
    ----------
    status
        What the line says at first.
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

    def __init__(self, status: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._task: BackgroundTask | None = None
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
        return "Wait until the archive has answered, or press Cancel" if self._task is not None else ""

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
            May wait for the archive as long as it likes.
        on_done
            Called in the GUI thread; it calls `finish`.
        noun
            What the progress counts.
        when_cancelled
            What the line says after Cancel.
        """

        def work(task: BackgroundTask) -> Any:
            with report_progress_to(task.report_progress):
                return function()

        self._doing, self._noun, self._when_cancelled = doing, noun, when_cancelled
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

    def _refresh(self) -> None:
        enable(self.cancel, "" if self._task is not None else "Nothing is under way")
        self.changed.emit()

    def _show_progress(self, done: int, total: int) -> None:
        if total:
            self.progress.setRange(0, total)
            self.progress.setValue(done)
            self.status.setText(f"{self._doing}: {done} of {count_text(total, self._noun)}")

    def _fail(self, error: BaseException) -> None:
        # another error than ours may quote what the archive has sent
        is_known = isinstance(error, BadInput | Cancelled)
        self.finish(str(error) if is_known else f"The archive could not be used ({type(error).__name__})")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.stop()
            self.finish(self._when_cancelled)


def enable(button: QPushButton, problem: str) -> None:
    """Enable a button, or say in its tooltip why it cannot be used."""
    button.setEnabled(not problem)
    button.setToolTip(problem)
