"""Measures of uncertainty of a slice or an object.

Each measure is computed in two steps: a few sums over voxels (`accumulate`), which can be added over blocks,
and a value from these sums (`evaluate`). p is the mean probability of a voxel over the samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_MEASURE", "MEASURES", "RegionView", "RequiredData", "UncertaintyMeasure", "boundary_band"]

RequiredData = Literal["mean", "variance", "samples"]
_Sums = NDArray[np.float64]

DEFAULT_MEASURE = "doubt"
"""The default measure, the best of these in the validation in docs/benchmarks/uncertainty.md."""

_PSEUDO_COUNT = 10.0
"""Voxels of agreement added to every region, so that the Dice of a region of few voxels is not extreme."""


@dataclass(frozen=True)
class RegionView:
    """One class in a block of one plane.

    For an object, the arrays are its crop, and are 0 at the voxels of other objects of the class, which do
    not count.

    Attributes
    ----------
    mean
        Mean probability, float32 `(h, w)` in [0, 1].
    mask
        Whether the mask has the class, bool `(h, w)`.
    voxel_count
        Number of voxels that count, those outside the mask included.
    variance
        Variance over the samples, float32 `(h, w)` in [0, 0.25]; None if not available.
    samples
        Whether each sample has the class, bool `(n, h, w)`; None if not kept.
    precomputed_band
        Boundary band, bool `(h, w)`, where it depends on rows outside the block.
    """

    mean: NDArray[np.float32]
    mask: NDArray[np.bool_]
    voxel_count: int
    variance: NDArray[np.float32] | None
    samples: NDArray[np.bool_] | None
    precomputed_band: NDArray[np.bool_] | None = None

    @cached_property
    def band(self) -> NDArray[np.bool_]:
        """Boundary band of the mask: one voxel on either side."""
        return boundary_band(self.mask) if self.precomputed_band is None else self.precomputed_band


@dataclass(frozen=True)
class UncertaintyMeasure:
    """A measure of uncertainty.

    Attributes
    ----------
    title, unit, description, source
        Texts for the user: name, unit, definition and publication.
    required
        Data that the measure needs. ``"mean"``: any result has them. ``"variance"``: three samples or more.
        ``"samples"``: the sample maps, kept in memory since the run.
    accumulate
        Sums over the voxels of a block; those of the blocks of a region are added.
    evaluate
        Value from the sums of a region; 0 if nothing is uncertain.
    averages_classes
        Whether the value of a slice is the mean over its classes; otherwise it is their sum.
    only_predicted_classes
        Whether, in a slice where the mask is not empty, only the classes in the mask count.
    """

    title: str
    unit: str
    description: str
    source: str
    required: RequiredData
    accumulate: Callable[[RegionView], _Sums]
    evaluate: Callable[[_Sums], float]
    averages_classes: bool = False
    only_predicted_classes: bool = False


def boundary_band(mask: NDArray[np.bool_], radius: int = 1) -> NDArray[np.bool_]:
    """Voxels of a plane within `radius` steps of the boundary of a mask `(h, w)`, on either side."""
    from scipy import ndimage

    band = np.zeros_like(mask)
    box = next(iter(ndimage.find_objects(mask.view(np.uint8))), None)
    if box is None:
        return band
    crop = tuple(
        slice(max(0, s.start - radius), min(n, s.stop + radius)) for s, n in zip(box, mask.shape, strict=True)
    )
    mask_crop = mask[crop]
    outer = ndimage.binary_dilation(mask_crop, iterations=radius)
    inner = ndimage.binary_erosion(mask_crop, iterations=radius, border_value=1)
    band[crop] = outer & ~inner
    return band


def _entropy(view: RegionView) -> _Sums:
    from scipy.special import entr

    p = view.mean
    return np.array(
        [float((entr(p) + entr(1 - p)).sum(dtype=np.float64)) / np.log(2), float(view.voxel_count)]
    )


def _expected_errors(view: RegionView) -> _Sums:
    return np.array([float(np.minimum(view.mean, 1 - view.mean).sum(dtype=np.float64))])


def _expected_overlap(view: RegionView) -> _Sums:
    inside_sum = float(view.mean[view.mask].sum(dtype=np.float64))
    return np.array([inside_sum, float(view.mean.sum(dtype=np.float64)), float(np.count_nonzero(view.mask))])


def _error_near_mask(view: RegionView) -> _Sums:
    p, near_mask = view.mean, view.mask | view.band
    terms = (np.minimum(p, 1 - p)[near_mask], near_mask, p * p, p)
    return np.array([float(term.sum(dtype=np.float64)) for term in terms])


def _std_near_mask(view: RegionView) -> _Sums:
    assert view.variance is not None
    p, std, near_mask = view.mean, np.sqrt(view.variance), view.mask | view.band
    terms = (std[near_mask], near_mask, std * p, p)
    return np.array([float(term.sum(dtype=np.float64)) for term in terms])


def _variance(view: RegionView) -> _Sums:
    assert view.variance is not None
    return np.array([float(view.variance.sum(dtype=np.float64))])


def _boundary_variance(view: RegionView) -> _Sums:
    assert view.variance is not None
    return np.array([float(view.variance[view.band].sum(dtype=np.float64))])


def _flat_samples(view: RegionView) -> NDArray[np.float32]:
    """The samples `(n, voxels)`, at voxels where any of them has the class."""
    assert view.samples is not None
    samples = view.samples.reshape(len(view.samples), -1)
    return samples[:, samples.any(axis=0)].astype(np.float32)


def _pairwise_overlap(view: RegionView) -> _Sums:
    flat_samples = _flat_samples(view)
    overlap: _Sums = np.asarray(flat_samples @ flat_samples.T, dtype=np.float64)
    return overlap


def _overlap_with_mask(view: RegionView) -> _Sums:
    assert view.samples is not None
    samples = view.samples.reshape(len(view.samples), -1)
    overlap = np.count_nonzero(samples & view.mask.ravel(), axis=1)
    mask_size = np.full(len(samples), np.count_nonzero(view.mask))
    return np.stack([overlap, np.count_nonzero(samples, axis=1), mask_size]).astype(np.float64)


def _sample_sizes(view: RegionView) -> _Sums:
    assert view.samples is not None
    return np.asarray(np.count_nonzero(view.samples, axis=(1, 2)), dtype=np.float64)


def _first_sum(sums: _Sums) -> float:
    return float(sums[0])


def _ratio(sums: _Sums) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _mean_near_mask(sums: _Sums) -> float:
    near_sum, near_size, weighted_sum, total = sums
    if near_size:
        return float(near_sum / near_size)
    # The mask has no voxel of the class: the mean of p (or of the standard deviation) weighted by p. Halved,
    # since structures in the mask are wrong more often than structures are missed
    # (docs/benchmarks/uncertainty.md).
    return float(weighted_sum / total / 2) if total else 0.0


def _expected_dice_error(sums: _Sums) -> float:
    inside_sum, expected, size = sums
    return float(1 - (2 * inside_sum + _PSEUDO_COUNT) / (expected + size + _PSEUDO_COUNT))


def _mean_pairwise_dice_error(overlap: _Sums) -> float:
    """Mean of 1 - Dice over pairs of samples, from the number of voxels that each pair shares, `(n, n)`."""
    sizes = np.diag(overlap)
    total = sizes[:, None] + sizes
    dice = np.divide(2 * overlap, total, out=np.ones_like(overlap), where=total > 0)
    pairs = np.triu_indices(len(overlap), 1)
    return float(1 - dice[pairs].mean())


def _mean_dice_error_to_mask(sums: _Sums) -> float:
    overlap, sample_size, mask_size = sums
    total = sample_size + mask_size
    dice = np.divide(2 * overlap, total, out=np.ones_like(overlap), where=total > 0)
    return float(1 - dice.mean())


def _size_std(sizes: _Sums) -> float:
    return float(np.std(sizes, ddof=1))


_NAIR = "Variance of the samples: Nair et al., Medical Image Analysis 59, 2020"
_ROY = "Roy et al., Bayesian QuickNAT, NeuroImage 195, 2019"

MEASURES: dict[str, UncertaintyMeasure] = {
    "doubt": UncertaintyMeasure(
        title="Doubt at the mask",
        unit="",
        description=(
            "min(p, 1 - p) of the mean probability p, averaged over the mask of a class and one voxel around"
            " it, and over the classes in the slice; in a slice without a mask, half the average of p"
            " weighted by p"
        ),
        source="Expected share of wrong voxels if p is calibrated; chosen in docs/benchmarks/uncertainty.md",
        required="mean",
        accumulate=_error_near_mask,
        evaluate=_mean_near_mask,
        averages_classes=True,
        only_predicted_classes=True,
    ),
    "spread": UncertaintyMeasure(
        title="Spread of the samples at the mask",
        unit="",
        description=(
            "Standard deviation of the probability over the samples, averaged over the mask of a class and"
            " one voxel around it, and over the classes in the slice; in a slice without a mask, half its"
            " average weighted by p"
        ),
        source=f"{_NAIR}, at the mask only",
        required="variance",
        accumulate=_std_near_mask,
        evaluate=_mean_near_mask,
        averages_classes=True,
        only_predicted_classes=True,
    ),
    "expected-dice-error": UncertaintyMeasure(
        title="Expected 1 - Dice",
        unit="",
        description=(
            "1 - Dice of the mask expected from the mean probabilities: twice their sum inside the mask over "
            "their total plus the size of the mask, each with ten voxels added"
        ),
        source="Ratio of expectations; Lipton et al., ECML PKDD 2014, on the expected F1 of a threshold",
        required="mean",
        accumulate=_expected_overlap,
        evaluate=_expected_dice_error,
        averages_classes=True,
    ),
    "entropy": UncertaintyMeasure(
        title="Mean predictive entropy",
        unit="bits per voxel",
        description="Entropy of the mean probability, averaged over all voxels, summed over classes",
        source="Gal et al., Deep Bayesian active learning with image data, ICML 2017",
        required="mean",
        accumulate=_entropy,
        evaluate=_ratio,
    ),
    "entropy-sum": UncertaintyMeasure(
        title="Summed predictive entropy",
        unit="bits",
        description="Entropy of the mean probability, summed over all voxels and classes",
        source="Gal et al., Deep Bayesian active learning with image data, ICML 2017",
        required="mean",
        accumulate=_entropy,
        evaluate=_first_sum,
    ),
    "expected-error": UncertaintyMeasure(
        title="Expected number of wrong voxels",
        unit="voxels",
        description="Sum of min(p, 1 - p): wrong voxels at a threshold of 0.5, if p is right",
        source="Bayes error of the mean probability; Lewis and Gale, SIGIR 1994 (least confidence)",
        required="mean",
        accumulate=_expected_errors,
        evaluate=_first_sum,
    ),
    "boundary-variance": UncertaintyMeasure(
        title="Variance along the boundary",
        unit="summed variance",
        description="Variance over the samples, summed over the boundary and one voxel on either side",
        source=f"{_NAIR}, along the boundary only",
        required="variance",
        accumulate=_boundary_variance,
        evaluate=_first_sum,
    ),
    "variance": UncertaintyMeasure(
        title="Summed variance",
        unit="summed variance",
        description="Variance over the samples, summed over all voxels and classes",
        source=_NAIR,
        required="variance",
        accumulate=_variance,
        evaluate=_first_sum,
    ),
    "disagreement": UncertaintyMeasure(
        title="Disagreement of the samples",
        unit="",
        description="Mean of 1 - Dice over all pairs of samples; 0 for a pair of empty samples",
        source=f"{_ROY} (agreement of the Monte Carlo samples by Dice)",
        required="samples",
        accumulate=_pairwise_overlap,
        evaluate=_mean_pairwise_dice_error,
        averages_classes=True,
    ),
    "mask-disagreement": UncertaintyMeasure(
        title="Disagreement with the mask",
        unit="",
        description="Mean of 1 - Dice between the mask and each sample; 0 if both are empty",
        source=f"after {_ROY}; the expected loss of the mask if one of the samples is the truth",
        required="samples",
        accumulate=_overlap_with_mask,
        evaluate=_mean_dice_error_to_mask,
        averages_classes=True,
    ),
    "size-spread": UncertaintyMeasure(
        title="Spread of area or volume",
        unit="voxels",
        description="Standard deviation (n - 1) of the size over the samples, summed over classes",
        source=f"{_ROY} (there as the coefficient of variation)",
        required="samples",
        accumulate=_sample_sizes,
        evaluate=_size_std,
    ),
}
"""All measures by their key, which is also the value of the option ``--measure`` of ``rank``."""
