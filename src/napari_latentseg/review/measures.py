"""Measures of uncertainty of a slice or an object: a few sums over its elements, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_MEASURE", "MEASURES", "Needs", "UncertaintyMeasure", "View", "band_of"]

Needs = Literal["mean", "variance", "samples"]
_Sums = NDArray[np.float64]

DEFAULT_MEASURE = "doubt"
"""By which slices and objects are ranked unless something else is chosen; see docs/benchmarks.md."""

_GROUND = 10.0
"""Elements of agreement that every region is given, so that next to nothing is no great disagreement."""


@dataclass(frozen=True)
class View:
    """One class in a part of one plane; what does not count is zero in all of it.

    Attributes
    ----------
    mean
        Mean probability, float `(h, w)`.
    mask
        Whether the mask has the class there.
    count
        How many elements count.
    variance
        Over the samples, float `(h, w)`; None where there is none.
    samples
        Whether each sample has the class there, `(n, h, w)`; None where they were not kept.
    edge
        The boundary band, where rows beyond the view had to be known for it.
    """

    mean: NDArray[np.float32]
    mask: NDArray[np.bool_]
    count: int
    variance: NDArray[np.float32] | None
    samples: NDArray[np.bool_] | None
    edge: NDArray[np.bool_] | None = None

    @cached_property
    def band(self) -> NDArray[np.bool_]:
        """The boundary of the mask: one element on either side."""
        return band_of(self.mask) if self.edge is None else self.edge


@dataclass(frozen=True)
class UncertaintyMeasure:
    """A measure of uncertainty.

    Attributes
    ----------
    title, unit, about, source
        For people: what it is, what it is counted in, how it is found, and who used it.
    needs
        ``"mean"``: any result has it. ``"variance"``: three samples. ``"samples"``: the samples themselves,
        kept since the run.
    sums
        Of a view; those of several views of one region are added up.
    value
        What the sums come to: 0 where nothing is unsure.
    mean_of_classes
        Whether a slice has the mean over its classes rather than their sum.
    shown_alone
        Whether only the classes count that the mask shows in a slice, where it shows any.
    """

    title: str
    unit: str
    about: str
    source: str
    needs: Needs
    sums: Callable[[View], _Sums]
    value: Callable[[_Sums], float]
    mean_of_classes: bool = False
    shown_alone: bool = False


def band_of(mask: NDArray[np.bool_], reach: int = 1) -> NDArray[np.bool_]:
    """The elements of a plane within some steps of the boundary of a mask, on either side."""
    from scipy import ndimage

    found = np.zeros_like(mask)
    box = next(iter(ndimage.find_objects(mask.view(np.uint8))), None)
    if box is None:
        return found
    near = tuple(
        slice(max(0, s.start - reach), min(n, s.stop + reach)) for s, n in zip(box, mask.shape, strict=True)
    )
    part = mask[near]
    outer = ndimage.binary_dilation(part, iterations=reach)
    inner = ndimage.binary_erosion(part, iterations=reach, border_value=1)
    found[near] = outer & ~inner
    return found


def _entropy(view: View) -> _Sums:
    from scipy.special import entr

    p = view.mean
    return np.array([float((entr(p) + entr(1 - p)).sum(dtype=np.float64)) / np.log(2), float(view.count)])


def _error(view: View) -> _Sums:
    return np.array([float(np.minimum(view.mean, 1 - view.mean).sum(dtype=np.float64))])


def _overlap(view: View) -> _Sums:
    inside = float(view.mean[view.mask].sum(dtype=np.float64))
    return np.array([inside, float(view.mean.sum(dtype=np.float64)), float(np.count_nonzero(view.mask))])


def _doubt_about(view: View) -> _Sums:
    p, here = view.mean, view.mask | view.band
    sums = (np.minimum(p, 1 - p)[here], here, p * p, p)
    return np.array([float(each.sum(dtype=np.float64)) for each in sums])


def _spread_about(view: View) -> _Sums:
    assert view.variance is not None
    p, spread, here = view.mean, np.sqrt(view.variance), view.mask | view.band
    sums = (spread[here], here, spread * p, p)
    return np.array([float(each.sum(dtype=np.float64)) for each in sums])


def _variance(view: View) -> _Sums:
    assert view.variance is not None
    return np.array([float(view.variance.sum(dtype=np.float64))])


def _boundary_variance(view: View) -> _Sums:
    assert view.variance is not None
    return np.array([float(view.variance[view.band].sum(dtype=np.float64))])


def _flat(view: View) -> NDArray[np.float32]:
    """The samples where any has the class, `(n, places)`."""
    assert view.samples is not None
    samples = view.samples.reshape(len(view.samples), -1)
    return samples[:, samples.any(axis=0)].astype(np.float32)


def _shared(view: View) -> _Sums:
    flat = _flat(view)
    shared: _Sums = np.asarray(flat @ flat.T, dtype=np.float64)
    return shared


def _with_mask(view: View) -> _Sums:
    assert view.samples is not None
    samples = view.samples.reshape(len(view.samples), -1)
    both = np.count_nonzero(samples & view.mask.ravel(), axis=1)
    inside = np.full(len(samples), np.count_nonzero(view.mask))
    return np.stack([both, np.count_nonzero(samples, axis=1), inside]).astype(np.float64)


def _sizes(view: View) -> _Sums:
    assert view.samples is not None
    return np.asarray(np.count_nonzero(view.samples, axis=(1, 2)), dtype=np.float64)


def _first(sums: _Sums) -> float:
    return float(sums[0])


def _ratio(sums: _Sums) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _per_element(sums: _Sums) -> float:
    inside, size, weighted, total = sums
    if size:
        return float(inside / size)
    # what the mask leaves out altogether; by half, for what is there is wrong more often
    return float(weighted / total / 2) if total else 0.0


def _expected_dice_error(sums: _Sums) -> float:
    inside, expected, size = sums
    return float(1 - (2 * inside + _GROUND) / (expected + size + _GROUND))


def _pairwise(shared: _Sums) -> float:
    """The mean of 1 - DSC over pairs of samples, from the elements that each two of them share."""
    sizes = np.diag(shared)
    total = sizes[:, None] + sizes
    dice = np.divide(2 * shared, total, out=np.ones_like(shared), where=total > 0)
    pairs = np.triu_indices(len(shared), 1)
    return float(1 - dice[pairs].mean())


def _from_mask(sums: _Sums) -> float:
    both, own, inside = sums
    total = own + inside
    dice = np.divide(2 * both, total, out=np.ones_like(both), where=total > 0)
    return float(1 - dice.mean())


def _spread(sizes: _Sums) -> float:
    return float(np.std(sizes, ddof=1))


_NAIR = "Variance of the samples: Nair et al., Medical Image Analysis 59, 2020"
_ROY = "Roy et al., Bayesian QuickNAT, NeuroImage 195, 2019"

MEASURES: dict[str, UncertaintyMeasure] = {
    "doubt": UncertaintyMeasure(
        title="Doubt about the mask",
        unit="",
        about=(
            "min(p, 1 - p) of the mean probability p, mean over the mask of a class and one element around, "
            "mean over the classes that the slice shows; where it shows none, half of p, weighted by itself"
        ),
        source="Expected share of wrong elements, if the mean is right; chosen in docs/benchmarks.md",
        needs="mean",
        sums=_doubt_about,
        value=_per_element,
        mean_of_classes=True,
        shown_alone=True,
    ),
    "spread": UncertaintyMeasure(
        title="Spread of the samples about the mask",
        unit="",
        about=(
            "Standard deviation of the probability over the samples, mean over the mask of a class and one "
            "element around it, mean over the classes that the slice shows"
        ),
        source=f"{_NAIR}, about the mask alone",
        needs="variance",
        sums=_spread_about,
        value=_per_element,
        mean_of_classes=True,
        shown_alone=True,
    ),
    "expected-dice-error": UncertaintyMeasure(
        title="Expected 1 - DSC",
        unit="",
        about=(
            "1 - DSC of the mask, as far as the mean probabilities can tell: twice their sum inside the mask "
            "over their sum and the mask's size, each with ten elements added"
        ),
        source="Ratio of expectations; Lipton et al., ECML PKDD 2014, on the expected F1 of a cut",
        needs="mean",
        sums=_overlap,
        value=_expected_dice_error,
        mean_of_classes=True,
    ),
    "entropy": UncertaintyMeasure(
        title="Mean predictive entropy",
        unit="bits per element",
        about="Entropy of the mean probability, mean over all elements; classes added up",
        source="Gal et al., Deep Bayesian active learning with image data, ICML 2017",
        needs="mean",
        sums=_entropy,
        value=_ratio,
    ),
    "entropy-sum": UncertaintyMeasure(
        title="Summed predictive entropy",
        unit="bits",
        about="Entropy of the mean probability, summed over all elements and classes",
        source="Gal et al., Deep Bayesian active learning with image data, ICML 2017",
        needs="mean",
        sums=_entropy,
        value=_first,
    ),
    "expected-error": UncertaintyMeasure(
        title="Expected wrong elements",
        unit="elements",
        about="Sum of min(p, 1 - p): how many elements are wrong at a cut of 0.5, if the mean is right",
        source="Bayes error of the mean probability; Lewis and Gale, SIGIR 1994 (least confidence)",
        needs="mean",
        sums=_error,
        value=_first,
    ),
    "boundary-variance": UncertaintyMeasure(
        title="Variance along the boundary",
        unit="summed variance",
        about="Variance over the samples, summed over the mask's boundary and one element on either side",
        source=f"{_NAIR}, along the boundary alone",
        needs="variance",
        sums=_boundary_variance,
        value=_first,
    ),
    "variance": UncertaintyMeasure(
        title="Summed variance",
        unit="summed variance",
        about="Variance over the samples, summed over all elements and classes",
        source=_NAIR,
        needs="variance",
        sums=_variance,
        value=_first,
    ),
    "disagreement": UncertaintyMeasure(
        title="Disagreement of the samples",
        unit="",
        about="Mean of 1 - DSC over all pairs of samples; 0 for a pair that both hold nothing",
        source=f"{_ROY} (agreement of the Monte Carlo samples by Dice)",
        needs="samples",
        sums=_shared,
        value=_pairwise,
        mean_of_classes=True,
    ),
    "mask-disagreement": UncertaintyMeasure(
        title="Disagreement with the mask",
        unit="",
        about="Mean of 1 - DSC between the mask and each sample; 0 where both hold nothing",
        source=f"after {_ROY}; the expected loss of the mask if one of the samples is the truth",
        needs="samples",
        sums=_with_mask,
        value=_from_mask,
        mean_of_classes=True,
    ),
    "size-spread": UncertaintyMeasure(
        title="Spread of areas or volumes",
        unit="elements",
        about="Standard deviation (n - 1) of the samples' areas, of an object volumes; classes added up",
        source=f"{_ROY} (there as the coefficient of variation)",
        needs="samples",
        sums=_sizes,
        value=_spread,
    ),
}
"""The measures that can be ranked by, by key."""
