"""What a ranking of slices is worth: how much error is removed by correcting the first slices.

    python bench/ranking.py --data DATA/msd_hippocampus [--model hippocampus-mr] [--json FILE]

On the validation volumes of the model. The error of a slice is 1 - DSC, averaged over the classes in its
mask or its reference; 0 if neither has any. The slices ranked first are corrected, which removes their
error. `within`: a fifth of the slices of every volume; `pooled`: a fifth of all slices of all volumes. The
ratio compares with a random order, which removes a fifth on average. `one half` and `the other` split the
volumes by the hashes of their files, ranked within each volume: a measure can be chosen on one and tested on
the other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import label_map_for
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model
from napari_latentseg.review import available_measures, uncertainty_profile

SHARE = 0.2
ORACLE = "the error itself (the most that any order could do)"
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A volume: the error of each slice, and its uncertainty by each measure."""

    key: str
    errors: Values
    scores: dict[str, Values]


def errors_of(found: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> Values:
    """1 - DSC of each plane, of label maps with class numbers from 1, `(N, H, W)`."""
    errors = np.zeros(len(found))
    for number, (a, b) in enumerate(zip(found, truth, strict=True)):
        shown = [k for k in range(1, classes + 1) if (a == k).any() or (b == k).any()]
        errors[number] = np.mean([1 - dice(a == k, b == k) for k in shown]) if shown else 0.0
    return errors


def cases_of(folder: Path, data: Path, samples: int | None, source: str | None) -> list[Case]:
    model = load_model(folder)
    predictor = Predictor(model)
    request = InferenceSettings.for_model(model.card, samples=samples, source=source)
    split = read_split(model.folder)
    cases = []
    pairs = (pair for pair in find_cases(data) if split.part_of(pair) == "validation")
    for pair, found in segment_each(predictor, ((pair, pair.read_scan()) for pair in pairs), request):
        if isinstance(found, BadInput):
            raise found
        labels = label_map_for(model.card, pair)
        truth = pair.read_class_numbers(labels)
        shown = labels.for_model(model.card.classes).to_class_numbers(found.mask).reshape(truth.shape)
        errors = errors_of(shown, truth, len(model.card.classes))
        scores = {name: uncertainty_profile(found, name).ravel() for name in available_measures(found)}
        cases.append(Case(pair.file_sha256, errors, scores | {ORACLE: errors}))
    return sorted(cases, key=lambda case: case.key)


def removed(errors: Values, scores: Values) -> tuple[float, float]:
    """Error removed by the slices ranked first, and by as many random ones."""
    count = max(1, round(SHARE * len(errors)))
    first = np.argsort(-scores, kind="stable")[:count]
    return float(errors[first].sum()), float(errors.sum() * count / len(errors))


def within(cases: Sequence[Case], name: str) -> tuple[float, float]:
    """Fraction of all error, and ratio to a random order, with as many slices from each volume."""
    gone, random = np.sum([removed(case.errors, case.scores[name]) for case in cases], axis=0)
    return gone / sum(case.errors.sum() for case in cases), gone / random


def pooled(cases: Sequence[Case], name: str) -> tuple[float, float]:
    """The same, with all slices ranked together."""
    errors = np.concatenate([case.errors for case in cases])
    gone, random = removed(errors, np.concatenate([case.scores[name] for case in cases]))
    return gone / errors.sum(), gone / random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--source")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cases = cases_of(args.model, args.data, args.samples, args.source)
    half = (len(cases) + 1) // 2
    rows = []
    for name in cases[0].scores:
        share, ratio = within(cases, name)
        all_share, all_ratio = pooled(cases, name)
        halves = [within(part, name)[0] for part in (cases[:half], cases[half:])]
        rows.append((name, share, ratio, all_share, all_ratio, *halves))
    slices = sum(len(case.errors) for case in cases)
    errors = np.concatenate([case.errors for case in cases])
    with_error = f"{(errors > 0).mean():.0%} have one"
    print(f"{len(cases)} volumes, {slices} slices, mean error {errors.mean():.3f}, {with_error}\n")
    print("| measure | within: share | ratio | pooled: share | ratio | one half | the other |")
    print("|---|---|---|---|---|---|---|")
    for name, *values in sorted(rows, key=lambda row: -row[1]):
        print("| " + " | ".join([name, *(f"{value:.2f}" for value in values)]) + " |")
    if args.json:
        names = ("measure", "within", "within_ratio", "pooled", "pooled_ratio", "one_half", "other_half")
        told = [dict(zip(names, row, strict=True)) for row in rows]
        args.json.write_text(
            json.dumps({"volumes": len(cases), "slices": slices, "rows": told}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
