"""Building the segmentation and its record from the state of a run."""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.embed import embed
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.ranges import as_ranges
from napari_latentseg.core.record import (
    AUGMENTING_SOURCES,
    MEMBER_SOURCES,
    InputRecord,
    ModelRecord,
    RunRecord,
)
from napari_latentseg.core.reorient import restore_orientation
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation, volumes_by_name
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.measure.expected_dice import with_expected_dice
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.threads import thread_count

__all__ = ["build_segmentation"]

# what computed, and so what another machine needs for the same result
_LIBRARIES = {
    "torch": ("torch", "numpy", "diffusers"),
    "openvino": ("openvino", "torch", "numpy", "diffusers"),
}


def build_segmentation(state: RunState) -> Segmentation | None:
    """The segmentation from the samples so far; see `Run.result`.

    Parameters
    ----------
    state
        State of the run.

    Returns
    -------
    Segmentation or None
        In the axes and the geometry of the scan as it was given; None before the first complete sample.
    """
    ensemble, samples_per_plane, settings = state.ensemble, state.ensemble.samples_per_plane, state.settings
    has_result = samples_per_plane >= max(1, state.kept_samples)
    if not has_result.any():
        return None
    sample_count = int(samples_per_plane[has_result].min())
    spatial, leading = state.scan.spatial_shape, state.scan.spatial_shape[:-2]
    distinct_count = _distinct_samples(state, sample_count)
    has_variance = distinct_count >= MIN_SAMPLES_FOR_VARIANCE and settings.source != "none"
    voxel_counts = ensemble.voxel_counts(has_result)[:sample_count]
    voxel_volume, unit = state.scan.geometry.voxel_volume
    volumes = (voxel_counts * voxel_volume).astype(np.float64)

    full_mean_bytes = math.prod((len(state.classes), *spatial)) * np.dtype(np.float32).itemsize
    # if the mean of the whole scan exceeds its memory limit, the mask is built lazily as well
    eager_limit = 0 if full_mean_bytes > state.max_bytes // 2 else None

    def embed_in_scan(crop: Any) -> Any:
        shape = (*crop.shape[: -len(spatial)], *spatial)
        return embed(crop, shape, state.planes.crop_slices, max_bytes=eager_limit)

    mean = _calibrated(_stack_classes(ensemble.mean_array(), leading, has_result), settings)
    mask = embed_in_scan(_postprocessed_mask(state, mean, voxel_volume))
    variance = None
    if has_variance:
        variance = embed_in_scan(_stack_classes(ensemble.variance(), leading, has_result, is_new=True))
    notes = _notes(state, sample_count, distinct_count)
    result = Segmentation(
        mask=mask,
        mean=embed_in_scan(mean),
        variance=variance,
        volumes=volumes,
        axes=state.scan.spatial_axes,
        geometry=state.scan.geometry,
        format=state.scan.format,
        properties=dict(state.scan.properties),
        classes=state.classes,
        record=_run_record(state, sample_count, has_result, volumes, unit, notes),
        source=state.scan.source,
        sample_maps=None
        if ensemble.sample_maps is None
        else ensemble.sample_maps.freeze(has_result, settings.sample_threshold, voxel_counts),
        roi=_roi(state),
    )
    result = _with_postprocessed_volumes(result, settings)
    restored = restore_orientation(result, state.original, state.axis_order)
    return with_expected_dice(restored, state.card) if restored.record.complete else restored


def _distinct_samples(state: RunState, sample_count: int) -> int:
    """How many of the samples can differ: augmentations repeat once all flips and turns are used.

    Equal samples would make the variance too small.
    """
    if state.settings.source not in AUGMENTING_SOURCES:
        return sample_count
    members = state.card.members if state.settings.source in MEMBER_SOURCES else 1
    return len({(i % members, view) for i, view in enumerate(state.tta_transforms[:sample_count])})


