"""How often the 90 % intervals of areas and volumes contain the reference, before and after calibration.

    python bench/intervals.py --data DATA/msd_hippocampus [--model hippocampus-mr] [--json FILE]

On the validation images of the model. The interval is fitted on one half of them (split by the hash of the
files, as `napari-latentseg calibrate` does) and tested on the other. Since a single split is a matter of
chance, 500 random splits are tried too. For comparison, the spread of the samples without calibration: a
normal prediction interval (mean, standard deviation, Student's t), and the range from the smallest to the
largest sample.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.calibration import VolumeInterval, interval_coverage
from napari_latentseg.inference.calibrate import Calibration
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model

DRAWS = 500
LEVEL = 0.9
Values = NDArray[np.float64]


def spread_bounds(volumes: Values) -> Values:
    """The normal prediction interval of the samples, `(cases, K, 2)`."""
    n = volumes.shape[1]
    reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * volumes.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
    mean = volumes.mean(axis=1)
    return np.stack([np.maximum(mean - reach, 0), mean + reach], axis=-1)


def range_bounds(volumes: Values) -> Values:
    """From the smallest to the largest sample, `(cases, K, 2)`."""
    return np.stack([volumes.min(axis=1), volumes.max(axis=1)], axis=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_model(args.model)
    split = read_split(model.folder)
    pairs = [pair for pair in find_cases(args.data) if split.part_of(pair) == "validation"]
    request = InferenceSettings.for_model(model.card, samples=args.samples)
    judged = Calibration(Predictor(model), request, pairs, split)
    for _ in judged.run():
        pass
    names = [c.name for c in model.card.classes]
    fit, test = judged.fit_and_test_indices()
    made = judged.volume_interval(LEVEL)
    rng = np.random.default_rng(0)
    draws: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(DRAWS):
        order = rng.permutation(len(pairs))
        one, other = order[: len(fit)], order[len(fit) :]
        again = VolumeInterval.fit(
            names, judged.sample_voxel_counts[one], judged.reference_voxel_counts[one],
            level=LEVEL, samples=request.samples, source=request.source, threshold=request.threshold, data="",
        ).with_coverage(
            names, judged.sample_voxel_counts[other], judged.reference_voxel_counts[other]
        )  # fmt: skip
        for name, share in again.coverage.items():
            draws[name].append(share)

    def coverage(bounds: Values) -> dict[str, float]:
        there = judged.sample_voxel_counts[test], judged.reference_voxel_counts[test]
        return interval_coverage(names, bounds[test], *there).fraction

    def width(bounds: Values) -> Values:
        """Half width of the interval relative to the reference, median over the cases that have the class."""
        half = (bounds[test, :, 1] - bounds[test, :, 0]) / 2
        return np.nanmedian(
            half
            / np.where(judged.reference_voxel_counts[test] > 0, judged.reference_voxel_counts[test], np.nan),
            axis=0,
        )

    kinds = {
        "calibrated": made.intervals(names, judged.sample_voxel_counts),
        "the samples' spread (Student's t)": spread_bounds(judged.sample_voxel_counts),
        "least to greatest sample": range_bounds(judged.sample_voxel_counts),
    }
    print(f"{len(pairs)} images: {len(fit)} to fit on, {len(test)} to test on; {request.samples} samples")
    print(f"factors {made.factors}, shifts {made.shifts}\n")
    print("| interval | class | coverage | median half width |")
    print("|---|---|---|---|")
    told = []
    for kind, bounds in kinds.items():
        held, wide = coverage(bounds), width(bounds)
        for k, name in enumerate(names):
            if name in held:
                print(f"| {kind} | {name} | {held[name]:.1%} | {wide[k]:.0%} |")
                told.append(
                    {"interval": kind, "class": name, "held": held[name], "half_width": float(wide[k])}
                )
    print()
    for name, shares in draws.items():
        if shares:
            low, high = np.quantile(shares, (0.05, 0.95))
            most = f"from {low:.0%} to {high:.0%} in nine of ten"
            print(f"{name}: {np.mean(shares):.1%} over {DRAWS} random halves, {most}")
            told.append({"interval": "random halves", "class": name, "held": float(np.mean(shares))})
    if args.json:
        args.json.write_text(json.dumps({"images": len(pairs), "rows": told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
