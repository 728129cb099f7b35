"""The states of a model that is pointed at, for `screenshots.py`."""

from __future__ import annotations

from typing import Any

from screenshot_helpers import Shots, dock, settle, wait_until

from napari_latentseg.sample_data import ultrasound_phantom, ultrasound_sweep
from napari_latentseg.widgets.segment.samples import layer_data_of

__all__ = ["point", "point_volume"]


def point(viewer: Any) -> Shots:
    """Click inside a lesion, look for a larger structure, take the model's size, accept the answer."""
    widget = dock(viewer, "Segment")
    data, arguments, _ = layer_data_of(ultrasound_phantom())
    viewer.add_image(data, **arguments)
    widget.form.model.value = "any-structure"
    pointing = widget.point_panel.pointing
    wait_until(lambda: pointing.is_ready)
    yield "point-ready", widget
    height, width = data.shape[:2]
    pointing.layers.pointed.emit([(height * 0.5, width * 0.55)], True)
    wait_until(lambda: pointing.pending is not None and pointing.pending.answered is not None)
    settle(0.5)
    yield "window-point", None
    widget.point_panel.map_boxes["variance"].click()
    settle(0.5)
    yield "window-point-variance", None
    widget.point_panel.map_boxes["variance"].click()
    widget.point_panel.structure_size.larger_button.click()
    wait_until(lambda: pointing.pending.answered is not None)
    settle(0.5)
    yield "point-size", widget
    widget.point_panel.structure_size.automatic_button.click()
    wait_until(lambda: pointing.pending.answered is not None)
    widget.point_panel.accept_button.click()
    settle(1)
    yield "point-accepted", widget


def point_volume(viewer: Any) -> Shots:
    """Click on the middle slice of a sweep, follow the lesion through it, accept it."""
    widget = dock(viewer, "Segment")
    data, arguments, _ = layer_data_of(ultrasound_sweep())
    viewer.add_image(data, **arguments)
    widget.form.model.value = "any-structure"
    pointing = widget.point_panel.pointing
    wait_until(lambda: pointing.is_ready)
    count, height, width = data.shape[:3]
    viewer.dims.set_current_step(0, count // 2)
    settle(0.5)
    pointing.layers.pointed.emit([(height * 0.5, width * 0.5)], True)
    wait_until(lambda: pointing.pending is not None and pointing.pending.answered is not None)
    widget.point_panel.class_name.setText("lesion")
    widget.point_panel.volume.through_button.click()
    wait_until(lambda: pointing.through.fraction > 0.2 or not pointing.through.is_busy)
    yield "point-volume-running", widget
    wait_until(lambda: not pointing.through.is_busy)
    viewer.dims.set_current_step(0, count // 2 + 2)
    settle(0.5)
    yield "window-point-volume", None
    widget.point_panel.accept_button.click()
    settle(1)
    yield "point-volume-accepted", widget
