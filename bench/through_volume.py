"""Following a structure through a volume from clicks: Dice over the volume after each click.

    python bench/through_volume.py MODEL --data DATA/msd_hippocampus [--volumes 8] [--json FILE]

Of each class of a validation volume of the model the first click is at the deepest point on the middle one of
its slices. Each further one is at the deepest point of the largest error of the slice with the most wrong
pixels; where the structure is not on that slice, it is cleared. What was clicked stays, the rest is followed
anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.carry_on import inner_points
from napari_latentseg.inference.crossing_slices import CrossingSlices
from napari_latentseg.inference.follow_volume import FollowedVolume
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.methods.simulated_prompts import deepest_point
from napari_latentseg.models.split import read_split
from volumes_on_cpu import on_one_core, print_means

Mask = NDArray[np.bool_]
CLICKS = 3


def scores_of(truth: Mask, planes: Any, spacing: Any, model: Any, compute: Any, samples: int) -> list[float]:
    """Dice over the volume after each click."""

    def across(image: Any, prompts: Prompts, previous: Any) -> PromptAnswer:
        return PromptSession(model, image, compute).answer(prompts, 1, previous)

    crossing = CrossingSlices(lambda plane: planes[plane], len(truth), spacing[0] / min(spacing[1:]), across)

    def answers(plane: int, prompts: Prompts, previous: Any) -> PromptAnswer:
        image = np.ascontiguousarray(planes[plane].transpose(2, 0, 1))
        return PromptSession(model, image, compute).answer(prompts, samples, previous)

    slices = np.flatnonzero(truth.any((1, 2)))
    middle = int(slices[len(slices) // 2])
    prompts = Prompts(positive=(deepest_point(truth[middle]),))
    decided = {middle: answers(middle, prompts, None).mean > 0.5}
    scores = []
    for click in range(CLICKS):
        found = np.zeros_like(truth)
        for plane, mask in decided.items():
            found[plane] = mask
        followed = FollowedVolume(
            answers,
            lambda plane: planes[plane].mean(-1),
            decided,
            len(truth),
            spacing=spacing,
            crossing=crossing,
        )
        for carried in followed:
            found[carried.plane] = carried.mask
        scores.append(dice(found, truth))
        if click + 1 < CLICKS:
            _correct(found, truth, decided, answers)
    return scores


def _correct(found: Mask, truth: Mask, decided: dict[int, Mask], answers: Any) -> None:
    """Click on the worst slice."""
    worst = int((found != truth).sum((1, 2)).argmax())
    if not truth[worst].any():
        decided[worst] = np.zeros_like(truth[worst])
        return
    parts, _ = ndimage.label(found[worst] != truth[worst])
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    point = deepest_point(parts == sizes.argmax())
    positive, negative = ((point,), ()) if truth[worst][point] else ((), (point,))
    inside = found[worst].copy()
    inside[point] = False
    if found[worst].any():
        positive = (*(p for p in inner_points(inside) if p != point), *positive)
    previous = found[worst].astype(np.float32) if found[worst].any() else None
    answer = answers(worst, Prompts(positive=positive, negative=negative), previous)
    decided[worst] = answer.mean > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--part", choices=("train", "validation"), default="validation")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model, compute = on_one_core(given.model)
    split = read_split(model.folder)
    of_part = [c for c in find_cases(given.data) if (split.part_of(c) == "train") == (given.part == "train")]
    count = min(given.volumes, len(of_part))
    cases = [of_part[i * len(of_part) // count] for i in range(count)]
    names: list[str] = []
    rows: list[list[float]] = []
    for case in cases:
        scan = case.read_scan()
        planes, labels = model.card.preprocess.planes(scan), np.asarray(case.read_mask())
        for label in np.unique(labels[labels > 0]):
            names.append(case.name)
            spacing = scan.geometry.spacing[-3:]
            rows.append(scores_of(labels == label, planes, spacing, model, compute, given.samples))
        print(
            len(set(names)),
            "of",
            len(cases),
            np.round(rows[-2:], 3),
            np.round(np.mean(rows, 0), 4),
            flush=True,
        )
    print_means([f"dsc {i + 1}" for i in range(CLICKS)], rows, names, given.json)


if __name__ == "__main__":
    main()
