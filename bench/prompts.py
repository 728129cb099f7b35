"""How well a model answers clicks: Dice after 1, 3 and 5 of them, by a simulated person.

    python bench/prompts.py MODEL --data DATA/busi --data DATA/ph2 --json FILE [--size-known]

The person is that of `napari_latentseg.inference.click_scores`. Of a data set that the model was trained on,
its validation images alone; of volumes, the slices with the largest area of each class. Beside the model: the
same clicks painted as discs, and a random walker (Grady 2006, of scikit-image) from the clicks and the border
of the image. With `--size-known` the person says how large the object is as well, its longer side times a
factor drawn between 1 / 1.5 and 1.5, evenly in its logarithm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import random_walker

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.inference.click_scores import (
    CLICKS,
    Answer,
    click_scores,
    objects_of,
    scored_planes,
)
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.models.split import read_split
from volumes_on_cpu import on_one_core

SIZE_FACTOR = 1.5  # by which a person errs in the size of what is in front of them, at most
DISC_SHARE = 0.05  # radius of the painted discs, of the longer side of the image

Mask = NDArray[np.bool_]


def pointed_at(folder: Path, model: Any, most: int) -> Iterator[tuple[str, NDArray[np.float32], Mask]]:
    """Name of the image, slice `(3, H, W)` in [0, 1], and object; of images that were not trained on."""
    split = read_split(model.folder)
    cases = [case for case in find_cases(folder) if split.part_of(case) != "train"]
    count = min(most, len(cases))
    for case in [cases[i * len(cases) // count] for i in range(count)]:
        planes = model.card.preprocess.planes(case.read_scan())
        for index, mask in scored_planes(case):
            image = np.ascontiguousarray(planes[index].transpose(2, 0, 1))
            for object_mask in objects_of(mask):
                yield case.name, image, object_mask


def painted(shape: tuple[int, int]) -> Answer:
    """The clicks as discs."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = DISC_SHARE * max(shape)

    def answer(prompts: Prompts) -> NDArray[np.float32]:
        mask = np.zeros(shape, np.float32)
        for points, value in ((prompts.positive, 1), (prompts.negative, 0)):
            for y, x in points:
                mask[np.hypot(rows - y, columns - x) <= radius] = value
        return mask

    return answer


def walked(image: NDArray[np.float32]) -> Answer:
    """A random walker from the clicks; the border of the image is background."""
    grey = image.mean(0)

    def answer(prompts: Prompts) -> NDArray[np.float32]:
        seeds = np.zeros(grey.shape, int)
        seeds[[0, -1]] = seeds[:, [0, -1]] = 2
        for points, value in ((prompts.negative, 2), (prompts.positive, 1)):
            for y, x in points:
                y, x = round(y), round(x)
                seeds[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = value
        found = random_walker(grey, seeds, beta=500, mode="cg_j", tol=1e-3)
        return np.asarray(found == 1, np.float32)

    return answer


def guessed_size(mask: Mask, random: np.random.Generator) -> float:
    """About the longer side of an object, as a person would say it."""
    longest = max(int(np.ptp(np.flatnonzero(mask.any(axis)))) + 1 for axis in (0, 1))
    return min(longest * SIZE_FACTOR ** random.uniform(-1, 1), max(mask.shape))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--clicks", type=int, choices=CLICKS, default=max(CLICKS))
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--size-known", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the sizes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model, compute = on_one_core(given.model)
    table: dict[str, Any] = {}
    reported = [n for n in CLICKS if n <= given.clicks]
    for folder in given.data:
        rows: dict[str, list[list[float]]] = {}
        images: list[str] = []
        random = np.random.default_rng(given.seed)
        for name, image, mask in pointed_at(folder, model, given.images):
            images.append(name)
            session = PromptSession(model, image, compute)
            size = guessed_size(mask, random) if given.size_known else None

            def model_answer(
                prompts: Prompts, session: PromptSession = session, size: float | None = size
            ) -> Any:
                return session.answer(prompts.replace(size=size), given.samples).mean

            answers: dict[str, Answer] = {"model": model_answer}
            if not given.no_baselines:
                answers |= {"discs": painted(mask.shape), "random walker": walked(image)}
            for method, answer in answers.items():
                rows.setdefault(method, []).append(click_scores(answer, mask, given.clicks))
        table[folder.name] = {}
        bootstrap = Bootstrap(images)  # the objects of an image are not independent
        for method, values in rows.items():
            array = np.array(values)
            intervals = bootstrap.intervals(array, column_means)
            table[folder.name][method] = {
                "images": len(set(images)),
                "objects": len(array),
                **{f"dsc {n}": round(float(array[:, n - 1].mean()), 4) for n in reported},
                **{f"interval {n}": [round(v, 4) for v in intervals[n - 1]] for n in reported},
                "reach 0.90": round(float((array >= 0.9).any(1).mean()), 3),
            }
            print(folder.name, method, table[folder.name][method], flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
