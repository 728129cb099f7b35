"""Annotate with its tools: a volume whose mask is corrected without a brush."""

from __future__ import annotations

from typing import Any

import numpy as np
from screenshot_helpers import Shots, dock, settle, wait_until

from napari_latentseg.sample_data import ultrasound_sweep
from napari_latentseg.widgets.segment.samples import layer_data_of


def choose(box: Any, text: str) -> None:
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


def correct(viewer: Any) -> Shots:
    segmenting, annotating = dock(viewer, "Segment"), dock(viewer, "Annotate")
    data, arguments, _ = layer_data_of(ultrasound_sweep())
    viewer.add_image(data, **arguments)
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.form.samples.value = 3
    segmenting.segment()
    wait_until(lambda: not segmenting.busy)
    viewer.dims.set_current_step(0, data.shape[0] // 2)
    annotating.edit()
    annotating.open_widget("Annotate")
    copy = viewer.layers.selection.active
    rough = np.random.default_rng(0).random(copy.data.shape) > 0.9
    copy.data = np.where(rough, 1 - copy.data, copy.data).astype(np.uint8)  # what nobody wants to paint over
    settle(1)
    yield "correct-rough", None
    tools = annotating.tools
    choose(tools.extent, "volume in 3D")
    choose(tools.tool, "Remove islands")
    yield "correct-islands", annotating
    tools.apply()
    wait_until(lambda: not tools.runner.is_running)
    choose(tools.tool, "Smooth")
    tools.apply()
    yield "correct-running", annotating
    wait_until(lambda: not tools.runner.is_running)
    settle(1)
    yield "correct-smooth", None
    choose(tools.tool, "Change by clicks")
    tools.apply()
    settle(0.5)
    yield "correct-clicks", annotating
