"""Inner and outer contours that enclose the true edge in nine of ten images, by conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.percent import percent
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import EDGE_TOLERANCE, CaseFigures
from napari_latentseg.evaluation.conformal import MIN_CASES, conformal_bound, leave_one_out

__all__ = ["ClassBand", "ContourBand", "needed_factors"]

_UNCERTAINTY_FLOOR = 0.01
"""Added to 1 - soft Dice, so that the band does not vanish where all samples agree."""


class ClassBand(FrozenModel):
    """The two contours of one class.

    Attributes
    ----------
    factor
        Distance of both contours from the edge of the mask, in units of ``size * (1 - soft Dice + 0.01)``.
    cases
        Images that it was fitted on: those with the class in the mask or the reference.
    coverage
        In which fraction of the images the promise held, each judged by contours that were fitted on the
        others alone.
    typical_outward, typical_inward
        Median distances over these images, as a fraction of the size of the mask (the square root of its
        area, the cube root of its volume). The inner contour lies no deeper than the mask reaches.
    """

    factor: float = Field(ge=0, allow_inf_nan=False)
    cases: int = Field(ge=1)
    coverage: float = Field(ge=0, le=1)
    typical_outward: float = Field(ge=0)
    typical_inward: float = Field(ge=0)

    def reach(self, size: float, soft_dice: float) -> float:
        """Distance of the contours from the edge of a mask, in the unit of `size`.

        Parameters
        ----------
        size, soft_dice
            As of `CaseFigures`.
        """
        return self.factor * _unit_length(size, soft_dice)


class ContourBand(FrozenModel):
    """Inner and outer contours of each class, by split conformal prediction [1]_.

    The promise: in a fraction `level` of images like those of the calibration, the true edge lies between the
    two. That is, all but `tolerance` of the true region lies inside the outer contour, and the inner contour
    goes beyond the true region by no more than `tolerance` of its size.

    Both contours run at one distance from the edge of the model's mask (the mean probability above
    `threshold`), which grows with the size of the mask and with its uncertainty.

    Attributes
    ----------
    level, tolerance
        See above.
    classes
        By name; a class with too few images is missing.
    samples, source
        Number and source of the samples of each image.
    threshold
        Threshold of the mean probability.
    data
        Description of the images.
    dimensions
        2 where the images are single slices, 3 where they are volumes; None where they are of both kinds.
    precisions
        The precisions that it holds for, as in `RunRecord.precision`; empty for any.

    References
    ----------
    .. [1] Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018.
    """

    level: float = Field(0.9, gt=0, lt=1)
    tolerance: float = Field(EDGE_TOLERANCE, ge=0, lt=1)
    classes: dict[str, ClassBand]
    samples: int = Field(ge=1)
    source: str
    threshold: float = Field(gt=0, lt=1)
    data: str
    dimensions: Literal[2, 3] | None = None
    precisions: tuple[str, ...] = ()

    @property
    def promise(self) -> str:
        """What the contours promise, in words for people."""
        return (
            f"In {percent(self.level)} of images like these the true edge lies between the contours: all"
            f" but {percent(self.tolerance)} of the true region lies inside the outer one, and the inner one"
            f" goes beyond the true region by no more than {percent(self.tolerance)} of its size."
        )

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        figures: Sequence[Sequence[CaseFigures | None]],
        groups: Sequence[Hashable] | None = None,
        **fields: Any,
    ) -> ContourBand:
        """Fit the contours to annotated images, and test them by leaving each image out.

        Parameters
        ----------
        names
            Names of the K classes.
        figures
            For each image K figures; None where the image does not count for the class.
        groups
            A key of each image; images with the same key are left out together. None: all differ.
        **fields
            The other attributes, except `classes`.

        Raises
        ------
        BadInput
            If every class has too few images, or masks so wrong that no contour could keep the promise.
        """
        fitted = cls(classes={}, **fields)
        keys = list(range(len(figures))) if groups is None else list(groups)
        classes: dict[str, ClassBand] = {}
        most = 0
        for k, name in enumerate(names):
            rows = [(row[k], key) for row, key in zip(figures, keys, strict=True)]
            counted = [(case, key) for case, key in rows if case is not None]
            most = max(most, len(counted))
            if len(counted) >= MIN_CASES:
                cases, case_keys = zip(*counted, strict=True)
                band = _class_band(cases, case_keys, fitted.level)
                if band is not None:
                    classes[name] = band
        if not classes:
            why = (
                f"are {most} with a class; contours need {MIN_CASES}"
                if most < MIN_CASES
                else f"are wrong too often for contours that hold in {percent(fitted.level)} of them"
            )
            raise BadInput("cases", why, "give more annotated images")
        return fitted.replace(classes=classes)


def needed_factors(figures: Sequence[CaseFigures]) -> NDArray[np.float64]:
    """The least `ClassBand.factor` that keeps the promise in each image; infinite for an empty mask."""
    needed = np.full(len(figures), math.inf)
    for i, f in enumerate(figures):
        if f.size:
            needed[i] = max(0.0, f.outward, f.inward) / _unit_length(f.size, f.soft_dice)
    return needed


def _unit_length(size: float, soft_dice: float) -> float:
    return size * (1 - soft_dice + _UNCERTAINTY_FLOOR)


def _class_band(figures: Sequence[CaseFigures], keys: Sequence[Hashable], level: float) -> ClassBand | None:
    """The band of one class; None where no finite distance keeps the promise."""
    needed = needed_factors(figures)
    factor = conformal_bound(needed, level)
    if not math.isfinite(factor):
        return None
    held = np.zeros(len(needed), dtype=bool)
    for others, left_out in leave_one_out(keys):
        held[left_out] = needed[left_out] <= conformal_bound(needed[others], level)
    filled = [f for f in figures if f.size]
    outward = [factor * _unit_length(f.size, f.soft_dice) / f.size for f in filled]
    inward = [min(reach, f.inradius / f.size) for reach, f in zip(outward, filled, strict=True)]
    return ClassBand(
        factor=math.ceil(factor * 1e4) / 1e4,  # up, so that rounding never narrows the band
        cases=len(figures),
        coverage=round(float(held.mean()), 4),
        typical_outward=round(float(np.median(outward)), 4),
        typical_inward=round(float(np.median(inward)), 4),
    )
