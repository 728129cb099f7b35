"""Clicks that change the copy of a mask, in a real viewer, with a model whose answers are discs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.helpers.canvas import canvas_point, press_key
from tests.helpers.pointing import RADIUS, disc_answer, make_prompted_model
from tests.helpers.shared_viewer import process_events
from tests.helpers.shown import show_ball_in

from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.models.store import data_home
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.click_model import ClickModelField
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget

MODEL = "tiny-prompted"
SLICE = 5


@pytest.fixture
def annotate(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """A ball whose mask is being corrected, with the tool of clicks chosen."""
    shutil.copytree(data_home() / "codecs", tmp_path / "codecs")
    shutil.copytree(make_prompted_model(make_tiny_model), tmp_path / "models" / MODEL)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    show_ball_in(viewer, (12, 60, 70))
    widget = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Annotate", area="right")
    widget.edit_button.click()
    viewer.dims.set_current_step(0, SLICE)
    tools = widget.tools
    tools.tool.setCurrentIndex(tools.tool.findText("Change by clicks"))
    tools.tool.activated.emit(tools.tool.currentIndex())
    choose_model(tools, MODEL)
    assert not tools.extent.isEnabled()
    tools.amount.setValue(20.0)
    qtbot.mouseClick(tools.apply_button, Qt.MouseButton.LeftButton)
    assert tools.apply_button.isChecked()
    return widget


def choose_model(tools, name):
    combo = tools.click_model.combo
    combo.setCurrentIndex(combo.findData(name))
    combo.activated.emit(combo.currentIndex())


def click(widget, viewer, qtbot, index, modifier=Qt.KeyboardModifier.NoModifier):
    native = viewer.window._qt_viewer.canvas.native
    point = canvas_point(viewer, widget.correction.layer, index)
    QTest.mouseMove(native, point)
    process_events()
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, modifier, point)
    process_events()
    qtbot.waitUntil(lambda: not widget.tools.clicks._is_busy, timeout=60_000)


def test_a_click_adds_and_one_with_shift_takes_away_each_in_one_step_of_undo(viewer, annotate, qtbot):
    copy = annotate.correction.layer
    before = copy.data.copy()
    click(annotate, viewer, qtbot, (SLICE, 25, 60))
    added = copy.data.copy()
    rows, columns = np.nonzero(added[SLICE] != before[SLICE])
    assert len(rows) > 100
    assert (np.hypot(rows - 25, columns - 60) <= RADIUS + 3).all()
    np.testing.assert_array_equal(np.delete(added, SLICE, 0), np.delete(before, SLICE, 0))
    assert "changed. Ctrl+Z" in annotate.tools.message.text()
    click(annotate, viewer, qtbot, (SLICE, 25, 60), Qt.KeyboardModifier.ShiftModifier)
    assert copy.data[SLICE, 25, 60] == 0
    press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(copy.data, added)
    press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(copy.data, before)


def test_other_classes_and_approved_slices_are_kept(viewer, annotate, qtbot):
    copy, corrections = annotate.correction.layer, corrections_of(viewer)
    corrections.add_class(corrections.active, "vessel", "#00aaff")
    copy.data_setitem((np.full(5, SLICE), np.full(5, 25), np.arange(58, 63)), 2)
    copy.selected_label = 1
    click(annotate, viewer, qtbot, (SLICE, 28, 60))
    assert (copy.data[SLICE, 25, 58:63] == 2).all()
    assert copy.data[SLICE, 28, 60] == 1
    annotate.approve_button.click()
    qtbot.waitUntil(lambda: corrections.approvals.writes_in_progress == 0, timeout=60_000)
    kept = copy.data.copy()
    assert "approved and locked" in annotate.tools.apply_button.toolTip()
    click(annotate, viewer, qtbot, (SLICE, 40, 60))
    np.testing.assert_array_equal(copy.data, kept)


def test_the_brush_is_back_when_the_tool_is_left(viewer, annotate, qtbot):
    copy = annotate.correction.layer
    assert str(copy.mode) == "pan_zoom"
    qtbot.mouseClick(annotate.tools.apply_button, Qt.MouseButton.LeftButton)
    assert not annotate.tools.apply_button.isChecked()
    assert str(copy.mode) == "paint"
    before = copy.data.copy()
    annotate.tools.clicks.click((SLICE, 25, 60), inside=True)
    np.testing.assert_array_equal(copy.data, before)


def test_the_model_is_that_of_segment_until_another_is_chosen(viewer, annotate):
    tools = annotate.tools
    session = session_of(viewer)
    assert not tools.click_model.isHidden()
    assert sorted(tools.click_model.combo.itemData(i) for i in range(tools.click_model.combo.count())) == (
        ["any-structure", MODEL]
    )
    assert tools.clicks.model == MODEL
    tools.tool.setCurrentIndex(0)
    tools.tool.activated.emit(0)
    assert tools.click_model.isHidden()
    other = ClickModelField(viewer)
    assert other.name == "any-structure"
    session.choices["model"] = MODEL  # as Segment leaves it
    other.refresh()
    assert other.name == MODEL
    session.choices["model"] = "retina-vessels"
    other.refresh()
    assert other.name == "any-structure"
    other.deleteLater()


def test_a_model_that_is_removed_answers_no_more(viewer, annotate, monkeypatch, tmp_path):
    tools = annotate.tools
    shutil.rmtree(tmp_path / "models" / MODEL)
    session_of(viewer).models_changed.emit()
    assert tools.clicks.model == "any-structure"
    assert not tools.click_model.combo.isEnabled()
    assert "only installed model" in tools.click_model.combo.toolTip()
    monkeypatch.setattr("napari_latentseg.api.list_models", dict)
    session_of(viewer).models_changed.emit()
    assert not tools.apply_button.isEnabled()
    assert "No installed model answers clicks" in tools.apply_button.toolTip()
