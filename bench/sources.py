"""What the samples of each source of a model are worth, on its validation images.

    python bench/sources.py --model MODEL --data DATA/SET [--json FILE] [--samples 8] [--images N]

For each sampling source:

- Dice of the thresholded mean, over images (mean of the classes that an image has), with a bootstrapped 95 %
  interval;
- calibration error of the mean, over all pixels and where it lies between the outermost of 20 bins (0.05 to
  0.95), and Brier score;
- area under the risk-coverage curve (images in the order of the model's own confidence; beside it that of a
  random order): small is good;
- correlation of the variance with the error of the mask over the pixels of an image, averaged over images;
- how often the 90 % prediction interval of the samples (mean, standard deviation, Student's t; nothing is
  calibrated) holds the true area or volume, and its half width relative to it (median);
- processor time relative to a single pass, where `--threads 1` makes it comparable.

With `--json` the figures of each source are kept in a file, and not computed again for the same weights,
images and number of samples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from napari_latentseg.core.labels import class_region
from napari_latentseg.core.record import SamplingSource
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.engines.model_key import weights_key
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.evaluation.calibration import interval_coverage
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.evaluation.scores import ImageScores
from napari_latentseg.inference.evaluation_calibration import EvaluationCalibration
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import label_map_for
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model

LEVEL = 0.9
MIN_SAMPLES_FOR_SPREAD = 3
Values = NDArray[np.float64]


class SourceFigures:
    """Collects the figures of a source, image by image."""

    def __init__(self, card: ModelCard, settings: InferenceSettings) -> None:
        self._classes, self._settings = card.classes, settings
        self._calibration = EvaluationCalibration(card.classes)
        self._dsc: list[float] = []
        self._correlations: list[float] = []
        self._sample_volumes: list[Values] = []
        self._volumes: list[Values] = []

    def add(self, result: Segmentation, reference: NDArray[np.uint8], label_map: LabelMap) -> None:
        """Add an image; the reference has class numbers, from 1, in the shape of the mask."""
        self._calibration.add(result, reference, label_map)
        known = reference != UNKNOWN_CLASS
        scores, errors = [], np.zeros(reference.shape, np.float32)
        volumes = np.full(len(self._classes), np.nan)
        for k, truth in enumerate(label_map.iter_class_masks(reference)):
            if not label_map.annotated[k]:
                continue
            region = class_region(result.mask, k, self._classes) & known
            truth = truth & known
            errors += region != truth
            volumes[k] = truth.sum()
            if region.any() or truth.any():
                scores.append(dice(region, truth))
        self._dsc.append(float(np.mean(scores)) if scores else 1.0)
        if result.variance is not None:
            variance = np.asarray(result.variance).sum(0)
            if variance[known].std() > 0 and errors[known].std() > 0:
                self._correlations.append(float(np.corrcoef(variance[known], errors[known])[0, 1]))
        self._sample_volumes.append(np.asarray(result.volumes) / result.geometry.voxel_volume[0])
        self._volumes.append(volumes)

    def row(self) -> dict[str, Any]:
        """The figures of all images."""
        scores = [ImageScores(dsc=dsc, iou=0, hd95=0) for dsc in self._dsc]
        calibration = self._calibration.report(scores, self._settings)
        bootstrap = Bootstrap([str(i) for i in range(len(scores))])
        interval = None
        if bootstrap.is_possible:
            (interval,) = bootstrap.intervals(np.array(self._dsc)[:, None], column_means)
        reliability, risk = calibration.reliability, calibration.risk_coverage
        return {
            "source": self._settings.source,
            "samples": self._settings.samples,
            "images": len(scores),
            "dsc": float(np.mean(self._dsc)),
            "dsc_interval": interval,
            "ece": reliability.ece,
            "ece_unsure": reliability.ece_unsure,
            "brier": calibration.brier,
            "aurc": risk.area,
            "aurc_random": risk.random_area,
            "correlation": float(np.mean(self._correlations)) if self._correlations else None,
            "intervals": self._intervals(),
        }

    def _intervals(self) -> dict[str, dict[str, float]]:
        """Coverage and median half width of the samples' own intervals, by class; empty for few samples."""
        if self._settings.samples < MIN_SAMPLES_FOR_SPREAD:
            return {}
        names = [c.name for c in self._classes]
        samples, volumes = np.stack(self._sample_volumes), np.stack(self._volumes)
        bounds = prediction_interval(samples)
        coverage = interval_coverage(names, bounds, samples, volumes).fraction
        with np.errstate(divide="ignore", invalid="ignore"):
            widths = np.where(volumes > 0, (bounds[..., 1] - bounds[..., 0]) / 2 / volumes, np.nan)
        return {
            name: {"coverage": coverage[name], "half_width": float(np.nanmedian(widths[:, k]))}
            for k, name in enumerate(names)
            if name in coverage
        }


