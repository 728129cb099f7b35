"""Whether a model gives the same masks in bfloat16, measured on images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.record import SamplingSource
from napari_latentseg.utils.counts import count_text

__all__ = ["MAX_MASK_CHANGE", "MAX_MEAN_CHANGE", "MIN_IMAGES", "Bfloat16Accumulator", "Bfloat16Check"]

# A thousandth of the pixels is what two engines in float32 may differ by (docs/benchmarks/speed.md), and far
# less than two people differ who draw the same outline.
MAX_MASK_CHANGE = 0.001
# Half a hundredth of a probability: thresholds are set in steps of five hundredths.
MAX_MEAN_CHANGE = 0.005
MIN_IMAGES = 5  # fewer do not show much; a retina model has 6 validation images


class Bfloat16Check(FrozenModel):
    """How bfloat16 changed the results of a model against float32.

    Attributes
    ----------
    max_mask_change
        The largest fraction of the pixels of an image whose label changed, in [0, 1].
    mean_change
        Mean absolute change of the mean probability of a class, in [0, 1], averaged over the images.
    images
        How many images were compared. The comparison ends at the first whose mask changed too much.
    samples, source
        Size and sampling source of the ensemble.
    device, engine
        Where the networks ran and what computed them, as ``"cpu"`` and ``"openvino"``.
    """

    max_mask_change: float = Field(ge=0, le=1)
    mean_change: float = Field(ge=0, le=1)
    images: int = Field(ge=1)
    samples: int = Field(ge=1)
    source: SamplingSource
    device: str
    engine: str

    @property
    def is_allowed(self) -> bool:
        """Whether the results are as good as equal, so that ``--precision auto`` may be bfloat16.

        Examples
        --------
        >>> how = {"images": 20, "samples": 5, "source": "augment", "device": "cpu", "engine": "torch"}
        >>> check = Bfloat16Check(max_mask_change=0.0004, mean_change=0.001, **how)
        >>> check.is_allowed, check.replace(max_mask_change=0.002).is_allowed
        (True, False)
        """
        is_equal = self.max_mask_change <= MAX_MASK_CHANGE and self.mean_change <= MAX_MEAN_CHANGE
        return is_equal and self.images >= MIN_IMAGES

    def describe(self) -> str:
        """Whether bfloat16 may be used by default, and why, in words."""
        answer = "used by --precision auto" if self.is_allowed else "not used by --precision auto"
        ensemble = f"mean of {count_text(self.samples, 'sample')} from {self.source}"
        images = count_text(self.images, "image")
        return (
            f"{answer}: it changed up to {100 * self.max_mask_change:.2g} % of the pixels of a mask, and the"
            f" mean by {self.mean_change:.2g} on average ({ensemble}, {images})"
        )


class Bfloat16Accumulator:
    """Compares results in float32 and bfloat16, image by image.

    Examples
    --------
    >>> import numpy as np
    >>> accumulator = Bfloat16Accumulator()
    >>> mask = np.zeros((10, 10), np.uint8)
    >>> accumulator.add(mask, np.full((1, 10, 10), 0.2), mask, np.full((1, 10, 10), 0.201))
    >>> accumulator.check(samples=5, source="augment", device="cpu", engine="torch").images
    1
    """

    def __init__(self) -> None:
        self._mask_changes: list[float] = []
        self._mean_changes: list[float] = []

    @property
    def images(self) -> int:
        """How many images were compared."""
        return len(self._mask_changes)

    @property
    def has_failed(self) -> bool:
        """Whether a mask changed too much, so that no further image can change the answer."""
        return any(change > MAX_MASK_CHANGE for change in self._mask_changes)

    def add(self, mask: NDArray[Any], mean: Any, other_mask: NDArray[Any], other_mean: Any) -> None:
        """Add an image.

        Parameters
        ----------
        mask, other_mask
            Label maps of one shape, in float32 and in bfloat16.
        mean, other_mean
            Mean probabilities, `(K, *mask.shape)`; NumPy or dask.
        """
        self._mask_changes.append(float(np.count_nonzero(mask != other_mask)) / mask.size)
        # slice by slice, so that a mean on disk is never in memory as a whole
        total = sum(
            float(np.abs(np.subtract(mean[index], other_mean[index], dtype=np.float64)).sum())
            for index in np.ndindex(*mean.shape[:-2])
        )
        self._mean_changes.append(total / float(np.prod(mean.shape)))

    def add_failure(self) -> None:
        """Add an image that could not be segmented in bfloat16."""
        self._mask_changes.append(1.0)
        self._mean_changes.append(1.0)

    def check(self, samples: int, source: SamplingSource, device: str, engine: str) -> Bfloat16Check | None:
        """What was measured; None before the first image.

        Parameters
        ----------
        samples, source, device, engine
            See `Bfloat16Check`.
        """
        if not self.images:
            return None
        return Bfloat16Check(
            max_mask_change=_round_up(max(self._mask_changes)),
            mean_change=_round_up(float(np.mean(self._mean_changes))),
            images=self.images,
            samples=samples,
            source=source,
            device=device,
            engine=engine,
        )


def _round_up(value: float) -> float:
    """To six digits, upwards, so that a change above a limit is not rounded to it."""
    return float(np.ceil(value * 1e6) / 1e6)
