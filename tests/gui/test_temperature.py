"""A model with a temperature in the window: its card tells, and results, layers and threshold agree."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.helpers.segmenting import layers_by_role

from napari_latentseg.core.temperature import Temperature
from napari_latentseg.evaluation.temperature_fit import HalfTest, TemperatureFit
from napari_latentseg.models.store import list_cards
from napari_latentseg.models.update_card import update_card
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"
WARM = Temperature(value=1.8, shift=-0.25)


@pytest.fixture
def calibrated(own_home, viewer):
    """The viewer, and the tiny model with a temperature."""
    errors = {"ece_before": 0.03, "ece_after": 0.01, "ece_unsure_before": 0.12, "ece_unsure_after": 0.04}
    half = HalfTest(images=6, temperature=WARM, **errors)
    fit = TemperatureFit(
        images=12, samples=5, source="augment", data="12 images", halves=(half, half), **errors
    )
    changes = {"temperature": WARM, "threshold": WARM.calibrated_threshold(0.48), "temperature_fit": fit}
    update_card(own_home / "models" / MODEL, changes)
    return viewer


def test_the_card_shows_the_temperature_and_what_it_gains(calibrated, qtbot):
    models = ModelsWidget(calibrated)
    calibrated.window.add_dock_widget(models, name="Models", area="right")
    qtbot.waitUntil(lambda: models.tree.topLevelItemCount() > 0, timeout=60_000)
    rows = [models.tree.topLevelItem(i) for i in range(models.tree.topLevelItemCount())]
    (item,) = (row for row in rows if row.toolTip(0) == MODEL)
    models.tree.scrollToItem(item)
    place = models.tree.visualItemRect(item).center()
    qtbot.mouseClick(models.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
    text = models.card.text.toPlainText()
    assert "1.80, log-odds shifted by -0.25" in text
    assert "0.0300 to 0.0100, where the mean is unsure 0.120 to 0.040" in text
    assert text.count("6 images 0.0300") == 2


def test_the_result_is_that_of_the_calibrated_mean(calibrated, qtbot):
    widget = SegmentWidget(calibrated)
    calibrated.window.add_dock_widget(widget, name="Segment", area="right")
    calibrated.add_image(np.random.default_rng(0).random((40, 50)).astype(np.float32), name="noise")
    widget.form.model.value = MODEL
    assert widget.form.threshold.value == pytest.approx(list_cards()[MODEL].threshold, abs=1e-9)
    widget.form.samples.value = 3
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.finished_result is not None and not widget.busy, timeout=120_000)
    found = widget.finished_result.segmentation
    assert found.record.temperature == WARM
    assert found.record.threshold == list_cards()[MODEL].threshold
    assert found.record.sample_threshold == pytest.approx(0.48, abs=1e-5)
    slider = widget.result_threshold.slider
    assert slider.value == pytest.approx(found.record.threshold)
    np.testing.assert_array_equal(layers_by_role(calibrated)["mask"].data, found.mask)
    moved = WARM.calibrated_threshold(0.5)
    slider.value = moved
    qtbot.waitUntil(
        lambda: widget.finished_result.segmentation.record.threshold == pytest.approx(moved), timeout=20_000
    )
    result = widget.finished_result.segmentation
    np.testing.assert_array_equal(result.mask > 0, result.mean[0] > np.float32(result.record.threshold))
    samples = result.sample_maps.plane_samples(0)[:, 0]
    # rounded to 1/255, so voxels within half of that may be on either side of a threshold
    counts = (samples > 0.5).sum(axis=(1, 2))
    np.testing.assert_allclose(result.volumes[:, 0], counts, atol=0.01 * samples[0].size)
