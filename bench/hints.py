"""What hints are worth: Dice of the mask before and after hints where it is most wrong.

    python bench/hints.py MODEL --data DATA/busi --samples 8 --images 40 --json FILE

Hints are simulated: each lies at the deepest point of the largest region that the present mask has wrong,
inside where it misses the reference and outside where it goes beyond it. Of a data set that the model was
trained on, its validation images alone. The best sample is the one that a person who knew the reference would
choose.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.api import load_model, segment
from napari_latentseg.core.hints import Hint
from napari_latentseg.core.reweight import reweight
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.models.split import read_split

HINTS = 3
LOW = 1.5  # effective number below which the window says that the samples do not reach the hints


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def next_hint(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Hint | None:
    """At the deepest point of the largest region that is wrong; None where nothing is."""
    regions, count = ndimage.label(mask != reference)
    if not count:
        return None
    largest = regions == 1 + int(np.bincount(regions.ravel())[1:].argmax())
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))
    voxel = tuple(int(i) - 1 for i in np.unravel_index(int(depth.argmax()), depth.shape))
    return Hint(point=voxel, inside=bool(reference[voxel]))


def scores(result: Segmentation, reference: NDArray[np.bool_]) -> tuple[list[float], list[float], float]:
    """Dice before and after each hint, effective numbers after each, and the Dice of the best sample."""
    assert result.sample_maps is not None
    samples = result.sample_maps.sample_masks(result.record.sample_threshold, result.classes)
    best = max(dice(sample > 0, reference) for sample in samples)
    present, hints = result, []
    dices, effective = [dice(np.asarray(result.mask) > 0, reference)], []
    for _ in range(HINTS):
        hint = next_hint(np.asarray(present.mask) > 0, reference)
        if hint is not None and all(hint.voxel != other.voxel for other in hints):
            hints.append(hint)
            present = reweight(result, hints)
        dices.append(dice(np.asarray(present.mask) > 0, reference))
        record = present.record.hints
        effective.append(float(result.record.samples) if record is None else record.effective_samples)
    return dices, effective, best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--source", default=None)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    split = read_split(model.folder)
    cases = [case for case in find_cases(arguments.data) if split.part_of(case) != "train"]
    count = min(arguments.images, len(cases))
    names, rows, numbers, best = [], [], [], []
    for case in [cases[i * len(cases) // count] for i in range(count)]:
        reference = np.asarray(case.read_mask()) > 0
        if not reference.any():
            continue
        result = segment(case.read_scan(), model, samples=arguments.samples, source=arguments.source)
        reference = reference.reshape(result.mask.shape)
        dices, effective, best_sample = scores(result, reference)
        names.append(case.name)
        rows.append(dices)
        numbers.append(effective)
        best.append(best_sample)
        print(case.name, " ".join(f"{d:.3f}" for d in dices), f"best {best_sample:.3f}", flush=True)
    table = np.array(rows)
    gains = table[:, 1:] - table[:, :1]
    intervals = Bootstrap(names).intervals(gains, column_means)
    figures = {
        "model": model.card.name,
        "images": len(rows),
        "samples": arguments.samples,
        "dice": table.mean(0).round(4).tolist(),
        "gain": gains.mean(0).round(4).tolist(),
        "interval of the gain": [[round(v, 4) for v in interval] for interval in intervals],
        "worse": [int((table[:, k] < table[:, 0] - 0.01).sum()) for k in range(1, HINTS + 1)],
        "effective": np.mean(numbers, 0).round(2).tolist(),
        "said too low": [int((np.array(numbers)[:, k] < LOW).sum()) for k in range(HINTS)],
        "best sample": round(float(np.mean(best)), 4),
    }
    print(json.dumps(figures, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
