"""Scans of every kind that a store may hold, masks for them, and what a folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan

VESSEL = ClassInfo(label=1, name="vessel", color="#d62728")
DISC = ClassInfo(label=2, name="disc", color="#ffdd00")
CLASSES = (VESSEL, DISC)

KINDS = ("volume", "oblique", "colours", "grey", "series", "planes in time", "truth values", "lazy")


def make_scan(kind: str, seed: int = 0) -> Scan:
    """A small scan."""
    rng = np.random.default_rng(seed)
    if kind == "colours":
        return Scan(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8), "yxc", Geometry.from_spacing("yx"))
    if kind == "grey":
        return Scan(
            rng.random((20, 24)).astype(np.float32), "yx", Geometry.from_spacing("yx", (0.2, 0.3), "mm")
        )
    if kind == "truth values":
        return Scan(rng.random((20, 24)) > 0.5, "yx", Geometry.from_spacing("yx"))
    if kind == "series":
        values = rng.integers(0, 4000, (3, 4, 20, 24)).astype(np.uint16)
        return Scan(values, "tzyx", Geometry.from_spacing("tzyx", (1.5, 3.0, 0.7, 0.7), "mm"), modality="MR")
    if kind == "planes in time":
        values = rng.integers(0, 255, (4, 20, 24)).astype(np.uint8)
        return Scan(values, "tyx", Geometry.from_spacing("tyx", (0.04, 0.1, 0.1), "um"), modality="US")
    values = rng.integers(-1000, 3000, (6, 20, 24)).astype(np.int16)
    if kind == "lazy":
        import dask.array as da

        return Scan(
            da.from_array(values, chunks=(1, 20, 24)), "zyx", Geometry.from_spacing("zyx", (3, 1, 1), "mm")
        )
    matrix = np.diag([2.5, -0.71, 0.7, 1.0])
    matrix[:3, 3] = (-100.3, 20.25, 33.1)
    if kind == "oblique":
        turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
        matrix[:3, :3] = turn @ matrix[:3, :3]
    place = Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")
    return Scan(values, "zyx", place, modality="CT")


def make_mask(scan: Scan, seed: int = 0) -> NDArray[np.uint8]:
    """Labels 0 to 2 for it."""
    return np.random.default_rng([9, seed]).integers(0, 3, scan.spatial_shape).astype(np.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the locks; what a write must not change where it is refused."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "alive")
    }
