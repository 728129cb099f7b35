"""What a run gives, put together from its state: the segmentation and its record."""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.cut import mask_from
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.placed import placed
from napari_latentseg.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, Segmentation, volumes_by_name
from napari_latentseg.views import turned_back

__all__ = ["segmentation_of"]


def segmentation_of(state: RunState) -> Segmentation | None:
    """The result of a run so far: see `Run.result`.

    Parameters
    ----------
    state
        Of the run.

    Returns
    -------
    Segmentation or None
        In the axes and the geometry of the scan as it was given; None where no sample is complete.
    """
    ensemble, counts, request = state.ensemble, state.ensemble.counts, state.request
    shown = counts >= max(1, _claimed(state))
    if not shown.any():
        return None
    n = int(counts[shown].min())
    spatial, leading = state.scan.spatial_shape, state.scan.spatial_shape[:-2]
    different = len(set(state.variations[:n])) if request.source == "augment" else n
    has_variance = different >= MINIMUM_FOR_VARIANCE and request.source != "none"
    elements = ensemble.elements(shown)[:n]
    size, unit = state.scan.geometry.element_size
    volumes = (elements * size).astype(np.float64)

    canvas = math.prod((len(state.classes), *spatial)) * np.dtype(np.float32).itemsize
    # where the whole would not fit, neither does a mask beside it that somebody reads on from
    limit = 0 if canvas > state.limit // 2 else None

    def whole(part: Any) -> Any:
        return placed(part, (*part.shape[: -len(spatial)], *spatial), state.planes.place, limit=limit)

    part = _stacked(ensemble.means(), leading, shown)
    mask = mask_from(part, request.threshold, state.classes)
    planes = _planes_worked(state)
    if request.cleanup.is_active:  # refused beforehand where the part lies on disk
        labels = [c.label for c in state.classes]
        mended = request.cleanup.cleaned(mask[planes], labels, state.scan.spatial_axes, size)
        mask = placed(mended, mask.shape, (*planes, slice(None), slice(None)))
    result = Segmentation(
        mask=whole(mask),
        mean=whole(part),
        variance=whole(_stacked(ensemble.variance(), leading, shown)) if has_variance else None,
        volumes=volumes,
        axes=state.scan.spatial_axes,
        geometry=state.scan.geometry,
        format=state.scan.format,
        properties=dict(state.scan.properties),
        classes=state.classes,
        record=_record_of(state, n, int(shown.sum()), volumes, unit, _notes(state, n, different)),
        source=state.scan.source,
        maps=None if ensemble.maps is None else ensemble.maps.settled(shown, request.threshold, elements),
        worked=_worked(state),
    )
    if request.cleanup.is_active and result.maps is not None and result.maps.is_complete:
        volumes, cleaned = result.sample_volumes(request.threshold, request.cleanup)
        changes = {"volumes": volumes_by_name(state.classes, volumes), "volumes_cleaned": cleaned}
        result = replace(result, volumes=volumes, record=result.record.replace(**changes))
    return turned_back(result, state.original, state.order)


def _claimed(state: RunState) -> int:
    """How many samples a plane must have to be shown: those of the planes that were not cut short."""
    settled = state.settled[state.settled > 0]
    if len(state.planes) == 1 or not settled.size:
        return int(state.ensemble.counts.max())
    return int(settled.min())


def _notes(state: RunState, n: int, different: int) -> list[str]:
    """What a person should know of the run, in plain words."""
    notes = list(state.notes)
    if different < n:
        notes.append(
            f"only {different} of the {n} samples differ: the model was trained with no more variations"
        )
    most = state.ensemble.counts.max()
    if most > n:
        notes.append(f"{np.count_nonzero(state.ensemble.counts > n)} planes have up to {most} samples")
    if state.stopping is not None and (state.samples_settled or state.samples_asked) < state.samples_asked:
        notes.append(
            f"stopped at {state.samples_settled} of {state.samples_asked} samples: two in a row changed the"
            f" mask by no more than {state.stopping.tolerance:g} (1 - DSC)"
        )
    return notes


