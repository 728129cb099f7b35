"""Hints: places of which a person says whether they belong to a class, and the weights that samples get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, FiniteFloat

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["MIN_EFFECTIVE_SAMPLES", "Hint", "HintsRecord", "effective_samples"]

MIN_EFFECTIVE_SAMPLES = 1.5
"""Effective number of samples below which one sample alone decides: the others contradict the hints."""


class Hint(FrozenModel):
    """A voxel that is part of a class, or is not.

    Attributes
    ----------
    point
        In voxels of the image, ``(y, x)`` or ``(z, y, x)``, and so on with more axes; the centre of the first
        voxel is 0.
    inside
        Whether it is part of the class.
    label
        Of the class; None for any class of the model.

    Examples
    --------
    >>> Hint(point=(40, 52.4)).voxel
    (40, 52)
    >>> Hint(point=(12, 40, 52), inside=False, label=2).inside
    False
    """

    point: Annotated[tuple[FiniteFloat, ...], Field(min_length=2, max_length=4)]
    inside: bool = True
    label: int | None = None

    @property
    def voxel(self) -> tuple[int, ...]:
        """The index of the voxel."""
        return tuple(round(value) for value in self.point)


class HintsRecord(FrozenModel):
    """The hints on a result, and the weights of its samples.

    Attributes
    ----------
    hints
        The hints.
    weights
        Of each sample, with a sum of 1.
    """

    hints: tuple[Hint, ...]
    weights: tuple[float, ...]

    @property
    def effective_samples(self) -> float:
        """See `effective_samples`."""
        return effective_samples(self.weights)

    def describe(self) -> str:
        """One sentence for people."""
        count = len(self.hints)
        return (
            f"{count} hint{'' if count == 1 else 's'} re-weighted the {len(self.weights)} samples:"
            f" effective number {self.effective_samples:.1f}"
        )


def effective_samples(weights: Sequence[float]) -> float:
    """How many samples of equal weight are worth as much, 1 to n: one over the sum of the squared weights.

    Parameters
    ----------
    weights
        Of the samples, with a sum of 1.

    Examples
    --------
    >>> effective_samples([0.25] * 4), effective_samples([1.0, 0.0])
    (4.0, 1.0)
    """
    return 1.0 / sum(weight * weight for weight in weights)
