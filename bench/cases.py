"""Working through a list of cases: how fast it is listed, and how soon the next case is there.

    tools/display.sh run python bench/cases.py [--cases 8] [--profile FILE]

Lists of 500 and 10,000 cases with records of results, from the folder to the rows of the table. Then a batch
of phantoms in one window: Enter on the first, Ctrl+Enter on each, until the next case has its layers while
the last one is being saved. A timer of 2 ms measures how long the main thread was blocked meanwhile. Beside
it stands napari alone: the image and the five layers of a result, added and removed one at a time. `cpu` is
the processor time of the whole program, which other load on the machine does not change.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = ""  # nobody's own settings
os.environ["NAPARI_LATENTSEG_HOME"] = tempfile.mkdtemp(prefix="latentseg-bench-")

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from event_loop import Holds, rest, wait_for
from napari_latentseg import CaseList, batch
from napari_latentseg.io.result_names import RECORD_NAME
from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.cases.widget import CasesWidget

MODEL = "breast-ultrasound"


def phantoms(folder: Path, count: int) -> Path:
    """A folder of phantoms with different noise."""
    folder.mkdir()
    for seed in range(count):
        pixels = np.asarray(ultrasound_phantom(seed).scan.array)
        Image.fromarray(pixels).save(folder / f"lesion_{seed + 1:03d}.png")
    return folder


def many_results(folder: Path, record: Path, count: int) -> Path:
    """A folder of empty images with records of results, copies of one."""
    (folder / "images").mkdir(parents=True)
    (folder / "results").mkdir()
    text = record.read_text("utf-8")
    for number in range(count):
        (folder / "images" / f"case_{number:05d}.png").touch()
        (folder / "results" / f"case_{number:05d}_{RECORD_NAME}").write_text(text, "utf-8")
    return folder


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    start, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - worked


def tell(what: str, seconds: float, cpu: float, further: str = "") -> None:
    sys.stdout.write(f"{what:44} {seconds:6.2f} s by the clock, {cpu:6.2f} s cpu{further}\n")
    sys.stdout.flush()


def listing(record: Path, root: Path, widget: CasesWidget) -> None:
    """From the folder to the rows in the table, and a filter of them."""
    for count in (500, 10_000):
        folder = many_results(root / f"list-{count}", record, count)
        tell(f"list {count} cases in Python", *timed(lambda f=folder: rows_of(f)))  # type: ignore[misc]
        widget.source.setText(str(folder / "images"))
        widget.results.setText(str(folder / "results"))
        widget.work.cases = None
        with Holds() as holds:
            seconds, cpu = timed(lambda n=count: open_in(widget, n))  # type: ignore[misc]
        tell(f"list {count} cases in the window", seconds, cpu, f", held {1000 * holds.worst:.0f} ms")
        with Holds() as holds:
            seconds, cpu = timed(lambda: filter_in(widget))
        tell(f"search and sort {count} cases", seconds, cpu, f", held {1000 * holds.worst:.0f} ms")
        widget.search.clear()
        widget.table.sortByColumn(-1, Qt.SortOrder.AscendingOrder)


def rows_of(folder: Path) -> None:
    with CaseList(folder / "images", folder / "results") as cases:
        cases.rows()


def open_in(widget: CasesWidget, count: int) -> None:
    widget.open_list()
    wait_for(lambda: len(widget.work.rows) == count)


def filter_in(widget: CasesWidget) -> None:
    for text in ("case_0", "case_00", "case_001"):
        widget.search.setText(text)
        rest(0.01)
    widget.search.clear()
    for column in (2, 0):
        widget.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
        rest(0.01)


def napari_alone(viewer: Any, image: np.ndarray) -> tuple[float, float]:
    """napari's own time for the layers of one case: the worst blocking, and all of it."""
    with Holds() as holds:
        layers: list[Any] = [viewer.add_image(image)]
        rest(0.02)
        for number in range(4):
            values = np.zeros(image.shape[:2], np.float32)
            layers.append(viewer.add_image(values, visible=False, name=f"map {number}"))
            rest(0.02)
        layers.append(viewer.add_labels(np.zeros(image.shape[:2], np.uint8)))
        rest(0.02)
        for layer in reversed(layers):
            layer.visible = False
        rest(0.02)
        for layer in reversed(layers):
            viewer.layers.remove(layer)
            rest(0.02)
    return holds.worst, holds.seconds


def walking(viewer: Any, widget: CasesWidget, results: Path, profile: Path | None) -> dict[str, list[float]]:
    """Enter on the first case, Ctrl+Enter on each; what each step took."""
    image = np.asarray(ultrasound_phantom(0).scan.array)
    alone = [napari_alone(viewer, image) for _ in range(3)]
    widget.source.setText(str(results))
    widget.results.clear()
    widget.reader.setText("Anna")
    widget.reader.editingFinished.emit()
    count = len(list(results.rglob(f"*{RECORD_NAME}")))
    open_in(widget, count)
    rest(1)
    found: dict[str, list[float]] = {"next": [], "cpu": [], "held": [], "saved": []}
    profiler = cProfile.Profile()
    QTest.keyClick(widget.table, Qt.Key.Key_Return)
    wait_for(lambda: widget.work.opened is not None)
    rest(2)  # a person looks at it for longer
    for number in range(count - 1):
        before = widget.work.opened
        if number % 2:
            paint(viewer, before)
        rest(0.5)
        worked = time.process_time()
        if profile is not None:
            profiler.enable()
        with Holds() as holds:
            start = time.perf_counter()
            widget.approve()
            wait_for(lambda b=before: widget.work.opened not in (None, b))  # type: ignore[misc]
            found["next"].append(time.perf_counter() - start)
            wait_for(lambda: not saving(viewer, widget))
            found["saved"].append(time.perf_counter() - start)
            wait_for(lambda b=before: b is None or b.image not in viewer.layers)  # type: ignore[misc]
        if profile is not None:
            profiler.disable()
        found["cpu"].append(time.process_time() - worked)
        found["held"].append(holds.worst)
        rest(1.5)
    if profile is not None:
        profiler.dump_stats(profile)
    found["alone held"], found["alone"] = [a[0] for a in alone], [a[1] for a in alone]
    return found


def saving(viewer: Any, widget: CasesWidget) -> bool:
    return bool(widget.work.writes_in_progress or corrections_of(viewer).approvals.writes_in_progress)


def paint(viewer: Any, opened: Any) -> None:
    """A stroke in a copy of the mask."""
    layer = corrections_of(viewer).edit(opened.result(viewer))
    rest(0.2)
    layer.paint((20, 20), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--profile", type=Path, help="write what the main thread did to this file (pstats)")
    parser.add_argument("--only", choices=("list", "walk"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        results = root / "out"
        batch(phantoms(root / "scans", options.cases), MODEL, results, samples=options.samples)
        record = next(results.rglob(f"*{RECORD_NAME}"))
        viewer = napari.Viewer()
        rest(2)
        _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases")
        rest(1)
        if options.only != "walk":
            listing(record, root, widget)
        if options.only != "list":
            found = walking(viewer, widget, results, options.profile)
            for key, values in found.items():
                median = statistics.median(values)
                sys.stdout.write(f"{key:12} median {median:6.2f}, most {max(values):6.2f} s\n")
            sys.stdout.write(json.dumps({k: [round(v, 3) for v in values] for k, values in found.items()}))
            sys.stdout.write("\n")
        viewer.close()


if __name__ == "__main__":
    main()