def _planes_worked(state: RunState) -> tuple[slice, ...]:
    """The planes that are worked on, a slice for each leading axis; all where these are several."""
    leading = len(state.scan.spatial_shape) - 2
    return (slice(state.chosen.start, state.chosen.stop),) if leading == 1 else (slice(None),) * leading


def _worked(state: RunState) -> tuple[slice, ...] | None:
    """The part of the scan that is worked on; None where that is all of it."""
    place = (*_planes_worked(state), *state.planes.place)
    spans = (s.indices(n) for s, n in zip(place, state.scan.spatial_shape, strict=True))
    whole = all(
        (start, stop) == (0, n) for (start, stop, _), n in zip(spans, state.scan.spatial_shape, strict=True)
    )
    return None if whole else place


def _stacked(planes: Any, leading: tuple[int, ...], shown: NDArray[np.bool_]) -> Any:
    """`(N, K, H, W)` to `(K, *leading, H, W)`, a copy, or dask; planes that are not shown are 0."""
    shape = (planes.shape[1], *leading, *planes.shape[2:])
    if not isinstance(planes, np.ndarray):
        import dask.array as da

        kept = planes if shown.all() else da.where(shown[:, None, None, None], planes, np.float32(0))
        return kept.swapaxes(0, 1).reshape(shape)
    stacked = np.zeros((planes.shape[1], len(planes), *planes.shape[2:]), dtype=np.float32)
    stacked[:, shown] = planes[shown].swapaxes(0, 1)
    return stacked.reshape(shape)


def _record_of(
    state: RunState, n: int, planes_done: int, volumes: NDArray[np.float64], unit: str, notes: list[str]
) -> RunRecord:
    """What a run was made from, and how.

    Parameters
    ----------
    state
        Of the run so far.
    n, planes_done
        How many samples its result has, and how many planes show something.
    volumes, unit
        Of the samples, `(n, K)`.
    notes
        For people.
    """
    card, request, scan = state.card, state.request, state.scan
    pre = card.preprocess
    return RunRecord(
        plugin_version=_version("napari-latentseg"),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        input=InputRecord(
            sha256=state.digest,
            format=scan.format,
            axes=scan.axes,
            shape=tuple(scan.array.shape),
            dtype=str(scan.array.dtype),
            spacing=scan.geometry.spacing,
            units=scan.geometry.units,
            modality=scan.modality,
            notes=tuple(notes),
        ),
        model=ModelRecord(
            name=card.name,
            version=card.version,
            method=card.method,
            variant=card.variant,
            codec=card.codec.name if card.codec else "the model's own",
            sha256={**card.files} | ({"codec": card.codec.sha256} if card.codec else {}),
        ),
        classes=state.classes,
        samples_asked=state.samples_asked,
        samples=n,
        planes_done=planes_done,
        planes=len(state.planes),
        source=request.source,
        source_settings=_settings(card.augment.model_dump(), request.source),
        seed=request.seed,
        threshold=request.threshold,
        device=state.compute.device,
        precision=state.compute.precision,
        tile=(pre.size, pre.size) if pre.mode == "tiles" else None,
        overlap=pre.overlap,
        working_size=state.size,
        seconds=round(state.seconds, 3),
        complete=n == state.samples_wanted and planes_done == len(state.chosen),
        slices=request.slices,
        box=request.box,
        plane=state.plane,
        tolerance=None if state.stopping is None else state.stopping.tolerance,
        cleanup=request.cleanup if request.cleanup.is_active else None,
        volumes=volumes_by_name(state.classes, volumes),
        volume_unit=unit,
        versions={"python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "numpy", "diffusers")},
    )


def _settings(ranges: dict[str, float], source: str) -> dict[str, float]:
    if source != "augment":
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


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
