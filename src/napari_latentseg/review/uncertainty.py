"""Measures of uncertainty of a slice or an object: a few sums over its elements, and what they come to."""

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
"""By which slices and objects are ranked unless something else is chosen; see docs/benchmarks.md."""

_PSEUDO_COUNT = 10.0
"""Elements of agreement that every region is given, so that next to nothing is no great disagreement."""


@dataclass(frozen=True)
class RegionView:
    """One class in a part of one plane; what does not count is zero in all of it.

    Attributes
    ----------
    mean
        Mean probability, float `(h, w)`.
    mask
        Whether the mask has the class there.
    voxel_count
        How many elements count.
    variance
        Over the samples, float `(h, w)`; None where there is none.
    samples
        Whether each sample has the class there, `(n, h, w)`; None where they were not kept.
    precomputed_band
        The boundary band, where rows beyond the view had to be known for it.
    """

    mean: NDArray[np.float32]
    mask: NDArray[np.bool_]
    voxel_count: int
    variance: NDArray[np.float32] | None
    samples: NDArray[np.bool_] | None
    precomputed_band: NDArray[np.bool_] | None = None

    @cached_property
    def band(self) -> NDArray[np.bool_]:
        """The boundary of the mask: one element on either side."""
        return boundary_band(self.mask) if self.precomputed_band is None else self.precomputed_band


@dataclass(frozen=True)
class UncertaintyMeasure:
    """A measure of uncertainty.

    Attributes
    ----------
    title, unit, description, source
        For people: what it is, what it is counted in, how it is found, and who used it.
    required
        ``"mean"``: any result has it. ``"variance"``: three samples. ``"samples"``: the samples themselves,
        kept since the run.
    accumulate
        Of a view; those of several views of one region are added up.
    evaluate
        What the sums come to: 0 where nothing is unsure.
    averages_classes
        Whether a slice has the mean over its classes rather than their sum.
    only_predicted_classes
        Whether only the classes count that the mask shows in a slice, where it shows any.
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
    """The elements of a plane within some steps of the boundary of a mask, on either side."""
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
    """The samples where any has the class, `(n, places)`."""
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
    inside_sum, size, weighted_sum, total = sums
    if size:
        return float(inside_sum / size)
    # what the mask leaves out altogether; by half, for what is there is wrong more often
    return float(weighted_sum / total / 2) if total else 0.0


def _expected_dice_error(sums: _Sums) -> float:
    inside_sum, expected, size = sums
    return float(1 - (2 * inside_sum + _PSEUDO_COUNT) / (expected + size + _PSEUDO_COUNT))


def _mean_pairwise_dice_error(overlap: _Sums) -> float:
    """The mean of 1 - DSC over pairs of samples, from the elements that each two of them share."""
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
        title="Doubt about the mask",
        unit="",
        description=(
            "min(p, 1 - p) of the mean probability p, mean over the mask of a class and one element around, "
            "mean over the classes that the slice shows; where it shows none, half of p, weighted by itself"
        ),
        source="Expected share of wrong elements, if the mean is right; chosen in docs/benchmarks.md",
        required="mean",
        accumulate=_error_near_mask,
        evaluate=_mean_near_mask,
        averages_classes=True,
        only_predicted_classes=True,
    ),
    "spread": UncertaintyMeasure(
        title="Spread of the samples about the mask",
        unit="",
        description=(
            "Standard deviation of the probability over the samples, mean over the mask of a class and one "
            "element around it, mean over the classes that the slice shows"
        ),
        source=f"{_NAIR}, about the mask alone",
        required="variance",
        accumulate=_std_near_mask,
        evaluate=_mean_near_mask,
        averages_classes=True,
        only_predicted_classes=True,
    ),
    "expected-dice-error": UncertaintyMeasure(
        title="Expected 1 - DSC",
        unit="",
        description=(
            "1 - DSC of the mask, as far as the mean probabilities can tell: twice their sum inside the mask "
            "over their sum and the mask's size, each with ten elements added"
        ),
        source="Ratio of expectations; Lipton et al., ECML PKDD 2014, on the expected F1 of a cut",
        required="mean",
        accumulate=_expected_overlap,
        evaluate=_expected_dice_error,
        averages_classes=True,
    ),
    "entropy": UncertaintyMeasure(
        title="Mean predictive entropy",
        unit="bits per element",
        description="Entropy of the mean probability, mean over all elements; classes added up",
        source="Gal et al., Deep Bayesian active learning with image data, ICML 2017",
        required="mean",
        accumulate=_entropy,
        evaluate=_ratio,
    ),
    "entropy-sum": UncertaintyMeasure(
        title="Summed predictive entropy",
        unit="bits",
        description="Entropy of the mean probability, summed over all elements and classes",
        source="Gal et al., Deep Bayesian active learning with image data, ICML 2017",
        required="mean",
        accumulate=_entropy,
        evaluate=_first_sum,
    ),
    "expected-error": UncertaintyMeasure(
        title="Expected wrong elements",
        unit="elements",
        description="Sum of min(p, 1 - p): how many elements are wrong at a cut of 0.5, if the mean is right",
        source="Bayes error of the mean probability; Lewis and Gale, SIGIR 1994 (least confidence)",
        required="mean",
        accumulate=_expected_errors,
        evaluate=_first_sum,
    ),
    "boundary-variance": UncertaintyMeasure(
        title="Variance along the boundary",
        unit="summed variance",
        description="Variance over the samples, summed over the mask's boundary and one element on either side",
        source=f"{_NAIR}, along the boundary alone",
        required="variance",
        accumulate=_boundary_variance,
        evaluate=_first_sum,
    ),
    "variance": UncertaintyMeasure(
        title="Summed variance",
        unit="summed variance",
        description="Variance over the samples, summed over all elements and classes",
        source=_NAIR,
        required="variance",
        accumulate=_variance,
        evaluate=_first_sum,
    ),
    "disagreement": UncertaintyMeasure(
        title="Disagreement of the samples",
        unit="",
        description="Mean of 1 - DSC over all pairs of samples; 0 for a pair that both hold nothing",
        source=f"{_ROY} (agreement of the Monte Carlo samples by Dice)",
        required="samples",
        accumulate=_pairwise_overlap,
        evaluate=_mean_pairwise_dice_error,
        averages_classes=True,
    ),
    "mask-disagreement": UncertaintyMeasure(
        title="Disagreement with the mask",
        unit="",
        description="Mean of 1 - DSC between the mask and each sample; 0 where both hold nothing",
        source=f"after {_ROY}; the expected loss of the mask if one of the samples is the truth",
        required="samples",
        accumulate=_overlap_with_mask,
        evaluate=_mean_dice_error_to_mask,
        averages_classes=True,
    ),
    "size-spread": UncertaintyMeasure(
        title="Spread of areas or volumes",
        unit="elements",
        description="Standard deviation (n - 1) of the samples' areas, of an object volumes; classes added up",
        source=f"{_ROY} (there as the coefficient of variation)",
        required="samples",
        accumulate=_sample_sizes,
        evaluate=_size_std,
    ),
}
"""The measures that can be ranked by, by key."""
