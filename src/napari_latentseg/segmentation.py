"""What a run gives: mask, mean, variance, volumes, and the record of how they were made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_latentseg.cleanup import MOST_ELEMENTS, Cleanup
from napari_latentseg.cut import inside_of, mask_from, winners
from napari_latentseg.errors import BadInput
from napari_latentseg.placed import placed
from napari_latentseg.scan import Geometry

if TYPE_CHECKING:
    from napari_latentseg.sample_maps import SampleMaps

__all__ = [
    "SOURCES",
    "ClassInfo",
    "Code",
    "InputRecord",
    "ModelRecord",
    "RunRecord",
    "SamplingSource",
    "Segmentation",
    "inside_of",
    "mask_from",
    "volumes_by_name",
    "winners",
]

SamplingSource = Literal["none", "augment", "members", "noise", "posterior", "dropout"]

SOURCES: dict[str, str] = {
    "none": "one answer, no samples",
    "augment": "flips, turns and shifts of the image, undone again",
    "members": "several trained models",
    "noise": "the random start of the diffusion",
    "posterior": "draws from the encoder's posterior",
    "dropout": "random gaps in the network",
}
"""Each sampling source in plain words."""

MINIMUM_FOR_VARIANCE = 3
"""Below this many samples no variance is given."""

_MOST_CLEANED = 2**29  # elements of all samples together that are mended when volumes are measured


class Code(BaseModel):
    """A coded meaning, as DICOM has them: ``SCT 52988006 "Lesion"`` of SNOMED CT."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


class ClassInfo(BaseModel):
    """One class of a model: its number in a mask, its name and its colour.

    `includes` names the classes that are parts of it, as a tumour is of its organ: where they are found, a
    mask shows them rather than the whole.

    `code` and `category` say to other programs what it is (DICOM-SEG's property type and category).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: int = Field(ge=1, le=255)
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    includes: tuple[str, ...] = ()
    code: Code | None = None
    category: Code | None = None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(_Record):
    """The image that a run was made from; by its content, never by a name that may be a patient's."""

    sha256: str
    format: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    spacing: tuple[float, ...]
    units: tuple[str, ...]
    modality: str = ""
    notes: tuple[str, ...] = ()


class ModelRecord(_Record):
    """The model that made a run."""

    name: str
    version: str
    method: str
    variant: str
    codec: str
    sha256: dict[str, str]


