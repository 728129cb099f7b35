"""What a person does in the Cases widget."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from tests.helpers.canvas import drag_on_canvas, press_key
from tests.helpers.shared_viewer import process_events

from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.cases.widget import CasesWidget

PATIENCE = 60_000  # ms, on a machine under load
MODEL = "tiny-taught"  # of the batch whose results are read
CONTROL = Qt.KeyboardModifier.ControlModifier


class Reader:
    """A person at the widget, with a keyboard and a mouse."""

    def __init__(self, viewer, qtbot, widget: CasesWidget):
        self.viewer, self.qtbot, self.widget, self.work = viewer, qtbot, widget, widget.work

    def wait(self, condition):
        self.qtbot.waitUntil(condition, timeout=PATIENCE)

    def be(self, name):
        self.widget.reader.clear()
        self.qtbot.keyClicks(self.widget.reader, name)
        self.qtbot.keyClick(self.widget.reader, Qt.Key.Key_Return)
        assert preferences().reader == name

    def open_list(self, source, results=None):
        for field, path in ((self.widget.source, source), (self.widget.results, results)):
            field.clear()
            self.qtbot.keyClicks(field, "" if path is None else str(path))
        self.qtbot.keyClick(self.widget.source, Qt.Key.Key_Return)
        self.wait(lambda: self.work.cases is not None and not self.work.is_opening)

    def enter(self, name=None):
        """Press Enter on a case, or on the one that is selected; returns it once its layers are there."""
        if name is not None:
            self.select(name)
        self.qtbot.keyClick(self.widget.table, Qt.Key.Key_Return)
        return self.opened()

    def select(self, name):
        row = self.widget.table.shown_names().index(name)
        table = self.widget.table
        table.scrollTo(table.model().index(row, 0))
        point = table.visualRect(table.model().index(row, 0)).center()
        self.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=point)
        assert table.selected_case.name == name

    def opened(self):
        self.wait(lambda: not self.work.is_opening and self.work.opened is not None)
        return self.work.opened

    def look(self):
        """Look at the open case for as long as a second click might be one of a double-click."""
        self.wait(lambda: 1000 * self.opened().seconds > QApplication.doubleClickInterval())

    def approve(self, where="image"):
        """Ctrl+Enter; returns the name of the case that was approved, once that is on disk."""
        name = self.work.opened.name
        self.look()
        if where == "image":
            press_key(self.viewer, Qt.Key.Key_Return, CONTROL)
        else:
            self.widget.open_widget("Cases")
            self.wait(where.isVisible)
            self.qtbot.keyClick(where, Qt.Key.Key_Return, CONTROL)
        self.written()
        return name

    def written(self):
        self.wait(lambda: not (self.work.writes_in_progress or self.work.is_opening))
        self.wait(lambda: not corrections_of(self.viewer).approvals.writes_in_progress)

    def click(self, button):
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def state(self, name):
        return next(row.state for row in self.work.rows if row.name == name)

    def stroke(self, start, stop):
        """Draw in a copy of the mask with the brush and a real mouse; returns the copy."""
        result = self.work.opened.result(self.viewer)
        copy = corrections_of(self.viewer).edit(result)
        process_events()  # nobody paints in a layer that was not drawn yet
        copy.mode, copy.brush_size, copy.selected_label = "paint", 3, 1
        before = copy.data.copy()
        drag_on_canvas(self.viewer, copy, start, stop)
        assert (copy.data != before).any(), "the stroke has painted nothing"
        return copy
