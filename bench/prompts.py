"""How well a model answers clicks: Dice after 1, 3 and 5 of them, by a simulated person.

    python bench/prompts.py MODEL --data DATA/busi --data DATA/ph2 --json FILE

The first click is at the deepest point of the object, each further one at the deepest point of the largest
error of the last answer. Of a data set that the model was trained on, its validation images alone; of
volumes, the slices with the largest area of each class. Beside the model: the same clicks painted as discs,
and a random walker (Grady 2006, of scikit-image) from the clicks and the border of the image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import random_walker

from napari_latentseg.api import load_model
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.data.cases import rgb_slices
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.methods.simulated_prompts import deepest_point
from napari_latentseg.models.split import read_split
from napari_latentseg.utils.device import resolve_compute

CLICKS = (1, 3, 5)
SMALLEST = 20  # pixels of an object at the size of the file
MOST_OBJECTS = 3  # of an image, the largest: an image of a hundred nuclei is no hundred images
DISC_SHARE = 0.05  # radius of the painted discs, of the longer side of the image

Mask = NDArray[np.bool_]
Answer = Callable[[Prompts, "NDArray[np.float32] | None"], NDArray[np.float32]]


def objects(labels: NDArray[np.integer[Any]]) -> Iterator[Mask]:
    """The largest connected objects of each label of a slice."""
    for label in np.unique(labels[labels > 0]):
        parts, _ = ndimage.label(labels == label, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        for number in np.argsort(-sizes, kind="stable")[:MOST_OBJECTS]:
            if sizes[number] >= SMALLEST:
                yield parts == number + 1


def slices(folder: Path, model: Any, most: int) -> Iterator[tuple[str, NDArray[np.float32], Mask]]:
    """Name of the image, slice `(3, H, W)` in [0, 1], and object; of images that were not trained on."""
    split = read_split(model.folder)
    cases = [case for case in find_cases(folder) if split.part_of(case) != "train"]
    count = min(most, len(cases))
    for case in [cases[i * len(cases) // count] for i in range(count)]:
        mask = np.asarray(case.read_mask())
        labels = mask.reshape(-1, *mask.shape[-2:])
        images = rgb_slices(case.read_scan())
        for label in np.unique(labels[labels > 0]):
            index = int((labels == label).sum((1, 2)).argmax())  # the slice with the largest area
            for found in objects(np.where(labels[index] == label, label, 0)):
                yield case.name, images[index].astype(np.float32) / 255, found


def scores(answer: Answer, mask: Mask, clicks: int) -> list[float]:
    """Dice after each click of the simulated person."""
    positive: list[tuple[float, float]] = [deepest_point(mask)]
    negative: list[tuple[float, float]] = []
    previous = None
    results = []
    for _ in range(clicks):
        previous = answer(Prompts(positive=tuple(positive), negative=tuple(negative)), previous)
        predicted = previous > 0.5
        results.append(dice(predicted, mask))
        errors, count = ndimage.label(predicted != mask)
        if not count:
            return results + results[-1:] * (clicks - len(results))
        sizes = np.bincount(errors.ravel())
        sizes[0] = 0
        point = deepest_point(errors == sizes.argmax())
        target = positive if mask[point] else negative
        if point not in target:
            target.append(point)
    return results


def painted(shape: tuple[int, int]) -> Answer:
    """The clicks as discs."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = DISC_SHARE * max(shape)

    def answer(prompts: Prompts, previous: NDArray[np.float32] | None) -> NDArray[np.float32]:
        mask = np.zeros(shape, np.float32)
        for points, value in ((prompts.positive, 1), (prompts.negative, 0)):
            for y, x in points:
                mask[np.hypot(rows - y, columns - x) <= radius] = value
        return mask

    return answer


def walked(image: NDArray[np.float32]) -> Answer:
    """A random walker from the clicks; the border of the image is background."""
    grey = image.mean(0)

    def answer(prompts: Prompts, previous: NDArray[np.float32] | None) -> NDArray[np.float32]:
        seeds = np.zeros(grey.shape, int)
        seeds[[0, -1]] = seeds[:, [0, -1]] = 2
        for points, value in ((prompts.negative, 2), (prompts.positive, 1)):
            for y, x in points:
                y, x = round(y), round(x)
                seeds[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = value
        found = random_walker(grey, seeds, beta=500, mode="cg_j", tol=1e-3)
        return np.asarray(found == 1, np.float32)

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(given.model)
    compute = resolve_compute("cpu", "float32")
    model.to(compute)
    table: dict[str, Any] = {}
    for folder in given.data:
        rows: dict[str, list[list[float]]] = {}
        images: list[str] = []
        for name, image, mask in slices(folder, model, given.images):
            images.append(name)
            session = PromptSession(model, image, compute)

            def model_answer(prompts: Prompts, previous: Any, session: PromptSession = session) -> Any:
                return session.answer(prompts, given.samples, previous).mean

            answers: dict[str, Answer] = {"model": model_answer}
            if not given.no_baselines:
                answers |= {"discs": painted(mask.shape), "random walker": walked(image)}
            for method, answer in answers.items():
                rows.setdefault(method, []).append(scores(answer, mask, max(CLICKS)))
        table[folder.name] = {}
        bootstrap = Bootstrap(images)  # the objects of an image are not independent
        for method, values in rows.items():
            array = np.array(values)
            intervals = bootstrap.intervals(array, column_means)
            table[folder.name][method] = {
                "images": len(set(images)),
                "objects": len(array),
                **{f"dsc {n}": round(float(array[:, n - 1].mean()), 4) for n in CLICKS},
                **{f"interval {n}": [round(v, 4) for v in intervals[n - 1]] for n in CLICKS},
                "reach 0.90": round(float((array >= 0.9).any(1).mean()), 3),
            }
            print(folder.name, method, table[folder.name][method], flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
