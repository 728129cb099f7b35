"""The record of a run: which image, which model, which settings, and what they gave."""

from __future__ import annotations

from typing import Any, Literal

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.postprocess import PostProcess

__all__ = ["SAMPLING_SOURCES", "InputRecord", "ModelRecord", "RunRecord", "SamplingSource"]

SamplingSource = Literal["none", "augment", "members", "noise", "posterior", "dropout"]

SAMPLING_SOURCES: dict[str, str] = {
    "none": "one answer, no samples",
    "augment": "flips, turns and shifts of the image, undone again",
    "members": "several trained models",
    "noise": "the random start of the diffusion",
    "posterior": "draws from the encoder's posterior",
    "dropout": "random gaps in the network",
}
"""Each sampling source in plain words."""


class InputRecord(FrozenModel):
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


class ModelRecord(FrozenModel):
    """The model that made a run."""

    name: str
    version: str
    method: str
    variant: str
    codec: str
    sha256: dict[str, str]


class RunRecord(FrozenModel):
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
        How the volume was cut into planes; see `napari_latentseg.core.reorient.reorient`.
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
    cleanup: PostProcess | None = None
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
