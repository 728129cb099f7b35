"""Ranking the slices or the objects of a segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.record import SAMPLING_SOURCES
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.review.scoring import ScoredRegion, score_objects, score_slices
from napari_latentseg.review.uncertainty import DEFAULT_MEASURE, MEASURES
from napari_latentseg.utils.progress import Progress, no_progress

__all__ = ["Finding", "available_measures", "rank", "uncertainty_basis", "uncertainty_profile"]

RegionKind = Literal["slice", "object"]
UncertaintyReason = Literal["boundary", "presence", "volume"]

_BINARY_TOLERANCE = 0.02  # what is nearer to 0 or 1 is as good as a yes or no


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
    object_number
        Of an object, as `napari_latentseg.measure.measure` numbers them; 0 for a slice, and for a place that
        the mask leaves out though the mean is at least half of the threshold there.
    reason
        ``"boundary"``: it is there, but where it ends is not sure. ``"presence"``: whether it, or a part of
        it, is there at all: the mask leaves it out, or the mean probability is nowhere above 0.8, or most of
        the doubt is farther than two elements from the mask's boundary. ``"volume"``: how large it is, where
        that is what it was ranked by.
    uncertainty, measure
        How unsure, by which of `MEASURES`, in its unit.
    """

    kind: RegionKind
    index: tuple[int, ...]
    box: tuple[tuple[int, int], ...]
    name: str
    label: int
    object_number: int
    reason: UncertaintyReason
    uncertainty: float
    measure: str

    @property
    def identity(self) -> tuple[Any, ...]:
        """What stays the same when the same result is ranked again, by another measure too."""
        return (self.kind, self.index) if self.kind == "slice" else (self.kind, self.label, self.box)


def available_measures(segmentation: Segmentation) -> tuple[str, ...]:
    """The measures that a result can be ranked by; the first is taken unless another is asked for."""
    available_data = {"mean"}
    if segmentation.variance is not None:
        available_data.add("variance")
        if (
            segmentation.sample_maps is not None
            and segmentation.sample_maps.is_complete
            and segmentation.sample_maps.sample_count >= MIN_SAMPLES_FOR_VARIANCE
        ):
            available_data.add("samples")
    keys = [key for key, measure in MEASURES.items() if measure.required in available_data]
    return tuple(sorted(keys, key=lambda key: key != DEFAULT_MEASURE))


def uncertainty_basis(segmentation: Segmentation) -> str:
    """What the uncertainty of a result comes from, in words for people."""
    record = segmentation.record
    if segmentation.variance is not None:
        return f"{record.samples} samples from {SAMPLING_SOURCES[record.source]}"
    if record.source == "none" or record.samples == 1:
        return "one answer: its own probabilities, with no samples to compare them with"
    return f"{record.samples} samples, too few to differ: their mean probabilities alone"


def rank(
    segmentation: Segmentation,
    measure: str = "",
    by: Literal["slices", "objects"] = "slices",
    *,
    mask: Any = None,
    progress: Progress = no_progress,
) -> tuple[Finding, ...]:
    """The slices or objects of a result, those that it is least sure of first.

    Parameters
    ----------
    segmentation
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
    key = _resolve_measure(segmentation, measure)
    if by not in ("slices", "objects"):
        raise BadInput("by", f"{by!r} is not known", "use slices or objects")
    labels = segmentation.mask if mask is None else mask
    regions = (score_slices if by == "slices" else score_objects)(
        segmentation, labels, MEASURES[key], progress
    )
    kind: RegionKind = "slice" if by == "slices" else "object"
    ranked = [_finding(segmentation, region, kind, key) for region in regions if region.uncertainty > 0]
    ranked.sort(key=lambda one: (-one.uncertainty, one.index, one.box))
    return tuple(ranked)


def uncertainty_profile(
    segmentation: Segmentation, measure: str = "", *, mask: Any = None, progress: Progress = no_progress
) -> NDArray[np.float64]:
    """The uncertainty of every plane, for a plot.

    Parameters
    ----------
    segmentation, measure, mask, progress
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
    key = _resolve_measure(segmentation, measure)
    labels = segmentation.mask if mask is None else mask
    values = np.zeros(segmentation.mask.shape[:-2])
    for region in score_slices(segmentation, labels, MEASURES[key], progress):
        values[region.index] = max(0.0, region.uncertainty)
    return values


def _resolve_measure(segmentation: Segmentation, measure: str) -> str:
    """The measure, once it is sure that the result has what it takes."""
    available_keys = available_measures(segmentation)
    key = measure or available_keys[0]
    if key not in MEASURES:
        raise BadInput("measure", f"{key!r} is not known", f"use one of {', '.join(MEASURES)}")
    if key not in available_keys:
        if segmentation.variance is None:
            why = (
                f"{key} needs {MIN_SAMPLES_FOR_VARIANCE} samples or more, and the result has"
                f" {uncertainty_basis(segmentation)}"
            )
        else:
            why = f"{key} needs the samples themselves, and they were not kept with this result"
        raise BadInput("measure", why, f"use {available_keys[0]}")
    if segmentation.variance is None and not _has_graded_probabilities(segmentation):
        raise BadInput(
            "result", "is one answer that is all yes or no, and tells nothing of doubt", "draw three samples"
        )
    return key


def _has_graded_probabilities(segmentation: Segmentation) -> bool:
    """Whether any mean probability lies between yes and no."""
    return any(
        ((plane > _BINARY_TOLERANCE) & (plane < 1 - _BINARY_TOLERANCE)).any()
        for plane in _plane_chunks(segmentation.mean)
    )


def _plane_chunks(mean: Any) -> Iterator[NDArray[np.float32]]:
    for index in np.ndindex(*mean.shape[:-2]):
        for start in range(0, mean.shape[-2], 1024):
            yield np.asarray(mean[(*index, slice(start, start + 1024))])


def _finding(segmentation: Segmentation, region: ScoredRegion, kind: RegionKind, key: str) -> Finding:
    info = segmentation.classes[region.class_index]
    reason: UncertaintyReason = "boundary"
    if region.is_presence_uncertain:
        reason = "presence"
    elif key == "size-spread":
        reason = "volume"
    return Finding(
        kind=kind, index=region.index, box=region.box, name=info.name, label=info.label,
        object_number=region.object_number, reason=reason, uncertainty=region.uncertainty, measure=key,
    )  # fmt: skip
