"""A button that opens another widget brings its tab to the front."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from tests.helpers.canvas import press_key
from tests.helpers.shared_viewer import process_events
from tests.helpers.two_cases import two_cases

_PLUGIN = "napari-latentseg"


@pytest.fixture
def tabs(viewer):
    """All widgets as tabs of one place, as the plugin's menu puts them; the last is in front."""
    two_cases(viewer)
    names = ("Review", "Train", "Models", "Cases", "Annotate", "Segment")
    return {name: viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)[1] for name in names}


def is_in_front(widget) -> bool:
    return not widget.visibleRegion().isEmpty()


def test_segment_to_review(tabs, qtbot):
    qtbot.waitUntil(lambda: is_in_front(tabs["Segment"]))
    assert not is_in_front(tabs["Review"])
    qtbot.mouseClick(tabs["Segment"].result_panel.review_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: is_in_front(tabs["Review"]))
    assert not is_in_front(tabs["Segment"])


def test_the_mask_that_is_edited_is_known_in_a_widget_of_the_menu(own_home, tabs, viewer, qtbot):
    """napari gives plugins a proxy of the viewer, whose layers are never the same object twice."""
    annotate = tabs["Annotate"]
    annotate.open_widget("Annotate")
    qtbot.mouseClick(annotate.edit_button, Qt.MouseButton.LeftButton)
    copy = viewer.layers.selection.active
    assert not annotate.edit_button.isEnabled()
    assert "You are editing" in annotate.edit_button.toolTip()
    copy.visible = False
    assert annotate.edit_button.isEnabled()
    assert annotate.edit_button.text() == "Resume editing"
    copy.visible = True
    assert not annotate.edit_button.isEnabled()


def test_review_without_a_result_to_segment(tabs, viewer, qtbot):
    viewer.layers.clear()
    viewer.window.add_plugin_dock_widget(_PLUGIN, "Review", tabify=True)[0].raise_()
    qtbot.waitUntil(lambda: is_in_front(tabs["Review"].empty_button))
    qtbot.mouseClick(tabs["Review"].empty_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: is_in_front(tabs["Segment"]))


@pytest.mark.parametrize("name", ["Segment", "Annotate", "Train", "Models", "Cases"])
def test_the_keys_for_what_is_shown_work_in_every_widget(viewer, show_ball, name):
    shown = show_ball((6, 40, 48))
    (variance,) = shown.result.layers.layers_of("variance")
    dock, review = viewer.window.add_plugin_dock_widget(_PLUGIN, "Review")
    viewer.window.add_plugin_dock_widget(_PLUGIN, name)
    press_key(viewer, Qt.Key.Key_U)
    assert variance.visible
    viewer.window.remove_dock_widget(dock)
    review.deleteLater()
    process_events()
    press_key(viewer, Qt.Key.Key_U)
    assert not variance.visible
    press_key(viewer, Qt.Key.Key_U)
    assert variance.visible


def test_shift_and_the_key_of_the_variance_show_the_doubt_in_its_place(viewer, show_ball):
    shown = show_ball((6, 40, 48))
    (variance,) = shown.result.layers.layers_of("variance")
    (doubt,) = shown.result.layers.layers_of("doubt")
    viewer.window.add_plugin_dock_widget(_PLUGIN, "Review")
    press_key(viewer, Qt.Key.Key_U)
    press_key(viewer, Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
    assert (variance.visible, doubt.visible) == (False, True)  # two maps would mix
    press_key(viewer, Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
    assert not doubt.visible
