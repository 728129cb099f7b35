"""The record of a run: image, model, settings and volumes; written beside every result as run.json."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.dice_estimate import DiceEstimate
from napari_latentseg.core.fit import Fit
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.hints import HintsRecord
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature

__all__ = [
    "AUGMENTING_SOURCES",
    "MEMBER_SOURCES",
    "PROMPT_SOURCE",
    "SAMPLING_SOURCES",
    "InputRecord",
    "MaskState",
    "ModelRecord",
    "RunRecord",
    "SamplingSource",
]

_Count = Annotated[int, Field(ge=0)]
_Length = Annotated[int, Field(ge=1)]
_Step = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Probability = Annotated[float, Field(ge=0, le=1)]

MaskState = Literal["model", "corrected", "approved"]
"""Whose mask it is: the model's, one that a person has changed, or one that a person has approved."""

SamplingSource = Literal[
    "none", "augment", "members", "members-augment", "noise", "posterior", "dropout", "readings"
]

SAMPLING_SOURCES: dict[str, str] = {
    "none": "one prediction, no samples",
    "augment": "flips, rotations and shifts of the image, undone in the prediction",
    "members": "several trained models",
    "members-augment": "several trained models, each on another flip, rotation or shift of the image",
    "noise": "the random noise at the start of diffusion",
    "posterior": "samples of the encoder's posterior",
    "dropout": "dropout at inference",
    "readings": "what the clicks may mean, each of the image turned and mirrored too",
}
"""What makes the samples of each sampling source differ, in words for people."""

MEMBER_SOURCES = ("members", "members-augment")
"""The sources whose samples come from the members of a model in turn."""

AUGMENTING_SOURCES = ("augment", "members-augment")
"""The sources whose samples see the image augmented, each in another way."""

PROMPT_SOURCE: SamplingSource = "readings"
"""The one source of a model that is pointed at: without prompts it has no samples."""


class InputRecord(FrozenModel):
    """The image of a run, identified by its content: a file name may be the name of a patient.

    Attributes
    ----------
    sha256
        `napari_latentseg.core.scan.Scan.content_sha256`; of a run on a box, the hash of the box.
    format, axes, modality, notes
        As of the scan.
    shape, dtype
        Of the whole array, channels included.
    spacing, units
        For each axis but channels.
    """

    sha256: str
    format: str
    axes: str
    shape: tuple[_Length, ...]
    dtype: str
    spacing: tuple[_Step, ...]
    units: tuple[str, ...]
    modality: str = ""
    notes: tuple[str, ...] = ()


class ModelRecord(FrozenModel):
    """The model of a run.

    Attributes
    ----------
    name, version, method, variant, codec
        As in the model card.
    sha256
        SHA-256 of each file of the model, by file name.
    """

    name: str
    version: str
    method: str
    variant: str
    codec: str
    sha256: dict[str, str]


