"""A result whose samples are weighted by how well they agree with hints; the model is not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.hints import Hint, HintsRecord
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.core.temperature import NO_TEMPERATURE
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.scratch_arrays import allocate

__all__ = ["check_hints", "hint_weights", "reweight", "reweight_unavailable_reason"]

_FLOOR = 0.02
"""Smallest likelihood of a hint in a sample, so that no sample is impossible: a click may be a slip."""


def reweight_unavailable_reason(segmentation: Segmentation) -> str:
    """Why hints cannot weight the samples of a result; empty where they can.

    Parameters
    ----------
    segmentation
        The result of a run.
    """
    if segmentation.record.source == "none":
        return "This result is a single pass without samples"
    if segmentation.record.samples < 2:
        return "Hints choose between samples, and this result has one"
    maps = segmentation.sample_maps
    if maps is None:
        return "The single samples were not kept: segment the image again"
    if not maps.is_complete:
        return "The single samples were not kept: they exceed the memory limit"
    return ""


def reweight(
    segmentation: Segmentation,
    hints: Sequence[Hint] | Prompts,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Weight the samples of a result by how well they agree with hints.

    Each sample gets the product of its probabilities of the hints (of the class where a hint is inside, of
    its absence where it is outside), but 0.02 or more for each. Mean, variance and mask are those of the
    weighted samples; intervals follow the weights, and are no longer calibrated. Hints of an earlier call
    count no more.

    Parameters
    ----------
    segmentation
        A result whose samples are kept, as in memory after `segment`. Where its mean lies on the disk, being
        larger than the memory limit, so do the weighted mean and variance: they are computed slice by slice.
    hints
        The hints; or points as prompts, which are about any class of the model.
    progress
        Called with the number of finished and of all slices. What it raises stops the work.

    Returns
    -------
    Segmentation
        With the hints and the weights in `record.hints`. The given one is not changed.

    Raises
    ------
    BadInput
        If the samples were not kept, there is no hint, one is outside the image or of an unknown class, or a
        place is both inside and outside.

    Examples
    --------
    >>> from napari_latentseg import Hint, reweight, segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=4)
    >>> hinted = reweight(result, [Hint(point=(48, 64)), Hint(point=(5, 5), inside=False)])
    >>> len(hinted.record.hints.weights), 1 <= hinted.record.hints.effective_samples <= 4
    (4, True)
    """
    reason = reweight_unavailable_reason(segmentation)
    if reason:
        raise BadInput("hints", reason[0].lower() + reason[1:], "use a result whose samples are kept")
    given = _as_hints(hints)
    weights = hint_weights(segmentation, given)
    return _weighted(segmentation, given, weights, progress)


def hint_weights(segmentation: Segmentation, hints: Sequence[Hint]) -> NDArray[np.float64]:
    """The weight of each sample, `(n,)`, with a sum of 1.

    Parameters
    ----------
    segmentation, hints
        As for `reweight`.

    Raises
    ------
    BadInput
        As `reweight`, of the hints.
    """
    maps, shape = segmentation.sample_maps, segmentation.mask.shape
    assert maps is not None
    check_hints(hints, shape, segmentation.axes, segmentation.classes)
    labels = [info.label for info in segmentation.classes]
    parts = class_descendants(segmentation.classes)
    log_weights = np.zeros(maps.sample_count)
    planes: dict[int, NDArray[np.float32]] = {}
    for hint in hints:
        *leading, row, column = hint.voxel
        number = int(np.ravel_multi_index(tuple(leading), shape[:-2])) if leading else 0
        if number not in planes:
            planes[number] = maps.plane_samples(number)
        voxel = planes[number][:, :, row, column]
        if hint.label is None:
            of_class = voxel.max(axis=1)
        else:
            k = labels.index(hint.label)
            of_class = voxel[:, [k, *parts[k]]].max(axis=1)  # what is part of the class belongs to it
        log_weights += np.log(np.maximum(of_class if hint.inside else 1 - of_class, _FLOOR))
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum(), np.float64)


