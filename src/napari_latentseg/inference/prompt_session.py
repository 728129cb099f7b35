"""Answers to prompts on a slice: the view is encoded once, and a click costs a mapper and a decoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.core.prompts import MAX_ANSWER_SAMPLES, Prompts
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.sample_agreement import mean_pairwise_dice
from napari_latentseg.inference.prompt_view import (
    View,
    closer_view,
    first_view,
    is_well_seen,
    only_pointed_at,
    prompt_maps,
    size_misfit,
    views_at_scales,
    views_of_size,
    whole_view,
)
from napari_latentseg.methods.prompted import PromptedMapping
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute

__all__ = ["PromptAnswer", "PromptSession", "stages_of"]

Array = NDArray[np.float32]

_MAX_ZOOMS = 3  # each makes the view less than two thirds as wide; three show what has a tenth of the slice
_KEPT_VIEWS = 16  # encoded; a latent of 16 x 16 x 48 takes 50 KB
# One in so many samples of a first click is of another scale. With every fourth, large structures lost 5
# points of Dice, with every eighth 1, and both readings of a nested structure are still found.
_EVERY = 8
# Where the size of the structure is given, samples that differ from it by at most this factor are kept: less
# than the step of the window, so that a step asks for another structure.
_LIKE_SIZE = 1.4
_MOST_STAGES = 6  # in which prompts are answered: each takes as long as a click
_TURNS = 8  # quarter turns, and the same mirrored
_BATCH = 8  # answers at once; more are not faster on a CPU

_Key = tuple[View, int, int]  # of a sample: view, turn and reading


@dataclass(frozen=True)
class PromptAnswer:
    """The answer to prompts on a slice.

    Attributes
    ----------
    samples
        Probabilities, `(n, H, W)` float32 in [0, 1]; 0 outside the view.
    view
        What the model looked at.
    """

    samples: Array
    view: View

    @property
    def mean(self) -> Array:
        """Mean probability over the samples, `(H, W)`."""
        mean: Array = self.samples.mean(axis=0)
        return mean

    @property
    def variance(self) -> Array | None:
        """Population variance over the samples, `(H, W)`; None of fewer than three."""
        return self.samples.var(axis=0) if len(self.samples) >= 3 else None


class PromptSession:
    """Answers prompts on one slice.

    Parameters
    ----------
    model
        One whose method takes prompts, on the device of `compute`.
    plane
        The slice, `(3, H, W)` float32 in [0, 1].
    compute
        Device and arithmetic.

    Raises
    ------
    BadInput
        If the model takes no prompts.
    """

    def __init__(self, model: Model, plane: Array, compute: Compute) -> None:
        if not isinstance(model.method, PromptedMapping):
            remedy = "choose a model that takes some, or leave them out"
            raise BadInput(f"model {model.card.name!r}", "takes no prompts", remedy)
        self._method = model.method
        self._size = model.card.preprocess.size
        self._threshold = model.card.threshold
        self._plane, self._compute = plane, compute
        self._encoded: OrderedDict[tuple[View, int], Tensor] = OrderedDict()
        # what was drawn for the present prompts, by view, turn and reading
        self._drawn: dict[_Key, Array] = {}
        # of the stages of the latest prompts; a further click needs the last of them alone
        self._means: dict[tuple[Prompts, ...], Array] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the slice."""
        height, width = self._plane.shape[1:]
        return height, width

    def prepare(self) -> None:
        """Encode the whole slice, so that the first answer is quick."""
        self._encode([(whole_view(self.shape), 0)])

    def answer(self, prompts: Prompts, samples: int = 1, previous: Array | None = None) -> PromptAnswer:
        """The answer to prompts.

        The first point is looked at in views of several scales, since a point does not say how large the
        structure is. That view is taken whose answer the model expects to be best, or, of a model that does
        not predict this, in which the readings agree most. A small structure is then looked at more
        closely, until the view fits what was answered. Where the prompts say the size, it is looked at in
        views for this size, and the samples are those that have about this size.

        Several points are answered in stages, each of which corrects the answer before, as the model learnt
        it: the boxes or the first point inside, then one point more at a time in the order of the prompts. So
        the answer depends on the prompts alone: it is the same from a person who clicks one by one, takes
        clicks back, or gives all at once.

        Parameters
        ----------
        prompts
            Of this slice.
        samples
            How many, 1 to 64: the readings of the model in turn, then those of the turned and mirrored view.
            Of a single point every eighth is of another scale.
        previous
            The probability of a mask that the prompts correct, `(H, W)`, such as that of the slice before.

        Raises
        ------
        BadInput
            If the number of samples is not possible, or the prompts are not of this slice.
        """
        if not 1 <= samples <= MAX_ANSWER_SAMPLES:
            raise BadInput("samples", f"are {samples}", f"ask for 1 to {MAX_ANSWER_SAMPLES}")
        prompts = prompts.on_plane(self.shape)
        if previous is not None:
            return self._answer(prompts, samples, previous)
        stages = stages_of(prompts)
        # of as many samples whatever is asked for: the mask then changes little with their number
        count = min(self._method.config.readings, _EVERY - 1)
        answer = self._answer(prompts, samples, self._before_last(stages, count))
        if samples >= count:  # the first samples are those of a stage, for the next click
            self._means[tuple(stages)] = answer.samples[:count].mean(axis=0)
        return answer

    def _before_last(self, stages: Sequence[Prompts], samples: int) -> Array | None:
        """The mean of the stage before the last, which the last one corrects; None for a single stage."""
        known, self._means = self._means, {}
        mean = None
        for number in range(1, len(stages)):
            key = tuple(stages[:number])
            mean = known[key] if key in known else self._answer(stages[number - 1], samples, mean).mean
            self._means[key] = mean
        return mean

    def _answer(self, prompts: Prompts, samples: int, previous: Array | None) -> PromptAnswer:
        """The answer to all prompts at once."""
        self._drawn.clear()
        if prompts.size is None:
            keys = self._keys_of_scale(prompts, samples, previous)
        else:
            keys = self._keys_of_size(prompts, samples, previous)
        drawn = self._draw(keys, prompts, previous)
        pasted = [key[0].paste(sample, self.shape) for key, sample in zip(keys, drawn, strict=True)]
        return PromptAnswer(np.stack(pasted), keys[0][0])

    def _keys_of_scale(self, prompts: Prompts, samples: int, previous: Array | None) -> list[_Key]:
        """The samples to draw where the scale must be found."""
        others: list[View] = []
        if previous is None and not prompts.boxes:
            view, *others = self._ranked_views(prompts)
        else:
            view = first_view(prompts, self.shape, None if previous is None else previous > self._threshold)
        for _ in range(_MAX_ZOOMS):
            (first,) = self._draw([(view, 0, 0)], prompts, previous)
            closer = closer_view(view, prompts, self.shape, first > self._threshold)
            if closer is None:
                break
            view = closer
        return self._sample_keys(view, others, samples)

    def _keys_of_size(self, prompts: Prompts, samples: int, previous: Array | None) -> list[_Key]:
        """The samples to draw for a structure of a given size.

        Those that have this size, of the view in which the readings agree most; where none has it, that which
        is nearest to it.
        """
        views, readings = views_of_size(prompts, self.shape), range(self._method.config.readings)
        keys = [(view, 0, reading) for view in views for reading in readings]
        drawn = dict(zip(keys, self._draw(keys, prompts, previous) > self._threshold, strict=True))
        misfits = {key: size_misfit(key[0], prompts, mask) for key, mask in drawn.items()}
        most = max(_LIKE_SIZE, min(misfits.values()))
        fitting = [[key for key in keys if key[0] == view and misfits[key] <= most] for view in views]
        chosen = max(
            (of_view for of_view in fitting if of_view),
            key=lambda of_view: _agreement(np.stack([drawn[of_view[0][0], 0, n] for n in readings])),
        )
        return [
            (chosen[0][0], number // len(chosen) % _TURNS, chosen[number % len(chosen)][2])
            for number in range(samples)
        ]

    def _sample_keys(self, view: View, others: Sequence[View], count: int) -> list[_Key]:
        """The samples to draw: the readings of the view one after another, then those of the view turned.

        Every eighth is of another scale, where the object fits into one: the view was chosen since its
        readings agree, so they alone would say too little of what else may be meant.
        """
        readings = self._method.config.readings
        keys: list[_Key] = []
        own = foreign = 0
        for number in range(count):
            if others and number % _EVERY == _EVERY - 1:
                other, round_ = others[foreign % len(others)], foreign // len(others)
                keys.append((other, round_ // readings % _TURNS, round_ % readings))
                foreign += 1
            else:
                keys.append((view, own // readings % _TURNS, own % readings))
                own += 1
        return keys

    def _ranked_views(self, prompts: Prompts) -> list[View]:
        """The views of a first click, the best first: by the predicted quality, or by agreement."""
        views = views_at_scales(prompts, self.shape)
        if self._method.config.readings == 1:
            return views[:1]
        if self._method.config.quality:
            qualities = self._qualities(views, prompts)
            return [views[i] for i in sorted(range(len(views)), key=lambda i: -qualities[i])]
        return self._views_by_agreement(views, prompts)

    def _qualities(self, views: Sequence[View], prompts: Prompts) -> list[float]:
        """The Dice that the mean of the readings is expected to have in each view, in [0, 1]."""
        conditioning = self._encode([(view, 0) for view in views])
        maps = np.stack([prompt_maps(view, prompts, self._size) for view in views])
        with torch.inference_mode(), self._compute.autocast():
            qualities = self._method.predict_quality(
                conditioning,
                torch.from_numpy(self._readings_of(views, prompts)).to(conditioning.device),
                torch.from_numpy(maps).to(conditioning.device),
            )
        return [float(quality) for quality in qualities.float()]

    def _readings_of(self, views: Sequence[View], prompts: Prompts) -> Array:
        """All readings of each view, `(V, R, S, S)`."""
        readings = self._method.config.readings
        keys = [(view, 0, number) for view in views for number in range(readings)]
        return self._draw(keys, prompts, None).reshape(len(views), readings, self._size, self._size)

    def _views_by_agreement(self, views: Sequence[View], prompts: Prompts) -> list[View]:
        """The views into which the object fits, that in which the readings agree most first.

        The whole slice where it fits into none.
        """
        # the views, and then the readings, in one batch each: two cores compute it in two thirds of the time
        first_readings = self._draw([(view, 0, 0) for view in views], prompts, None)
        fitting = [
            view
            for view, reading in zip(views, first_readings, strict=True)
            if is_well_seen(view, prompts, reading > self._threshold)
        ]
        masks = self._readings_of(fitting, prompts) > self._threshold
        agreements = [_agreement(of_view) for of_view in masks]
        order = sorted(range(len(fitting)), key=lambda i: -agreements[i])  # of equal ones the coarser first
        return [fitting[i] for i in order] or list(views[:1])

    def _draw(self, keys: Sequence[_Key], prompts: Prompts, previous: Array | None) -> Array:
        """Samples, each of its view, `(n, S, S)`."""
        self._draw_missing(keys, prompts, previous)
        samples = [only_pointed_at(self._drawn[key], key[0], prompts, self._threshold) for key in keys]
        return np.stack(samples) if samples else np.empty((0, self._size, self._size), np.float32)

    def _draw_missing(self, keys: Sequence[_Key], prompts: Prompts, previous: Array | None) -> None:
        """Draw what was not drawn yet for these prompts, and keep it until there are others."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._drawn]
        for batch in (missing[i : i + _BATCH] for i in range(0, len(missing), _BATCH)):
            conditioning = self._encode([(view, turn) for view, turn, _ in batch])
            maps = [
                _turned(prompt_maps(view, prompts, self._size, previous), turn) for view, turn, _ in batch
            ]
            with torch.inference_mode(), self._compute.autocast():
                probabilities = self._method.draw(
                    conditioning,
                    torch.from_numpy(np.stack(maps)).to(conditioning.device),
                    torch.tensor([reading for *_, reading in batch], device=conditioning.device),
                )
            samples = probabilities[:, 0].float().cpu().numpy()
            self._drawn |= {
                key: _turned_back(sample, key[1]) for key, sample in zip(batch, samples, strict=True)
            }

    def _encode(self, keys: Sequence[tuple[View, int]]) -> Tensor:
        """The conditioning of views and turns, `(B, C, h, w)`."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._encoded]
        if missing:
            images = [_turned(view.crop(self._plane, self._size), turn) for view, turn in missing]
            batch = torch.from_numpy(np.stack(images)).to(self._compute.torch_device())
            with torch.inference_mode(), self._compute.autocast():
                encoded = self._method.encode(batch.contiguous(memory_format=torch.channels_last))
            self._encoded.update(zip(missing, encoded.split(1), strict=True))
        conditioning = torch.cat([self._encoded[key] for key in keys])
        for key in keys:
            self._encoded.move_to_end(key)
        while len(self._encoded) > _KEPT_VIEWS:
            self._encoded.popitem(last=False)
        return conditioning


def stages_of(prompts: Prompts) -> list[Prompts]:
    """The prompts from the first to all of them, in the order in which they are answered.

    Parameters
    ----------
    prompts
        Of one slice. Of many points, as in a scribble, several are added at a time.
    """
    points = list(dict.fromkeys(prompts.points))  # one that is given twice corrects nothing
    # without a box there is no answer before a point inside; points outside may have been given before it
    first = 0 if prompts.boxes else 1 + [is_inside for _, is_inside in points].index(True)
    step = max(1, -(-(len(points) - first) // (_MOST_STAGES - 1)))
    counts = [*range(first, len(points), step), len(points)]
    return [Prompts.from_points(points[:count], prompts.boxes, prompts.size) for count in counts]


def _agreement(masks: NDArray[np.bool_]) -> float:
    """Mean Dice over all pairs of masks `(n, S, S)`; 0 of one alone, and where all are empty."""
    return (mean_pairwise_dice(masks[:, None]) or 0.0) if len(masks) > 1 else 0.0


def _turned(image: Array, turn: int) -> Array:
    """An image `(..., S, S)` after quarter turns, from the fourth on mirrored first."""
    mirrored = image[..., ::-1] if turn >= 4 else image
    return np.ascontiguousarray(np.rot90(mirrored, turn % 4, axes=(-2, -1)))


def _turned_back(image: Array, turn: int) -> Array:
    """The inverse of `_turned`."""
    straight = np.rot90(image, -(turn % 4), axes=(-2, -1))
    return np.ascontiguousarray(straight[..., ::-1] if turn >= 4 else straight)
