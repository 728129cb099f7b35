"""How well a model answers the clicks of a simulated person.

The first click is at the deepest point of an object, each further one at the deepest point of the largest
error of the last answer, as in Sofiiuk et al., "Reviving iterative training with mask guidance for
interactive segmentation", ICIP 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.evaluation.click_report import REACHED, ClickedObject, ClickReport
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.evaluation.report import EvaluatedModel, LeftOut
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.methods.simulated_prompts import deepest_point
from napari_latentseg.models.card import MetricRecord
from napari_latentseg.models.folder import Model
from napari_latentseg.models.split import Split
from napari_latentseg.utils.counts import count_text
from napari_latentseg.utils.device import Compute

__all__ = [
    "CLICKS",
    "Answer",
    "AnsweredObject",
    "ClickScores",
    "click_scores",
    "objects_of",
    "scored_planes",
]

Mask = NDArray[np.bool_]
Array = NDArray[np.float32]
Answer = Callable[[Prompts], Array]
"""Gives the probability `(H, W)` for prompts."""

CLICKS = (1, 3, 5)
"""After how many clicks the Dice is reported."""

_THRESHOLD = 0.5  # of the mean: the mask is above it
_SMALLEST = 20  # pixels of an object in the file; less is often a fault of the mask
_MOST_OBJECTS = 3  # of a class in an image, the largest: an image of a hundred nuclei is no hundred images


def objects_of(mask: Mask) -> Iterator[Mask]:
    """The largest connected objects of a mask `(H, W)`, three at most."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    for number in np.argsort(-sizes, kind="stable")[:_MOST_OBJECTS]:
        if sizes[number] >= _SMALLEST:
            yield parts == number + 1


def scored_planes(case: Case) -> Iterator[tuple[int, Mask]]:
    """Index and mask of the slices that are clicked on: for each label, the slice of its largest area."""
    mask = np.asarray(case.read_mask())
    labels = mask.reshape(-1, *mask.shape[-2:])
    for label in np.unique(labels[labels > 0]):
        index = int((labels == label).sum((1, 2)).argmax())
        yield index, labels[index] == label


def click_scores(answer: Answer, mask: Mask, clicks: int = max(CLICKS)) -> list[float]:
    """Dice after each click of the simulated person, in [0, 1].

    Parameters
    ----------
    answer
        What is asked.
    mask
        The object, `(H, W)`; not empty.
    clicks
        How many, at most; where nothing is wrong any more the last Dice is repeated.
    """
    points: list[tuple[tuple[float, float], bool]] = [(deepest_point(mask), True)]
    scores: list[float] = []
    for _ in range(clicks):
        predicted = answer(Prompts.from_points(points)) > _THRESHOLD
        scores.append(dice(predicted, mask))
        errors, count = ndimage.label(predicted != mask)
        if not count:
            return scores + scores[-1:] * (clicks - len(scores))
        sizes = np.bincount(errors.ravel())
        sizes[0] = 0
        place = deepest_point(errors == sizes.argmax())
        point = (place, bool(mask[place]))
        if point not in points:
            points.append(point)
    return scores


@dataclass(frozen=True)
class AnsweredObject:
    """An object, and what was answered to the clicks on it.

    Attributes
    ----------
    scan, plane
        Its image, and the number of the slice along all axes before rows and columns together.
    reference, first, last
        Masks of the slice, `(H, W)`: the object, the answer to the first click, and to all of them.
    """

    scan: Scan
    plane: int
    reference: Mask
    first: Mask
    last: Mask


