"""What all dock widgets have in common: frame, scrolling, an empty state, the notice, and their closing."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from npe2 import PluginManager
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QFrame,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.widgets._shared.case_header import CaseHeader
from napari_latentseg.widgets._shared.destroyed import call_when_destroyed
from napari_latentseg.widgets._shared.keys import bind_keys
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.sample_contours import sample_contours_of
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["DockWidget", "open_widget"]

_PLUGIN = "napari-latentseg"
_NOTICE = "<i>For research. Not a medical device.</i>"
_TAB_STYLE = "QTabBar::tab { padding: 3px 4px }"  # napari's are wider: six titles then need 344 of 340 pixels
_MIN_WIDTH, _MAX_WIDTH = 340, 380  # pixels: on a 1366 pixel wide laptop the image keeps half of the window


class DockWidget(QWidget):
    """Base of the dock widgets; a subclass adds its controls to `body`.

    It is at most 380 pixels wide and scrolls vertically, to fit beside an image on a 1366x768 laptop.

    Parameters
    ----------
    napari_viewer
        The viewer it belongs to.

    Attributes
    ----------
    viewer, session
        The viewer, and what has been run in it; other objects come from functions made by `per_viewer`.
    header
        Says which case, run and model the widget is about.
    content, body
        The widget that holds the controls, and its layout.
    footer
        Below what scrolls: for buttons that must be in view whatever the height of the window.
    empty_label, empty_button
        Shown in place of `content` while there is nothing to work on; see `set_empty_state`.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = unwrapped_viewer(napari_viewer)
        self.session = session_of(napari_viewer)
        self.header = CaseHeader(self.session, self)
        self.empty_label = PlainLabel()
        self.empty_label.setWordWrap(True)
        self.empty_button = QPushButton()
        self.content = QWidget()
        self.body = QVBoxLayout(self.content)
        self.body.setContentsMargins(0, 0, 0, 0)
        self.footer = QVBoxLayout()
        self.footer.setContentsMargins(9, 4, 9, 4)
        self._events: list[tuple[Any, weakref.WeakMethod[Any]]] = []
        self._empty_texts = "", ""  # without a run, and while the image is being segmented
        self._lay_out_frame()
        for signal in (self.session.started, self.session.image_changed, self.session.results_changed):
            signal.connect(self._update_empty_text)
        self.session.finished.connect(self._update_empty_text)
        self.session.failed.connect(self._update_empty_text)
        call_when_destroyed(self, _disconnector(self._events))
        for event in (napari_viewer.layers.events.inserted, napari_viewer.layers.events.removed):
            self.connect_event(event, self.header.refresh)
        actions: dict[str, Callable[[], None]] = {
            role: partial(self.toggle_map, role) for role in ("variance", "doubt")
        }
        bind_keys(napari_viewer, self, actions | {"contours": self.toggle_sample_outlines})

    def _lay_out_frame(self) -> None:
        self.empty_label.hide()
        self.empty_button.hide()
        column = QWidget()
        column_layout = QVBoxLayout(column)
        column_layout.addWidget(self.empty_label)
        column_layout.addWidget(self.empty_button)
        column_layout.addWidget(self.content, 1)
        column_layout.addStretch()  # below the empty state
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(column)
        notice = QLabel(_NOTICE)
        notice.setContentsMargins(9, 0, 9, 4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addWidget(scroll, 1)
        layout.addLayout(self.footer)
        layout.addWidget(notice)
        self.setMinimumWidth(_MIN_WIDTH)
        self.setMaximumWidth(_MAX_WIDTH)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Leave the name of the plugin out of the tab, which is too narrow for it; then all titles fit."""
        super().showEvent(event)
        dock = self.parent()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parent()
        if dock is not None:
            dock.setWindowTitle(dock.windowTitle().removesuffix(f" ({_PLUGIN})"))
            QTimer.singleShot(0, self._show_whole_titles)  # Qt makes the row of tabs after this event

    def _show_whole_titles(self) -> None:
        """Six titles fit beside one another; of more, the row of tabs scrolls instead of cutting them."""
        window = self.window() if self.is_open else None
        if not isinstance(window, QMainWindow):  # a floating widget has no tabs
            return
        for bar in window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if bar.elideMode() != Qt.TextElideMode.ElideNone:
                bar.setElideMode(Qt.TextElideMode.ElideNone)
                bar.setUsesScrollButtons(True)
                bar.setStyleSheet(_TAB_STYLE)

    def set_empty_state(
        self,
        text: str,
        button_text: str = "",
        action: Callable[[], Any] | None = None,
        tooltip: str = "",
        running_text: str = "",
    ) -> None:
        """Say what to do first while there is nothing to work on.

        Parameters
        ----------
        text
            One sentence.
        button_text, action, tooltip
            A button that does it; none where not given.
        running_text
            Said in place of `text` while the image of the case is being segmented; `text` where not given.
        """
        self._empty_texts = text, running_text or text
        self._update_empty_text()
        self.empty_button.setText(button_text)
        self.empty_button.setToolTip(tooltip)
        if action is not None:
            self.empty_button.clicked.connect(lambda: action())

    def _update_empty_text(self, *_: Any) -> None:
        running = self.session.running
        is_running = running is not None and running.image is self.session.image
        self.empty_label.setText(self._empty_texts[is_running])

    def show_empty_state(self, is_empty: bool, keep_content: bool = False) -> None:
        """Show the empty state in place of the controls (or above them), or the controls alone."""
        self.empty_label.setVisible(is_empty)
        self.empty_button.setVisible(is_empty and bool(self.empty_button.text()))
        self.content.setVisible(keep_content or not is_empty)

    @property
    def is_empty(self) -> bool:
        """Whether the empty state is shown."""
        return not self.empty_label.isHidden()

    @property
    def is_open(self) -> bool:
        """Whether the widget has not been closed; a worker may finish after it was."""
        return bool(isalive(self))

    def connect_event(self, emitter: Any, callback: Callable[..., Any]) -> None:
        """Call a method of this widget at an event of napari, until the widget is closed.

        Qt drops its own connections with the widget; napari would go on calling a deleted widget.

        Parameters
        ----------
        emitter
            For example ``viewer.dims.events.current_step``.
        callback
            A bound method of this widget, or of one inside it.
        """
        emitter.connect(callback)
        self._events.append((emitter, weakref.WeakMethod(callback)))

    def toggle_map(self, role: str) -> None:
        """Show the variance or the doubt of the result over the image, or hide it.

        Parameters
        ----------
        role
            One of `MAP_ROLES`.
        """
        result = self.session.current
        if result is not None:
            is_shown = any(layer.visible for layer in result.layers.layers_of(role))
            result.layers.show_map(role, not is_shown)

    def toggle_sample_outlines(self) -> None:
        """Show the outlines of the samples of the result over the image, or hide them."""
        outlines = sample_contours_of(self.viewer)
        outlines.show_contours(self.session.current, not outlines.is_on)

    def open_widget(self, name: str) -> None:
        """Open another of our widgets as a tab beside this one, and raise it.

        Parameters
        ----------
        name
            Its display name in the manifest: ``"Review"``.
        """
        open_widget(self.viewer, name)

    def run_command(self, name: str) -> None:
        """Run one of our commands that napari's menus offer, on the viewer of this widget.

        Parameters
        ----------
        name
            As in the manifest: ``"segment_folder"``.
        """
        PluginManager.instance().commands.execute(f"{_PLUGIN}.{name}", args=(self.viewer,))


def open_widget(viewer: ViewerModel, name: str) -> None:
    """Open one of our widgets as a tab beside the others, and raise it.

    Parameters
    ----------
    viewer
        The viewer with the window.
    name
        The display name of the widget in the manifest: ``"Review"``.
    """
    dock, _ = viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)  # type: ignore[attr-defined]
    dock.show()
    dock.raise_()


def _disconnector(events: list[tuple[Any, weakref.WeakMethod[Any]]]) -> Callable[[], None]:
    """What disconnects the events when a widget is destroyed; it must not hold the widget."""

    def disconnect() -> None:
        for emitter, reference in events:
            callback = reference()
            if callback is not None:
                emitter.disconnect(callback)
        events.clear()

    return disconnect