def _calibrated(mean: Any, settings: InferenceSettings) -> Any:
    """The mean at the temperature of the settings; one in memory is nobody else's, and is changed."""
    if not isinstance(mean, np.ndarray):
        return settings.temperature.calibrated(mean)
    settings.temperature.calibrate(mean)
    return mean


def _postprocessed_mask(state: RunState, mean: Any, voxel_volume: float) -> Any:
    """The label map of a mean `(K, *leading, H, W)`, post-processed if the settings ask for it."""
    settings = state.settings
    mask = labels_from_probabilities(mean, settings.threshold, state.classes)
    if not settings.cleanup.is_active:  # always so for a mean on disk, see `RunState.create`
        return mask
    planes = _roi_planes(state)
    labels = [c.label for c in state.classes]
    processed = settings.cleanup.apply(mask[planes], labels, state.scan.spatial_axes, voxel_volume)
    return embed(processed, mask.shape, (*planes, slice(None), slice(None)))


def _with_postprocessed_volumes(result: Segmentation, settings: InferenceSettings) -> Segmentation:
    """The result with the volumes of its post-processed samples, if requested and the samples were kept."""
    if not settings.cleanup.is_active or result.sample_maps is None or not result.sample_maps.is_complete:
        return result
    volumes, volumes_cleaned = result.sample_volumes(settings.threshold, settings.cleanup)
    record = result.record.replace(
        volumes=volumes_by_name(result.classes, volumes), volumes_cleaned=volumes_cleaned
    )
    return replace(result, volumes=volumes, record=record)


def _notes(state: RunState, sample_count: int, distinct_count: int) -> list[str]:
    """Messages for the user about the samples of this result."""
    notes = list(state.notes)
    if distinct_count < sample_count:
        notes.append(
            f"only {distinct_count} of the {sample_count} samples differ: the augmentation of this model"
            " has no more variants"
        )
    max_samples = state.ensemble.samples_per_plane.max()
    if max_samples > sample_count:
        notes.append(
            f"{np.count_nonzero(state.ensemble.samples_per_plane > sample_count)} planes have up to"
            f" {max_samples} samples"
        )
    if (
        state.stopper is not None
        and (state.early_stop_samples or state.requested_samples) < state.requested_samples
    ):
        notes.append(
            f"stopped at {state.early_stop_samples} of {state.requested_samples} samples: two in a row"
            f" changed the mask by at most {state.stopper.tolerance:g} (1 - Dice)"
        )
    return notes


def _roi_planes(state: RunState) -> tuple[slice, ...]:
    """The segmented planes, a slice for each leading axis; all planes of a scan with several leading axes."""
    leading = len(state.scan.spatial_shape) - 2
    return (
        (slice(state.plane_indices.start, state.plane_indices.stop),)
        if leading == 1
        else (slice(None),) * leading
    )


def _roi(state: RunState) -> tuple[slice, ...] | None:
    """The part of the scan that is segmented, a slice for each axis; None for the whole scan."""
    roi = (*_roi_planes(state), *state.planes.crop_slices)
    bounds = (s.indices(n) for s, n in zip(roi, state.scan.spatial_shape, strict=True))
    is_whole_scan = all(
        (start, stop) == (0, n) for (start, stop, _), n in zip(bounds, state.scan.spatial_shape, strict=True)
    )
    return None if is_whole_scan else roi


def _stack_classes(
    plane_means: Any, leading: tuple[int, ...], has_result: NDArray[np.bool_], *, is_new: bool = False
) -> Any:
    """Reshape `(N, K, H, W)` to `(K, *leading, H, W)`, or dask; planes without a result are 0.

    The result is a copy, unless the array is new, so that nobody else holds it, and has a single class.
    """
    shape = (plane_means.shape[1], *leading, *plane_means.shape[2:])
    if not isinstance(plane_means, np.ndarray):
        import dask.array as da

        masked_means = (
            plane_means
            if has_result.all()
            else da.where(has_result[:, None, None, None], plane_means, np.float32(0))
        )
        return masked_means.swapaxes(0, 1).reshape(shape)
    if is_new and plane_means.shape[1] == 1:
        plane_means[~has_result] = 0
        return plane_means.reshape(shape)
    if has_result.all():
        return np.array(plane_means.swapaxes(0, 1), order="C").reshape(shape)
    stacked = np.zeros((plane_means.shape[1], len(plane_means), *plane_means.shape[2:]), dtype=np.float32)
    stacked[:, has_result] = plane_means[has_result].swapaxes(0, 1)
    return stacked.reshape(shape)


