"""One `segment` in a process of its own, for its time and its peak of memory; prints a line of JSON.

    python bench/speed_rows/segment_child.py --slices 100 --side 512 --samples 5 [--repeats 1]

The model is loaded and its first image segmented before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median
from typing import Any

import numpy as np

from napari_latentseg import Geometry, Scan, load_model, segment


def made_scan(slices: int, side: int, seed: int = 0) -> Scan:
    """Noise of 16 bits: what it shows changes neither time nor memory."""
    rng = np.random.default_rng(seed)
    values = np.empty((slices, side, side), dtype=np.int16)
    for plane in values:  # one plane at a time, so that creating the volume does not set the peak
        plane[:] = rng.integers(-1000, 2000, (side, side), dtype=np.int16)
    if slices == 1:
        return Scan(values[0], "yx", Geometry.from_spacing("yx", (0.7, 0.7), "mm"))
    return Scan(values, "zyx", Geometry.from_spacing("zyx", (1.0, 0.7, 0.7), "mm"))


def run(model: Any, scan: Scan, samples: int, precision: str) -> float:
    """Seconds of one `segment`."""
    begin = time.perf_counter()
    segment(scan, model, samples=samples, source="augment" if samples > 1 else "none", precision=precision)
    return time.perf_counter() - begin


def main() -> None:
    from speed_rows.measure import peak_bytes

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="breast-ultrasound")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    model = load_model(options.model)
    run(model, made_scan(1, 256), 5, options.precision)
    before = peak_bytes()
    seconds = []
    for seed in range(options.repeats):  # another image each time: what was encoded is remembered
        scan = made_scan(options.slices, options.side, seed)
        seconds.append(run(model, scan, options.samples, options.precision))
    print(json.dumps({"seconds": median(seconds), "peak": peak_bytes(), "before": before}))


if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
