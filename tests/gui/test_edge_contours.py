"""The contours between which the true edge lies, in Review, and the expected Dice in Segment."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_latentseg.core.dice_estimate import DiceEstimate
from napari_latentseg.evaluation.contour_band import ClassBand, ContourBand
from napari_latentseg.measure import contours
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.export_dialog import ExportDialog
from napari_latentseg.widgets.segment.result_panel import ResultPanel


@pytest.fixture
def promising(shown_volume):
    """The result of a model that was calibrated with volumes like this one."""
    result = shown_volume.result
    record = result.segmentation.record
    band = ClassBand(factor=0.8, cases=40, coverage=0.9, typical_outward=0.1, typical_inward=0.1)
    calibrated = ContourBand(
        classes={result.segmentation.classes[0].name: band}, samples=record.samples, source=record.source,
        threshold=record.threshold, data="drawn volumes",
    )  # fmt: skip
    result.card = result.card.model_copy(update={"contour_band": calibrated, "fit": None})
    return shown_volume


def test_both_contours_follow_the_slice_on_screen(promising, qtbot):
    review = ReviewWidget(promising.viewer)
    qtbot.addWidget(review)
    review.show()
    assert review.display_buttons.edge_button.isEnabled(), review.display_buttons.edge_button.toolTip()
    assert "the true edge lies between the contours" in review.display_buttons.edge_button.toolTip()

    def drawn():
        layer = review.display_buttons.edge_contours.layer
        return set() if layer is None else {int(z) for z in layer.data[:, 0, 0]}

    promising.viewer.dims.set_point(0, promising.image.data_to_world((7, 0, 0))[0])
    qtbot.mouseClick(review.display_buttons.edge_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: drawn() == {7}, timeout=60_000)
    layer = review.display_buttons.edge_contours.layer
    colours = {tuple(c) for c in np.round(layer.edge_color, 3)}
    assert len(colours) == 2  # inner and outer
    result = promising.result
    (of_class,) = contours(result.segmentation, result.card).classes
    rows = np.flatnonzero(of_class.outer[7].any(axis=1))
    assert layer.data[:, 0, 1].min() == pytest.approx(rows[0] - 0.5)
    promising.viewer.dims.set_point(0, promising.image.data_to_world((5, 0, 0))[0])
    qtbot.waitUntil(lambda: drawn() == {5}, timeout=60_000)
    qtbot.mouseClick(review.display_buttons.edge_button, Qt.MouseButton.LeftButton)
    assert not layer.visible


def test_a_model_that_was_not_calibrated_says_why_there_are_no_contours(shown_volume, qtbot):
    review = ReviewWidget(shown_volume.viewer)
    qtbot.addWidget(review)
    assert not review.display_buttons.edge_button.isEnabled()
    assert review.display_buttons.edge_button.toolTip().startswith("No 90 % contours: ")


def test_the_export_writes_both_contours(promising, qtbot, tmp_path):
    dialog = ExportDialog(promising.result, None)  # deletes itself when it is saved
    dialog.folder.setText(str(tmp_path))
    assert dialog.band.isEnabled(), dialog.band.toolTip()
    for box in (dialog.band, dialog.report, dialog.table):
        box.setChecked(box is dialog.band)
    dialog.save()
    qtbot.waitUntil(lambda: bool(list(tmp_path.glob("*run.json"))), timeout=60_000)
    (record,) = tmp_path.glob("*run.json")
    names = set(json.loads(record.read_text())["files"])
    assert {name.partition(".")[0] for name in names} >= {"inner", "outer"}


def test_the_export_of_an_uncalibrated_model_says_why_there_are_none(shown_volume, qtbot):
    dialog = ExportDialog(shown_volume.result, None)
    qtbot.addWidget(dialog)
    assert not dialog.band.isEnabled()
    assert "the calibration used 2D images" in dialog.band.toolTip()


def test_segment_shows_the_expected_dice_and_hides_it_where_there_is_none(shown_volume, qtbot):
    panel = ResultPanel(shown_volume.viewer)
    qtbot.addWidget(panel)
    panel.show()
    result = shown_volume.result
    segmentation = result.segmentation
    for estimates, text in (
        (
            {"lesion": DiceEstimate(expected=0.84, lower=0.62)},
            "Expected Dice about 0.84, at least 0.62 in 9 of",
        ),
        ({}, ""),
    ):
        told = replace(segmentation, record=segmentation.record.replace(expected_dice=estimates))
        panel.show_result(told, result.layers, [], "")
        assert panel.dice_text.text().startswith(text)
        assert panel.dice_text.isVisible() == bool(estimates)
