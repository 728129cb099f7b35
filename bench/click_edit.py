"""What clicks that change a mask near them are worth: Dice of a spoilt mask before and after one and two.

    python bench/click_edit.py any-structure --data DATA/busi --data DATA/ph2 --images 12

The reference is spoilt: a disc is missing at its left end and one is added at its right end, each with a
radius of 0.3 times the square root of the area. A click lies at the deepest point of the largest error; its
neighbourhood has 1.5 radii. Of a data set that the model was trained on, its validation images alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.api import load_model
from napari_latentseg.core.click_edit import changed_near, steps_of_click
from napari_latentseg.data.folders import find_cases
from napari_latentseg.inference.prompt_image import PromptImage
from napari_latentseg.inference.slice_part import SlicePart
from napari_latentseg.models.split import read_split

CLICKS = 2
SAMPLES = 4  # as in the window
MIN_PIXELS = 400  # of a reference; the discs would be a few pixels wide in a smaller one

Mask = NDArray[np.bool_]


def dice(a: Mask, b: Mask) -> float:
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def spoilt(reference: Mask, radius: float) -> Mask:
    rows, columns = np.nonzero(reference)
    y, x = np.ogrid[: reference.shape[0], : reference.shape[1]]
    left, right = int(columns.argmin()), int(columns.argmax())
    missing = np.hypot(y - rows[left], x - columns[left]) < radius
    added = np.hypot(y - rows[right], x - columns[right]) < radius
    mask: Mask = (reference & ~missing) | added
    return mask


def clicked(image: PromptImage, mask: Mask, reference: Mask, radius: float) -> Mask:
    """The mask after a click where it is most wrong."""
    errors, count = ndimage.label(mask != reference)
    if not count:
        return mask
    largest = errors == 1 + int(np.bincount(errors.ravel())[1:].argmax())
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = (int(i) for i in np.unravel_index(int(depth.argmax()), mask.shape))
    inside, click = bool(reference[row, column]), (float(row), float(column))
    pointed = steps_of_click(mask, click, inside=inside)
    if pointed is None:
        return mask
    part = SlicePart(0, (0, 0, *mask.shape))
    answered = image.answer(part, pointed, SAMPLES, mask.astype(np.float32))
    answer = np.zeros_like(mask)
    if answered is not None and answered.mask is not None:
        found = answered.mask
        height, width = found.values.shape
        answer[found.top : found.top + height, found.left : found.left + width] = found.values
    return changed_near(mask, answer, click, 1.5 * radius, (1.0, 1.0), inside=inside)


def scores(case: Any, model: Any) -> list[float] | None:
    reference = np.asarray(case.read_mask()) > 0
    reference = reference.reshape(reference.shape[-2:])
    if np.count_nonzero(reference) < MIN_PIXELS:
        return None
    radius = 0.3 * float(np.sqrt(np.count_nonzero(reference)))
    image, mask = PromptImage(case.read_scan(), model), spoilt(reference, radius)
    dices = [dice(mask, reference)]
    for _ in range(CLICKS):
        mask = clicked(image, mask, reference, radius)
        dices.append(dice(mask, reference))
    return dices


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--images", type=int, default=12)
    given = parser.parse_args()
    model = load_model(given.model)
    split = read_split(model.folder)
    for folder in given.data:
        cases = [case for case in find_cases(folder) if split.part_of(case) != "train"]
        count = min(given.images, len(cases))
        rows = [scores(cases[i * len(cases) // count], model) for i in range(count)]
        table = np.array([row for row in rows if row is not None])
        print(folder.name, len(table), "images, Dice", table.mean(0).round(3).tolist(), flush=True)


if __name__ == "__main__":
    main()
