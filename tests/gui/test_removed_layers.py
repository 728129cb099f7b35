"""Layers that a person removes while a run goes on."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from tests.helpers.segmenting import layers_by_role, run

from napari_latentseg.widgets._shared import runner
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


def test_a_mask_that_is_removed_during_its_run_comes_back_at_its_end(viewer, widget, qtbot, monkeypatch):
    viewer.add_image(np.random.default_rng(0).random((4, 40, 50)), name="stack")
    monkeypatch.setattr(runner, "_PREVIEW_EVERY", 0)
    notification_manager.records.clear()
    previews, has_mask = [], []

    def on_progress(progress):
        if progress.mask is None:
            return
        previews.append(progress.plane_index)
        mask = layers_by_role(viewer).get("mask")
        has_mask.append(mask is not None)
        if len(previews) == 1:
            viewer.layers.remove(mask)

    widget.session.progressed.connect(on_progress)
    run(widget, qtbot, model="breast-ultrasound", samples=3)
    assert has_mask[0]
    assert len(has_mask) > 1
    assert not any(has_mask[1:])
    said = [r.message for r in notification_manager.records if "The run goes on" in r.message]
    assert len(said) == 1
    assert layers_by_role(viewer)["mask"].data.shape == (4, 40, 50)
    assert widget.finished_result in widget.session.results


def test_more_samples_bring_back_the_mask_that_was_removed_meanwhile(viewer, widget, qtbot):
    viewer.add_image(np.random.default_rng(0).random((40, 50)), name="plane")
    run(widget, qtbot, model="breast-ultrasound", samples=3)
    result = widget.finished_result
    notification_manager.records.clear()
    widget.draw_more()
    viewer.layers.remove(layers_by_role(viewer)["mask"])
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert widget.finished_result is result
    assert result.segmentation.record.samples == 8
    assert "mask" in layers_by_role(viewer)
    messages = "\n".join(record.message for record in notification_manager.records)
    assert "The run goes on" in messages
    assert "segment the image again" not in messages
