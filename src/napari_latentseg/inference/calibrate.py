"""Whether an ensemble's probabilities and volumes hold on annotated images, and what makes them hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.calibration import (
    FEWEST_SAMPLES,
    Reliability,
    ReliabilityCounts,
    VolumeInterval,
    fewest_cases,
)
from napari_latentseg.inference.evaluate import labels_of
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.request import Request
from napari_latentseg.labelmap import LabelMap
from napari_latentseg.models.split import Split
from napari_latentseg.pairs import Pair
from napari_latentseg.planes import Planes
from napari_latentseg.segmentation import Segmentation

__all__ = ["Calibration"]


@dataclass
class Calibration:
    """A model's ensemble held against annotated images that it has not learned from.

    Parameters
    ----------
    predictor
        The model.
    request
        Samples, source, threshold; three samples at least.
    pairs
        Images with their masks, as in `Evaluation`.
    split
        Of the model; it may have learned from none of `pairs`. Whether it kept them apart says of which
        data set they are.

    Attributes
    ----------
    keys
        `Scan.content_sha256` of each image, in the order of `pairs`.
    volumes
        Elements of each class in each sample, `(cases, n, K)`.
    reference
        Elements of each class in each mask, `(cases, K)`; NaN where a class was not looked for. As in a
        sample, no place counts for two classes.

    Raises
    ------
    BadInput
        At once, where the samples could not tell anything, or an image was trained on.
    """

    predictor: Predictor
    request: Request
    pairs: Sequence[Pair]
    split: Split = field(default_factory=Split)
    keys: list[str] = field(init=False, default_factory=list)
    volumes: NDArray[np.float64] = field(init=False)
    reference: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        if self.request.source == "none" or self.request.samples < FEWEST_SAMPLES:
            raise BadInput(
                "samples",
                f"{self.request.samples} from {self.request.source!r} cannot tell how much samples differ",
                f"draw {FEWEST_SAMPLES} or more from a source",
            )
        if not self.pairs:
            raise BadInput("data", "holds no image to judge by", "give annotated images")
        self.keys = [pair.key for pair in self.pairs]
        self._parts = [self.split.part_of(pair) for pair in self.pairs]
        seen = self._parts.count("train")
        if seen:
            raise BadInput(
                "data",
                f"{seen} of the {len(self.keys)} images were used to train the model, which flatters it",
                "leave them out (--subset validation takes those that it kept apart)",
            )
        classes = len(self.predictor.model.card.classes)
        self.volumes = np.zeros((len(self.pairs), self.request.samples, classes))
        self.reference = np.full((len(self.pairs), classes), np.nan)
        self._counts = ReliabilityCounts()

    def run(self) -> Iterator[float]:
        """Judge image after image; yields the fraction done."""
        card = self.predictor.model.card
        for number, pair in enumerate(self.pairs):
            scan = pair.read()
            found = self.predictor.segment(scan, self.request)
            labels = labels_of(card, pair)
            truth = labels.of_pair(pair)
            shape = (len(Planes.of(scan)), *found.mask.shape[-2:])
            if truth.shape != shape:
                raise BadInput(pair.mask, f"has shape {truth.shape}, its image {shape}", "make them equal")
            self._add(number, found, truth, labels)
            yield (number + 1) / len(self.pairs)

    def _add(self, number: int, found: Segmentation, truth: NDArray[np.uint8], labels: LabelMap) -> None:
        size, _ = found.geometry.element_size
        self.volumes[number] = np.round(found.volumes / size)
        annotated = np.array(labels.annotated)
        elements = np.bincount(truth.ravel(), minlength=len(annotated) + 1)[1:]
        self.reference[number, annotated] = elements[annotated]
        means = found.mean.reshape(len(annotated), *truth.shape)
        for plane, numbers in enumerate(truth):
            for k, here in enumerate(labels.each(numbers)):
                if annotated[k]:
                    self._counts.add(np.asarray(means[k, plane]), here)

    def reliability(self) -> Reliability:
        """Of the mean probabilities, over all images: nothing is fitted to them."""
        return self._counts.reliability(
            images=len(self.pairs),
            samples=self.request.samples,
            source=self.request.source,
            data=self._data(len(self.pairs)),
        )

    def halves(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The positions of the images to fit by, and of those to test on; drawn by their hashes alone.

        Images of equal content are on one side. The draw is by the hashes of their files, the least one where
        several hold one image, so that a card's interval can be made again from the files it was made from.
        """
        files: dict[str, str] = {}
        for key, pair in zip(self.keys, self.pairs, strict=True):
            files[key] = min(pair.file_sha256, files.get(key, pair.file_sha256))
        drawn = [hashlib.sha256(f"halves:{files[key]}".encode()).hexdigest() for key in self.keys]
        order = sorted(set(drawn))
        first = set(order[: (len(order) + 1) // 2])
        is_first = np.array([one in first for one in drawn])
        return np.flatnonzero(is_first), np.flatnonzero(~is_first)

    def volume_interval(self, level: float = 0.9) -> VolumeInterval:
        """Fitted to one half of the images, and tested on the other.

        Raises
        ------
        BadInput
            Where a half is too small.
        """
        names = [c.name for c in self.predictor.model.card.classes]
        fit, test = self.halves()
        least = fewest_cases(level)
        if len(fit) < least:
            raise BadInput(
                "cases",
                f"are {len(self.pairs)}, half of them to fit by; an interval of {level:.0%} takes {least}",
                "give more annotated images",
            )
        made = VolumeInterval.fit(
            names,
            self.volumes[fit],
            self.reference[fit],
            level=level,
            samples=self.request.samples,
            source=self.request.source,
            threshold=self.request.threshold,
            data=self._data(len(fit)),
        )
        return made.tested(names, self.volumes[test], self.reference[test])

    def _data(self, count: int) -> str:
        sets = self.predictor.model.card.training_data
        if len(sets) == 1 and set(self._parts) == {"validation"}:
            return f"{count} images kept apart from the training on {sets[0].name}"
        known = "never trained on" if self.split.is_known else "the model does not say what it was trained on"
        return f"{count} images, {known}"
