"""How often a size that has not changed is called changed, and known growth found: `compare_dates`.

    python bench/change.py --data DATA/msd_hippocampus --model hippocampus-mr [--images 20] [--json FILE]
    python bench/change.py --data DATA/busi --model breast-ultrasound --images 39

On validation images of the model, with the samples of its calibration.

- "errors of other images": a size measured twice, each time with the error that the model made on another
  image. The sizes and intervals of every two images are scaled to one true size (that of their reference
  masks), so that errors are independent, as the interval of a change takes them to be.
- "the same image again": turned by up to 5 degrees in its plane, shifted by up to a voxel, linearly
  interpolated, 5 % brighter or darker and with noise of 1 % of its range. Errors are alike then.
- Growth: the second size times a known factor; "the same image again" is enlarged about its structure.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from napari_latentseg import Measurement, Scan, load_model, segment
from napari_latentseg.change.size_change import change_of_class
from napari_latentseg.core.scan import CHANNEL, to_numpy
from napari_latentseg.data.folders import find_cases
from napari_latentseg.measure import class_sizes
from napari_latentseg.models.split import read_split

GROWTHS = (1.0, 1.2, 1.5, 2.0)
SMALLEST = 20  # voxels of the reference: below, a scaled error says nothing


def again(scan: Scan, centre: NDArray[np.float64], growth: float, rng: np.random.Generator) -> Scan:
    """The image as another acquisition could show it, with its structure enlarged by `growth`."""
    ndim = len(scan.spatial_shape)
    angle = np.radians(rng.uniform(-5, 5))
    turn = np.eye(ndim)
    turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    step = np.diag(scan.geometry.spacing)
    matrix = np.linalg.inv(step) @ turn @ step / growth ** (1 / ndim)
    offset = centre - matrix @ centre + rng.uniform(-1, 1, ndim)
    values = to_numpy(scan.array).astype(np.float64)
    channels = np.moveaxis(values, -1, 0) if scan.axes.endswith(CHANNEL) else values[None]
    moved = np.stack([affine_transform(c, matrix, offset, order=1, mode="nearest") for c in channels])
    low, high = np.percentile(values, (1, 99))
    moved = moved * rng.uniform(0.95, 1.05) + rng.normal(0, 0.01 * (high - low), moved.shape[1:])
    if scan.array.dtype.kind in "ui":
        limits = np.iinfo(scan.array.dtype)
        moved = np.clip(np.rint(moved), limits.min, limits.max)
    moved = np.moveaxis(moved, 0, -1) if scan.axes.endswith(CHANNEL) else moved[0]
    return scan.replace(array=moved.astype(scan.array.dtype), levels=(), source=None)


def scaled(row: Measurement, factor: float) -> Measurement:
    """The row of an image that is larger by a factor."""
    assert row.low is not None and row.high is not None  # noqa: PT018
    return replace(row, value=row.value * factor, low=row.low * factor, high=row.high * factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--growth", type=float, default=1.5, help="of the same image again")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_model(args.model)
    interval = model.card.volume_interval
    split = read_split(model.folder)
    cases = [case for case in find_cases(args.data) if split.part_of(case) == "validation"][: args.images]
    rng = np.random.default_rng(0)
    rows: dict[str, list[tuple[float, Measurement]]] = {info.name: [] for info in model.card.classes}
    retests: dict[tuple[str, float], list[Any]] = {}
    for number, case in enumerate(cases):
        scan = case.read_scan()
        reference = case.read_mask().reshape(scan.spatial_shape)
        voxel = scan.geometry.voxel_volume[0]
        options = {"samples": interval.samples, "source": interval.source}
        first = {row.name: row for row in class_sizes(segment(scan, model, **options), model.card)}
        centre = np.argwhere(reference).mean(axis=0) if reference.any() else np.array(reference.shape) / 2
        for growth in (1.0, args.growth):
            result = segment(again(scan, centre, growth, rng), model, **options)
            for row in class_sizes(result, model.card):
                change = change_of_class(first[row.name], row)
                retests.setdefault((row.name, growth), []).append(change)
        for info in model.card.classes:
            truth = float(np.count_nonzero(reference == info.label)) * voxel
            if truth >= SMALLEST * voxel:
                rows[info.name].append((truth, first[info.name]))
        print(f"{number + 1} of {len(cases)}", end="\r", flush=True)
    told = []
    for name, measured in rows.items():
        for growth in GROWTHS:
            called = [
                change_of_class(row, scaled(other, growth * truth / other_truth)).exceeds_doubt
                for (truth, row), (other_truth, other) in permutations(measured, 2)
            ]
            told.append((name, "errors of other images", growth, len(measured), np.mean(called)))
        for growth in (1.0, args.growth):
            changes = retests[name, growth]
            told.append(
                (
                    name,
                    "the same image again",
                    growth,
                    len(changes),
                    np.mean([c.exceeds_doubt for c in changes]),
                )
            )
            calibrated = np.mean([c.interval_source == "calibrated" for c in changes])
            medians = np.median([c.percent for c in changes if c.percent is not None])
            print(
                f"{name}, again x {growth}: change of {medians:+.1f} % (median), {calibrated:.0%} calibrated"
            )
    print("| class | second measurement | true growth | images | called changed |\n|---|---|---|---|---|")
    for name, kind, growth, count, share in told:
        print(f"| {name} | {kind} | {growth:g} | {count} | {share:.1%} |")
    if args.json:
        keys = ("class", "second", "growth", "images", "called_changed")
        args.json.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in told], indent=1) + "\n")


if __name__ == "__main__":
    main()
