"""A model's result beside the masks of several readers of the same image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.evaluation.label_maps import at_each_time, class_mask_of
from napari_latentseg.evaluation.reader_pairs import ReaderPair, Tolerance, iter_pairs
from napari_latentseg.evaluation.readers import ReaderAgreement, reader_agreement
from napari_latentseg.utils.progress import StepCount

__all__ = [
    "CORRELATION_CONVENTION",
    "VARIANCE_IS_NOT_DISAGREEMENT",
    "ModelAgreement",
    "ModelBesideReaders",
    "ModelMaps",
    "beside_readers",
]

CORRELATION_CONVENTION = (
    "Pearson correlation of the variance of the samples with the disagreement p(1 - p) of the readers, voxel "
    "by voxel: over those that any reader, any sample or the model's mask marks, and over all, where "
    "background on which everyone agrees makes it larger; none where one of the two is the same everywhere"
)
"""The definition, for reports and JSON."""

# Samples that are equal differ by the rounding of float32: a variance that differs by less says nothing.
_MIN_SPREAD = 1e-6

VARIANCE_IS_NOT_DISAGREEMENT = (
    "The variance of a model is not the disagreement of readers: it says how the model's samples differ, "
    "which depends on how it was trained and sampled. Where it is 0, readers may still disagree."
)
"""What every place that shows both says."""


@dataclass(frozen=True, eq=False)
class ModelMaps:
    """What a result of a model holds, index on index with the readers' label maps.

    Attributes
    ----------
    title
        Name and version of the model.
    mask
        Its label map.
    samples
        Label maps of its samples; empty where they were not kept.
    drawn
        How many samples the run drew.
    mean
        Mean probability `(K, *spatial)`.
    variance
        Variance of the samples `(K, *spatial)` in [0, 0.25]; None where there is none.
    """

    title: str
    mask: NDArray[np.uint8]
    samples: tuple[NDArray[np.uint8], ...]
    drawn: int
    mean: NDArray[np.float32]
    variance: NDArray[np.float32] | None

    @property
    def basis(self) -> str:
        """What was compared with the readers, in words."""
        if self.samples:
            return f"{len(self.samples)} samples" if len(self.samples) > 1 else "1 sample"
        return "the mask of the model alone, since its samples were not kept"


@dataclass(frozen=True)
class ModelAgreement:
    """How far samples, or the mask, of a model agree with readers, for one class.

    Attributes
    ----------
    name, label
        Name of the class, and its value in the label maps.
    time
        Index of the time point, from 0; None without a time axis.
    agreement
        Squared generalized energy distance, its parts, and the matched IoU; see
        `napari_latentseg.evaluation.readers`.
    correlation, correlation_everywhere
        In [-1, 1], of variance and disagreement where anything is marked, and over all voxels; see
        `CORRELATION_CONVENTION`. None where there is no variance, or one of them is constant.

    Examples
    --------
    >>> from napari_latentseg.evaluation.readers import reader_agreement
    >>> readers = np.array([[True, True], [True, False]])
    >>> ModelAgreement("lesion", 1, None, reader_agreement(readers, readers), 0.5, 0.8).agreement.ged2
    0.0
    """

    name: str
    label: int
    time: int | None
    agreement: ReaderAgreement
    correlation: float | None
    correlation_everywhere: float | None


@dataclass(frozen=True, eq=False)
class ModelBesideReaders:
    """A model's result beside readers.

    Attributes
    ----------
    maps
        What was compared.
    agreements
        Of each class and time point.
    pairs
        Each reader, and their consensus, with the model's mask.

    Examples
    --------
    >>> from napari_latentseg import compare_readers, segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> phantom = ultrasound_phantom(shape=(96, 128))
    >>> result = segment(phantom.scan, "breast-ultrasound", samples=3)
    >>> readers = [phantom.reference, np.roll(phantom.reference, 2, axis=1)]
    >>> compared = compare_readers(readers, geometry=result.geometry, result=result)
    >>> compared.model.maps.basis, len(compared.model.pairs)
    ('3 samples', 3)
    """

    maps: ModelMaps
    agreements: tuple[ModelAgreement, ...]
    pairs: tuple[ReaderPair, ...]


def beside_readers(
    model: ModelMaps,
    readers: dict[str, NDArray[Any]],
    consensus: NDArray[Any],
    disagreement: NDArray[np.float32],
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    tolerance: Tolerance,
    compared: NDArray[np.bool_] | None,
    steps: StepCount,
) -> ModelBesideReaders:
    """Compare a model's result with readers whose label maps lie index on index with it.

    Parameters
    ----------
    model
        The result; background where nothing is compared.
    readers
        Label maps by name.
    consensus, disagreement
        Of the readers, see `ReaderComparison`.
    geometry, classes, tolerance
        As for `iter_pairs`.
    compared
        The voxels that count; None for all.
    steps
        Counts the pairs.
    """
    maps = {**readers, "consensus": consensus, "model": model.mask}
    pairs = [(name, "model") for name in (*readers, "consensus")]
    samples = model.samples or (model.mask,)
    region = np.ones(consensus.shape, bool) if compared is None else compared
    variance = np.zeros(disagreement.shape, np.float32) if model.variance is None else model.variance
    agreements = []
    everything = [region, *samples, *readers.values(), model.mask, *variance, *disagreement]
    for time, parts in at_each_time(geometry, everything):
        part, *rest = parts
        label_maps, numbers = rest[: -2 * len(classes)], rest[-2 * len(classes) :]
        for k, info in enumerate(classes):
            masks = np.stack([class_mask_of(labels, info, classes) for labels in label_maps])
            sample_masks, reader_masks = masks[: len(samples)], masks[len(samples) : -1]
            is_marked = masks.any(axis=0)
            spread, differing = numbers[k], numbers[len(classes) + k]
            agreements.append(
                ModelAgreement(
                    info.name, info.label, time, reader_agreement(sample_masks, reader_masks),
                    _correlation(spread[is_marked & part], differing[is_marked & part]),
                    _correlation(spread[part], differing[part]),
                )
            )  # fmt: skip
    return ModelBesideReaders(
        model,
        tuple(agreements),
        tuple(steps.each(iter_pairs(maps, pairs, geometry, classes, tolerance))),
    )


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Pearson correlation in double precision; None where one of them is constant but for rounding."""
    if a.size < 2 or min(np.ptp(a), np.ptp(b)) < _MIN_SPREAD:
        return None
    value = float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])
    return value if np.isfinite(value) else None
