"""Which map shows best where a mask is wrong: the variance of the samples, or the doubt of their mean.

    python bench/error_maps.py --model breast-ultrasound --data DATA/busi [--images N] [--json FILE]

On the validation images of the model. A pixel is wrong where mask and reference differ for a class. The area
under the ROC curve (AUROC) of a map is the probability that it is higher at a wrong pixel than at a right
one, 0.5 for chance; computed in each image, or volume, for each class that is in its mask or its reference,
and averaged. `near`: pixels up to 10 from mask or reference within their slice, since the rest is background
that every map gets right. The doubt of one pass is that of a single prediction without samples. Beside it for
whole images: Spearman's correlation of 1 - DSC with the mean of a map over the pixels near the mask alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata, spearmanr

from napari_latentseg.core.labels import class_region
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import label_map_for
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model

NEAR = 10
Mask = NDArray[np.bool_]


def auroc(values: NDArray[np.float32], wrong: Mask) -> float | None:
    """The area under the ROC curve; None where all pixels are right, or all wrong."""
    wrong_count = int(wrong.sum())
    right_count = wrong.size - wrong_count
    if not wrong_count or not right_count:
        return None
    ranks = rankdata(values)[wrong].sum() - wrong_count * (wrong_count + 1) / 2
    return float(ranks / (wrong_count * right_count))


def near(mask: Mask) -> Mask:
    """The pixels of a plane or volume up to `NEAR` from a mask, within their slice."""
    planes = mask.reshape(-1, *mask.shape[-2:])
    distances = [ndimage.distance_transform_edt(~plane) if plane.any() else None for plane in planes]
    grown = [np.zeros(mask.shape[-2:], bool) if d is None else d <= NEAR for d in distances]
    return np.stack(grown).reshape(mask.shape)


def results(
    model: Model, cases: list[Case], samples: int | None, source: str
) -> Iterator[tuple[Case, Segmentation]]:
    settings = InferenceSettings.for_model(model.card, samples=samples, source=source)
    for case, result in segment_each(
        Predictor(model), ((case, case.read_scan()) for case in cases), settings
    ):
        if isinstance(result, BadInput):
            raise result
        yield case, result


def measure(model: Model, cases: list[Case], source: str, samples: int | None) -> dict[str, float | int]:
    """Mean figures over images and classes."""
    single: dict[str, NDArray[np.float32]] = {}
    if model.method.is_deterministic:
        single = {case.name: np.asarray(r.doubt) for case, r in results(model, cases, 1, "none")}
    rows: dict[str, list[float]] = {}
    scores: dict[str, list[float]] = {}
    errors: list[float] = []
    for case, result in results(model, cases, samples, source):
        labels = label_map_for(model.card, case)
        reference = case.read_class_numbers(labels)
        shape = result.mask.shape
        known = (reference != UNKNOWN_CLASS).reshape(shape)
        for k, truth in enumerate(labels.iter_class_masks(reference.reshape(shape))):
            mask = class_region(result.mask, k, model.card.classes)
            if not labels.annotated[k] or not (mask | truth)[known].any():
                continue
            maps = {"variance": result.variance[k], "doubt": result.doubt[k]}
            if single:
                maps["doubt of one pass"] = single[case.name][k]
            elif result.sample_maps is not None:
                first = result.sample_maps.sample(0)[k].reshape(shape)
                maps["doubt of one pass"] = np.minimum(first, 1 - first)
            close = near(mask | truth) & known
            errors.append(1 - dice(mask[known], truth[known]))
            for name, values in maps.items():
                for where, region in (("near", close), ("everywhere", known)):
                    area = auroc(np.asarray(values)[region], (mask != truth)[region])
                    if area is not None:
                        rows.setdefault(f"{name}, {where}", []).append(area)
                beside_mask = near(mask) & known  # what is known without a reference
                scores.setdefault(name, []).append(
                    float(np.asarray(values)[beside_mask].mean()) if beside_mask.any() else 0.0
                )
    figures: dict[str, float | int] = {"images": len(cases), "regions": len(errors)}
    figures |= {name: round(float(np.mean(areas)), 4) for name, areas in rows.items()}
    for name, values in scores.items():
        figures[f"{name}, correlation with 1 - DSC"] = round(float(spearmanr(values, errors).statistic), 4)
    wins = np.array(rows["doubt, near"]) - np.array(rows["variance, near"])
    figures["share of regions where doubt is ahead of variance"] = round(float((wins > 0).mean()), 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", help="a sampling source; the first of the card where not given")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--images", type=int, help="so many of the validation images, evenly from all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    split = read_split(model.folder)
    cases = [case for case in find_cases(options.data) if split.part_of(case) == "validation"]
    count = min(len(cases), options.images or len(cases))
    cases = [cases[i * len(cases) // count] for i in range(count)]
    source = options.source or model.card.sources[0]
    figures = measure(model, cases, source, options.samples)
    settings = InferenceSettings.for_model(model.card, source=source, samples=options.samples)
    figures = {"model": model.card.name, "source": source, "samples": settings.samples, **figures}
    for name, value in figures.items():
        print(f"{name + ':':<56} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
