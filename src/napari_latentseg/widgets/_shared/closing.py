"""When napari is closed while work is in progress: ask once, then stop the work."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox, QWidget

from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.unwrapped_viewer import main_window

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["CloseGuard", "WatchedJob", "WorkInProgress", "ask_to_close", "watch_closing", "watch_closing_at"]


@dataclass(frozen=True)
class WorkInProgress:
    """The texts about a job in the question.

    Attributes
    ----------
    what
        One sentence: ``"A folder is being segmented."``.
    kept
        What stays of it, and what is lost, where napari closes.
    """

    what: str
    kept: str = ""


class CloseGuard(QObject):
    """Asks before a person closes the window of a viewer during a job, and says when the window closes.

    `viewer.close()`, as scripts call it, closes without a question.

    Parameters
    ----------
    window
        The window of napari, which owns this.

    Signals
    -------
    closing
        The window is being closed, and nothing will be asked any more: jobs stop.
    """

    closing = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._sources: list[weakref.WeakMethod[Callable[[], WorkInProgress | None]]] = []
        window.installEventFilter(self)
        _ask_in_menus(window)

    def watch(self, source: Callable[[], WorkInProgress | None]) -> None:
        """Ask an object whether it has work in progress, as long as it exists.

        Parameters
        ----------
        source
            A method of a `QObject`: its work, or None.
        """
        self._sources = [reference for reference in self._sources if reference() is not None]
        self._sources.append(weakref.WeakMethod(source))

    def work_in_progress(self) -> list[WorkInProgress]:
        """What would be stopped."""
        methods = [method for reference in self._sources if (method := reference()) is not None]
        found = [method() for method in methods if isalive(getattr(method, "__self__", None))]
        return [work for work in found if work is not None]

    def eventFilter(self, window: QObject | None, event: QEvent | None) -> bool:
        """Look at the closing of the window."""
        if event is None or event.type() != QEvent.Type.Close or not isinstance(window, QWidget):
            return False
        if not event.spontaneous():  # closed by the program, or a person was asked before
            self.closing.emit()
            return False
        works = self.work_in_progress()
        if not works:
            return False  # napari asks what it asks
        event.ignore()
        if ask_to_close(window, works):
            QTimer.singleShot(0, window.close)  # without a second question
        return True


def watch_closing(
    viewer: ViewerModel, work: Callable[[], WorkInProgress | None], stop: Callable[[], Any] | None = None
) -> None:
    """Let the window of a viewer ask before a person closes it; a viewer without a window is ignored.

    Parameters
    ----------
    viewer
        The viewer, or the proxy that napari gives to plugins.
    work
        A method of a `QObject`: what it has in progress, or None.
    stop
        Called when the window is being closed.
    """
    window = main_window(viewer)
    if window is not None:
        watch_closing_at(window, work, stop)


def watch_closing_at(
    widget: QWidget, work: Callable[[], WorkInProgress | None], stop: Callable[[], Any] | None = None
) -> None:
    """As `watch_closing`, of the window in which a widget or dialog lies."""
    while (parent := widget.parentWidget()) is not None:
        widget = parent
    if not isinstance(widget, QMainWindow):
        return
    guard = widget.findChild(CloseGuard) or CloseGuard(widget)
    guard.watch(work)
    if stop is not None:
        guard.closing.connect(stop)


class WatchedJob(QObject):
    """A job that the window asks about, from now until `end`.

    Parameters
    ----------
    viewer
        The viewer whose window asks.
    work
        What it says of the job.
    """

    def __init__(self, viewer: ViewerModel, work: WorkInProgress) -> None:
        super().__init__()
        self._work: WorkInProgress | None = work
        watch_closing(viewer, self.work_in_progress)

    def work_in_progress(self) -> WorkInProgress | None:
        """The job; None once it has ended."""
        return self._work

    def end(self) -> None:
        """It has ended."""
        self._work = None


def ask_to_close(window: QWidget, works: Iterable[WorkInProgress]) -> bool:
    """Ask whether napari is to close and to stop its work.

    Parameters
    ----------
    window
        The window of napari.
    works
        What is in progress.
    """
    lines = [f"{work.what} {work.kept}".strip() for work in works]
    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Close napari?")
    question = "Close and stop it?" if len(lines) == 1 else "Close and stop all?"
    box.setText(plain_text("\n\n".join([*lines, question])))
    stop = box.addButton("Close and stop", QMessageBox.ButtonRole.AcceptRole)
    go_on = box.addButton("Keep running", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(go_on)
    box.setEscapeButton(go_on)
    box.exec()
    is_to_close = box.clickedButton() is stop
    box.deleteLater()
    return is_to_close


def _ask_in_menus(window: QWidget) -> None:
    """Ask at File > Close window and File > Exit too, and at their keys.

    They call the `close` of napari's window, which looks at its layers alone, and the event that follows does
    not tell them from `viewer.close()`.
    """
    reference = weakref.ref(window)

    def close(*arguments: Any, **options: Any) -> Any:
        window = reference()
        if window is None:
            return False
        if options.get("confirm_need"):
            windows = QApplication.topLevelWidgets() if options.get("quit_app") else [window]
            guards = [guard for w in windows if (guard := w.findChild(CloseGuard)) is not None]
            works = [work for guard in guards for work in guard.work_in_progress()]
            if works and not ask_to_close(window, works):
                return False
            options["confirm_need"] = not works  # one question is enough
        return type(window).close(window, *arguments, **options)

    if "close" not in vars(window):
        window.close = close  # type: ignore[method-assign]
