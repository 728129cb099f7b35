"""How well images of two dates are brought onto each other, and how alike those of two patients are.

    python bench/registration.py --data DATA/msd_hippocampus [--images 20]

Each image is moved by a known rigid motion (up to 10 degrees about each axis, up to 4 mm), interpolated and
given noise of 5 % of its range, as the image of a second date; then `register_rigidly` is asked for the
motion. The error is the mean distance of the corners of the middle half of the image from where they belong.
Each image is also registered with that of the next patient, which should be refused.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from napari_latentseg import BadInput, Scan
from napari_latentseg.change import registration
from napari_latentseg.core.scan import to_numpy
from napari_latentseg.data.folders import find_cases


def moved(scan: Scan, rng: np.random.Generator) -> tuple[Scan, NDArray[np.float64]]:
    """The image after a motion, and the motion: from the world of the image to that of the moved one."""
    to_world = scan.geometry.matrix
    centre = (to_world @ [*((n - 1) / 2 for n in scan.spatial_shape), 1.0])[:3]
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-10, 10, 3), degrees=True).as_matrix()
    motion[:3, 3] = centre - motion[:3, :3] @ centre + rng.uniform(-4, 4, 3)
    index = np.linalg.inv(to_world) @ np.linalg.inv(motion) @ to_world
    values = to_numpy(scan.array).astype(np.float64)
    low, high = np.percentile(values, (1, 99))
    shown = affine_transform(values, index[:3, :3], index[:3, 3], order=1, mode="constant")
    shown += rng.normal(0, 0.05 * (high - low), shown.shape)
    return scan.replace(array=shown.astype(np.float32), levels=()), motion


def error_mm(scan: Scan, found: NDArray[np.float64], motion: NDArray[np.float64]) -> float:
    corners = np.array(list(np.ndindex(2, 2, 2))) * 0.5 + 0.25
    points = np.hstack([corners * (np.array(scan.spatial_shape) - 1), np.ones((8, 1))])
    world = points @ scan.geometry.matrix.T
    return float(np.linalg.norm((world @ found.T - world @ motion.T)[:, :3], axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20)
    args = parser.parse_args()
    limits = registration.MIN_CORRELATION, registration._MIN_OVERLAP
    registration.MIN_CORRELATION, registration._MIN_OVERLAP = -2.0, 0.0  # to see what would be refused
    rng = np.random.default_rng(0)
    scans = [case.read_scan() for case in find_cases(args.data)[: args.images + 1]]
    same, errors, other = [], [], []
    for scan, next_scan in pairwise(scans):
        second, motion = moved(scan, rng)
        found = registration.register_rigidly(scan, second)
        same.append((found.correlation, found.overlap))
        errors.append(error_mm(scan, found.matrix, motion))
        try:
            patients = registration.register_rigidly(scan, next_scan)
            other.append((patients.correlation, patients.overlap))
        except BadInput:
            other.append((-1.0, 0.0))
    print(json.dumps({"limits": limits}))
    for name, pairs in (("same patient", same), ("another patient", other)):
        values = np.array(pairs)
        refused = ((values[:, 0] < limits[0]) | (values[:, 1] < limits[1])).mean()
        print(
            f"{name}: correlation {values[:, 0].min():.2f} to {values[:, 0].max():.2f}, median"
            f" {np.median(values[:, 0]):.2f}; overlap from {values[:, 1].min():.2f}; refused {refused:.0%}"
        )
    print(f"error in mm: median {np.median(errors):.2f}, largest {max(errors):.2f}, n = {len(errors)}")


if __name__ == "__main__":
    main()
