"""In a real viewer: how long until the widget is open, and until a click on Segment shows a result."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from speed_rows.measure import HERE, NotMeasured, Settings, environment, run_child
from speed_rows.section import Row, Section

TEXT = """\
In a new napari each time, with real clicks: until the widget is shown, and from the click on Segment
until the first sample of the sample image is in the window. The model is chosen 3 s before the click,
and was compiled in an earlier session. Xvfb with software OpenGL where there is no display."""

SAMPLES = {"retina": "fundus photograph, 1411 x 1411", "ultrasound": "ultrasound phantom, 256 x 320"}
AIMS = {"widget open": "<= 1", "first run, first result": "<= 4", "second run, first result": "<= 1"}


def measure(settings: Settings) -> Section:
    rows: list[Row] = []
    for sample, title in SAMPLES.items():
        try:
            runs = _runs(sample, 1 if settings.quick else settings.repeats, settings)
        except NotMeasured as error:
            rows.append(Row(title, note=str(error)))
            continue
        for name in runs[0]:
            seconds = tuple(run[name] for run in runs)
            rows.append(Row(f"{title}: {name}", values=seconds, unit=" s", aim=AIMS.get(name, "")))
    return Section("window", "In the window", TEXT, tuple(rows))


def _runs(sample: str, repeats: int, settings: Settings) -> list[dict[str, float]]:
    command: list[str | Path] = [sys.executable, Path(__file__).with_name("window_child.py"), sample, "3"]
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        command = [HERE / "tools" / "display.sh", "run", *command]
    with tempfile.TemporaryDirectory() as home:
        variables = environment(HERE, Path(home), settings.threads)
        usages = [run_child([*command, home], variables, Path(home)) for _ in range(repeats + 1)]
    return [json.loads(usage.stdout.splitlines()[-1]) for usage in usages[1:]]  # the first one compiles