class RunRecord(_Record):
    """Everything that is needed to make the same run again on the same machine.

    Attributes
    ----------
    samples
        How many were made; fewer than `samples_asked` where the run was cancelled.
    mask_edited
        Whether a person has painted in the mask, which is then not the model's alone; mean, variance and
        volumes still are.
    slices
        First and last plane that were asked for, from 0; None for all.
    box
        The rows and columns of the planes that were asked for, half-open: top, left, bottom, right; None for
        all. The input's hash is that of the values in it.
    plane
        How the volume was cut into planes; see `napari_latentseg.views.seen_along`.
    tolerance
        Within which the mask had to stay for the run to stop before `samples_asked`; None where it did not
        look at that.
    cleanup
        What was mended of the mask after it was cut; None where nothing was.
    volumes_cleaned
        Whether the samples were mended alike before their volumes were measured.
    planes_done, planes
        How many planes of the scan hold a result, and how many there are.
    """

    plugin_version: str
    time: str
    input: InputRecord
    model: ModelRecord
    classes: tuple[ClassInfo, ...]
    samples_asked: int
    samples: int
    planes_done: int
    planes: int
    source: SamplingSource
    source_settings: dict[str, Any]
    seed: int
    threshold: float
    device: str
    precision: str
    tile: tuple[int, int] | None
    overlap: int
    working_size: tuple[int, int]
    seconds: float
    complete: bool
    slices: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    plane: str = "acquired"
    tolerance: float | None = None
    cleanup: Cleanup | None = None
    volumes_cleaned: bool = False
    mask_edited: bool = False
    volumes: dict[str, list[float]]
    volume_unit: str
    versions: dict[str, str]
    purpose: str = "For research. Not a medical device."
    meaning: str = (
        "mean: how often, and how surely, the samples called a place the class; variance: how much the "
        "samples differ there. A small variance is no proof of being right, and is not how readers differ."
    )


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
    maps
        The probabilities of each sample; None where they are not kept.
    worked
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
    maps: SampleMaps | None = None
    worked: tuple[slice, ...] | None = None

    @property
    def cleanup(self) -> Cleanup:
        """What is mended of the mask."""
        return self.record.cleanup or Cleanup()

    @property
    def elements_done(self) -> int:
        """How many elements hold a result: the planes that are done, or the box of them."""
        record = self.record
        if record.box is None:
            return int(self.mask.size) // max(1, record.planes) * record.planes_done
        top, left, bottom, right = record.box
        return (bottom - top) * (right - left) * record.planes_done

    def with_threshold(self, threshold: float, cleanup: Cleanup | None = None) -> Segmentation:
        """The same run cut at another probability; nothing is computed again but the mask.

        The volumes of the samples are measured again where these were kept (`maps`). Otherwise they are
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
        wanted = self.cleanup if cleanup is None else cleanup
        mask = mask_from(self.mean, threshold, self.classes)
        if wanted.is_active:
            mask = self._cleaned(mask, wanted)
        volumes, cleaned = self.volumes, self.record.volumes_cleaned
        if self.maps is not None and self.maps.is_complete:
            volumes, cleaned = self.sample_volumes(threshold, wanted)
        elif threshold != self.record.threshold or cleaned:
            volumes, cleaned = np.zeros((0, len(self.classes))), False
        changes = {
            "threshold": threshold,
            "cleanup": wanted if wanted.is_active else None,
            "volumes": volumes_by_name(self.classes, volumes),
            "volumes_cleaned": cleaned,
        }
        return replace(self, mask=mask, volumes=volumes, record=self.record.model_copy(update=changes))

    def plane_mask(self, index: tuple[int, ...], threshold: float) -> NDArray[np.uint8]:
        """The mask of one plane as another threshold cuts it, `(H, W)`; nothing is mended.

        Parameters
        ----------
        index
            Its place along the leading axes; empty for a single plane.
        threshold
            As for `with_threshold`.
        """
        place: tuple[Any, ...] = (slice(None), *index)
        found: NDArray[np.uint8] = mask_from(np.asarray(self.mean[place]), threshold, self.classes)
        return found

    def sample_volumes(self, threshold: float, cleanup: Cleanup) -> tuple[NDArray[np.float64], bool]:
        """The volumes of the samples that were kept, `(n, K)`, and whether these were mended before.

        They are, unless together they hold too many elements for that to be done at once.
        """
        assert self.maps is not None
        size, _ = self.geometry.element_size
        is_cheap = self.maps.samples * self.elements_done <= _MOST_CLEANED
        if not (cleanup.is_active and is_cheap):
            return self.maps.elements(threshold, self.classes).astype(np.float64) * size, False
        labels = [c.label for c in self.classes]
        counts = np.zeros((self.maps.samples, len(labels)))
        for i, mask in enumerate(self.maps.masks(threshold, self.classes, self.worked or ())):
            mended = cleanup.cleaned(mask, labels, self.axes, size)
            counts[i] = [np.count_nonzero(mended == label) for label in labels]
        return counts * size, True

    def _cleaned(self, mask: Any, cleanup: Cleanup) -> Any:
        part = mask if self.worked is None else mask[self.worked]
        if not isinstance(part, np.ndarray) and math.prod(part.shape) > MOST_ELEMENTS:
            raise BadInput("cleanup", "the mask is too large to be cleaned in memory", "work on a box of it")
        labels = [c.label for c in self.classes]
        part = cleanup.cleaned(np.asarray(part), labels, self.axes, self.geometry.element_size[0])
        if isinstance(mask, np.ndarray):
            return placed(part, mask.shape, self.worked or ())
        return placed(part, mask.shape, self.worked or (), limit=0)


def volumes_by_name(classes: tuple[ClassInfo, ...], volumes: NDArray[np.float64]) -> dict[str, list[float]]:
    """The volumes of the samples `(n, K)` as a record holds them; empty where there are none."""
    if not len(volumes):
        return {}
    return {c.name: [round(float(v), 6) for v in volumes[:, k]] for k, c in enumerate(classes)}
