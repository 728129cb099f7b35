"""One session in a real viewer, for bench/speed.py: the widget opens, and the sample is segmented twice.

Prints a line of JSON with the seconds from each click to what is then seen.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["NAPARI_CONFIG"] = ""  # nobody's own settings

import napari
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget


def wait_until(ready: Callable[[], bool], seconds: float = 600) -> float:
    """Run Qt's events until something is the case; the time when it was."""
    loop, timer, late = QEventLoop(), QTimer(), QTimer()
    timer.timeout.connect(lambda: ready() and loop.quit())
    timer.start(2)
    late.setSingleShot(True)
    late.timeout.connect(loop.quit)
    late.start(int(seconds * 1000))
    loop.exec()
    assert ready(), "a state was not reached"
    return time.perf_counter()


def click(button: QWidget) -> float:
    """Click a button as a person would; the time of the click."""
    now = time.perf_counter()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    return now


def main() -> None:
    sample, pause = sys.argv[1], float(sys.argv[2])
    os.environ["NAPARI_LATENTSEG_HOME"] = sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp()
    Path(os.environ["NAPARI_LATENTSEG_HOME"]).mkdir(exist_ok=True)
    viewer = napari.Viewer()
    viewer.window.resize(1366, 768)
    settle(1.5)
    begin = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Segment")
    painted = wait_until(lambda: widget.run_button.isVisible() or widget.empty_button.isVisible())
    seconds = {"widget open": painted - begin}
    viewer.open_sample("napari-latentseg", sample)
    wait_until(lambda: widget.form.image.value is not None)
    widget.form.model.value = {"retina": "retina-vessels", "ultrasound": "breast-ultrasound"}[sample]
    settle(pause)  # what a person takes to look at the form
    masks: list[float] = []
    widget.session.progressed.connect(
        lambda progress: masks.append(time.perf_counter()) if progress.mask is not None else None
    )
    widget.session.finished.connect(lambda result: masks.append(time.perf_counter()))
    for run in ("first run", "second run"):
        wait_until(widget.run_button.isEnabled)
        masks.clear()
        begin = click(widget.run_button)
        wait_until(lambda: bool(masks))
        seconds[f"{run}, first result"] = masks[0] - begin
        seconds[f"{run}, end"] = wait_until(lambda: not widget.busy) - begin
    viewer.close()
    print(json.dumps(seconds))


def settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    wait_until(lambda: time.perf_counter() > end)


if __name__ == "__main__":
    main()
