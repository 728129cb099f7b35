"""What a run knows: its settings, the planes it works on, and what its samples gave so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo, descendants
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.ensemble import Ensemble
from napari_latentseg.inference.request import Request
from napari_latentseg.inference.room import memory_limit
from napari_latentseg.inference.stopping import Stopping
from napari_latentseg.inference.variation import Variation
from napari_latentseg.models.card import ModelCard
from napari_latentseg.planes import Planes
from napari_latentseg.precision import Compute
from napari_latentseg.preprocess import Preprocess
from napari_latentseg.sample_maps import SampleMaps
from napari_latentseg.scan import Scan
from napari_latentseg.views import seen_along

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
    request
        The settings.
    original
        The scan as it was given; the result has its axes and its geometry.
    scan
        The same with its planes across the axis that was asked for.
    plane
        Which axis that is: see `napari_latentseg.views.PLANES`.
    order
        Axis i of `scan` is axis ``order[i]`` of `original`.
    planes
        Of `scan`, or a box of them.
    classes
        Those that are looked for, K of them.
    chosen
        The planes that are worked on.
    size
        Height and width in pixels that these are resized to.
    limit
        Bytes of memory: see `Request`.
    ensemble
        What the samples gave so far, of the box alone where there is one.
    settled
        For each plane, with how many samples it last had all that it was to have, `(N,)`; 0 for never.
    samples_asked
        How many samples were asked for.
    stopping
        What ends the samples early; None where nothing does.
    variations
        How each sample varies the image, as far as they are asked for.
    notes
        What a person should know of the run, in plain words.
    digest
        The hash of the values, see `Scan.hashing`; empty before the run has begun.
    seconds
        That the run has taken.
    """

    card: ModelCard
    compute: Compute
    request: Request
    original: Scan
    scan: Scan
    plane: str
    order: tuple[int, ...]
    planes: Planes
    classes: tuple[ClassInfo, ...]
    chosen: range
    size: tuple[int, int]
    limit: int
    ensemble: Ensemble
    settled: NDArray[np.int64]
    samples_asked: int
    stopping: Stopping | None
    variations: list[Variation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digest: str = ""
    seconds: float = 0.0

    @classmethod
    def of(
        cls, card: ModelCard, compute: Compute, scan: Scan, request: Request, plane: str = "acquired"
    ) -> RunState:
        """The state of a run that has not begun.

        Parameters
        ----------
        card, compute, request
            As the attributes.
        scan
            As it was given.
        plane
            One of `napari_latentseg.views.PLANES`.

        Raises
        ------
        BadInput
            Where the scan has no such planes, slices or box, or what is asked for cannot be done on a scan
            of its size.
        """
        turned, order = seen_along(scan, plane)
        planes = Planes.of(turned)
        if request.box is not None:
            planes = planes.within(request.box)
        classes = _asked_for(card.classes, request.classes)
        limit = memory_limit(request.memory_limit)
        chosen = _chosen(request, len(planes))
        return cls(
            card=card,
            compute=compute,
            request=request,
            original=scan,
            scan=turned,
            plane=plane,
            order=order,
            planes=planes,
            classes=classes,
            chosen=chosen,
            size=_working_size(card.preprocess, planes),
            limit=limit,
            ensemble=_empty_ensemble(planes, classes, request, limit),
            settled=np.zeros(len(planes), dtype=np.int64),
            samples_asked=request.samples,
            stopping=None if request.tolerance is None else Stopping(request.tolerance, request.samples),
            notes=[*turned.notes, *planes.notes],
        )

    @property
    def samples_settled(self) -> int | None:
        """With how many samples a run that may end early does; None before that is known, and without it."""
        return None if self.stopping is None else self.stopping.number

    @property
    def samples_wanted(self) -> int:
        """How many samples each plane is to have, as far as that is known."""
        return self.samples_settled or self.samples_asked


def _empty_ensemble(planes: Planes, classes: tuple[ClassInfo, ...], request: Request, limit: int) -> Ensemble:
    """The ensemble of a run that has no sample yet.

    Raises
    ------
    BadInput
        Where the mask is to be cleaned, and will be too large for that.
    """
    maps = SampleMaps(
        len(classes), len(planes), planes.whole_shape, limit // 4,
        leading=planes.scan.spatial_shape[:-2], box=request.box,
    )  # fmt: skip
    ensemble = Ensemble(
        len(classes), len(planes), planes.plane_shape, descendants(classes), limit,
        maps if request.keep_samples else None,
    )  # fmt: skip
    if request.cleanup.is_active and ensemble.is_on_disk:
        raise BadInput(
            "cleanup", "the mask would be too large to be cleaned in memory", "work on a box, or leave it out"
        )
    return ensemble


def _working_size(preprocess: Preprocess, planes: Planes) -> tuple[int, int]:
    """Height and width that what is worked on is resized to: of a box in tiles, at the plane's scale."""
    height, width = planes.whole_shape
    whole = preprocess.working_size(height, width, planes.spacing)
    if preprocess.mode == "whole" or planes.plane_shape == (height, width):
        return whole
    rows, columns = planes.plane_shape
    return max(1, round(rows * whole[0] / height)), max(1, round(columns * whole[1] / width))


def _chosen(request: Request, count: int) -> range:
    """The planes to work on.

    Raises
    ------
    BadInput
        Where the scan has no such planes.
    """
    first, last = request.slices or (0, count - 1)
    if last >= count:
        raise BadInput("slices", f"end at {last + 1}, but the scan has {count}", f"use 1 to {count}")
    return range(first, last + 1)


def _asked_for(classes: tuple[ClassInfo, ...], names: tuple[str, ...] | None) -> tuple[ClassInfo, ...]:
    """The classes with these names; what they include is what is left of it."""
    if names is None:
        return classes
    chosen = []
    for info, parts in zip(classes, descendants(classes), strict=True):
        if info.name in names:
            kept = tuple(classes[i].name for i in sorted(parts) if classes[i].name in names)
            chosen.append(info.replace(includes=kept))
    return tuple(chosen)
