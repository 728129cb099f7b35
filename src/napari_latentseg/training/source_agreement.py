"""Measuring at the end of a training whether a method's own samples differ at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.evaluation.sample_agreement import SampleAgreement, mean_pairwise_dice
from napari_latentseg.inference.tile_inference import sample_planes
from napari_latentseg.methods.base import Method
from napari_latentseg.training.stored_slices import TrainingSlice
from napari_latentseg.utils.device import Compute

__all__ = ["measure_agreements"]

_SAMPLES = 4  # six pairs a slice; a collapsed source shows in the first
_MAX_SLICES = 20  # the mean of so many tells 0.98 from 0.99, and takes seconds


def measure_agreements(
    method: Method,
    slices: Sequence[TrainingSlice],
    preprocess: Preprocess,
    threshold: float,
    compute: Compute,
) -> tuple[SampleAgreement, ...]:
    """Draw samples of validation slices from each source that the method can do without, and compare them.

    Parameters
    ----------
    method
        A trained method. Of one that cannot predict without its source nothing is measured.
    slices
        At working size. Those with something marked in them are taken first, evenly from all.
    preprocess, threshold, compute
        As in the card and the training.

    Returns
    -------
    tuple of SampleAgreement
        One for each source of which any sample marks anything.
    """
    if not method.is_deterministic:
        return ()
    marked = [one for one in slices if one.has_foreground] or list(slices)
    count = min(len(marked), _MAX_SLICES)
    images = [marked[i * len(marked) // count].to_float()[0].numpy() for i in range(count)]
    agreements = []
    for source in method.sampling_sources:
        samples = sample_planes(method, images, preprocess, compute, seeds=range(_SAMPLES), source=source)
        values = [mean_pairwise_dice(of_image > threshold) for of_image in samples]
        known = [value for value in values if value is not None]
        if known:
            dice = round(float(np.mean(known)), 6)
            fields = {"source": source, "dice": dice, "slices": len(known), "samples": _SAMPLES}
            agreements.append(SampleAgreement.model_validate(fields))
    return tuple(agreements)
