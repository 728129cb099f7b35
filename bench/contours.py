"""What the contours and the expected Dice of a model are worth on its validation images.

    python bench/contours.py --model breast-ultrasound --data DATA/busi [--precision float32] [--json FILE]

Over 500 random halves of the validation images: how often the promise of contours that were fitted on one
half holds in the other. Then the width of the band, and what `napari-latentseg calibrate` writes about the
expected Dice: mean error, rank correlation, the lower bound, and what reviewing the worst fifth finds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.conformal import conformal_bound
from napari_latentseg.evaluation.contour_band import needed_factors
from napari_latentseg.inference.calibrate import Calibration
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model

DRAWS = 500
LEVEL = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="breast-ultrasound")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_model(args.model)
    split = read_split(model.folder)
    cases = [case for case in find_cases(args.data) if split.part_of(case) == "validation"]
    settings = InferenceSettings.for_model(model.card, seed=args.seed, precision=args.precision)
    calibration = Calibration(Predictor(model, precision=args.precision), settings, cases, split)
    for _ in calibration.run():
        pass
    band, expected = calibration.contour_band(LEVEL), calibration.expected_dice(LEVEL)
    precision = calibration.predictor.compute.precision
    print(f"{len(cases)} images, {settings.samples} samples from {settings.source}, {precision}\n")
    print("| class | coverage, 500 halves (nine of ten) | each left out | outwards | inwards |")
    print("|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for k, info in enumerate(model.card.classes):
        fit = band.classes[info.name]
        needed = needed_factors([f for f in (row[k] for row in calibration.case_figures) if f is not None])
        rng = np.random.default_rng(0)
        held = []
        for _ in range(DRAWS):
            order = rng.permutation(len(needed))
            one, other = order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]
            held.append(float((needed[other] <= conformal_bound(needed[one], LEVEL)).mean()))
        low, high = np.quantile(held, (0.05, 0.95))
        print(
            f"| {info.name} | {np.mean(held):.1%} ({low:.0%} to {high:.0%}) | {fit.coverage:.0%} |"
            f" {fit.typical_outward:.2f} | {fit.typical_inward:.2f} |"
        )
        rows.append({"class": info.name, "halves": float(np.mean(held)), **fit.model_dump()})
    print("\n| class | mean error | Spearman | lower bound held |\n|---|---|---|---|")
    for name, dice in expected.classes.items():
        print(f"| {name} | {dice.mean_error:.3f} | {dice.correlation:.2f} | {dice.coverage:.0%} |")
        rows.append({"class": name, **dice.model_dump()})
    if expected.worst_fifth is not None:
        print(f"\n{expected.worst_fifth.describe()}")
        rows.append(expected.worst_fifth.model_dump())
    if args.json:
        args.json.write_text(json.dumps({"images": len(cases), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
