"""What a run gives: mask, mean, variance, volumes, and the record of how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_latentseg.scan import Geometry

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


def mask_from(mean: Any, threshold: float, classes: Sequence[ClassInfo]) -> Any:
    """Class labels from mean probabilities.

    Parameters
    ----------
    mean
        `(K, *spatial)` in [0, 1]; of a dask array the mask is one too.
    threshold
        A place belongs to a class where its mean is above this; where several are, to the most probable.
    classes
        Their labels.
    """
    if not isinstance(mean, np.ndarray):
        whole: Any = mean.rechunk({0: -1})  # all classes of a place together
        return whole.map_blocks(mask_from, threshold, classes, drop_axis=0, dtype=np.uint8)
    if len(classes) == 1:
        return np.where(mean[0] > threshold, np.uint8(classes[0].label), np.uint8(0)).astype(np.uint8)
    labels = np.array([0, *(c.label for c in classes)], dtype=np.uint8)
    return labels[winners(mean, threshold, inside_of(classes)) + 1]


def winners(
    probabilities: NDArray[np.float32], threshold: float, inside: Sequence[frozenset[int]]
) -> NDArray[np.intp]:
    """Which class each place belongs to, from 0; -1 where it belongs to none.

    Parameters
    ----------
    probabilities
        `(K, *spatial)` in [0, 1].
    threshold
        A place belongs to a class where its probability is above this; where several are, to the most
        probable, but never to a class of which another one there is a part.
    inside
        For each class, the classes that are parts of it: see `inside_of`.
    """
    if any(inside):
        above = probabilities > threshold
        probabilities = probabilities.copy()
        for k, parts in enumerate(inside):
            if parts:
                probabilities[k][above[sorted(parts)].any(axis=0)] = 0
    best = probabilities.argmax(axis=0)
    return np.where(probabilities.max(axis=0) > threshold, best, -1)


def inside_of(classes: Sequence[ClassInfo]) -> list[frozenset[int]]:
    """For each class, the positions of all the classes that it includes, and of those that these include."""
    names = [c.name for c in classes]
    direct = [{names.index(name) for name in c.includes} for c in classes]
    found = []
    for k in range(len(classes)):
        reached: set[int] = set()
        ahead = set(direct[k])
        while ahead:
            j = ahead.pop()
            if j not in reached:
                reached.add(j)
                ahead |= direct[j]
        found.append(frozenset(reached - {k}))
    return found
