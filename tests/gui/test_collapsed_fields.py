"""Fields under a closed title are not reached with Tab, so that nothing is changed unseen."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_latentseg.widgets.segment.widget import SegmentWidget
from napari_latentseg.widgets.train.widget import TrainWidget


def reached_by_tab(widget):
    """What Tab goes to from a widget on, as Qt chooses it: visible, enabled, and in the order of Tab."""
    reached, candidate = [], widget.nextInFocusChain()
    while candidate is not widget:
        takes_tab = candidate.focusPolicy() & Qt.FocusPolicy.TabFocus
        if takes_tab and candidate.isVisible() and candidate.isEnabled() and widget.isAncestorOf(candidate):
            reached.append(candidate)
        candidate = candidate.nextInFocusChain()
    return reached


@pytest.mark.parametrize("widget_class", [SegmentWidget, TrainWidget])
def test_closed_and_open(viewer, qtbot, widget_class):
    widget = widget_class(viewer)
    viewer.window.add_dock_widget(widget, name="ours", area="right")
    qtbot.waitUntil(widget.isVisible)
    content = widget.form.advanced.content()
    closed = reached_by_tab(widget)
    assert closed
    assert not [field for field in closed if content.isAncestorOf(field)]
    title = widget.form.advanced.toggleButton()
    qtbot.mouseClick(title, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(content.isVisible)
    assert [field for field in reached_by_tab(widget) if content.isAncestorOf(field)]
