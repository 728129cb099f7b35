"""Time and memory against the number of samples, the side of an image, the slices and the workers."""

from __future__ import annotations

from speed_rows import many
from speed_rows.measure import NotMeasured, Settings
from speed_rows.section import Row, Section
from speed_rows.volume import child

TEXT = """\
`segment` of breast-ultrasound in a process of its own, float32, from array to result; the median of the
time, and the peak of memory above what the imports, the model and a first image take. Beside the curve
in question n = 5, 512 x 512, and one slice. Workers: `batch` on made hippocampus volumes.

![time and memory against n, side, slices and workers](images/speed.png)"""

SWEEPS: dict[str, tuple[int, ...]] = {
    "samples": (1, 2, 5, 10, 20, 50),
    "side": (256, 512, 1024, 2048, 4096),
    "slices": (1, 5, 10, 20, 50, 100),
}
QUICK = {"samples": (1, 2), "side": (256, 512), "slices": (1, 2)}
WORKER_COUNTS = (1, 2)


def measure(settings: Settings) -> Section:
    points: list[dict[str, float | str]] = []
    for axis, values in (QUICK if settings.quick else SWEEPS).items():
        for value in values:
            arguments = {"samples": 5, "side": 512, "slices": 1} | {axis: value}
            # a run of many slices or samples lasts long enough to be measured once
            repeats = settings.repeats if arguments["slices"] * arguments["samples"] <= 50 else 1
            result = child(settings=settings, repeats=repeats, **arguments)
            megabytes = (result["peak"] - result["before"]) / 2**20
            points.append(
                {"axis": axis, "value": value, "seconds": result["seconds"], "megabytes": megabytes}
            )
    try:
        points += many.by_workers(WORKER_COUNTS, settings)
    except NotMeasured as error:
        return Section(
            "scaling", "How it grows", TEXT, (Row("workers", note=str(error)),), points=tuple(points)
        )
    return Section("scaling", "How it grows", TEXT, (), points=tuple(points))
