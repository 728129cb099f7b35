"""Hints that weight the samples of a result, and a sample that is taken into the correction."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from tests.helpers.canvas import canvas_point, press_key
from tests.helpers.shared_viewer import process_events
from tests.helpers.shown import UNSURE, show_ball_in

from napari_latentseg.core.agreement import agreement_counts
from napari_latentseg.core.hints import Hint
from napari_latentseg.core.reweight import reweight
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.review.widget import ReviewWidget


@pytest.fixture
def review(own_home, viewer, qtbot):
    """Review of five samples of a ball, with the slice on screen on which they differ."""
    shown = show_ball_in(viewer, (12, 60, 70))
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    viewer.dims.set_current_step(0, UNSURE)
    return widget, shown.result


def click(viewer, qtbot, index, modifier=Qt.KeyboardModifier.NoModifier):
    native = viewer.window._qt_viewer.canvas.native
    point = canvas_point(viewer, viewer.layers[0], index)
    QTest.mouseMove(native, point)
    process_events()
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, modifier, point)
    process_events()


def settle(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.hints.hinting.is_computing, timeout=60_000)


def test_clicks_weight_the_samples_and_taking_them_back_restores_the_result(viewer, review, qtbot):
    widget, result = review
    original, mask = result.segmentation, result.layers.mask.data.copy()
    panel = widget.hints
    assert panel.isVisible()
    qtbot.mouseClick(panel.inside_button, Qt.MouseButton.LeftButton)
    assert panel.inside_button.isChecked()
    assert "each click is a hint" in panel.message.text()
    click(viewer, qtbot, (UNSURE, 25, 45))
    settle(widget, qtbot)
    (hint,) = panel.hinting.hints_of(result)
    assert hint.voxel[0] == UNSURE
    assert np.hypot(hint.voxel[1] - 25, hint.voxel[2] - 45) <= 1.5
    assert (hint.inside, hint.label) == (True, 1)
    expected = reweight(original, [hint])
    np.testing.assert_array_equal(result.layers.mask.data, expected.mask)
    np.testing.assert_array_equal(result.layers.maps.layers["mean"].data, expected.mean[0])
    assert not np.array_equal(result.layers.mask.data, mask)
    effective = expected.record.hints.effective_samples
    assert f"5 samples, effective number {effective:.1f}" in panel.message.text()
    qtbot.waitUntil(
        lambda: "re-weighted" in widget.measures.size_text.toolTip() + text_of(widget), timeout=60_000
    )
    click(viewer, qtbot, (UNSURE, 25, 49), Qt.KeyboardModifier.ShiftModifier)
    settle(widget, qtbot)
    assert [h.inside for h in panel.hinting.hints_of(result)] == [True, False]
    qtbot.mouseClick(panel.back_button, Qt.MouseButton.LeftButton)
    settle(widget, qtbot)
    np.testing.assert_array_equal(result.layers.mask.data, expected.mask)
    qtbot.mouseClick(panel.back_button, Qt.MouseButton.LeftButton)
    settle(widget, qtbot)
    assert result.segmentation is original
    np.testing.assert_array_equal(result.layers.mask.data, mask)
    assert not panel.back_button.isEnabled()
    assert not result.layers.is_edited


def text_of(widget):
    from qtpy.QtWidgets import QLabel

    return " ".join(label.text() for label in widget.measures.findChildren(QLabel))


def test_hints_outlive_another_threshold_and_say_where_samples_do_not_reach(viewer, review, qtbot):
    widget, result = review
    original, hinting = result.segmentation, widget.hints.hinting
    widget.hints.inside_button.click()
    hinting.add((UNSURE, 25, 45), inside=True)
    settle(widget, qtbot)
    widget.session.apply_threshold(0.8)
    qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.8, timeout=60_000)
    assert result.segmentation.record.hints is not None
    hinting.add((UNSURE, 25, 48), inside=True)
    hinting.add((UNSURE, 7, 30), inside=True)
    settle(widget, qtbot)
    hints = [Hint(point=p, label=1) for p in ((UNSURE, 25, 45), (UNSURE, 25, 48), (UNSURE, 7, 30))]
    np.testing.assert_array_equal(result.layers.mask.data, reweight(original.with_threshold(0.8), hints).mask)
    assert "Hardly any sample" in widget.hints.message.text()
    hinting.clear()
    settle(widget, qtbot)
    np.testing.assert_array_equal(result.segmentation.mask, original.with_threshold(0.8).mask)
    assert result.segmentation.record.hints is None


def test_a_drag_moves_the_image_and_a_click_beside_it_says_nothing(viewer, review, qtbot):
    widget, result = review
    widget.hints.inside_button.click()
    widget.hints.hinting.add((UNSURE, -4, 3), inside=True)
    assert widget.hints.hinting.hints_of(result) == ()
    widget.hints.inside_button.click()
    assert viewer.layers.selection.active is result.image
    assert not widget.hints.inside_button.isChecked()


def test_a_sample_is_taken_into_the_correction_in_one_step_of_undo(viewer, review, qtbot):
    widget, result = review
    panel, before = widget.hints, result.segmentation.mask.copy()
    panel.sample.setCurrentIndex(4)
    qtbot.mouseClick(panel.take_button, Qt.MouseButton.LeftButton)
    (copy,) = [layer for layer in viewer.layers if role_of(layer) == "corrected"]
    expected = before.copy()
    expected[UNSURE] = result.segmentation.sample_maps.plane_samples(UNSURE)[4, 0] > 0.5
    np.testing.assert_array_equal(copy.data, expected)
    assert "sample 5" in panel.message.text()
    press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(copy.data, before)
    assert not panel.inside_button.isEnabled()
    assert "corrected in a copy" in panel.inside_button.toolTip()


def test_the_agreement_follows_the_weights(viewer, review, qtbot):
    widget, result = review
    hinting, agreement = widget.hints.hinting, result.layers.maps.layers["agreement"]
    before = agreement.data.copy()
    widget.hints.inside_button.click()
    hinting.add((UNSURE, 25, 45), inside=True)
    settle(widget, qtbot)
    qtbot.waitUntil(lambda: result.layers.maps.agreement is not None, timeout=60_000)
    np.testing.assert_array_equal(agreement.data, agreement_counts(result.segmentation)[0])
    weights = np.array(result.segmentation.record.hints.weights)
    share = weights[result.segmentation.sample_maps.plane_samples(UNSURE)[:, 0, 25, 45] > 0.5].sum()
    assert agreement.data[UNSURE, 25, 45] == round(5 * share) > before[UNSURE, 25, 45]
    assert "Hints weight the samples" in widget.display_buttons.map_buttons["variance"].toolTip()
    hinting.clear()
    settle(widget, qtbot)
    qtbot.waitUntil(lambda: result.layers.maps.agreement is not None, timeout=60_000)
    np.testing.assert_array_equal(agreement.data, before)


def test_a_result_on_the_disk_is_weighted_with_progress(viewer, review, qtbot):
    widget, result = review
    original, hinting = result.segmentation, widget.hints.hinting
    result.segmentation = replace(
        original,
        mask=da.from_array(original.mask, chunks=(1, 60, 70)),
        mean=da.from_array(original.mean, chunks=(1, 1, 60, 70)),
        variance=da.from_array(original.variance, chunks=(1, 1, 60, 70)),
    )
    widget.session.results_changed.emit()
    assert widget.hints.isVisible()
    assert widget.hints.inside_button.isEnabled()
    widget.hints.inside_button.click()
    done = []
    hinting.progressed.connect(done.append)
    hinting.add((UNSURE, 25, 45), inside=True)
    settle(widget, qtbot)
    expected = reweight(original, hinting.hints_of(result))
    assert isinstance(result.segmentation.mean, da.Array)
    np.testing.assert_array_equal(result.layers.mask.data, expected.mask)
    np.testing.assert_array_equal(np.asarray(result.layers.maps.layers["mean"].data), expected.mean[0])
    assert done == sorted(done)
    assert done[-1] > 80


def test_a_sample_of_one_object_leaves_the_others(viewer, review, qtbot):
    widget, result = review
    panel = widget.hints
    assert not panel.object_box.isEnabled()
    panel.inside_button.click()
    panel.hinting.add((UNSURE, 25, 30), inside=True)
    settle(widget, qtbot)
    corrections_of(viewer).edit(result)
    (copy,) = [layer for layer in viewer.layers if role_of(layer) == "corrected"]
    copy.data[UNSURE, 52:58, 2:8] = 1  # another object, which no sample has
    assert panel.object_box.isEnabled()
    qtbot.mouseClick(panel.object_box, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert panel.object_box.isChecked()
    panel.sample.setCurrentIndex(4)
    qtbot.mouseClick(panel.take_button, Qt.MouseButton.LeftButton)
    expected = result.segmentation.sample_maps.plane_samples(UNSURE)[4, 0] > 0.5
    expected[52:58, 2:8] = True
    np.testing.assert_array_equal(copy.data[UNSURE] > 0, expected)
    viewer.dims.set_current_step(0, UNSURE + 1)
    now = copy.data.copy()
    qtbot.mouseClick(panel.take_button, Qt.MouseButton.LeftButton)
    assert any("is on another slice" in str(n.message) for n in notification_manager.records)
    np.testing.assert_array_equal(copy.data, now)


def test_a_result_without_samples_has_no_such_controls(viewer, review, qtbot):
    widget, result = review
    result.segmentation = type(result.segmentation)(**{**vars(result.segmentation), "sample_maps": None})
    widget.session.results_changed.emit()
    assert not widget.hints.isVisible()
