"""Time and memory of measuring and ranking a large volume.

    python bench/measuring.py [--shape 300 512 512] [--objects 400] [--json FILE]

A synthetic volume of one large object and many small ones, with five samples kept as a run keeps them; no
data are needed. Seconds are wall clock and CPU time of this process. Peak memory is the resident memory in
addition to the volume itself.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import measure
from napari_latentseg.review import DEFAULT_MEASURE, MEASURES, rank

SAMPLES = 5


def resident() -> float:
    """Resident memory now, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Peak:
    """The highest resident memory during a block, in addition to that before it."""

    def __enter__(self) -> Peak:
        self.before, self.most, self._on = resident(), resident(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self.start, self.worked = time.perf_counter(), time.process_time()
        return self

    def _watch(self) -> None:
        while self._on:
            self.most = max(self.most, resident())
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self.seconds, self.worked = time.perf_counter() - self.start, time.process_time() - self.worked
        self._on = False
        self._thread.join()

    def told(self) -> dict[str, float]:
        seconds = {"seconds": round(self.seconds, 2), "cpu_seconds": round(self.worked, 2)}
        return seconds | {"peak_mb": round(self.most - self.before)}


def made(shape: tuple[int, int, int], objects: int) -> tuple[Segmentation, Scan]:
    rng = np.random.default_rng(0)
    mean = np.zeros((1, *shape), np.float32)
    balls = [(np.array(shape) / 2, 0.3 * min(shape), 0.98)]
    balls += [
        (rng.uniform(6, np.array(shape) - 6), rng.uniform(2, 8), rng.uniform(0.6, 1)) for _ in range(objects)
    ]
    for centre, radius, top in balls:
        low = np.maximum(0, centre - radius - 3).astype(int)
        high = np.minimum(shape, centre + radius + 4).astype(int)
        grid = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        away = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
        place = (0, *(slice(a, b) for a, b in zip(low, high, strict=True)))
        mean[place] = np.maximum(mean[place], top / (1 + np.exp((away - radius) / 0.8)))
    maps = SampleMaps(1, shape[0], shape[1:], 2**30)
    for z in range(shape[0]):
        for i in range(SAMPLES):
            maps.add(z, np.clip(mean[:, z] + (i - 2) * 0.1 * (mean[:, z] > 0.05), 0, 1))
    geometry = Geometry.from_spacing("zyx", (1.5, 0.7, 0.7), "mm")
    classes = (ClassInfo(label=1, name="lesion", color="#ffb000"),)
    record = RunRecord(
        plugin_version="0", time="", classes=classes, samples_asked=SAMPLES, samples=SAMPLES,
        planes_done=shape[0], planes=shape[0], source="augment", source_settings={}, seed=0, threshold=0.5,
        device="cpu", precision="float32", tile=None, overlap=0, working_size=(64, 64), seconds=0.0,
        complete=True, volumes={}, volume_unit="mm3", versions={},
        input=InputRecord(sha256="", format="", axes="zyx", shape=shape, dtype="int16",
                          spacing=geometry.spacing, units=geometry.units),
        model=ModelRecord(name="made", version="1", method="gms", variant="", codec="", sha256={}),
    )  # fmt: skip
    found = Segmentation(
        mask=labels_from_probabilities(mean, 0.5, classes), mean=mean,
        variance=(mean * (1 - mean) / 4).astype(np.float32),
        volumes=np.zeros((0, 1)), axes="zyx", geometry=geometry, format="", properties={}, classes=classes,
        record=record, sample_maps=maps,
    )  # fmt: skip
    return found, Scan(rng.integers(0, 1000, shape).astype(np.int16), "zyx", geometry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found, image = made(tuple(given.shape), given.objects)
    figures: dict[str, dict[str, float]] = {}
    with Peak() as peak:
        rows = measure(found, image)
    figures["measure"] = peak.told() | {"rows": len(rows)}
    with Peak() as peak:
        measure(found, image, objects=False)
    figures["measure, classes alone"] = peak.told()
    samples = next(key for key, one in MEASURES.items() if one.required == "samples")
    for key, by in ((DEFAULT_MEASURE, "slices"), (samples, "slices"), (DEFAULT_MEASURE, "objects")):
        with Peak() as peak:
            rank(found, key, by)
        figures[f"rank {by} by {key}"] = peak.told()
    for name, one in figures.items():
        print(f"{name}: {one}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
