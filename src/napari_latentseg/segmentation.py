"""What a run gives: mask, mean, variance, volumes, and the record of how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_latentseg.scan import Geometry

__all__ = [
    "SOURCES",
    "ClassInfo",
    "InputRecord",
    "ModelRecord",
    "RunRecord",
    "SamplingSource",
    "Segmentation",
    "mask_from",
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


class ClassInfo(BaseModel):
    """One class of a model: its number in a mask, its name and its colour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: int = Field(ge=1, le=255)
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


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

    def with_threshold(self, threshold: float) -> Segmentation:
        """The same run cut at another probability; nothing is computed again but the mask.

        The volumes of the samples belong to the run's own threshold, and are dropped.
        """
        return replace(
            self,
            mask=mask_from(self.mean, threshold, self.classes),
            volumes=np.zeros((0, len(self.classes))),
            record=self.record.model_copy(update={"threshold": threshold, "volumes": {}}),
        )


def mask_from(mean: NDArray[np.float32], threshold: float, classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """Class labels from mean probabilities.

    Parameters
    ----------
    mean
        `(K, *spatial)` in [0, 1].
    threshold
        A place belongs to a class where its mean is above this; where several are, to the most probable.
    classes
        Their labels.
    """
    labels = np.array([c.label for c in classes], dtype=np.uint8)
    if len(labels) == 1:
        return np.where(mean[0] > threshold, labels[0], np.uint8(0)).astype(np.uint8)
    best = mean.argmax(axis=0)
    return np.where(mean.max(axis=0) > threshold, labels[best], np.uint8(0)).astype(np.uint8)
