"""Whether the samples of one click hold both readings of a nested structure, and whether clicks settle it.

    python bench/readings.py MODEL --data DATA/acdc --rim 2 --core 3 --data shapes_rims --rim 1 --core 2

One click at the deepest point of the core may mean the core or the whole of core and rim. For each structure:
the best Dice that any sample has with the core, and with the whole; both count as found from 0.7. Then the
person means the core, or the whole, and clicks up to five times (`click_scores`): the mean variance of the
samples, in the whole and as far around it again, after each click. Images that the model was trained on are
left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.click_scores import click_scores
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.methods.simulated_prompts import deepest_point
from napari_latentseg.models.split import read_split
from volumes_on_cpu import on_one_core

FOUND = 0.7  # Dice from which a sample is said to be that reading
CLICKS = 5
LEAST_CORE = 30  # pixels

Mask = NDArray[np.bool_]


def nested(
    folder: Path, rim: int, core: int, model: Any, most: int
) -> Iterator[tuple[NDArray[np.float32], Mask, Mask]]:
    """Slice `(3, H, W)`, core and whole of each structure: of a volume, on the slice of its largest core."""
    split = read_split(model.folder)
    cases = [case for case in find_cases(folder) if split.part_of(case) != "train"]
    count = min(most, len(cases))
    for case in [cases[i * len(cases) // count] for i in range(count)]:
        labels = np.asarray(case.read_mask())
        labels = labels.reshape(-1, *labels.shape[-2:])
        index = int((labels == core).sum((1, 2)).argmax())
        planes = model.card.preprocess.planes(case.read_scan())
        image = np.ascontiguousarray(planes[index].transpose(2, 0, 1))
        wholes, number = ndimage.label((labels[index] == core) | (labels[index] == rim))
        for label in range(1, number + 1):
            whole = wholes == label
            inside = whole & (labels[index] == core)
            if inside.sum() >= LEAST_CORE and inside.sum() < 0.9 * whole.sum():
                yield image, inside, whole


def figures(session: PromptSession, core: Mask, whole: Mask, samples: int) -> dict[str, Any]:
    """Of one structure: the best Dice with either reading after a click, and the variance by clicks."""
    answer = session.answer(Prompts(positive=(deepest_point(core),)), samples)
    drawn = answer.samples > 0.5
    around = ndimage.binary_dilation(whole, iterations=max(2, int(np.sqrt(whole.sum()) / 4)))
    row: dict[str, Any] = {
        "core": max(dice(sample, core) for sample in drawn),
        "whole": max(dice(sample, whole) for sample in drawn),
    }
    for name, mask in (("core", core), ("whole", whole)):
        variances: list[float] = []

        def answer_of(prompts: Prompts, variances: list[float] = variances) -> Any:
            answer = session.answer(prompts, samples)
            variances.append(float(answer.samples.var(axis=0)[around].mean()))
            return answer.mean

        row[f"dsc {name}"] = click_scores(answer_of, mask, CLICKS)
        row[f"variance {name}"] = variances + variances[-1:] * (CLICKS - len(variances))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--rim", type=int, action="append", required=True, help="label, one for each --data")
    parser.add_argument("--core", type=int, action="append", required=True, help="label, one for each --data")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model, compute = on_one_core(given.model)
    table: dict[str, Any] = {}
    for folder, rim, core in zip(given.data, given.rim, given.core, strict=True):
        rows = [
            figures(PromptSession(model, image, compute), inside, whole, given.samples)
            for image, inside, whole in nested(folder, rim, core, model, given.images)
        ]
        found = np.array([[row["core"] >= FOUND, row["whole"] >= FOUND] for row in rows])
        table[folder.name] = {
            "structures": len(rows),
            "core found": round(float(found[:, 0].mean()), 3),
            "whole found": round(float(found[:, 1].mean()), 3),
            "both found": round(float(found.all(1).mean()), 3),
        } | {
            f"{what} {name}": np.mean([row[f"{what} {name}"] for row in rows], axis=0).round(4).tolist()
            for what in ("dsc", "variance")
            for name in ("core", "whole")
        }
        print(folder.name, table[folder.name], flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