@dataclass
class ClickScores:
    """The scores of a model on the objects of some cases.

    Parameters
    ----------
    model
        One that takes prompts, on the device of `compute`.
    compute
        Device and arithmetic.
    cases
        Images with masks.
    samples
        Of each answer; the mask is that of their mean.
    clicks
        Most clicks on an object.

    Attributes
    ----------
    images
        For each object the name of its image.
    scores
        For each object the Dice after each click.
    left_out
        The images that could not be used.
    places
        For each object the number of its case, and its own in this case.
    """

    model: Model
    compute: Compute
    cases: Sequence[Case]
    samples: int
    clicks: int = max(CLICKS)
    images: list[str] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> Iterator[float]:
        """Score one object after the other; yields the fraction of the images that is done.

        Raises
        ------
        BadInput
            If no image can be used; the reason is that of the first.
        """
        first_error: BadInput | None = None
        for number, case in enumerate(self.cases):
            try:
                for _ in self._score(number, case):
                    yield number / len(self.cases)
            except BadInput as error:
                first_error = first_error or error
                self.left_out.append(LeftOut(name=case.name, reason=str(error)))
        if first_error is not None and not self.scores:
            raise first_error

    def _score(self, number: int, case: Case) -> Iterator[None]:
        """Score the objects of an image, one after the other."""
        for position, (_, mask, session) in enumerate(self._objects(case, case.read_scan())):
            scores = click_scores(self._answer_of(session), mask, self.clicks)
            self.images.append(case.name)
            self.scores.append(scores)
            self.places.append((number, position))
            yield

    def _objects(self, case: Case, scan: Scan) -> Iterator[tuple[int, Mask, PromptSession]]:
        """The objects of an image: the number of the slice, the mask, and what answers on this slice."""
        planes = self.model.card.preprocess.planes(scan)
        for index, mask in scored_planes(case):
            if mask.shape != planes[index].shape[:2]:
                raise BadInput(case.name, "image and mask differ in size", "correct one of them")
            image = np.ascontiguousarray(planes[index].transpose(2, 0, 1))
            session = PromptSession(self.model, image, self.compute)
            for object_mask in objects_of(mask):
                yield index, object_mask, session

    def answer_again(self, number: int) -> AnsweredObject:
        """A scored object with its answers, which are computed again: those of all would fill the memory.

        Parameters
        ----------
        number
            Of the object, in the order of `scores`.

        Raises
        ------
        BadInput
            If its image can no longer be read.
        """
        case_number, position = self.places[number]
        case = self.cases[case_number]
        scan = case.read_scan()
        index, mask, session = next(islice(self._objects(case, scan), position, None))
        means: list[Array] = []

        def answer(prompts: Prompts) -> Array:
            means.append(session.answer(prompts, self.samples).mean)
            return means[-1]

        click_scores(answer, mask, self.clicks)
        return AnsweredObject(scan, index, mask, means[0] > _THRESHOLD, means[-1] > _THRESHOLD)

    def report(self, split: Split) -> ClickReport:
        """The means over objects, and each object.

        Parameters
        ----------
        split
            Of the model: the training images among the scored ones are counted.

        Raises
        ------
        BadInput
            If no object was scored.
        """
        if not self.scores:
            raise BadInput("masks", f"hold no object of {_SMALLEST} pixels", "give masks that hold some")
        card, values = self.model.card, np.array(self.scores)
        scored = set(self.images)
        bootstrap = Bootstrap(self.images)  # the objects of an image are not independent
        return ClickReport(
            model=EvaluatedModel(name=card.name, version=card.version, method=card.method_title),
            samples=self.samples,
            image_count=len(scored),
            object_count=len(values),
            training_count=sum(split.part_of(c) == "train" for c in self.cases if c.name in scored),
            dsc=tuple(values.mean(axis=0).tolist()),
            intervals=tuple(bootstrap.intervals(values, column_means)) if bootstrap.is_possible else None,
            reached=float((values >= REACHED).any(axis=1).mean()),
            objects=tuple(
                ClickedObject(image=image, dsc=tuple(scores))
                for image, scores in zip(self.images, self.scores, strict=True)
            ),
            left_out=tuple(self.left_out),
        )

    def records(self, data: str) -> list[MetricRecord]:
        """The figures for a card, after 1, 3 and 5 clicks; none where there was no object.

        Parameters
        ----------
        data
            The images, in words.
        """
        if not self.scores:
            return []
        values = np.array(self.scores)
        bootstrap = Bootstrap(self.images)  # the objects of an image are not independent
        intervals = bootstrap.intervals(values, column_means) if bootstrap.is_possible else None
        records = []
        for clicks in CLICKS:
            column = values[:, clicks - 1]
            low, high = (round(v, 4) for v in intervals[clicks - 1]) if intervals else (None, None)
            records.append(
                MetricRecord(
                    data=f"{data}; {count_text(len(values), 'object')}, {count_text(clicks, 'click')} each",
                    images=bootstrap.unit_count,
                    samples=self.samples,
                    source="readings",
                    values={"dsc": round(float(column.mean()), 4)},
                    spread={"dsc": round(float(column.std()), 4)},
                    intervals={"dsc": (low, high)} if low is not None and high is not None else {},
                    conventions={
                        "dsc": "mean over objects: in each image the three largest of a class, of a volume in"
                        " the slice of its largest area",
                        "clicks": "the first at the deepest point of the object, then of the largest error",
                    },
                )
            )
        return records

    def _answer_of(self, session: PromptSession) -> Answer:
        def answer(prompts: Prompts) -> Array:
            return session.answer(prompts, self.samples).mean

        return answer
