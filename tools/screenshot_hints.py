"""Review with hints, for `screenshots.py`."""

from __future__ import annotations

from typing import Any

from screenshot_helpers import Shots, dock, settle, wait_until

from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets.segment.samples import layer_data_of

__all__ = ["hints"]


def hints(viewer: Any) -> Shots:
    """Hints on the edge of a lesion, and the outlines of the samples that they leave."""
    segmenting, reviewing = dock(viewer, "Segment"), dock(viewer, "Review")
    data, arguments, _ = layer_data_of(ultrasound_phantom())
    viewer.add_image(data, **arguments)
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.form.samples.value = 8
    segmenting.segment()
    wait_until(lambda: not segmenting.busy)
    reviewing.open_widget("Review")
    reviewing.display_buttons.outlines_button.click()
    reviewing.hints.inside_button.click()
    settle(1)
    yield "window-hints-ready", None
    variance = segmenting.session.current.segmentation.variance[0]
    row, column = divmod(int(variance.argmax()), variance.shape[1])
    reviewing.hints.hinting.add((float(row), float(column)), inside=True)
    wait_until(lambda: not reviewing.hints.hinting.is_computing)
    settle(1)
    yield "window-hints", None
    reviewing.hints.hinting.add((float(row) - 12, float(column)), inside=False)
    wait_until(lambda: not reviewing.hints.hinting.is_computing)
    settle(1)
    yield "review-hints", reviewing
