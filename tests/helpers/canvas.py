"""Mouse and keyboard on the canvas of a viewer, as a person uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests.helpers.shared_viewer import process_events

_BETWEEN_MOVES_MS = 15  # vispy takes no more than 100 moves a second


def canvas_point(viewer: Any, layer: Any, index: tuple[float, ...]) -> QPoint:
    """Where a voxel of a layer is on the canvas, in Qt's pixels."""
    process_events()
    view = viewer.window._qt_viewer
    missing = viewer.dims.ndim - layer.ndim  # a layer with fewer axes has the last ones of the viewer
    displayed = [axis - missing for axis in viewer.dims.displayed]
    world = np.asarray(layer.data_to_world(index))[displayed]
    scene = view.canvas.view.scene
    visual = scene.transform.map((*world[::-1], 0, 1))
    x, y = visual[:2] / visual[3]
    return QPoint(round(float(x)), round(float(y)))


def drag_on_canvas(
    viewer: Any, layer: Any, start: tuple[float, ...], stop: tuple[float, ...], *, held: bool = False
) -> None:
    """Press the left button on one voxel, move to another, and release it.

    QTest moves the cursor of a widget without its button, which vispy's camera asks for: `held` tells of it.
    """
    native = viewer.window._qt_viewer.canvas.native
    first, last = canvas_point(viewer, layer, start), canvas_point(viewer, layer, stop)
    QTest.mouseMove(native, first)
    process_events()
    QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, first)
    for fraction in np.linspace(0, 1, 6):
        point = first + (last - first) * float(fraction)
        if held:
            QTest.qWait(_BETWEEN_MOVES_MS)
            _move_with_button(native, point)
        else:
            QTest.mouseMove(native, point)
        process_events()
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, last)
    process_events()


def _move_with_button(native: Any, point: QPoint) -> None:
    left = Qt.MouseButton.LeftButton
    move = QMouseEvent(
        QEvent.Type.MouseMove, QPointF(point), QPointF(native.mapToGlobal(point)), Qt.MouseButton.NoButton,
        left, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(native, move)


def press_key(
    viewer: Any, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
) -> None:
    """Press a key on the canvas."""
    native = viewer.window._qt_viewer.canvas.native
    native.setFocus()
    QTest.keyClick(native, key, modifier)
    process_events()
