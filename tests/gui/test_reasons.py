"""What Annotate says of a mask that cannot be approved or edited, and what is told of removed layers."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from tests.helpers.shared_viewer import process_events
from tests.helpers.two_cases import two_cases

from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"


def hide_all(viewer):
    """Software rendering (napari 0.9 on Mesa) can end the program at a layer that goes while it is drawn."""
    for layer in viewer.layers:
        layer.visible = False
    process_events()


@pytest.fixture
def annotate(own_home, shown_volume):
    """Annotate with the result of a volume: `shown` has its image."""
    widget = AnnotateWidget(shown_volume.viewer)
    shown_volume.viewer.window.add_dock_widget(widget, name="Annotate", area="right")
    widget.shown = shown_volume
    return widget


@pytest.fixture
def told(viewer):
    """The texts of notifications from now on."""
    notification_manager.records.clear()
    return lambda: "\n".join(str(record.message) for record in notification_manager.records)


def test_a_view_without_slices_says_why_none_can_be_approved(annotate):
    dims = annotate.viewer.dims
    dims.ndisplay = 3
    assert "in 3D" in annotate.slice_status.text()
    assert "in 3D" in annotate.approve_button.toolTip()
    dims.ndisplay = 2
    dims.roll()
    assert "another orientation" in annotate.slice_status.text()
    assert "another orientation" in annotate.approve_button.toolTip()


def test_the_mask_of_a_removed_image_is_not_edited(annotate):
    shown = annotate.shown
    hide_all(shown.viewer)
    shown.viewer.layers.remove(shown.image)
    shown.viewer.layers.selection.active = shown.result.layers.mask
    assert not annotate.edit_button.isEnabled()
    assert "open it again" in annotate.edit_button.toolTip()
    assert "image was removed" in annotate.slice_status.text()


def test_one_image_is_not_called_a_slice(own_home, viewer, qtbot):
    segment, annotate = SegmentWidget(viewer), AnnotateWidget(viewer)
    for name, widget in (("Segment", segment), ("Annotate", annotate)):
        viewer.window.add_dock_widget(widget, name=name, area="right")
    pixels = np.random.default_rng(3).random((48, 56)).astype("f4")
    segment.form.image.value = viewer.add_image(pixels, name="photograph")
    segment.form.model.value = MODEL
    segment.run_button.click()
    qtbot.waitUntil(lambda: not segment.busy, timeout=120_000)
    annotate.edit_button.click()
    annotate.approve_button.click()
    approvals = corrections_of(viewer).approvals
    qtbot.waitUntil(lambda: approvals.writes_in_progress == 0, timeout=60_000)
    assert annotate.approve_button.toolTip() == "This image is already approved"
    assert annotate.tools.apply_button.toolTip().startswith("This image is approved and locked")


def test_a_removed_mask_is_told(viewer, told, qtbot):
    cases = two_cases(viewer)
    hide_all(viewer)
    viewer.layers.remove(cases.second_result.layers.mask)
    qtbot.waitUntil(lambda: f"The mask of {cases.second.name}" in told(), timeout=20_000)
    assert "segment the image again" in told()


def test_nothing_is_told_of_a_mask_that_goes_with_its_image(viewer, told, qtbot):
    two_cases(viewer)
    hide_all(viewer)
    viewer.layers.clear()
    qtbot.wait(100)
    assert "The mask of" not in told()
    assert "can still be reviewed" not in told()
