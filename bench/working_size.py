"""What a model of tiles does at other sizes of the longer side: docs/benchmarks/teaching.md.

    python bench/working_size.py retina-vessels DATA/drive --sizes 700 960 1300 --names 31 34 38

Mean DSC over the images whose names begin so, of single passes: at the threshold of the model, and at the
best of some thresholds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.resize import resize
from napari_latentseg.finetuning.threshold_choice import THRESHOLDS
from napari_latentseg.inference.tile_inference import sample_plane
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model
from napari_latentseg.utils.device import resolve_compute


def probability(model: Model, image: NDArray[np.float32], long_side: int) -> NDArray[np.float32]:
    """Of the first class, `(H, W)`, of an image `(3, H, W)` that is scaled to `long_side`."""
    preprocess = model.card.preprocess.replace(long_side=long_side)
    height, width = image.shape[1:]
    scaled = resize(image, preprocess.working_size(height, width))
    sample = sample_plane(model.method, scaled, preprocess, resolve_compute("auto", "auto"))
    return resize(sample, (height, width))[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", required=True, metavar="PIXELS")
    parser.add_argument("--names", nargs="*", default=[""], help="how the names of the images begin")
    given = parser.parse_args()
    model = load_model(given.model)
    threshold = model.card.raw_threshold
    thresholds = sorted({*THRESHOLDS, threshold})
    cases = [case for case in find_cases(given.data) if case.file_name.startswith(tuple(given.names))]
    for size in given.sizes:
        scores = []
        for case in cases:
            planes = model.card.preprocess.planes(case.read_scan())
            image = np.ascontiguousarray(np.transpose(planes[0], (2, 0, 1)), dtype=np.float32)
            numbers = case.read_class_numbers(LabelMap.for_model(model.card.classes))[0]
            truth = numbers == 1
            found = probability(model, image, size)
            overlaps = [((found > t) & truth).sum() for t in thresholds]
            scores.append(
                [2 * o / ((found > t).sum() + truth.sum()) for o, t in zip(overlaps, thresholds, strict=True)]
            )
        mean = np.mean(scores, axis=0)
        best = int(mean.argmax())
        print(
            f"{size}: {mean[thresholds.index(threshold)]:.4f} at {threshold:.2f},"
            f" {mean[best]:.4f} at {thresholds[best]:.2f} ({len(cases)} images)",
            flush=True,
        )


if __name__ == "__main__":
    main()
