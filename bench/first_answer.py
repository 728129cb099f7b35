"""Seconds until the Segment widget is open, and from a click to the first and the second result.

    tools/display.sh run python bench/first_answer.py [--sample ultrasound] [--pause 0] [--runs 3]

Each run is a new napari, with nothing of this plugin imported before. The widget is opened, a sample image is
opened from the menu, `--pause` seconds pass, then Segment is clicked, and clicked again after the result.
"widget" ends when the widget has been painted; "first" and "second" end when the layers of the result are
there and have been painted. "held" is the longest time without response, measured with a timer of 2 ms, in
the part named. All figures are medians over the runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent  # where the child finds event_loop
CHILD = """
import json, os, sys
os.environ["NAPARI_CONFIG"] = ""
import napari
from event_loop import Holds, rest, wait_for
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest

sample, pause = sys.argv[1], float(sys.argv[2])
viewer = napari.Viewer()
viewer.window.resize(1366, 768)
rest(1.5)
figures = {}
with Holds() as gaps:
    opened = []
    QTimer.singleShot(0, lambda: opened.append(
        viewer.window.add_plugin_dock_widget("napari-latentseg", "Segment")[1]))
    wait_for(lambda: opened and opened[0].isVisible())
    opened[0].repaint()
figures["widget, s"], figures["widget held, s"] = gaps.seconds, gaps.worst
widget = opened[0]
with Holds() as gaps:
    QTimer.singleShot(0, lambda: viewer.open_sample("napari-latentseg", sample))
    wait_for(lambda: len(viewer.layers) > 0)
    rest(pause)
figures["opening held, s"] = gaps.worst
for name in ("first", "second"):
    before = len(widget.session.results)
    with Holds() as gaps:
        QTest.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
        wait_for(lambda: len(widget.session.results) > before and not widget.busy)
    figures[f"{name}, s"], figures[f"{name} held, s"] = gaps.seconds, gaps.worst
    rest(0.5)
viewer.close()
print(json.dumps(figures))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", default="ultrasound", choices=["ultrasound", "retina", "sweep"])
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between the image and the click")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    command = [sys.executable, "-c", CHILD, options.sample, str(options.pause)]
    runs = []
    for _ in range(options.runs):
        ended = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
        if ended.returncode:
            sys.exit(ended.stderr)
        runs.append(json.loads(ended.stdout.splitlines()[-1]))
    figures = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    for key, value in figures.items():
        print(f"{key:20} {value:.3f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
