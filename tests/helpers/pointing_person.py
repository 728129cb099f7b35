"""What a person does with the panel "Point at it" and the mouse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from tests.helpers.canvas import canvas_point, drag_on_canvas, press_key
from tests.helpers.pointing import make_prompted_model
from tests.helpers.shared_viewer import process_events

from napari_latentseg.models.store import data_home
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

__all__ = ["MODEL", "PointingPerson", "widget_that_takes_clicks"]

MODEL = "tiny-prompted"


def widget_that_takes_clicks(
    viewer: Any, make_tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, home: Path
) -> SegmentWidget:
    """The Segment widget in a home with a model that takes prompts, whose weights are random."""
    shutil.copytree(data_home() / "codecs", home / "codecs")
    shutil.copytree(make_prompted_model(make_tiny_model), home / "models" / MODEL)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(home))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


class PointingPerson:
    """What a person does with the panel and the mouse."""

    def __init__(self, widget, viewer, qtbot):
        self.widget, self.viewer, self.qtbot = widget, viewer, qtbot
        self.panel = widget.point_panel
        self.pointing = self.panel.pointing

    def open(self, shape, data=None, **arguments):
        if data is None:
            data = np.random.default_rng(0).random(shape).astype("f4")
        image = self.viewer.add_image(data, name="scan", **arguments)
        self.widget.form.model.value = MODEL
        self.wait(lambda: self.pointing.is_ready)
        self.settle()
        return image

    def wait(self, condition):
        self.qtbot.waitUntil(condition, timeout=60_000)
        process_events()

    def click(self, *index, modifier=Qt.KeyboardModifier.NoModifier, settle=True):
        native = self.viewer.window._qt_viewer.canvas.native
        point = canvas_point(self.viewer, self.pointing.layers.points, index)
        QTest.mouseMove(native, point)
        process_events()
        QTest.mousePress(native, Qt.MouseButton.LeftButton, modifier, point)
        process_events()
        QTest.mouseRelease(native, Qt.MouseButton.LeftButton, modifier, point)
        if settle:
            self.settle()

    def drag(self, start, stop):
        drag_on_canvas(self.viewer, self.pointing.layers.points, start, stop, held=True)
        self.settle()

    def press(self, button):
        QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
        self.settle()

    def key(self, key):
        press_key(self.viewer, key)
        self.settle()

    def settle(self):
        process_events()
        self.wait(lambda: not (self.pointing.engine.is_busy or self.pointing.drawing.turns.is_busy))

    def restart_pointing(self):
        """Choose another model and this one again, as in a new session: the store is read again."""
        self.widget.form.model.value = "retina-vessels"
        self.settle()
        self.widget.form.model.value = MODEL
        self.wait(lambda: self.pointing.is_ready)
        self.settle()

    def look_at(self, plane):
        self.viewer.dims.set_current_step(0, plane)
        self.settle()

    def follow(self, button=None):
        """Press Through the volume, or another button, and wait until the object is followed."""
        self.press(button or self.panel.volume.through_button)
        through = self.pointing.through
        self.wait(lambda: not (through.engine.is_busy or through.engine.is_ending))

    @property
    def proposed(self):
        """The slices on which the layer of the proposal shows something, and how many voxels."""
        layer = self.layer("answer volume")
        if layer is None or not layer.visible:
            return {}
        sizes = (np.asarray(layer.data) > 0).sum(axis=(1, 2))
        return {int(plane): int(sizes[plane]) for plane in np.flatnonzero(sizes)}

    def layer(self, role):
        return next((layer for layer in self.viewer.layers if role_of(layer) == role), None)

    @property
    def objects(self):
        layer = self.layer("corrected")
        return None if layer is None else layer.data

    @property
    def answer_size(self):
        layer = self.layer("answer preview")
        return 0 if layer is None or not layer.visible else int((layer.data > 0).sum())
