"""Filling between slices that are known: Dice on the slices between, over a volume.

    python bench/fill_between.py MODEL --data DATA/msd_hippocampus [--every 5] [--json FILE]

Of each class of a validation volume of the model the slices first, first + 5, ... and the last one are known
(a person has corrected them: here they are the mask). The others are filled by linear interpolation of signed
distances between two slices, by a cubic through all known slices, and by `fill_between`.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.slice_interpolation import distances_through, interpolate_between
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.fill_between import fill_between
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.models.split import read_split
from volumes_on_cpu import on_one_core, print_means

Mask = NDArray[np.bool_]
METHODS = ("between two", "through all", "filled")


def scores_of(case: Any, model: Any, compute: Any, every: int, samples: int) -> list[list[float]]:
    """For each class of a volume the Dice of each of `METHODS` on the slices that are not known."""
    scan = case.read_scan()
    planes = model.card.preprocess.planes(scan)
    labels = np.asarray(case.read_mask())
    spacing = scan.geometry.spacing[-3:]

    def answers(plane: int, prompts: Prompts, previous: Any) -> PromptAnswer:
        image = np.ascontiguousarray(planes[plane].transpose(2, 0, 1))
        return PromptSession(model, image, compute).answer(prompts, samples, previous)

    scores = []
    for label in np.unique(labels[labels > 0]):
        truth = labels == label
        slices = np.flatnonzero(truth.any((1, 2)))
        known = sorted({*range(slices[0], slices[-1] + 1, every), int(slices[-1])})
        masks = {plane: truth[plane] for plane in known}
        found: dict[str, list[Mask]] = {method: [] for method in METHODS}
        rest: list[int] = []
        for gap in pairwise(known):
            between = list(range(gap[0] + 1, gap[1]))
            if not between:
                continue
            rest += between
            fractions = [(plane - gap[0]) / (gap[1] - gap[0]) for plane in between]
            found["between two"] += list(
                interpolate_between(masks[gap[0]], masks[gap[1]], fractions, spacing[1:])
            )
            found["through all"] += list(distances_through(masks, gap, spacing[1:]) > 0)
            filled = fill_between(answers, lambda plane: planes[plane].mean(-1), masks, gap, spacing)
            found["filled"] += [carried.mask for carried in filled]
        if rest:
            scores.append([dice(np.stack(found[method]), truth[rest]) for method in METHODS])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model, compute = on_one_core(given.model)
    split = read_split(model.folder)
    cases = [case for case in find_cases(given.data) if split.part_of(case) != "train"][: given.volumes]
    names: list[str] = []
    rows: list[list[float]] = []
    for case in cases:
        for row in scores_of(case, model, compute, given.every, given.samples):
            names.append(case.name)
            rows.append(row)
        print(len(set(names)), "of", len(cases), np.round(np.mean(rows, axis=0), 4), flush=True)
    print_means(METHODS, rows, names, given.json)


if __name__ == "__main__":
    main()
