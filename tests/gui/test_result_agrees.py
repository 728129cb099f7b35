"""The mask on screen, the threshold, the sizes and the export of a result agree, whatever is done."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel
from tests.helpers.canvas import drag_on_canvas, press_key
from tests.helpers.segmenting import add_phantom, layers_by_role, run
from tests.helpers.shared_viewer import process_events

from napari_latentseg.io import read_scan
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer, qtbot):
    segment_widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment_widget, name="Segment", area="right")
    return segment_widget


def shown_sizes(widget):
    """What the legend says of each class."""
    return [label.text() for label in widget.result_panel.legend.findChildren(QLabel)]


@pytest.fixture
def phantom(viewer, widget):
    return add_phantom(viewer, widget)


def test_undo_takes_the_threshold_the_slider_and_the_sizes_back(viewer, widget, qtbot, phantom, tmp_path):
    run(widget, qtbot, samples=3)
    result, slider = widget.finished_result, widget.result_threshold.slider
    layer = result.layers.mask
    before, sizes, start = layer.data.copy(), shown_sizes(widget), result.segmentation.record.threshold
    for threshold in (0.8, 0.9):
        slider.value = threshold
        qtbot.waitUntil(lambda t=threshold: result.segmentation.record.threshold == t, timeout=20_000)
    assert not np.array_equal(layer.data, before)
    viewer.layers.selection.active = layer
    for threshold in (0.8, start):
        press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda t=threshold: result.segmentation.record.threshold == t, timeout=20_000)
        assert slider.value == pytest.approx(threshold)
        np.testing.assert_array_equal(layer.data, result.segmentation.mask)
    np.testing.assert_array_equal(layer.data, before)
    assert shown_sizes(widget) == sizes
    layer.redo()
    qtbot.waitUntil(lambda: slider.value == pytest.approx(0.8), timeout=20_000)
    qtbot.wait(300)
    with qtbot.waitSignal(widget.export(tmp_path).finished, timeout=20_000):
        pass
    (record,) = tmp_path.glob("*run.json")
    assert json.loads(record.read_text())["threshold"] == 0.8
    (mask,) = tmp_path.glob("*mask*")
    assert np.count_nonzero(read_scan(mask).array) == np.count_nonzero(layer.data)


def test_a_stroke_that_is_undone_gives_the_threshold_back(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    result = widget.finished_result
    result.layers.mask.paint((20, 20), 1)
    qtbot.waitUntil(lambda: not widget.result_threshold.slider.native.isEnabled(), timeout=20_000)
    result.layers.mask.undo()
    qtbot.waitUntil(lambda: widget.result_threshold.slider.native.isEnabled(), timeout=20_000)
    widget.result_threshold.slider.value = 0.8
    qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.8, timeout=20_000)


def test_another_model_changes_neither_the_result_nor_the_number_of_samples(viewer, widget, qtbot, phantom):
    widget.form.samples.value = 8
    run(widget, qtbot, samples=8)
    result = widget.finished_result
    before, record, sizes = (
        result.layers.mask.data.copy(), result.segmentation.record, shown_sizes(widget)
    )  # fmt: skip
    for model in ("retina-vessels", "hippocampus-mr", "breast-ultrasound"):
        widget.form.model.value = model
        qtbot.wait(150)
        assert widget.form.samples.value == 8
    np.testing.assert_array_equal(result.layers.mask.data, before)
    assert result.segmentation.record == record
    assert shown_sizes(widget) == sizes


def test_the_keys_move_the_threshold_of_the_result(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    of_form = widget.form.threshold.value
    start = widget.finished_result.segmentation.record.threshold
    for key, threshold in ((Qt.Key.Key_Comma, start - 0.05), (Qt.Key.Key_Period, start)):
        press_key(viewer, key)
        qtbot.waitUntil(
            lambda t=threshold: widget.finished_result.segmentation.record.threshold == pytest.approx(t),
            timeout=20_000,
        )
    assert widget.form.threshold.value == of_form


def test_more_samples_keep_the_threshold_of_the_result(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    result = widget.finished_result
    widget.result_threshold.slider.value = 0.8
    qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.8, timeout=20_000)
    widget.result_panel.more_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert (result.segmentation.record.samples, result.segmentation.record.threshold) == (8, 0.8)
    np.testing.assert_array_equal(result.layers.mask.data, result.segmentation.mask)
    assert widget.result_threshold.slider.value == pytest.approx(0.8)


def test_five_more_samples_after_a_cancelled_run_are_five(viewer, widget, qtbot, phantom):
    widget.form.samples.value = 60
    widget.run_button.click()
    qtbot.waitUntil(lambda: "mask" in layers_by_role(viewer), timeout=120_000)
    QTest.mouseClick(widget.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    kept = widget.finished_result.segmentation.record.samples
    assert 1 <= kept < 55
    widget.result_panel.more_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    record = widget.finished_result.segmentation.record
    assert (record.samples, record.samples_asked, record.complete) == (kept + 5, kept + 5, True)


def test_a_failed_run_leaves_no_figures_of_an_earlier_one(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    assert widget.result_panel.isVisibleTo(widget)
    viewer.add_image(np.full((64, 64), np.nan), name="nothing but NaN")
    assert not widget.result_panel.isVisibleTo(widget)
    assert not widget.status.isVisibleTo(widget)
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert "NaN" in widget.status.text()
    assert not widget.result_panel.isVisibleTo(widget)
    widget.form.image.value = phantom
    assert widget.result_panel.isVisibleTo(widget)
    assert not widget.status.isVisibleTo(widget)


def test_what_was_said_of_a_run_goes_with_its_layers(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    assert widget.status.text().startswith("Finished in")
    viewer.layers.remove(widget.finished_result.layers.mask)
    assert not widget.status.isVisibleTo(widget)


def test_an_empty_mask_is_said_in_words(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    assert not widget.result_header.isVisibleTo(widget)
    widget.form.postprocess_fields.min_size.value = 1e6
    qtbot.waitUntil(lambda: widget.result_header.isVisibleTo(widget), timeout=20_000)
    assert widget.result_header.text().startswith("Nothing was found")


def test_a_rectangle_drawn_after_it_was_chosen_is_the_roi(viewer, widget, qtbot, phantom):
    shapes = viewer.add_shapes(name="Shapes")
    viewer.layers.selection.active = phantom
    widget.form.roi_fields.area.value = shapes
    assert not widget.run_button.isEnabled()
    assert "draw a rectangle" in widget.problem_label.text()
    viewer.layers.selection.active = shapes
    shapes.mode = "add_rectangle"
    viewer.reset_view()
    process_events()
    drag_on_canvas(viewer, phantom, (60, 60), (160, 200))
    assert len(shapes.data) == 1
    assert widget.run_button.isEnabled()
    assert "draw a rectangle" not in widget.problem_label.text()