class RunRecord(FrozenModel):
    """Everything that is needed to repeat a run on the same machine; `run.json` beside a result.

    Attributes
    ----------
    plugin_version, versions
        Of this package, and of the libraries it computes with, by name.
    time
        When the run began, ISO 8601, in milliseconds; in seconds in records of earlier versions.
    input, model, classes
        The image, the model and its classes.
    samples_asked, samples
        How many samples were requested, and how many were made: fewer if the run was cancelled, or stopped
        early (see `tolerance`).
    planes, planes_done
        How many slices the scan has, and how many of them have a prediction.
    source, source_settings
        What makes the samples differ (see `SAMPLING_SOURCES`), and its parameters.
    seed
        Of the random numbers.
    threshold
        A voxel belongs to a class if its mean probability is above this, in [0, 1].
    temperature
        What the mean probability was calibrated with, as in the model card; None where it is as the model
        gives it. Variance and samples are always as the model gives them.
    device, precision, engine
        What computed it: ``"cpu"``, ``"cuda"``, ``"mps"``; ``"float32"``, ``"bfloat16"``; ``"torch"``,
        ``"openvino"``.
    threads
        How many threads computed it on the CPU; None on a GPU, and in records of earlier versions. Where it
        was measured, the number changed mean probabilities by 3e-6 in float32, and in bfloat16 by 0.04 (a
        diffusion) and 0.007 (a single pass).
    tile, overlap, working_size
        Height and width of a tile, None where slices were not tiled; overlap of tiles; height and width of a
        slice as the model saw it, 0 of a drawn mask. All in pixels of the resized slice.
    seconds
        Duration of the run.
    complete
        Whether it ran to its end, and was not cancelled.
    slices
        First and last slice that were requested, counted from 0; None for all.
    box
        Rows and columns that were requested: top, left, bottom, right, half-open; None for all.
        `input.sha256` is then the hash of the values in the box.
    plane
        Orientation of the slices: ``"acquired"``, ``"axial"``, ``"coronal"`` or ``"sagittal"``; see
        `napari_latentseg.core.reorient.reorient`.
    tolerance
        How little the mask had to change for the run to stop before `samples_asked`; None without early
        stopping.
    cleanup
        Post-processing of the mask; None where there was none.
    volumes_cleaned
        Whether each sample was post-processed in the same way before its volumes were measured.
    mask_edited
        Whether a person has edited the mask. Mean, variance and volumes are the model's even then.
    mask_state
        Whose mask it is, see `MaskState`.
    approved_slices
        Ranges of the slices whose labels a person has approved, first and last of each, counted from 0; None
        where none is.
    added_classes
        Classes that a person has added to the mask, and that the model does not know.
    fit
        Whether the model was made for this image; None where that was not checked.
    segmented_slices
        Ranges of the slices that have a prediction, first and last of each, counted from 0; None for all. The
        mask is 0 in the other slices, which does not mean that they hold nothing.
    case
        The code that a person gave the case; empty where none was given.
    expected_dice
        For each class the Dice to expect of the model's mask; empty where the model was not calibrated for
        images and runs like this one. A class whose mask is empty is missing.
    files
        SHA-256 of each file that was written with this record, by its name without the stem
        (``"mask.nii.gz"``), since the stem may name a patient; a folder's (OME-Zarr) is that of the names and
        hashes of its files. Empty in records of version 0.1.0.
    prompts, through
        What was pointed at, in voxels of the image, and whether it was carried on through the slices; None
        and False of a model that is not pointed at.
    hints
        The hints that weighted the samples, and the weights; None where all samples count alike. Mean,
        variance and mask are of the weighted samples, and nothing that was calibrated holds for them.
    volumes, volume_unit
        For each class, by name, the area or volume in each sample, in this unit (``"mm3"``, ``"pixel"``).
    purpose, meaning
        Notes for whoever reads the file.

    Examples
    --------
    >>> from napari_latentseg import segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> record = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3).record
    >>> record.samples, record.source, record.complete, len(record.volumes["lesion"])
    (3, 'augment', True, 3)
    """

    # a file that somebody damaged is refused where it is read, and not where its numbers are first used
    model_config = ConfigDict(allow_inf_nan=False)

    _fields_shown: ClassVar[tuple[str, ...]] = ("time", "samples", "source", "threshold", "complete")

    plugin_version: str
    time: str
    input: InputRecord
    model: ModelRecord
    classes: tuple[ClassInfo, ...]
    samples_asked: _Count
    samples: _Count
    planes_done: _Count
    planes: _Count
    source: SamplingSource
    source_settings: dict[str, Any]
    seed: int
    threshold: _Probability
    device: str
    precision: str
    tile: tuple[_Length, _Length] | None
    overlap: _Count
    working_size: tuple[_Count, _Count]
    seconds: Annotated[float, Field(ge=0)]
    complete: bool
    engine: str = "torch"
    threads: int | None = None
    slices: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    plane: str = "acquired"
    tolerance: float | None = None
    temperature: Temperature | None = None
    cleanup: PostProcess | None = None
    volumes_cleaned: bool = False
    mask_edited: bool = False
    mask_state: MaskState = "model"
    approved_slices: tuple[tuple[int, int], ...] | None = None
    added_classes: tuple[ClassInfo, ...] = ()
    fit: Fit | None = None
    segmented_slices: tuple[tuple[int, int], ...] | None = None
    case: str = ""
    expected_dice: dict[str, DiceEstimate] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    prompts: Prompts | None = None
    through: bool = False
    hints: HintsRecord | None = None
    volumes: dict[str, list[float]]
    volume_unit: str
    versions: dict[str, str]
    purpose: str = "For research. Not a medical device."
    meaning: str = (
        "mean: mean probability of the class over the samples; variance: how much the samples differ at a "
        "voxel. A small variance does not prove the mask right, and is not the variability between readers."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.samples and not self.classes:  # a drawn mask has neither
            raise ValueError("names no class")
        if self.planes_done > self.planes or self.planes > max(1, math.prod(self.input.shape)):
            raise ValueError("has other numbers of slices than its image can have")
        for first, last in (*((self.slices,) if self.slices else ()), *(self.segmented_slices or ())):
            if not 0 <= first <= last < self.planes:
                raise ValueError(f"names slices {first} to {last} of {self.planes}")
        top, left, bottom, right = self.box or (0, 0, 1, 1)
        if not (0 <= top < bottom and 0 <= left < right):
            raise ValueError("names a box that no image has")
        return self

    @property
    def sample_threshold(self) -> float:
        """The threshold of single samples, which are not calibrated."""
        return self.raw_threshold(self.threshold)

    def raw_threshold(self, threshold: float) -> float:
        """A threshold of the mean, for samples and for the mean before it was calibrated."""
        return (self.temperature or NO_TEMPERATURE).raw_threshold(threshold)
