"""Tools that correct the copy of a mask without a brush, in a real viewer."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.helpers.canvas import drag_on_canvas, press_key
from tests.helpers.shown import show_ball_in

from napari_latentseg.core.mask_edit import MaskEdit
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget

SPACING = (3.0, 0.5, 0.7)  # of `show_ball_in`, in mm


@pytest.fixture
def annotate(own_home, viewer, qtbot):
    """A ball whose mask is being corrected: widget, its tools, and the copy."""
    shown = show_ball_in(viewer, (12, 60, 70))
    widget = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Annotate", area="right")
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    viewer.dims.set_current_step(0, 5)
    widget.shown, widget.copy = shown, copy
    return widget


def choose(widget, qtbot, tool, extent="slice", amount=None):
    tools = widget.tools
    tools.tool.setCurrentIndex(tools.tool.findText(tool))
    tools.tool.activated.emit(tools.tool.currentIndex())
    tools.extent.setCurrentIndex(tools.extent.findData(extent))
    tools.extent.activated.emit(tools.extent.currentIndex())
    if amount is not None:
        tools.amount.setValue(amount)


def use(widget, qtbot, *args, **kwargs):
    choose(widget, qtbot, *args, **kwargs)
    assert widget.tools.apply_button.isEnabled(), widget.tools.apply_button.toolTip()
    qtbot.mouseClick(widget.tools.apply_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.tools.runner.is_running, timeout=60_000)


TOOLS = [
    ("Smooth", 1.2, MaskEdit(smooth=1.2)),
    ("Grow", 3.1, MaskEdit(grow=3.1)),
    ("Shrink", 1.5, MaskEdit(grow=-1.5)),
    ("Remove islands", 0, MaskEdit(keep_largest=True)),
    ("Remove islands", 40, MaskEdit(smallest=40.0)),
    ("Fill holes", None, MaskEdit(fill_holes=True)),
]


def test_what_one_tool_said_goes_with_it(annotate, qtbot):
    use(annotate, qtbot, "Grow")
    assert annotate.tools.message.text().startswith("Grow")
    choose(annotate, qtbot, "Smooth")
    assert annotate.tools.message.text() == ""


@pytest.mark.parametrize("extent", ["slice", "slices", "volume"])
def test_a_tool_is_one_step_of_undo(viewer, annotate, qtbot, extent):
    copy = annotate.copy
    rough = copy.data.copy()
    rough[5, 24:27, 29:32] = rough[4:7, 20, 25] = 0
    rough[5, 2:4, 2:4] = rough[9, 50, 60] = 1
    copy.data = rough.copy()
    for tool, amount, edit in TOOLS:
        use(annotate, qtbot, tool, extent, amount)
        expected = rough.copy()
        if extent == "slice":
            expected[5] = edit.apply(rough[5], 1, "yx", SPACING[1:])
        else:
            expected = edit.replace(each_slice=extent == "slices").apply(rough, 1, "zyx", SPACING)
        np.testing.assert_array_equal(copy.data, expected)
        changed = np.count_nonzero(expected != rough)
        assert changed > 0
        assert f"{tool}: {changed} voxels of lesion changed" in annotate.tools.message.text()
        press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        np.testing.assert_array_equal(copy.data, rough)
    copy.redo()
    np.testing.assert_array_equal(copy.data, expected)


def test_slices_between_are_filled_and_what_was_painted_stays(annotate, qtbot):
    copy = annotate.copy
    full = copy.data.copy()
    sparse = np.zeros_like(full)
    sparse[[3, 7, 9]] = full[[3, 7, 9]]
    copy.data = sparse.copy()
    choose(annotate, qtbot, "Fill between slices")
    assert not annotate.tools.extent.isEnabled()
    use(annotate, qtbot, "Fill between slices")
    assert np.array_equal(copy.data[[3, 7, 9]], full[[3, 7, 9]])
    for number in (4, 6, 8):
        overlap = np.count_nonzero(copy.data[number] & full[number])
        assert 2 * overlap / (copy.data[number].sum() + full[number].sum()) > 0.9
    copy.undo()
    np.testing.assert_array_equal(copy.data, sparse)


def test_other_classes_and_approved_slices_are_kept(viewer, annotate, qtbot):
    copy, corrections = annotate.copy, corrections_of(viewer)
    corrections.add_class(corrections.active, "vessel", "#00aaff")
    with copy.block_history():
        copy.data_setitem(np.nonzero(copy.data[:, :, :25] >= 0), 2)
    viewer.dims.set_current_step(0, 7)
    annotate.approve_button.click()
    qtbot.waitUntil(lambda: corrections.approvals.writes_in_progress == 0, timeout=60_000)
    kept = copy.data.copy()
    annotate.classes.buttons[1].click()
    choose(annotate, qtbot, "Grow")
    assert not annotate.tools.apply_button.isEnabled()
    assert "approved and locked" in annotate.tools.apply_button.toolTip()
    use(annotate, qtbot, "Grow", "volume", 4)
    np.testing.assert_array_equal(copy.data == 2, kept == 2)
    np.testing.assert_array_equal(copy.data[7], kept[7])
    assert not np.array_equal(copy.data[5], kept[5])


def test_a_button_that_cannot_be_used_says_why(viewer, annotate, qtbot):
    tools = annotate.tools
    annotate.classes.buttons[0].click()
    assert not tools.apply_button.isEnabled()
    assert "Choose a class" in tools.apply_button.toolTip()
    annotate.classes.buttons[1].click()
    assert tools.apply_button.isEnabled()
    viewer.dims.ndisplay = 3
    assert "3D" in tools.apply_button.toolTip()
    choose(annotate, qtbot, "Grow", "volume")
    assert tools.apply_button.isEnabled()
    viewer.dims.ndisplay = 2


def test_another_orientation_of_the_view_edits_the_slice_on_screen(viewer, annotate, qtbot):
    copy = annotate.copy
    before = copy.data.copy()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 25)
    use(annotate, qtbot, "Grow", "slice", 3)
    expected = before.copy()
    expected[:, 25] = MaskEdit(grow=3).apply(before[:, 25], 1, "yx", (SPACING[0], SPACING[2]))
    np.testing.assert_array_equal(copy.data, expected)
    viewer.dims.order = (0, 1, 2)


@pytest.fixture
def held(monkeypatch):
    """Edits wait until this event is set."""
    event, apply = Event(), MaskEdit.apply

    def wait_and_apply(self, *args):
        assert event.wait(60)
        return apply(self, *args)

    monkeypatch.setattr(MaskEdit, "apply", wait_and_apply)
    yield event
    event.set()


def test_a_stroke_during_the_work_is_kept(viewer, annotate, qtbot, held):
    copy = annotate.copy
    choose(annotate, qtbot, "Grow", "volume", 3)
    annotate.tools.apply()
    assert annotate.tools.cancel_button.isVisible()
    drag_on_canvas(viewer, copy, (5, 5, 5), (5, 25, 60))  # through what grows
    painted = copy.data.copy()
    held.set()
    qtbot.waitUntil(lambda: not annotate.tools.runner.is_running, timeout=60_000)
    np.testing.assert_array_equal(copy.data, painted)
    assert "changed in the meantime" in annotate.tools.message.text()


def test_cancel_leaves_the_mask_as_it_was(annotate, qtbot, held):
    copy = annotate.copy
    before = copy.data.copy()
    choose(annotate, qtbot, "Grow", "volume", 3)
    annotate.tools.apply()
    qtbot.mouseClick(annotate.tools.cancel_button, Qt.MouseButton.LeftButton)
    assert annotate.tools.apply_button.isEnabled()
    assert "Cancelled" in annotate.tools.message.text()
    held.set()
    qtbot.wait(300)
    np.testing.assert_array_equal(copy.data, before)


def test_amounts_are_in_the_unit_of_the_image_and_kept_for_each_tool(annotate, qtbot):
    tools = annotate.tools
    choose(annotate, qtbot, "Grow")
    assert (tools.amount.suffix(), tools.amount.value()) == (" mm", 0.5)
    tools.amount.setValue(2.5)
    choose(annotate, qtbot, "Remove islands", "volume")
    assert tools.amount.text() == "largest only"
    tools.amount.setValue(7)
    assert tools.amount.text() == "7.00 mm³"
    choose(annotate, qtbot, "Fill holes")
    assert not tools.amount.isVisible()
    choose(annotate, qtbot, "Grow")
    assert tools.amount.value() == 2.5