def prediction_interval(volumes: Values) -> Values:
    """The normal prediction interval of samples `(cases, n, K)`: `(cases, K, 2)`."""
    n = volumes.shape[1]
    reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * volumes.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
    mean = volumes.mean(axis=1)
    return np.stack([np.maximum(mean - reach, 0), mean + reach], axis=-1)


def sample_count(card: ModelCard, source: str, samples: int) -> int:
    """How many samples of a source are looked at."""
    return {"none": 1, "members": card.members}.get(source, max(samples, card.members))


def figures(predictor: Predictor, settings: InferenceSettings, cases: Sequence[Case]) -> dict[str, Any]:
    """The row of a source."""
    card = predictor.model.card
    collected = SourceFigures(card, settings)
    started, scoring = time.process_time(), 0.0
    scans = ((case, case.read_scan()) for case in cases)
    for case, result in segment_each(predictor, scans, settings):
        if isinstance(result, BadInput):
            raise result
        scored_from = time.process_time()
        label_map = label_map_for(card, case)
        collected.add(result, case.read_class_numbers(label_map).reshape(result.mask.shape), label_map)
        scoring += time.process_time() - scored_from
    seconds = time.process_time() - started - scoring
    return collected.row() | {"seconds": seconds}


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of each source, from the file where they are kept."""
    model = load_model(args.model)
    split = read_split(model.folder)
    cases = [case for folder in args.data for case in find_cases(folder)]
    cases = [case for case in cases if split.part_of(case) == "validation"]
    cases = cases[:: max(1, len(cases) // args.images)][: args.images] if args.images else cases
    if not cases:
        raise SystemExit("no validation image of the model is in the data")
    predictor = Predictor(model, "cpu", args.precision, engine=args.engine)
    kept = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    names = args.source or card_sources(model.card)
    for source in names:
        count = sample_count(model.card, source, args.samples)
        key = f"{weights_key(model.card)} {args.precision} {args.engine} {source} {count} {len(cases)}"
        if key not in kept:
            settings = InferenceSettings.for_model(model.card, source=source, samples=count)
            kept[key] = figures(predictor, settings, cases)
            if args.json:
                args.json.write_text(json.dumps(kept, indent=1) + "\n")
        yield kept[key]


def card_sources(card: ModelCard) -> list[SamplingSource]:
    """The sources of a model, the single pass first."""
    return cast("list[SamplingSource]", sorted(card.sources, key=lambda source: source != "none"))


def table(all_rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The rows as Markdown."""
    single = next((row["seconds"] for row in all_rows if row["source"] == "none"), None)
    yield (
        "| source | samples | Dice (95 %) | ECE | ECE where unsure | Brier | risk-coverage (random) |"
        " variance and error | intervals of 90 % hold (half width) | time |"
    )
    yield "|" + "---|" * 10
    for row in all_rows:
        interval = row["dsc_interval"]
        dsc = f"{row['dsc']:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")
        held = ", ".join(
            f"{name} {figure['coverage']:.0%} ({figure['half_width']:.0%})".replace("%", " %")
            for name, figure in row["intervals"].items()
        )
        correlation = "" if row["correlation"] is None else f"{row['correlation']:.3f}"
        ratio = "" if single is None else f"{row['seconds'] / single:.1f}"
        unsure = "" if row["ece_unsure"] is None else f"{row['ece_unsure']:.4f}"
        risk = f"{row['aurc']:.4f} ({row['aurc_random']:.4f})"
        ece, brier = f"{row['ece']:.4f}", f"{row['brier']:.5f}"
        cells = [row["source"], row["samples"], dsc, ece, unsure, brier, risk, correlation, held, ratio]
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--source", action="append", help="one of the model's; all where not given")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--images", type=int, help="look at so many of the validation images, evenly")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    for line in table(list(rows(args))):
        print(line)


if __name__ == "__main__":
    main()
