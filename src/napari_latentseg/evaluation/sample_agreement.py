"""How alike the samples of a sampling source are: where they are all the same, it tells nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.record import SamplingSource

__all__ = ["MAX_DICE", "SampleAgreement", "mean_pairwise_dice"]

# Two people who outline the same lesion agree to 0.8 or 0.9. At 0.99 the masks of a lesion that is 30 pixels
# across differ by a part of its outermost pixels.
MAX_DICE = 0.99


class SampleAgreement(FrozenModel):
    """How far samples of a source agree on the validation images, measured at the end of a training.

    Attributes
    ----------
    source
        The sampling source.
    dice
        Mean Dice between the masks of two samples of a slice, in [0, 1].
    slices, samples
        How many slices were looked at, and how many samples were drawn of each.
    """

    source: SamplingSource
    dice: float = Field(ge=0, le=1)
    slices: int = Field(ge=1)
    samples: int = Field(ge=2)

    @property
    def has_collapsed(self) -> bool:
        """Whether the samples are as good as equal, so that the source is not offered.

        Examples
        --------
        >>> agreement = SampleAgreement(source="posterior", dice=0.998, slices=20, samples=4)
        >>> agreement.has_collapsed, agreement.replace(dice=0.93).has_collapsed
        (True, False)
        """
        return self.dice > MAX_DICE

    def describe(self) -> str:
        """The figure in words, and whether the source is offered."""
        measured = f"two samples agree to a Dice of {self.dice:.3f} ({self.samples} on each of {self.slices}"
        unit = f"validation slice{'' if self.slices == 1 else 's'})"
        answer = ", as good as equal: not offered" if self.has_collapsed else ""
        return f"{self.source}: {measured} {unit}{answer}"


def mean_pairwise_dice(masks: NDArray[np.bool_]) -> float | None:
    """Mean Dice over all pairs of samples of a slice and over its classes.

    Parameters
    ----------
    masks
        `(n, K, H, W)`, which pixels each sample gives to each class.

    Returns
    -------
    float or None
        In [0, 1]; None where no sample marks anything, since then there is nothing to agree on.

    Examples
    --------
    >>> masks = np.zeros((2, 1, 4, 4), bool)
    >>> mean_pairwise_dice(masks) is None
    True
    >>> masks[0, 0, :2], masks[1, 0, 1:3] = True, True
    >>> mean_pairwise_dice(masks)
    0.5
    """
    flat = masks.reshape(*masks.shape[:2], -1)
    marked = flat[:, flat.any(axis=(0, 2))]
    if not marked.shape[1]:
        return None
    values = []
    for first, second in combinations(marked, 2):
        total = first.sum(axis=1) + second.sum(axis=1)
        both = (first & second).sum(axis=1)
        values.append(np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0))
    return float(np.mean(values))
