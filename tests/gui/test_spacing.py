"""A spacing that is given in the window: typed, or measured along a scale; sizes follow in mm."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox

from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE
from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets._shared.layers import layer_matrix, scan_from_layer
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer, qtbot):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


@pytest.fixture
def photograph(viewer):
    return viewer.add_image(np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8), name="photograph")


def open_dialog(widget, qtbot):
    qtbot.mouseClick(widget.form.spacing_row.button, Qt.MouseButton.LeftButton)
    return widget.form.spacing_row.dialog


def type_into(qtbot, box: QDoubleSpinBox, text: str) -> None:
    box.setFocus()
    box.selectAll()
    qtbot.keyClicks(box, text)
    qtbot.keyClick(box, Qt.Key.Key_Tab)


def test_a_number(widget, photograph, qtbot):
    row = widget.form.spacing_row
    assert row.text.text() == "none: sizes are in pixels"
    dialog = open_dialog(widget, qtbot)
    assert not dialog.apply_button.isEnabled()
    type_into(qtbot, dialog.pixel_size, "0.2")
    qtbot.mouseClick(dialog.apply_button, Qt.MouseButton.LeftButton)
    scan = scan_from_layer(photograph)
    assert scan.geometry.spacing == pytest.approx((0.2, 0.2))
    assert scan.geometry.units == ("mm", "mm")
    assert scan.notes == (GIVEN_SPACING_NOTE,)
    assert row.text.text() == "0.200 × 0.200 mm, given by hand"
    assert row.button.isHidden()


def test_zero_is_not_offered(widget, photograph, qtbot):
    dialog = open_dialog(widget, qtbot)
    type_into(qtbot, dialog.pixel_size, "0")
    assert not dialog.apply_button.isEnabled()
    assert "above zero" in dialog.apply_button.toolTip()
    dialog.reject()
    assert scan_from_layer(photograph).geometry.units == ("pixel", "pixel")


def test_a_line_along_a_scale(viewer, widget, photograph, qtbot):
    dialog = open_dialog(widget, qtbot)
    qtbot.mouseClick(dialog.ruler_button, Qt.MouseButton.LeftButton)
    ruler = viewer.layers.selection.active
    assert ruler.mode == "add_line"
    ruler.add(np.array([[10, 20], [10, 70]]), shape_type="line")
    type_into(qtbot, dialog.length, "10")
    assert dialog.pixel_size.value() == pytest.approx(0.2)
    qtbot.mouseClick(dialog.apply_button, Qt.MouseButton.LeftButton)
    assert ruler not in viewer.layers
    assert scan_from_layer(photograph).geometry.spacing == pytest.approx((0.2, 0.2))


def test_a_line_that_is_too_short_says_so(viewer, widget, photograph, qtbot):
    dialog = open_dialog(widget, qtbot)
    qtbot.mouseClick(dialog.ruler_button, Qt.MouseButton.LeftButton)
    viewer.layers.selection.active.add(np.array([[10, 20], [10, 23]]), shape_type="line")
    assert "3.0 pixels apart" in dialog.ruler_text.text()
    assert not dialog.apply_button.isEnabled()
    dialog.reject()
    assert [layer.name for layer in viewer.layers] == ["photograph"]


def test_results_follow(viewer, widget, qtbot):
    sample = ultrasound_phantom(shape=(96, 128)).scan
    image = viewer.add_image(sample.array, name="phantom")
    widget.form.model.value = "breast-ultrasound"
    widget.form.samples.value = 3
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    result = widget.session.current
    assert result.segmentation.record.volume_unit == "pixel"
    pixels, extents = np.array(result.segmentation.volumes), result.sizes
    dialog = open_dialog(widget, qtbot)
    type_into(qtbot, dialog.pixel_size, "0.5")
    qtbot.mouseClick(dialog.apply_button, Qt.MouseButton.LeftButton)
    assert widget.session.current is result
    np.testing.assert_allclose(result.segmentation.volumes, 0.25 * pixels)
    assert result.segmentation.record.volume_unit == "mm2"
    (mask,) = result.layers.layers_of("mask")
    np.testing.assert_allclose(layer_matrix(mask), layer_matrix(image))
    assert {str(unit) for unit in mask.units} == {"millimeter"}
    qtbot.waitUntil(lambda: result.sizes != extents, timeout=5000)
    qtbot.waitUntil(lambda: "mm²" in widget.result_panel.legend.size_text("lesion"), timeout=5000)
    widget.draw_more()  # samples drawn later are in mm as well
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert result.segmentation.record.samples == 8
    assert result.segmentation.record.volume_unit == "mm2"
    assert GIVEN_SPACING_NOTE in result.segmentation.record.input.notes
