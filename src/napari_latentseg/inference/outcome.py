"""What a run gives, put together from what its planes hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.cut import mask_from
from napari_latentseg.inference.record import record_of
from napari_latentseg.placed import placed
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, Segmentation, volumes_by_name

if TYPE_CHECKING:
    from napari_latentseg.inference.run import Run

__all__ = ["segmentation_of"]


def segmentation_of(run: Run) -> Segmentation | None:
    """The result of a run so far: see `Run.result`."""
    ensemble, counts, request = run.ensemble, run.ensemble.counts, run.request
    shown = counts >= max(1, _claimed(run))
    if not shown.any():
        return None
    n = int(counts[shown].min())
    spatial, leading = run.scan.spatial_shape, run.scan.spatial_shape[:-2]
    different = len(set(run.variations[:n])) if request.source == "augment" else n
    has_variance = different >= MINIMUM_FOR_VARIANCE and request.source != "none"
    elements = ensemble.elements(shown)[:n]
    size, unit = run.scan.geometry.element_size
    volumes = (elements * size).astype(np.float64)

    canvas = math.prod((len(run.classes), *spatial)) * np.dtype(np.float32).itemsize
    # where the whole would not fit, neither does a mask beside it that somebody reads on from
    limit = 0 if canvas > run.limit // 2 else None

    def whole(part: Any) -> Any:
        return placed(part, (*part.shape[: -len(spatial)], *spatial), run.planes.place, limit=limit)

    part = _stacked(ensemble.means(), leading, shown)
    mask = mask_from(part, request.threshold, run.classes)
    planes = _planes_worked(run)
    if request.cleanup.is_active:  # refused beforehand where the part lies on disk
        labels = [c.label for c in run.classes]
        mended = request.cleanup.cleaned(mask[planes], labels, run.scan.spatial_axes, size)
        mask = placed(mended, mask.shape, (*planes, slice(None), slice(None)))
    found = Segmentation(
        mask=whole(mask),
        mean=whole(part),
        variance=whole(_stacked(ensemble.variance(), leading, shown)) if has_variance else None,
        volumes=volumes,
        axes=run.scan.spatial_axes,
        geometry=run.scan.geometry,
        format=run.scan.format,
        properties=dict(run.scan.properties),
        classes=run.classes,
        record=record_of(run, n, int(shown.sum()), volumes, unit, _notes(run, n, different)),
        source=run.scan.source,
        maps=None if ensemble.maps is None else ensemble.maps.settled(shown, request.threshold, elements),
        worked=_worked(run),
    )
    if request.cleanup.is_active and found.maps is not None and found.maps.is_complete:
        volumes, cleaned = found.sample_volumes(request.threshold, request.cleanup)
        changes = {"volumes": volumes_by_name(run.classes, volumes), "volumes_cleaned": cleaned}
        found = replace(found, volumes=volumes, record=found.record.model_copy(update=changes))
    return found


def _claimed(run: Run) -> int:
    """How many samples a plane must have to be shown: those of the planes that were not cut short."""
    settled = run.settled[run.settled > 0]
    if len(run.planes) == 1 or not settled.size:
        return int(run.ensemble.counts.max())
    return int(settled.min())


def _notes(run: Run, n: int, different: int) -> list[str]:
    """What a person should know of the run, in plain words."""
    notes = [*run.notes, *run.drawing.notes]
    if different < n:
        notes.append(
            f"only {different} of the {n} samples differ: the model was trained with no more variations"
        )
    most = run.ensemble.counts.max()
    if most > n:
        notes.append(f"{np.count_nonzero(run.ensemble.counts > n)} planes have up to {most} samples")
    if run.stopping is not None and (run.samples_settled or run.samples_asked) < run.samples_asked:
        notes.append(
            f"stopped at {run.samples_settled} of {run.samples_asked} samples: two in a row changed the mask"
            f" by no more than {run.stopping.tolerance:g} (1 - DSC)"
        )
    return notes


def _planes_worked(run: Run) -> tuple[slice, ...]:
    """The planes that are worked on, a slice for each leading axis; all where these are several."""
    leading = len(run.scan.spatial_shape) - 2
    return (slice(run.chosen.start, run.chosen.stop),) if leading == 1 else (slice(None),) * leading


def _worked(run: Run) -> tuple[slice, ...] | None:
    """The part of the scan that is worked on; None where that is all of it."""
    place = (*_planes_worked(run), *run.planes.place)
    spans = (s.indices(n) for s, n in zip(place, run.scan.spatial_shape, strict=True))
    whole = all(
        (start, stop) == (0, n) for (start, stop, _), n in zip(spans, run.scan.spatial_shape, strict=True)
    )
    return None if whole else place


def _stacked(planes: Any, leading: tuple[int, ...], shown: NDArray[np.bool_]) -> Any:
    """`(N, K, H, W)` to `(K, *leading, H, W)`, a copy, or dask; planes that are not shown are 0."""
    shape = (planes.shape[1], *leading, *planes.shape[2:])
    if not isinstance(planes, np.ndarray):
        import dask.array as da

        kept = planes if shown.all() else da.where(shown[:, None, None, None], planes, np.float32(0))
        return kept.swapaxes(0, 1).reshape(shape)
    found = np.zeros((planes.shape[1], len(planes), *planes.shape[2:]), dtype=np.float32)
    found[:, shown] = planes[shown].swapaxes(0, 1)
    return found.reshape(shape)
