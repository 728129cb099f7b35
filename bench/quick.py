"""What is to be quick, beside what it cannot be quicker than; in one run, so other work falls on both.

    python bench/quick.py

Importing the package beside starting Python; HD95 of a fundus photograph beside one distance transform of it.
What makes them quick is held by tests: what an import loads, and which voxels HD95 looks at.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from napari_latentseg.evaluation.metrics import hd95

REPEATS = 7


def least(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the quickest call of each, called in turns."""
    seconds = [(timed(first), timed(second)) for _ in range(REPEATS)]
    return min(a for a, _ in seconds), min(b for _, b in seconds)


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def python(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def tell(what: str, ours: float, theirs: float, beside: str) -> None:
    print(f"{what:24} {1000 * ours:6.0f} ms, {beside} {1000 * theirs:6.0f} ms, ratio {ours / theirs:5.2f}")


def main() -> None:
    tell("import", *least(python("import napari_latentseg"), python("pass")), "Python alone")
    rng = np.random.default_rng(6)
    field = ndimage.gaussian_filter(rng.normal(size=(1411, 1411)), 3)
    other = field + 0.5 * ndimage.gaussian_filter(rng.normal(size=field.shape), 3)
    a, b = field > np.quantile(field, 0.7), other > np.quantile(other, 0.75)
    tell(
        "HD95 of 1411x1411",
        *least(lambda: hd95(a, b, (0.5, 0.5)), lambda: ndimage.distance_transform_edt(~a)),
        "one distance transform",
    )


if __name__ == "__main__":
    main()
