"""How long a click takes until its answer is on screen, and how long it holds the window.

    tools/display.sh run python bench/click_time.py [--clicks 50] [--size 512] [--json FILE]

Clicks with the mouse on an image of generated discs, in a real viewer, with any-structure: from the press of
the button to the new data of the layer of answers. Every fifth click begins a new object, the others correct.
Then the other steps, twice on images of their own: choosing the image, the first click, taking it back,
accepting, the next slice, the maps, another model.
A timer of 2 ms measures how long the main thread was blocked. The load of the machine lengthens both: it is
printed, with the processor time of the program for each click, and of its main thread between two ticks.
The processor time of the main thread is what it would be blocked for if nothing else ran.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.helpers.canvas import canvas_point, press_key

from event_loop import Holds, rest, wait_for
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

PER_OBJECT = 5


class ProcessorHolds(Holds):
    """As `Holds`, with the processor time of the main thread: what other programs take is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.processor = self._last_processor = 0.0

    def __enter__(self) -> ProcessorHolds:
        self._last_processor = time.thread_time()
        super().__enter__()
        return self

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
    widget.form.samples.value = given.samples
    pointing = widget.point_panel.pointing
    rest(1)
    with ProcessorHolds() as choosing:
        widget.form.model.value = "any-structure"
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
        "main thread's processor, first click ms": round(1000 * held_processor[0]),
        "held, first click ms": round(1000 * held[0]),
        "choosing the model, held and processor ms": _milliseconds(choosing),
        "further steps, held and processor ms": [further_steps(viewer, widget, given.size) for _ in range(2)],
        "load": [round(min(loads), 1), round(max(loads), 1)],
        "cores": os.cpu_count(),
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    viewer.close()


def further_steps(viewer: Any, widget: SegmentWidget, size: int) -> dict[str, list[int]]:
    """How long each step besides a click holds the main thread, on a new volume of four slices."""
    panel, pointing = widget.point_panel, widget.point_panel.pointing
    image = np.stack([discs(size)] * 4)
    held = {}

    def step(name: str, do: Callable[[], Any], until: Callable[[], Any]) -> None:
        with ProcessorHolds() as holds:
            do()
            wait_for(until, 60)
            rest(0.5)
        held[name] = _milliseconds(holds)

    def answered() -> bool:
        return pointing.pending is not None and pointing.pending.answered is not None

    def place(y: float, x: float) -> tuple[float, ...]:
        return (*pointing.index, y * size / 8, x * size / 8)

    def click_at(y: float, x: float) -> Callable[[], None]:
        return lambda: click(viewer, pointing.layers.points, place(y, x), Qt.KeyboardModifier.NoModifier)

    layer: list[Any] = []
    step("new volume", lambda: layer.append(viewer.add_image(image, name="volume")), lambda: True)
    wait_for(lambda: pointing.image is layer[0] and pointing.is_ready)
    rest(0.5)
    step("first click", click_at(1, 1), answered)
    step("second click", click_at(1.3, 1), answered)
    step("take back", lambda: press_key(viewer, Qt.Key.Key_Z), answered)
    step("accept", lambda: press_key(viewer, Qt.Key.Key_Return), lambda: not pointing.all_pending)
    step("second object", click_at(3, 3), answered)
    step("accept again", lambda: press_key(viewer, Qt.Key.Key_Return), lambda: not pointing.all_pending)
    step("next slice", lambda: viewer.dims.set_current_step(0, 0), lambda: not pointing.engine.is_busy)
    step("click there", click_at(3, 5), answered)
    for role, box in panel.map_boxes.items():
        step(f"show {role}", box.click, lambda: True)
    step("click with maps", click_at(3.3, 5), answered)
    for role, box in panel.map_boxes.items():
        step(f"hide {role}", box.click, lambda: True)
    step("other model", lambda: setattr(widget.form.model, "value", "retina-vessels"), lambda: True)
    step("and back", lambda: setattr(widget.form.model, "value", "any-structure"), lambda: pointing.is_ready)
    return held


def _milliseconds(holds: ProcessorHolds) -> list[int]:
    return [round(1000 * holds.worst), round(1000 * holds.processor)]


def _shown(viewer: Any) -> Any:
    """The data of the layer of answers; a new array for each answer."""
    layer = next((layer for layer in viewer.layers if role_of(layer) == "answer preview"), None)
    return None if layer is None else layer.data


if __name__ == "__main__":
    main()
