"""The contours between which the true edge lies, in Review, and the expected Dice in Segment."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_latentseg.evaluation.contour_band import ClassBand, ContourBand
from napari_latentseg.measure import contours
from napari_latentseg.widgets.review.widget import ReviewWidget


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
    assert review.edge_button.isEnabled(), review.edge_button.toolTip()
    assert "the true edge lies between the contours" in review.edge_button.toolTip()

    def drawn():
        layer = review.edge_contours.layer
        return set() if layer is None else {int(z) for z in layer.data[:, 0, 0]}

    promising.viewer.dims.set_point(0, promising.image.data_to_world((7, 0, 0))[0])
    qtbot.mouseClick(review.edge_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: drawn() == {7}, timeout=60_000)
    layer = review.edge_contours.layer
    colours = {tuple(c) for c in np.round(layer.edge_color, 3)}
    assert len(colours) == 2  # inner and outer
    result = promising.result
    (of_class,) = contours(result.segmentation, result.card).classes
    rows = np.flatnonzero(of_class.outer[7].any(axis=1))
    assert layer.data[:, 0, 1].min() == pytest.approx(rows[0] - 0.5)
    promising.viewer.dims.set_point(0, promising.image.data_to_world((5, 0, 0))[0])
    qtbot.waitUntil(lambda: drawn() == {5}, timeout=60_000)
    qtbot.mouseClick(review.edge_button, Qt.MouseButton.LeftButton)
    assert not layer.visible


def test_a_model_that_was_not_calibrated_says_why_there_are_no_contours(shown_volume, qtbot):
    review = ReviewWidget(shown_volume.viewer)
    qtbot.addWidget(review)
    assert not review.edge_button.isEnabled()
    assert review.edge_button.toolTip().startswith("No contours with a promise: ")
