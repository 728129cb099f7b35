"""How good a model is on annotated images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import CONVENTIONS
from napari_latentseg.evaluation.scores import ImageScores, score, summarise
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.request import Request
from napari_latentseg.labelmap import LabelMap
from napari_latentseg.models.card import MetricRecord, ModelCard
from napari_latentseg.models.split import Split
from napari_latentseg.pairs import Pair

__all__ = ["Evaluation", "labels_of"]


@dataclass
class Evaluation:
    """Scores of a model on pairs of images and masks, at the size of the files.

    Parameters
    ----------
    predictor
        The model.
    request
        Samples, source, threshold.
    pairs
        Images with their masks; any class of a mask counts where the model has one class. Where the model
        has several, a mask holds their numbers, or those of a data set that the card has the labels of.
    split
        Of the model, to say how many of these images it has seen.

    Attributes
    ----------
    scores
        One an image, in the order of `pairs`; several classes are averaged over those that were looked for
        and are there, in the mask or in the answer.
    trained_on, kept_apart
        How many of the images so far the model learned from, and by how many it was judged in training.
    """

    predictor: Predictor
    request: Request
    pairs: Sequence[Pair]
    split: Split = field(default_factory=Split)
    scores: list[ImageScores] = field(init=False, default_factory=list)
    trained_on: int = field(init=False, default=0)
    kept_apart: int = field(init=False, default=0)

    def run(self) -> Iterator[float]:
        """Score image after image; yields the fraction done."""
        for number, pair in enumerate(self.pairs):
            found = self.predictor.segment(pair.read(), self.request)
            labels = labels_of(self.predictor.model.card, pair)
            truth = labels.of_pair(pair)
            planes = found.mask.reshape(-1, *found.mask.shape[-2:])
            if truth.shape != planes.shape:
                raise BadInput(
                    pair.mask, f"has shape {truth.shape}, its image {planes.shape}", "make them equal"
                )
            self.scores.append(self._score(found.mask, truth.reshape(found.mask.shape), labels))
            part = self.split.part_of(pair)
            self.trained_on += part == "train"
            self.kept_apart += part == "validation"
            yield (number + 1) / len(self.pairs)

    def _score(
        self, found: np.ndarray[Any, Any], truth: np.ndarray[Any, Any], labels: LabelMap
    ) -> ImageScores:
        classes = self.predictor.model.card.classes
        numbers = LabelMap.of_model(classes).numbered(found)
        pairs = zip(labels.each(numbers), labels.each(truth), labels.annotated, strict=True)
        each = [score(a, b) for a, b, counts in pairs if counts]
        if len(classes) == 1:
            return each[0]
        present = [s for s in each if s.empty != "both"] or each
        return ImageScores(
            dsc=float(np.mean([s.dsc for s in present])),
            iou=float(np.mean([s.iou for s in present])),
            hd95=float(np.mean([s.hd95 for s in present])),
            empty="",
        )

    def report(self) -> dict[str, Any]:
        """Everything, as JSON holds it: means, spread, each image, conventions."""
        summary = self._summary()
        card = self.predictor.model.card
        return {
            "model": {"name": card.name, "version": card.version, "method": card.method_title},
            **summary,
            "count": len(self.scores),
            "trained_on": self.trained_on,
            "kept_apart": self.kept_apart,
            "samples": self.request.samples,
            "source": self.request.source,
            "seed": self.request.seed,
            "threshold": self.request.threshold,
            "conventions": dict(CONVENTIONS)
            | {"size": "at the size of the image files", "hd95_unit": "pixel"},
            "images": [
                {"name": pair.name, **s.model_dump()} for pair, s in zip(self.pairs, self.scores, strict=True)
            ],
        }

    def _summary(self) -> dict[str, Any]:
        if len(self.predictor.model.card.classes) == 1:
            found = summarise(self.scores)
            return {
                "mean": {
                    "dsc": found["dsc"]["mean"],
                    "iou": found["iou"]["mean"],
                    "hd95": found["hd95"]["mean"],
                },
                "std": {"dsc": found["dsc"]["std"], "iou": found["iou"]["std"], "hd95": found["hd95"]["std"]},
                "empty": found["empty"],
            }
        if not self.scores:
            raise BadInput("scores", "there is no image to summarise", "score at least one")
        # a mean over classes obeys no identity between Dice and IoU, which `summarise` would hold it to
        rows = np.array([[s.dsc, s.iou, s.hd95] for s in self.scores])
        spread = rows.std(axis=0, ddof=1).tolist() if len(rows) > 1 else [None] * 3
        names = ("dsc", "iou", "hd95")
        return {
            "mean": dict(zip(names, rows.mean(axis=0).tolist(), strict=True)),
            "std": dict(zip(names, spread, strict=True)),
        }

    def record(self, data: str) -> MetricRecord:
        """The means, as a card holds them."""
        report = self.report()
        return MetricRecord(
            data=data,
            images=len(self.scores),
            samples=self.request.samples,
            source=self.request.source,
            values={k: round(v, 4) for k, v in report["mean"].items()},
            spread={k: round(v, 4) for k, v in report["std"].items() if v is not None},
            conventions=report["conventions"],
        )


def labels_of(card: ModelCard, pair: Pair) -> LabelMap:
    """What a mask's numbers mean: those of a data set that the card has the labels of, or the model's own."""
    folder = pair.mask.absolute().parent.parent.name
    for data in card.training_data:
        if data.labels and data.folder == folder:
            return LabelMap(card.classes, data.labels, folder)
    return LabelMap.of_model(card.classes)