def _as_hints(hints: Any) -> tuple[Hint, ...]:
    if isinstance(hints, Prompts):
        if hints.boxes:
            raise BadInput("hints", "a box is none", "give points")
        return tuple(
            Hint(point=point, inside=inside)
            for points, inside in ((hints.positive, True), (hints.negative, False))
            for point in points
        )
    given = tuple(hints)
    if not given or not all(isinstance(hint, Hint) for hint in given):
        raise BadInput("hints", "there are none", "give Hint(point=(y, x)), or prompts with points")
    return given


def check_hints(
    hints: Sequence[Hint], shape: tuple[int, ...], axes: str, classes: Sequence[ClassInfo]
) -> None:
    """Refuse hints that do not fit an image, so that nothing is computed in vain.

    Parameters
    ----------
    hints
        The hints.
    shape, axes
        Of the image without channels.
    classes
        Of the model.

    Raises
    ------
    BadInput
        As `reweight`, of the hints.
    """
    labels = [info.label for info in classes]
    said: dict[tuple[tuple[int, ...], int | None], bool] = {}
    for hint in hints:
        place = ", ".join(f"{value:g}" for value in hint.point)
        if len(hint.point) != len(shape):
            raise BadInput("hints", f"({place}) has {len(hint.point)} numbers", f"give {', '.join(axes)}")
        if not all(0 <= index < size for index, size in zip(hint.voxel, shape, strict=True)):
            size = " x ".join(map(str, shape))
            raise BadInput("hints", f"({place}) is outside the image of {size}", "point inside the image")
        if hint.label is not None and hint.label not in labels:
            known = ", ".join(f"{info.label} ({info.name})" for info in classes)
            raise BadInput("hints", f"the model has no class {hint.label}", f"give one of {known}")
        if said.setdefault((hint.voxel, hint.label), hint.inside) != hint.inside:
            raise BadInput("hints", f"({place}) is both inside and outside", "take one of them back")


def _weighted(
    segmentation: Segmentation,
    hints: tuple[Hint, ...],
    weights: NDArray[np.float64],
    progress: Callable[[int, int], None] | None,
) -> Segmentation:
    """Mean and variance of the weighted samples, slice by slice; what follows from them."""
    maps, record = segmentation.sample_maps, segmentation.record
    assert maps is not None
    shape = segmentation.mask.shape
    is_on_disk = not isinstance(segmentation.mean, np.ndarray)
    stacked = (len(segmentation.classes), len(maps), *shape[-2:])

    def empty() -> Any:
        return allocate(stacked, 0) if is_on_disk else np.zeros(stacked, np.float32)

    temperature = record.temperature or NO_TEMPERATURE
    mean = empty()
    variance = None if segmentation.variance is None else empty()
    w = weights.astype(np.float32)
    for number in range(len(maps)):
        if progress is not None:
            progress(number, len(maps))
        samples = maps.plane_samples(number)
        if not samples.any():
            continue
        # at most 1: weights add up to a little more, and the temperature of what is above 1 is not a number
        plane_mean = np.clip(np.tensordot(w, samples, 1), 0, 1)
        if variance is not None:  # the population variance, as that of a run
            deviations = samples - plane_mean
            variance[:, number] = np.einsum("n,nkyx->kyx", w, deviations * deviations)
        mean[:, number] = temperature.calibrated(plane_mean)  # what is 0 stays so
    full = (len(segmentation.classes), *shape)
    rounded = tuple(round(float(value), 6) for value in weights)
    hinted = replace(
        segmentation,
        mean=_shaped(mean, full),
        variance=None if variance is None else _shaped(variance, full),
        written_agreement=None,
        record=record.replace(hints=HintsRecord(hints=hints, weights=rounded), expected_dice={}),
    )
    return hinted.with_threshold(record.threshold)


def _shaped(values: Any, shape: tuple[int, ...]) -> Any:
    """An array as one of another shape; one on the disk as a dask array."""
    if isinstance(values, np.ndarray):
        return values.reshape(shape)
    import dask.array as da

    return da.from_zarr(values).reshape(shape)
