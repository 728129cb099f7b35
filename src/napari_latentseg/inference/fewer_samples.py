"""The masks that a run would have had with fewer samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.segmentation import Segmentation

__all__ = ["masks_of_first_samples"]


def masks_of_first_samples(
    segmentation: Segmentation, counts: Sequence[int], threshold: float
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The mask of the mean of the first n samples, for each n.

    The samples are kept rounded to 1/255, so a pixel within 1/510 of the threshold may fall on the other side
    than in a run of n samples; for all samples the mask is that of the run.

    Parameters
    ----------
    segmentation
        A result that has kept its samples.
    counts
        The numbers of samples, ascending, each up to that of the result.
    threshold
        Mean of the samples, before it is calibrated, above which a voxel belongs to a class.

    Yields
    ------
    n, mask
        The label map, `(*spatial)`.
    """
    maps = segmentation.sample_maps
    assert maps is not None
    total: NDArray[np.float32] | None = None
    for index in range(max(counts, default=0)):
        sample = maps.sample(index)
        total = sample if total is None else total + sample
        count = index + 1
        if count not in counts:
            continue
        if count == maps.sample_count:
            yield count, np.asarray(segmentation.mask)
        else:
            mean = total / np.float32(count)
            yield count, labels_from_probabilities(mean, threshold, segmentation.classes)