def _run_record(
    state: RunState,
    sample_count: int,
    has_result: NDArray[np.bool_],
    volumes: NDArray[np.float64],
    unit: str,
    notes: list[str],
) -> RunRecord:
    """The record of a run: input, model, settings, software.

    Parameters
    ----------
    state
        State of the run.
    sample_count
        How many samples the result has.
    has_result
        Which planes have a result, `(N,)`.
    volumes
        Area or volume of each class in each sample, `(sample_count, K)`, in `unit`.
    unit
        ``"mm2"``, ``"mm3"`` or ``"pixel"``.
    notes
        Messages for the user.
    """
    card, settings = state.card, state.settings
    pre = card.preprocess
    planes_done = int(has_result.sum())
    return RunRecord(
        plugin_version=_package_version("napari-latentseg"),
        # a table of cases tells runs of one image apart by it, and several may begin within a second
        time=state.began.isoformat(timespec="milliseconds"),
        input=_input_record(state, notes),
        model=_model_record(card),
        classes=state.classes,
        samples_asked=state.requested_samples,
        samples=sample_count,
        planes_done=planes_done,
        planes=len(state.planes),
        source=settings.source,
        source_settings=_source_settings(card.augment.model_dump(), settings.source),
        seed=settings.seed,
        threshold=settings.threshold,
        temperature=None if settings.temperature.is_identity else settings.temperature,
        device=state.compute.device,
        precision=state.compute.precision,
        engine=state.compute.engine,
        threads=thread_count() if state.compute.device == "cpu" else None,
        tile=(pre.size, pre.size) if pre.mode == "tiles" else None,
        overlap=pre.overlap,
        working_size=state.working_size,
        seconds=round(state.seconds, 3),
        complete=sample_count == state.target_samples and planes_done == len(state.plane_indices),
        slices=settings.slices,
        segmented_slices=None if has_result.all() else as_ranges(np.flatnonzero(has_result).tolist()),
        box=settings.box,
        plane=state.plane,
        tolerance=None if state.stopper is None else state.stopper.tolerance,
        cleanup=settings.cleanup if settings.cleanup.is_active else None,
        fit=state.fit_check.result(),
        volumes=volumes_by_name(state.classes, volumes),
        volume_unit=unit,
        versions={"python": platform.python_version()}
        | {name: _package_version(name) for name in _LIBRARIES[state.compute.engine]},
    )


def _input_record(state: RunState, notes: list[str]) -> InputRecord:
    scan = state.scan
    return InputRecord(
        sha256=state.input_sha256,
        format=scan.format,
        axes=scan.axes,
        shape=tuple(scan.array.shape),
        dtype=str(scan.array.dtype),
        spacing=scan.geometry.spacing,
        units=scan.geometry.units,
        modality=scan.modality,
        notes=tuple(notes),
    )


def _model_record(card: ModelCard) -> ModelRecord:
    return ModelRecord(
        name=card.name,
        version=card.version,
        method=card.method,
        variant=card.deviations_from_paper,
        codec=card.codec.name if card.codec else "the model's own",
        sha256={**card.files} | ({"codec": card.codec.sha256} if card.codec else {}),
    )


def _source_settings(ranges: dict[str, float], source: str) -> dict[str, float]:
    if source not in AUGMENTING_SOURCES:
        return {}
    names = (
        "horizontal_flip",
        "vertical_flip",
        "quarter_turn",
        "jitter",
        "brightness",
        "contrast",
        "affine",
        "shift",
    )
    return {name: ranges[name] for name in names}


@cache  # the metadata of packages take milliseconds to read, at each of thousands of images
def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
