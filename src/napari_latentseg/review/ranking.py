"""Ranking the slices or the objects of a segmentation by their uncertainty."""

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
from napari_latentseg.utils.counts import count_text
from napari_latentseg.utils.progress import Progress, no_progress

__all__ = ["Finding", "available_measures", "rank", "uncertainty_basis", "uncertainty_profile"]

RegionKind = Literal["slice", "object"]
UncertaintyReason = Literal["boundary", "presence", "volume"]

# Chosen by hand: probabilities that are all this close to 0 or 1 say nothing about the uncertainty.
_BINARY_TOLERANCE = 0.02
_CHUNK_ROWS = 1024  # as in the chunks of a mean on disk


@dataclass(frozen=True)
class Finding:
    """A slice or an object that should be reviewed.

    Attributes
    ----------
    kind
        ``"slice"`` or ``"object"``.
    index
        Index of the plane along the leading axes of the array, () for a single plane; for an object, its most
        uncertain plane.
    box
        Region to show: first index and one past the last, along every axis of the array.
    name, label
        The most uncertain class in the slice, or the class of the object: its name, and its value in the
        mask.
    object_number
        Number of the object, as `napari_latentseg.measure.measure` counts them. 0 for a slice, and for a
        structure that the mask may have missed: its mean probability exceeds half the threshold somewhere.
    reason
        ``"boundary"``: the structure exists, but its boundary is uncertain. ``"presence"``: it is uncertain
        whether the structure, or a part of it, exists at all: the mask is empty in the region, or the mean
        probability is 0.8 or less everywhere, or most of the uncertainty is more than two voxels away from
        the boundary of the mask. ``"volume"``: the size is uncertain (only with the measure
        ``"size-spread"``).
    uncertainty
        Value of the measure, in its unit; larger is more uncertain.
    measure
        Key of the measure in `MEASURES`.

    Examples
    --------
    >>> from napari_latentseg import segment, rank
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> rank(result)[0].uncertainty > 0
    True
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
        """A key that stays the same if the segmentation is ranked again, also by another measure."""
        return (self.kind, self.index) if self.kind == "slice" else (self.kind, self.label, self.box)


def available_measures(segmentation: Segmentation) -> tuple[str, ...]:
    """Keys of the measures that can be computed from a segmentation; the first is the default."""
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
    """What the uncertainty of a segmentation is computed from, as text for the user."""
    record = segmentation.record
    if segmentation.variance is not None:
        return f"{count_text(record.samples, 'sample')} from {SAMPLING_SOURCES[record.source]}"
    if record.source == "none" or record.samples == 1:
        return "the probabilities of one prediction, and no samples to compare"
    return f"the mean probabilities of {count_text(record.samples, 'sample')}, too few for a variance"


def rank(
    segmentation: Segmentation,
    measure: str = "",
    by: Literal["slices", "objects"] = "slices",
    *,
    mask: Any = None,
    progress: Progress = no_progress,
) -> tuple[Finding, ...]:
    """Rank the slices or the objects of a segmentation, the most uncertain first.

    Parameters
    ----------
    segmentation
        The segmentation. It is read block by block, so a mean on disk is never loaded whole.
    measure
        Key in `MEASURES`; by default the first of `available_measures`.
    by
        ``"slices"`` or ``"objects"``. Objects are the connected objects of the mask, and regions outside it
        where the mean probability exceeds half the threshold. Voxels within two voxels of an object count
        too.
    mask
        Edited label map instead of `segmentation.mask`.
    progress
        Called with the fraction that is done, in [0, 1].

    Returns
    -------
    tuple of Finding
        Slices and objects of uncertainty 0 are left out.

    Raises
    ------
    BadInput
        If the measure is unknown or needs samples that the segmentation does not have, if there is no
        variance and all mean probabilities are close to 0 or 1, or if the mask has another shape.

    Examples
    --------
    >>> from napari_latentseg import segment, rank
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> [finding.kind for finding in rank(result)]
    ['slice']
    """
    if by not in ("slices", "objects"):
        raise BadInput("by", f"{by!r} is not known", "use slices or objects")
    key = _resolve_measure(segmentation, measure)
    labels = segmentation.mask if mask is None else mask
    regions = (score_slices if by == "slices" else score_objects)(
        segmentation, labels, MEASURES[key], progress
    )
    kind: RegionKind = "slice" if by == "slices" else "object"
    ranked = [_finding(segmentation, region, kind, key) for region in regions if region.uncertainty > 0]
    ranked.sort(key=lambda finding: (-finding.uncertainty, finding.index, finding.box))
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
        float64 in the shape of the leading axes, ``segmentation.mask.shape[:-2]``; 0 for planes that were not
        segmented.

    Raises
    ------
    BadInput
        As for `rank`.
    """
    key = _resolve_measure(segmentation, measure)
    labels = segmentation.mask if mask is None else mask
    values = np.zeros(segmentation.mask.shape[:-2])
    for region in score_slices(segmentation, labels, MEASURES[key], progress):
        values[region.index] = max(0.0, region.uncertainty)
    return values


def _resolve_measure(segmentation: Segmentation, measure: str) -> str:
    """The key of the measure, after checking that it can be computed from the segmentation."""
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
            why = f"{key} needs the samples themselves, which were not kept with this result"
        raise BadInput("measure", why, f"use {available_keys[0]}")
    if segmentation.variance is None and not _has_graded_probabilities(segmentation):
        count = segmentation.record.samples
        few = (
            "is a single prediction with"
            if count == 1
            else f"has {count} samples, too few for a variance, and"
        )
        raise BadInput(
            "result",
            f"{few} probabilities of 0 and 1 only: there is no uncertainty to rank",
            "draw three samples or more",
        )
    return key


def _has_graded_probabilities(segmentation: Segmentation) -> bool:
    """Whether any mean probability is clearly between 0 and 1."""
    return any(
        ((plane > _BINARY_TOLERANCE) & (plane < 1 - _BINARY_TOLERANCE)).any()
        for plane in _plane_chunks(segmentation.mean)
    )


def _plane_chunks(mean: Any) -> Iterator[NDArray[np.float32]]:
    """The mean in blocks of rows `(rows, W)`, so that one on disk is never loaded whole."""
    for index in np.ndindex(*mean.shape[:-2]):
        for start in range(0, mean.shape[-2], _CHUNK_ROWS):
            yield np.asarray(mean[(*index, slice(start, start + _CHUNK_ROWS))])


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
