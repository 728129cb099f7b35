"""How long a click takes until its answer is on screen, and how long it holds the window.

    tools/display.sh run python bench/click_time.py [--clicks 50] [--size 512] [--json FILE]

Clicks with the mouse on an image of generated discs, in a real viewer, with any-structure: from the press of
the button to the new data of the layer of answers. Every fifth click begins a new object, the others correct.
A timer of 2 ms measures how long the main thread was blocked. The load of the machine lengthens both: it is
printed, with the processor time of the program for each click, and of its main thread between two ticks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.helpers.canvas import canvas_point

from event_loop import Holds, rest, wait_for
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

PER_OBJECT = 5


class ProcessorHolds(Holds):
    """As `Holds`, with the processor time of the main thread: what other programs take is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.processor = 0.0
        self._last_processor = time.thread_time()

    def _tick(self) -> None:
        super()._tick()
        now = time.thread_time()
        self.processor = max(self.processor, now - self._last_processor)
        self._last_processor = now


def discs(size: int) -> np.ndarray:
    """Sixteen discs of different brightness on noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    image = rng.normal(0.3, 0.05, (size, size))
    for number in range(16):
        y, x = ((2 * np.array(divmod(number, 4)) + 1) * size / 8).astype(int)
        image[np.hypot(rows - y, columns - x) < size / 12] += 0.2 + 0.02 * number
    return np.clip(image, 0, 1).astype(np.float32)


def click(viewer: Any, layer: Any, place: tuple[float, float], modifier: Any) -> None:
    native = viewer.window._qt_viewer.canvas.native
    point = canvas_point(viewer, layer, place)
    QTest.mouseMove(native, point)
    QTest.qWait(20)  # vispy takes no more than 100 moves a second
    QTest.mousePress(native, Qt.MouseButton.LeftButton, modifier, point)
    QTest.qWait(1)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, modifier, point)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    viewer = napari.Viewer()
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    viewer.add_image(discs(given.size), name="discs")
    widget.form.model.value = "any-structure"
    widget.form.samples.value = given.samples
    pointing = widget.point_panel.pointing
    wait_for(lambda: pointing.is_ready)
    rest(2)
    rng = np.random.default_rng(1)
    seconds, held, loads = [], [], []
    processor, held_processor = [], []
    for number in range(given.clicks):
        first = number % PER_OBJECT == 0
        if first:
            pointing.clear()
            y, x = (2 * rng.integers(0, 4, 2) + 1) * given.size / 8
        radius = 0 if first else given.size / 12 * rng.uniform(0.7, 1.4)
        angle = rng.uniform(0, 2 * np.pi)
        place = float(y + radius * np.sin(angle)), float(x + radius * np.cos(angle))
        is_outside = radius > given.size / 12
        modifier = Qt.KeyboardModifier.ShiftModifier if is_outside else Qt.KeyboardModifier.NoModifier
        shown = _shown(viewer)
        with ProcessorHolds() as holds:
            start, start_processor = time.perf_counter(), time.process_time()
            click(viewer, pointing.layers.points, place, modifier)
            wait_for(lambda shown=shown: _shown(viewer) is not shown, 60)
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - start_processor)
            rest(0.1)
        held.append(holds.worst)
        held_processor.append(holds.processor)
        loads.append(os.getloadavg()[0])
        sys.stderr.write(
            f"{number + 1}: {seconds[-1]:.3f} s, held {1000 * held[-1]:.0f} ms; processor"
            f" {processor[-1]:.3f} s, main thread {1000 * held_processor[-1]:.0f} ms\n"
        )
        rest(0.05)
    result = {
        "clicks": given.clicks,
        "size": given.size,
        "samples": given.samples,
        "median s": round(float(np.median(seconds)), 3),
        "90th percentile s": round(float(np.quantile(seconds, 0.9)), 3),
        "held, median ms": round(1000 * float(np.median(held))),
        "held, longest ms": round(1000 * max(held)),
        "processor, median s": round(float(np.median(processor)), 3),
        "main thread's processor, median ms": round(1000 * float(np.median(held_processor))),
        "main thread's processor, longest ms": round(1000 * max(held_processor)),
        "load": [round(min(loads), 1), round(max(loads), 1)],
        "cores": os.cpu_count(),
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    viewer.close()


def _shown(viewer: Any) -> Any:
    """The data of the layer of answers; a new array for each answer."""
    layer = next((layer for layer in viewer.layers if role_of(layer) == "answer preview"), None)
    return None if layer is None else layer.data


if __name__ == "__main__":
    main()
