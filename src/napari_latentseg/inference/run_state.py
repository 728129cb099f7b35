"""What a run knows: its settings, the planes it works on, and what its samples gave so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.reorient import reorient
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.early_stopping import SampleStopper
from napari_latentseg.inference.ensemble import Ensemble
from napari_latentseg.inference.scratch_arrays import memory_limit
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tta import TTATransform
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.device import Compute

__all__ = ["RunState"]


@dataclass
class RunState:
    """The state of a run; plain data that the run changes, and that its result is made from.

    Attributes
    ----------
    card
        Of the model that runs.
    compute
        The device and the arithmetic.
    settings
        The settings.
    original
        The scan as it was given; the result has its axes and its geometry.
    scan
        The same with its planes across the axis that was asked for.
    plane
        Which axis that is: see `napari_latentseg.core.reorient.WORLD_AXIS_OF_PLANE`.
    plane_order
        Axis i of `scan` is axis ``order[i]`` of `original`.
    planes
        Of `scan`, or a box of them.
    classes
        Those that are looked for, K of them.
    plane_indices
        The planes that are worked on.
    working_size
        Height and width in pixels that these are resized to.
    max_bytes
        Bytes of memory: see `InferenceSettings`.
    ensemble
        What the samples gave so far, of the box alone where there is one.
    completed
        For each plane, with how many samples it last had all that it was to have, `(N,)`; 0 for never.
    requested_samples
        How many samples were asked for.
    stopper
        What ends the samples early; None where nothing does.
    tta_transforms
        How each sample varies the image, as far as they are asked for.
    notes
        What a person should know of the run, in plain words.
    input_sha256
        The hash of the values, see `Scan.iter_sha256`; empty before the run has begun.
    seconds
        That the run has taken.
    """

    card: ModelCard
    compute: Compute
    settings: InferenceSettings
    original: Scan
    scan: Scan
    plane: str
    plane_order: tuple[int, ...]
    planes: Planes
    classes: tuple[ClassInfo, ...]
    plane_indices: range
    working_size: tuple[int, int]
    max_bytes: int
    ensemble: Ensemble
    completed: NDArray[np.int64]
    requested_samples: int
    stopper: SampleStopper | None
    tta_transforms: list[TTATransform] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    input_sha256: str = ""
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        card: ModelCard,
        compute: Compute,
        scan: Scan,
        request: InferenceSettings,
        plane: str = "acquired",
    ) -> RunState:
        """The state of a run that has not begun.

        Parameters
        ----------
        card, compute, request
            As the attributes.
        scan
            As it was given.
        plane
            One of `napari_latentseg.core.reorient.WORLD_AXIS_OF_PLANE`.

        Raises
        ------
        BadInput
            Where the scan has no such planes, slices or box, or what is asked for cannot be done on a scan
            of its size.
        """
        turned, order = reorient(scan, plane)
        planes = Planes.from_scan(turned)
        if request.box is not None:
            planes = planes.crop(request.box)
        classes = _select_classes(card.classes, request.classes)
        limit = memory_limit(request.memory_limit)
        plane_indices = _plane_indices(request, len(planes))
        return cls(
            card=card,
            compute=compute,
            settings=request,
            original=scan,
            scan=turned,
            plane=plane,
            plane_order=order,
            planes=planes,
            classes=classes,
            plane_indices=plane_indices,
            working_size=_working_size(card.preprocess, planes),
            max_bytes=limit,
            ensemble=_empty_ensemble(planes, classes, request, limit),
            completed=np.zeros(len(planes), dtype=np.int64),
            requested_samples=request.samples,
            stopper=None if request.tolerance is None else SampleStopper(request.tolerance, request.samples),
            notes=[*turned.notes, *planes.notes],
        )

    @property
    def early_stop_samples(self) -> int | None:
        """With how many samples a run that may end early does; None before that is known, and without it."""
        return None if self.stopper is None else self.stopper.final_sample_count

    @property
    def target_samples(self) -> int:
        """How many samples each plane is to have, as far as that is known."""
        return self.early_stop_samples or self.requested_samples


def _empty_ensemble(
    planes: Planes, classes: tuple[ClassInfo, ...], request: InferenceSettings, limit: int
) -> Ensemble:
    """The ensemble of a run that has no sample yet.

    Raises
    ------
    BadInput
        Where the mask is to be cleaned, and will be too large for that.
    """
    maps = SampleMaps(
        len(classes), len(planes), planes.full_plane_shape, limit // 4,
        leading=planes.scan.spatial_shape[:-2], box=request.box,
    )  # fmt: skip
    ensemble = Ensemble(
        len(classes), len(planes), planes.plane_shape, class_descendants(classes), limit,
        maps if request.keep_samples else None,
    )  # fmt: skip
    if request.cleanup.is_active and ensemble.is_on_disk:
        raise BadInput(
            "cleanup", "the mask would be too large to be cleaned in memory", "work on a box, or leave it out"
        )
    return ensemble


def _working_size(preprocess: Preprocess, planes: Planes) -> tuple[int, int]:
    """Height and width that what is worked on is resized to: of a box in tiles, at the plane's scale."""
    height, width = planes.full_plane_shape
    whole = preprocess.working_size(height, width, planes.spacing)
    if preprocess.mode == "whole" or planes.plane_shape == (height, width):
        return whole
    rows, columns = planes.plane_shape
    return max(1, round(rows * whole[0] / height)), max(1, round(columns * whole[1] / width))


def _plane_indices(settings: InferenceSettings, count: int) -> range:
    """The planes to work on.

    Raises
    ------
    BadInput
        Where the scan has no such planes.
    """
    first, last = settings.slices or (0, count - 1)
    if last >= count:
        raise BadInput("slices", f"end at {last + 1}, but the scan has {count}", f"use 1 to {count}")
    return range(first, last + 1)


def _select_classes(classes: tuple[ClassInfo, ...], names: tuple[str, ...] | None) -> tuple[ClassInfo, ...]:
    """The classes with these names; what they include is what is left of it."""
    if names is None:
        return classes
    chosen = []
    for info, included in zip(classes, class_descendants(classes), strict=True):
        if info.name in names:
            kept_parts = tuple(classes[i].name for i in sorted(included) if classes[i].name in names)
            chosen.append(info.replace(includes=kept_parts))
    return tuple(chosen)
