"""The result of a run: mask, mean, variance, volumes of the samples, and the run record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.doubt import doubt_of
from napari_latentseg.core.embed import embed
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE, geometry_with_spacing
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.postprocess import MAX_IN_MEMORY_VOXELS, PostProcess
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.scan import describe_array
from napari_latentseg.core.segmented_region import SegmentedRegion
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text

__all__ = ["MAX_VARIANCE", "MIN_SAMPLES_FOR_VARIANCE", "Segmentation", "volumes_by_name"]

MAX_VARIANCE = 0.25
"""The population variance of numbers in [0, 1] is at most this: half of them 0, the other half 1."""

MIN_SAMPLES_FOR_VARIANCE = 3
"""With fewer samples there is no variance: that of two says almost nothing."""

# Voxels of all samples together that are post-processed when their volumes are measured again. A threshold is
# moved interactively, and connected components take about 30 ns a voxel: 16 s.
_MAX_POSTPROCESSED_VOXELS = 2**29


@dataclass(frozen=True)
class Segmentation:
    """The result of a run; plain data, immutable.

    Attributes
    ----------
    mask
        Label map, uint8, of the spatial shape of the scan; 0 is background.
    mean
        Mean probability of each class over the samples, float32 `(K, *spatial)` in [0, 1]; calibrated where
        the model has a temperature (`record.temperature`).
    variance
        Population variance of the probability over the samples, float32 `(K, *spatial)` in [0, 0.25]. None
        with fewer than three samples, or if the sampling source is ``"none"``.
    volumes
        Area or volume of each class in each sample, `(n, K)`, in `record.volume_unit`.
    axes, geometry, properties, format
        As of the scan (without channels), for the writers.
    classes
        The K classes, in the order of `mean`.
    record
        How the result was made.
    source
        The file or folder of the scan, kept in memory only; DICOM-SEG refers to its series.
    sample_maps
        The probability maps of the samples; None if they are not kept.
    roi
        The part of the arrays that was predicted, one slice for each axis; None for all.
    model_mask
        The model's mask where `mask` is one that a person has changed, see
        `napari_latentseg.core.person_mask.with_person_mask`; else None.
    written_agreement
        `napari_latentseg.core.agreement.agreement_counts` of a result that was read from files, where they
        were written with it; else None.

    Examples
    --------
    >>> from napari_latentseg import segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> result.mask.dtype, result.mean.shape, result.variance.shape
    (dtype('uint8'), (1, 96, 128), (1, 96, 128))
    >>> (result.with_threshold(0.9).mask > 0).sum() <= (result.mask > 0).sum()
    np.True_
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
    model_mask: NDArray[np.uint8] | None = None
    written_agreement: NDArray[np.uint8] | NDArray[np.uint16] | None = None

    def __repr__(self) -> str:
        record = self.record
        samples = count_text(record.samples, "sample")
        names = ", ".join(info.name for info in self.mask_classes)
        image = f"{describe_array(self.mask, self.axes)}, {self.geometry.describe_spacing()}"
        model = f"{record.model.name} {record.model.version}"
        return f"Segmentation({image}, {names}; {samples} from {record.source}, {model})"

    @property
    def mask_classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the mask: those of the model, then those that a person has added."""
        return (*self.classes, *self.record.added_classes)

    @property
    def doubt(self) -> Any:
        """min(p, 1 - p) of each class's mean probability p, float32 `(K, *spatial)` in [0, 0.5].

        If the mean is calibrated, it is the probability that a cut at 0.5 has the voxel wrong. In every
        embedded model it is a slightly better map of the errors than the variance (docs/benchmarks.md). A
        single pass has it too: there it is the model's own probability, of which only the card's reliability
        says how far it can be taken at its word. It is largest at p = 0.5, whatever the threshold. Computed
        at each access; a dask array where the mean is one.
        """
        return doubt_of(self.mean)

    @property
    def cleanup(self) -> PostProcess:
        """The post-processing of the mask."""
        return self.record.cleanup or PostProcess()

    @property
    def segmented_region(self) -> SegmentedRegion:
        """Which slices have a prediction; the mask is 0 in the others, but they are not known to be empty."""
        return SegmentedRegion.from_record(self.record)

    @property
    def predicted_voxel_count(self) -> int:
        """The number of voxels that were predicted: all slices that are done, or the box in them."""
        record = self.record
        if record.box is None:
            return int(self.mask.size) // max(1, record.planes) * record.planes_done
        top, left, bottom, right = record.box
        return (bottom - top) * (right - left) * record.planes_done

    def with_threshold(self, threshold: float, cleanup: PostProcess | None = None) -> Segmentation:
        """The same result with the mean thresholded at another probability; the model is not run again.

        The volumes of the samples are measured again if their maps are kept (`sample_maps`). Otherwise they
        are known at the threshold of the run alone, and empty at any other.

        Parameters
        ----------
        threshold
            A voxel belongs to a class if its mean probability is above this, in [0, 1].
        cleanup
            Post-processing of the mask; None: as before.

        Returns
        -------
        Segmentation
            With its own record of threshold, post-processing and volumes.

        Raises
        ------
        BadInput
            If a mask on disk is too large to be post-processed.
        """
        new_cleanup = self.cleanup if cleanup is None else cleanup
        mask = self._mask_at(threshold, new_cleanup)
        volumes, volumes_cleaned = self.volumes, self.record.volumes_cleaned
        if self.sample_maps is not None and self.sample_maps.is_complete:
            volumes, volumes_cleaned = self.sample_volumes(threshold, new_cleanup)
        elif threshold != self.record.threshold or volumes_cleaned:
            volumes, volumes_cleaned = np.zeros((0, len(self.classes))), False
        is_same = _is_same_mask(self, threshold, new_cleanup)
        record_changes = {
            "expected_dice": self.record.expected_dice if is_same else {},
            "threshold": threshold,
            "cleanup": new_cleanup if new_cleanup.is_active else None,
            "volumes": volumes_by_name(self.classes, volumes),
            "volumes_cleaned": volumes_cleaned,
            # it is the model's mask again, whatever a person had made of the one before
            "mask_edited": False,
            "mask_state": "model",
            "approved_slices": None,
            "added_classes": (),
        }
        return replace(
            self, mask=mask, model_mask=None, volumes=volumes, record=self.record.replace(**record_changes),
            written_agreement=self.written_agreement if is_same else None,
        )  # fmt: skip

    def with_spacing(self, spacing: Sequence[float]) -> Segmentation:
        """The same result of an image without a physical size, with the spacing that a person knows.

        Parameters
        ----------
        spacing
            In mm, see `napari_latentseg.core.given_spacing.give_spacing`.

        Returns
        -------
        Segmentation
            With areas or volumes in mm2 or mm3, and a record that says that the spacing was given.

        Raises
        ------
        BadInput
            If the image has a physical size, or the spacing is not possible.
        """
        geometry = geometry_with_spacing(self.geometry, spacing)
        voxel_volume, unit = geometry.voxel_volume
        volumes = self.volumes * (voxel_volume / self.geometry.voxel_volume[0])
        input_record = self.record.input.replace(
            spacing=geometry.spacing,
            units=geometry.units,
            notes=(*self.record.input.notes, GIVEN_SPACING_NOTE),
        )
        record_changes: dict[str, Any] = {
            "input": input_record,
            "volumes": volumes_by_name(self.classes, volumes),
            "volume_unit": unit,
        }
        if self.record.cleanup is not None:  # its smallest object was given in pixels
            smallest = self.record.cleanup.smallest * voxel_volume
            record_changes["cleanup"] = self.record.cleanup.replace(smallest=smallest)
        return replace(self, geometry=geometry, volumes=volumes, record=self.record.replace(**record_changes))

    def sample_volumes(self, threshold: float, cleanup: PostProcess) -> tuple[NDArray[np.float64], bool]:
        """Areas or volumes of the samples from their probability maps.

        Parameters
        ----------
        threshold
            Of the mean; a voxel belongs to a class if its probability is above the same threshold before the
            mean was calibrated.
        cleanup
            Post-processing of each sample's mask, before it is measured. Skipped if the samples have too many
            voxels together for that to be quick.

        Returns
        -------
        volumes : ndarray
            `(n, K)`, in the unit of the geometry's `voxel_volume`.
        post_processed : bool
            Whether the masks of the samples were post-processed.
        """
        assert self.sample_maps is not None
        voxel_volume, _ = self.geometry.voxel_volume
        threshold = self.record.raw_threshold(threshold)
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

    def mask_of_model(self) -> Any:
        """The model's mask: `mask`, or where a person has changed that, what it was before.

        Of a result that was read from files, it is the mean at the threshold again.
        """
        if self.model_mask is not None:
            return self.model_mask
        return self._mask_at(self.record.threshold, self.cleanup) if self.record.mask_edited else self.mask

    def _mask_at(self, threshold: float, cleanup: PostProcess) -> Any:
        mask = labels_from_probabilities(self.mean, threshold, self.classes)
        return self._postprocessed(mask, cleanup) if cleanup.is_active else mask

    def _postprocessed(self, mask: Any, cleanup: PostProcess) -> Any:
        roi_mask = mask if self.roi is None else mask[self.roi]
        if not isinstance(roi_mask, np.ndarray) and math.prod(roi_mask.shape) > MAX_IN_MEMORY_VOXELS:
            raise BadInput(
                "cleanup", "the mask is too large to be post-processed in memory", "segment a smaller box"
            )
        labels = [c.label for c in self.classes]
        roi_mask = cleanup.apply(np.asarray(roi_mask), labels, self.axes, self.geometry.voxel_volume[0])
        if isinstance(mask, np.ndarray):
            return embed(roi_mask, mask.shape, self.roi or ())
        return embed(roi_mask, mask.shape, self.roi or (), max_bytes=0)


def _is_same_mask(segmentation: Segmentation, threshold: float, cleanup: PostProcess) -> bool:
    return threshold == segmentation.record.threshold and cleanup == segmentation.cleanup


def volumes_by_name(classes: tuple[ClassInfo, ...], volumes: NDArray[np.float64]) -> dict[str, list[float]]:
    """The volumes of the samples, `(n, K)`, by class name for the run record; empty without samples.

    To 12 digits, whatever their unit: a lesion of 5 ml is 0.000005 cubic metres.
    """
    if not len(volumes):
        return {}
    return {c.name: [float(f"{v:.12g}") for v in volumes[:, k]] for k, c in enumerate(classes)}
