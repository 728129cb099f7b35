"""Results of two dates of one patient, made rather than run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tests.helpers.made import classes_of, made

from napari_latentseg import Geometry, Scan, Segmentation, write_result

SHAPE, SPACING = (24, 44, 40), (2.0, 1.0, 1.0)


def brain(seed: int = 0) -> NDArray[np.float64]:
    """Something like an organ: smooth structures inside an ellipsoid."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) for n in SHAPE]
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(*axes, indexing="ij")))
    texture = gaussian_filter(rng.normal(size=SHAPE), (1.5, 3, 3))
    return 400 * (radius < 0.85) + 900 * texture / texture.std() * (radius < 0.85) * 0.15


def geometry(matrix: Any = None, frame: str = "LPS") -> Geometry:
    return Geometry.from_matrix(
        np.diag([*SPACING, 1.0]) if matrix is None else matrix, ("mm",) * 3, ("z", "y", "x"), frame
    )


def ball(radius: float, centre: tuple[float, float, float] = (24.0, 22.0, 20.0)) -> NDArray[np.bool_]:
    places = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)], indexing="ij")
    )
    return np.linalg.norm(places - np.reshape(centre, (3, 1, 1, 1)), axis=0) <= radius


def result_of(scan: Scan, mask: NDArray[np.bool_], *names: str, **record: Any) -> Segmentation:
    """A result of four samples that differ a little."""
    samples = [mask, mask | np.roll(mask, 1, -1), mask & np.roll(mask, 1, -1), mask]
    probabilities = np.stack(samples)[:, None] * np.float32(0.9)
    names = names or ("lesion",)
    probabilities = np.concatenate([probabilities, *[probabilities * 0] * (len(names) - 1)], axis=1)
    found = made(probabilities, scan.geometry, scan.axes, classes_of(*names))
    inputs = found.record.input.replace(sha256=scan.content_sha256)
    return replace(found, record=found.record.replace(input=inputs, **record))


def two_dates() -> tuple[Scan, Scan]:
    """The image of the first date, and the same with other noise."""
    first = Scan(brain().astype(np.float32), "zyx", geometry())
    noise = np.random.default_rng(5).normal(0, 15, SHAPE)
    return first, first.replace(array=(np.asarray(first.array) + noise).astype(np.float32))


def write_dates(folder: Path, dates: tuple[Scan, Scan], radii: tuple[float, float]) -> list[Path]:
    written = []
    for number, (scan, radius) in enumerate(zip(dates, radii, strict=True)):
        write_result(result_of(scan, ball(radius)), folder / f"date{number}", case=f"p{number}")
        written.append(folder / f"date{number}")
    return written
