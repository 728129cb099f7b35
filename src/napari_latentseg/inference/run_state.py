"""The data of a run: settings, planes, and what its samples gave so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

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
from napari_latentseg.inference.fit import FitCheck
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tta import TTATransform
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.scratch_arrays import memory_limit

__all__ = ["RunState"]


@dataclass
class RunState:
    """Everything that a run has computed so far; `Run` changes it, and `build_segmentation` reads it.

    Attributes
    ----------
    card
        Card of the model.
    compute
        Device and precision.
    settings
        What the user asked for.
    original
        The scan as it was given; the result has its axes and its geometry.
    scan
        The same scan, its axes reordered so that the requested planes are the last two axes.
    plane
        Which planes were requested, a key of `napari_latentseg.core.reorient.WORLD_AXIS_OF_PLANE`.
    axis_order
        Axis i of `scan` is axis ``axis_order[i]`` of `original`.
    planes
        The planes of `scan`, N of them, cropped to the crop box.
    classes
        The requested classes, K of them.
    plane_indices
        Indices of the planes to segment.
    working_size
        Height and width in pixels to which a plane is resized for the model.
    max_bytes
        Memory limit in bytes, see `InferenceSettings.memory_limit`.
    ensemble
        Mean and variance over the samples so far, within the crop box.
    completed_samples
        For each plane the number of samples at which it was last complete, int64 `(N,)`; 0 if it never was.
    requested_samples
        How many samples each plane gets, unless `stopper` ends the sampling earlier.
    stopper
        Early stopping; None without it.
    fit_check
        What tells whether the model was made for this image.
    tta_transforms
        Augmentation of each requested sample; the identity unless the sampling source augments.
    notes
        Messages for the user, for the record of the run.
    input_sha256
        Hash of the voxel values, see `Run._hash_input`; empty before the run has begun.
    seconds
        Computing time so far, wall clock.
    began
        When the run was made, UTC.
    """

    card: ModelCard
    compute: Compute
    settings: InferenceSettings
    original: Scan
    scan: Scan
    plane: str
    axis_order: tuple[int, ...]
    planes: Planes
    classes: tuple[ClassInfo, ...]
    plane_indices: range
    working_size: tuple[int, int]
    max_bytes: int
    ensemble: Ensemble
    completed_samples: NDArray[np.int64]
    requested_samples: int
    stopper: SampleStopper | None
    fit_check: FitCheck
    tta_transforms: list[TTATransform] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    input_sha256: str = ""
    seconds: float = 0.0
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def create(
        cls,
        card: ModelCard,
        compute: Compute,
        scan: Scan,
        settings: InferenceSettings,
        plane: str = "acquired",
    ) -> RunState:
        """The state of a run that has not begun.

        Parameters
        ----------
        card, compute, settings
            See the attributes.
        scan
            The scan as it was given.
        plane
            A key of `napari_latentseg.core.reorient.WORLD_AXIS_OF_PLANE`.

        Raises
        ------
        BadInput
            If the scan has no such plane, slices or crop box, or is too large for the settings.
        """
        reoriented, axis_order = reorient(scan, plane)
        planes = card.preprocess.planes(reoriented)
        if settings.box is not None:
            planes = planes.crop(settings.box)
        classes = _select_classes(card.classes, settings.classes)
        limit = memory_limit(settings.memory_limit)
        plane_indices = settings.plane_indices(len(planes))
        return cls(
            card=card,
            compute=compute,
            settings=settings,
            original=scan,
            scan=reoriented,
            plane=plane,
            axis_order=axis_order,
            planes=planes,
            classes=classes,
            plane_indices=plane_indices,
            working_size=_working_size(card.preprocess, planes),
            max_bytes=limit,
            ensemble=_empty_ensemble(planes, classes, settings, limit),
            completed_samples=np.zeros(len(planes), dtype=np.int64),
            requested_samples=settings.samples,
            stopper=None
            if settings.tolerance is None
            else SampleStopper(settings.tolerance, settings.samples),
            fit_check=FitCheck.of(card, reoriented, len(planes)),
            notes=[*reoriented.notes, *planes.notes],
        )

    @property
    def early_stop_samples(self) -> int | None:
        """The number of samples that early stopping has fixed; None while it has not, and without it."""
        return None if self.stopper is None else self.stopper.final_sample_count

    @property
    def kept_samples(self) -> int:
        """How many samples the planes have that a result shows; 0 before the first is complete."""
        completed = self.completed_samples[self.completed_samples > 0]
        if len(self.planes) == 1 or not completed.size:
            return int(self.ensemble.samples_per_plane.max())
        return int(completed.min())

    @property
    def target_samples(self) -> int:
        """How many samples each plane gets, as far as is known."""
        return self.early_stop_samples or self.requested_samples


def _empty_ensemble(
    planes: Planes, classes: tuple[ClassInfo, ...], settings: InferenceSettings, limit: int
) -> Ensemble:
    """An ensemble without samples.

    Raises
    ------
    BadInput
        If post-processing is requested and the mask is too large for it.
    """
    # beside the running sums, which may take all of the limit, the samples may take a quarter of it
    sample_maps = SampleMaps(
        len(classes), len(planes), planes.full_plane_shape, limit // 4,
        leading=planes.scan.spatial_shape[:-2], box=settings.box,
    )  # fmt: skip
    ensemble = Ensemble(
        len(classes), len(planes), planes.plane_shape, class_descendants(classes), limit,
        sample_maps if settings.keep_samples else None,
    )  # fmt: skip
    if settings.cleanup.is_active and ensemble.is_on_disk:
        raise BadInput(
            "cleanup",
            "the mask is too large for post-processing in memory",
            "segment a crop box, or leave it out",
        )
    return ensemble


def _working_size(preprocess: Preprocess, planes: Planes) -> tuple[int, int]:
    """Height and width in pixels at which the model works; a tiled crop box keeps the plane's scale."""
    height, width = planes.full_plane_shape
    whole = preprocess.working_size(height, width, planes.spacing)
    if preprocess.mode == "whole" or planes.plane_shape == (height, width):
        return whole
    rows, columns = planes.plane_shape
    return max(1, round(rows * whole[0] / height)), max(1, round(columns * whole[1] / width))


def _select_classes(classes: tuple[ClassInfo, ...], names: tuple[str, ...] | None) -> tuple[ClassInfo, ...]:
    """The classes with these names; the parts that a class includes are reduced to these as well."""
    if names is None:
        return classes
    chosen = []
    for info, included in zip(classes, class_descendants(classes), strict=True):
        if info.name in names:
            kept_parts = tuple(classes[i].name for i in sorted(included) if classes[i].name in names)
            chosen.append(info.replace(includes=kept_parts))
    return tuple(chosen)
