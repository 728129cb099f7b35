"""Agreement of the samples: how many of them assign a voxel to a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation

__all__ = ["agreement_counts", "agreement_unavailable_reason", "iter_sample_masks"]


def agreement_unavailable_reason(segmentation: Segmentation) -> str:
    """Why a segmentation has no agreement of its samples; empty if it has.

    Parameters
    ----------
    segmentation
        The result of a run.

    Returns
    -------
    str
        A sentence for the user.
    """
    if segmentation.written_agreement is not None:
        return ""
    if segmentation.record.source == "none":
        return "This result is a single pass without samples"
    if segmentation.variance is None:  # too few, or several of them are equal
        return f"Agreement needs {MIN_SAMPLES_FOR_VARIANCE} different samples or more"
    if segmentation.sample_maps is None:
        return "The single samples were not kept"
    if not segmentation.sample_maps.is_complete or not isinstance(segmentation.mean, np.ndarray):
        return "The single samples were not kept: they exceed the memory limit"
    return ""


def agreement_counts(segmentation: Segmentation) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """How many samples assign each voxel to each class, at the threshold of the segmentation.

    A voxel of a class that is part of another (`ClassInfo.includes`) counts for both. If the samples were
    post-processed before their volumes were measured, so they are here. Where hints weight the samples
    (`napari_latentseg.reweight`), it is the share of the weights times the number of samples, rounded.

    Parameters
    ----------
    segmentation
        The result of a run.

    Returns
    -------
    ndarray or None
        `(K, *spatial)` in 0 to `record.samples`; uint8, or uint16 with more than 255 samples. None where
        `agreement_unavailable_reason` gives a reason.

    Examples
    --------
    >>> from napari_latentseg import segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> counts = agreement_counts(result)
    >>> counts.shape, counts.dtype, int(counts.max())
    ((1, 96, 128), dtype('uint8'), 3)
    """
    if segmentation.written_agreement is not None:
        return segmentation.written_agreement
    maps = segmentation.sample_maps
    if maps is None or agreement_unavailable_reason(segmentation):
        return None
    classes, roi = segmentation.classes, segmentation.roi or ()
    spatial = segmentation.mask.shape
    dtype = np.uint8 if maps.sample_count <= np.iinfo(np.uint8).max else np.uint16
    counts = np.zeros((len(classes), *spatial), dtype=dtype)
    roi_counts = counts[(slice(None), *roi)]
    is_member = _membership(classes)
    hints = segmentation.record.hints
    if hints is None:
        for mask in iter_sample_masks(segmentation):
            for class_counts, members in zip(roi_counts, is_member, strict=True):
                class_counts += members[mask]
        return counts
    shares = np.zeros(roi_counts.shape, np.float32)
    for weight, mask in zip(hints.weights, iter_sample_masks(segmentation), strict=True):
        for class_shares, members in zip(shares, is_member, strict=True):
            class_shares += np.float32(weight) * members[mask]
    roi_counts[...] = np.rint(maps.sample_count * shares)
    return counts


def iter_sample_masks(segmentation: Segmentation) -> Iterator[NDArray[np.uint8]]:
    """The label map of each sample that was kept, in the part that was predicted (`Segmentation.roi`).

    They are at the threshold of the segmentation, and post-processed if the samples were before their volumes
    were measured. None where the samples were not kept.

    Parameters
    ----------
    segmentation
        The result of a run.
    """
    maps = segmentation.sample_maps
    if maps is None or not maps.is_complete:
        return
    classes = segmentation.classes
    cleanup = segmentation.cleanup if segmentation.record.volumes_cleaned else PostProcess()
    labels = [c.label for c in classes]
    for mask in maps.sample_masks(segmentation.record.sample_threshold, classes, segmentation.roi or ()):
        if cleanup.is_active:
            mask = cleanup.apply(mask, labels, segmentation.axes, segmentation.geometry.voxel_volume[0])
        yield mask


def _membership(classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """Whether a label belongs to a class, itself or as a part of it, `(K, 256)`, 0 or 1."""
    membership = np.zeros((len(classes), 256), dtype=np.uint8)
    for k, part_indices in enumerate(class_descendants(classes)):
        membership[k, [classes[i].label for i in (k, *part_indices)]] = 1
    return membership
