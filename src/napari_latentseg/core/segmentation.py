"""What a run gives: mask, mean, variance, volumes, and the record of how they were made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.embed import embed
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.postprocess import MAX_IN_MEMORY_VOXELS, PostProcess
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.errors import BadInput

__all__ = ["MIN_SAMPLES_FOR_VARIANCE", "Segmentation", "volumes_by_name"]

MIN_SAMPLES_FOR_VARIANCE = 3
"""Below this many samples no variance is given."""

_MAX_POSTPROCESSED_VOXELS = (
    2**29
)  # elements of all samples together that are mended when volumes are measured


@dataclass(frozen=True)
class Segmentation:
    """The result of a run; plain data.

    Attributes
    ----------
    mask
        Class labels, uint8, in the scan's spatial shape; 0 is none.
    mean
        Mean probability of each class over the samples, float32 `(K, *spatial)` in [0, 1].
    variance
        Population variance of the probability over the samples, float32 `(K, *spatial)` in [0, 0.25]; None
        where there are fewer than three samples, or the source is ``"none"``.
    volumes
        Area or volume of each class in each sample, `(n, K)`, in `record.volume_unit`.
    axes, geometry, properties, format
        Those of the scan, for the writers.
    classes
        The model's classes, in the order of `mean`.
    record
        How it was made.
    source
        The file or folder that the scan was read from, in memory alone; DICOM-SEG refers to what it holds.
    sample_maps
        The probabilities of each sample; None where they are not kept.
    roi
        The part of the arrays that was worked on, a slice for each axis; None for the whole.
    """

    mask: NDArray[np.uint8]
    mean: NDArray[np.float32]
    variance: NDArray[np.float32] | None
    volumes: NDArray[np.float64]
    axes: str
    geometry: Geometry
    format: str
    properties: dict[str, Any]
    classes: tuple[ClassInfo, ...]
    record: RunRecord
    source: Path | None = None
    sample_maps: SampleMaps | None = None
    roi: tuple[slice, ...] | None = None

    @property
    def cleanup(self) -> PostProcess:
        """What is mended of the mask."""
        return self.record.cleanup or PostProcess()

    @property
    def predicted_voxel_count(self) -> int:
        """How many elements hold a result: the planes that are done, or the box of them."""
        record = self.record
        if record.box is None:
            return int(self.mask.size) // max(1, record.planes) * record.planes_done
        top, left, bottom, right = record.box
        return (bottom - top) * (right - left) * record.planes_done

    def with_threshold(self, threshold: float, cleanup: PostProcess | None = None) -> Segmentation:
        """The same run cut at another probability; nothing is computed again but the mask.

        The volumes of the samples are measured again where these were kept (`sample_maps`). Otherwise they are
        those of the run's own threshold, and are dropped at any other.

        Parameters
        ----------
        threshold
            A place belongs to a class where its mean is above this.
        cleanup
            What is mended of the mask; as it was where not given.

        Raises
        ------
        BadInput
            Where a mask that lies on disk is too large to be cleaned.
        """
        new_cleanup = self.cleanup if cleanup is None else cleanup
        mask = labels_from_probabilities(self.mean, threshold, self.classes)
        if new_cleanup.is_active:
            mask = self._postprocessed(mask, new_cleanup)
        volumes, volumes_cleaned = self.volumes, self.record.volumes_cleaned
        if self.sample_maps is not None and self.sample_maps.is_complete:
            volumes, volumes_cleaned = self.sample_volumes(threshold, new_cleanup)
        elif threshold != self.record.threshold or volumes_cleaned:
            volumes, volumes_cleaned = np.zeros((0, len(self.classes))), False
        record_changes = {
            "threshold": threshold,
            "cleanup": new_cleanup if new_cleanup.is_active else None,
            "volumes": volumes_by_name(self.classes, volumes),
            "volumes_cleaned": volumes_cleaned,
        }
        return replace(self, mask=mask, volumes=volumes, record=self.record.replace(**record_changes))

    def sample_volumes(self, threshold: float, cleanup: PostProcess) -> tuple[NDArray[np.float64], bool]:
        """The volumes of the samples that were kept, `(n, K)`, and whether these were mended before.

        They are, unless together they hold too many elements for that to be done at once.
        """
        assert self.sample_maps is not None
        voxel_volume, _ = self.geometry.voxel_volume
        is_cheap = self.sample_maps.sample_count * self.predicted_voxel_count <= _MAX_POSTPROCESSED_VOXELS
        if not (cleanup.is_active and is_cheap):
            return self.sample_maps.voxel_counts(threshold, self.classes).astype(
                np.float64
            ) * voxel_volume, False
        labels = [c.label for c in self.classes]
        counts = np.zeros((self.sample_maps.sample_count, len(labels)))
        for i, mask in enumerate(self.sample_maps.sample_masks(threshold, self.classes, self.roi or ())):
            cleaned_mask = cleanup.apply(mask, labels, self.axes, voxel_volume)
            counts[i] = [np.count_nonzero(cleaned_mask == label) for label in labels]
        return counts * voxel_volume, True

    def _postprocessed(self, mask: Any, cleanup: PostProcess) -> Any:
        roi_mask = mask if self.roi is None else mask[self.roi]
        if not isinstance(roi_mask, np.ndarray) and math.prod(roi_mask.shape) > MAX_IN_MEMORY_VOXELS:
            raise BadInput("cleanup", "the mask is too large to be cleaned in memory", "work on a box of it")
        labels = [c.label for c in self.classes]
        roi_mask = cleanup.apply(np.asarray(roi_mask), labels, self.axes, self.geometry.voxel_volume[0])
        if isinstance(mask, np.ndarray):
            return embed(roi_mask, mask.shape, self.roi or ())
        return embed(roi_mask, mask.shape, self.roi or (), max_bytes=0)


def volumes_by_name(classes: tuple[ClassInfo, ...], volumes: NDArray[np.float64]) -> dict[str, list[float]]:
    """The volumes of the samples `(n, K)` as a record holds them; empty where there are none."""
    if not len(volumes):
        return {}
    return {c.name: [round(float(v), 6) for v in volumes[:, k]] for k, c in enumerate(classes)}
