"""Ranking the slices or the objects of a segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.progress import Progress, no_progress
from napari_latentseg.record import SOURCES
from napari_latentseg.review.measures import DEFAULT_MEASURE, MEASURES
from napari_latentseg.review.places import Place, objects_of, slices_of
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, Segmentation

__all__ = ["Finding", "available", "basis", "profile", "rank"]

Kind = Literal["slice", "object"]
Why = Literal["boundary", "in or out", "volume"]

_GRADED = 0.02  # what is nearer to 0 or 1 is as good as a yes or no


@dataclass(frozen=True)
class Finding:
    """A place to look at.

    Attributes
    ----------
    kind
        ``"slice"`` or ``"object"``.
    index
        The plane along the array's leading axes, () of a single plane; of an object the one where it is least
        sure.
    box
        What to show: first element and one past the last along every axis of the array.
    name, label
        The class that is least sure there.
    number
        Of an object, as `napari_latentseg.measure.measure` numbers them; 0 for a slice, and for a place that
        the mask leaves out though the mean is at least half of the threshold there.
    why
        ``"boundary"``: it is there, but where it ends is not sure. ``"in or out"``: whether it, or a part of
        it, is there at all: the mask leaves it out, or the mean probability is nowhere above 0.8, or most of
        the doubt is farther than two elements from the mask's boundary. ``"volume"``: how large it is, where
        that is what it was ranked by.
    uncertainty, measure
        How unsure, by which of `MEASURES`, in its unit.
    """

    kind: Kind
    index: tuple[int, ...]
    box: tuple[tuple[int, int], ...]
    name: str
    label: int
    number: int
    why: Why
    uncertainty: float
    measure: str

    @property
    def place(self) -> tuple[Any, ...]:
        """What stays the same when the same result is ranked again, by another measure too."""
        return (self.kind, self.index) if self.kind == "slice" else (self.kind, self.label, self.box)


def available(found: Segmentation) -> tuple[str, ...]:
    """The measures that a result can be ranked by; the first is taken unless another is asked for."""
    has = {"mean"}
    if found.variance is not None:
        has.add("variance")
        if found.maps is not None and found.maps.is_complete and found.maps.samples >= MINIMUM_FOR_VARIANCE:
            has.add("samples")
    keys = [key for key, measure in MEASURES.items() if measure.needs in has]
    return tuple(sorted(keys, key=lambda key: key != DEFAULT_MEASURE))


def basis(found: Segmentation) -> str:
    """What the uncertainty of a result comes from, in words for people."""
    record = found.record
    if found.variance is not None:
        return f"{record.samples} samples from {SOURCES[record.source]}"
    if record.source == "none" or record.samples == 1:
        return "one answer: its own probabilities, with no samples to compare them with"
    return f"{record.samples} samples, too few to differ: their mean probabilities alone"


def rank(
    found: Segmentation,
    measure: str = "",
    by: Literal["slices", "objects"] = "slices",
    *,
    mask: Any = None,
    progress: Progress = no_progress,
) -> tuple[Finding, ...]:
    """The slices or objects of a result, those that it is least sure of first.

    Parameters
    ----------
    found
        The result. It is gone through plane by plane, so that a mean on disk is never held whole.
    measure
        One of `MEASURES`; the first of `available` where not given.
    by
        ``"slices"`` or ``"objects"``. Objects are those of the mask, and what the mask leaves out though the
        mean is above half of the threshold there; each with what lies within two elements of it.
    mask
        An edited mask in place of `found.mask`.
    progress
        Called with the fraction done.

    Returns
    -------
    tuple of Finding
        Places without any uncertainty are left out.

    Raises
    ------
    BadInput
        Where the measure is not known, or needs samples that there are not; where there is one answer and it
        is all yes or no; where the mask has another shape.
    """
    key = _chosen(found, measure)
    if by not in ("slices", "objects"):
        raise BadInput("by", f"{by!r} is not known", "use slices or objects")
    shown = found.mask if mask is None else mask
    places = (slices_of if by == "slices" else objects_of)(found, shown, MEASURES[key], progress)
    kind: Kind = "slice" if by == "slices" else "object"
    ranked = [_finding(found, place, kind, key) for place in places if place.uncertainty > 0]
    ranked.sort(key=lambda one: (-one.uncertainty, one.index, one.box))
    return tuple(ranked)


def profile(
    found: Segmentation, measure: str = "", *, mask: Any = None, progress: Progress = no_progress
) -> NDArray[np.float64]:
    """The uncertainty of every plane, for a plot.

    Parameters
    ----------
    found, measure, mask, progress
        As for `rank`.

    Returns
    -------
    ndarray
        In the shape of the leading axes, ``found.mask.shape[:-2]``; 0 where nothing is unsure, and where
        there is no result.

    Raises
    ------
    BadInput
        As `rank` does.
    """
    key = _chosen(found, measure)
    shown = found.mask if mask is None else mask
    values = np.zeros(found.mask.shape[:-2])
    for place in slices_of(found, shown, MEASURES[key], progress):
        values[place.index] = max(0.0, place.uncertainty)
    return values


def _chosen(found: Segmentation, measure: str) -> str:
    """The measure, once it is sure that the result has what it takes."""
    possible = available(found)
    key = measure or possible[0]
    if key not in MEASURES:
        raise BadInput("measure", f"{key!r} is not known", f"use one of {', '.join(MEASURES)}")
    if key not in possible:
        if found.variance is None:
            why = f"{key} needs {MINIMUM_FOR_VARIANCE} samples, and there is {basis(found)}"
        else:
            why = f"{key} needs the samples themselves, and they were not kept with this result"
        raise BadInput("measure", why, f"use {possible[0]}")
    if found.variance is None and not _is_graded(found):
        raise BadInput(
            "result", "is one answer that is all yes or no, and tells nothing of doubt", "draw three samples"
        )
    return key


def _is_graded(found: Segmentation) -> bool:
    """Whether any mean probability lies between yes and no."""
    return any(((plane > _GRADED) & (plane < 1 - _GRADED)).any() for plane in _planes(found.mean))


def _planes(mean: Any) -> Iterator[NDArray[np.float32]]:
    for index in np.ndindex(*mean.shape[:-2]):
        for start in range(0, mean.shape[-2], 1024):
            yield np.asarray(mean[(*index, slice(start, start + 1024))])


def _finding(found: Segmentation, place: Place, kind: Kind, key: str) -> Finding:
    info = found.classes[place.k]
    why: Why = "boundary"
    if place.is_in_or_out:
        why = "in or out"
    elif key == "size-spread":
        why = "volume"
    return Finding(
        kind=kind, index=place.index, box=place.box, name=info.name, label=info.label, number=place.number,
        why=why, uncertainty=place.uncertainty, measure=key,
    )  # fmt: skip
