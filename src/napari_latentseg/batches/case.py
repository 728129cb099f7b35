"""One scan of a batch, what is to be done with all of them, and what became of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_latentseg.core.frozen import FrozenModel

if TYPE_CHECKING:
    from napari_latentseg.errors import BadInput
    from napari_latentseg.inference.settings import InferenceSettings

__all__ = ["BatchCase", "BatchJob", "CaseOutcome", "ClassSize", "State"]

State = Literal["done", "failed", "skipped"]
"""``"done"``: has its result; ``"skipped"``: finished by an earlier run, and unchanged; ``"failed"``."""


@dataclass(frozen=True)
class BatchCase:
    """One scan of a batch.

    Attributes
    ----------
    name
        Its name in the table and in the names of its files; no other case of the batch has it, in whatever
        letter case.
    path
        The file, or the folder of DICOM or OME-Zarr.
    series
        Which image of a file or folder that holds several: its number from 1, or the eight digits of a DICOM
        series.
    folder
        Where a BIDS data set has the image, ``"sub-01/ses-02/anat"``; empty for images of other sources.
    is_code
        Whether a person gave the name as the code of the case: run records then hold it. Names that come from
        files may be those of patients, and stay out of records.
    problem
        Why it cannot be segmented, where that is known before it is read.
    """

    name: str
    path: Path
    series: int | str | None = None
    folder: str = ""
    is_code: bool = False
    problem: BadInput | None = None


@dataclass(frozen=True)
class BatchJob:
    """What is the same for every case of a batch. It can be pickled, so that other processes take part.

    Attributes
    ----------
    model
        The folder of the model.
    model_key
        Changes with the weights of the model and of its codec.
    out
        The folder of the results.
    settings, plane, channel, spacing, codec
        As for `napari_latentseg.segment`.
    layout
        ``"flat"``, ``"bids"`` or ``"nnunet"``.
    outputs
        Options of `napari_latentseg.write_result`.
    resume
        Whether cases that an earlier run has finished are skipped.
    work
        A folder for files that are not complete, on the disk of `out`.
    """

    model: Path
    model_key: str
    out: Path
    settings: InferenceSettings
    plane: str = "acquired"
    channel: int | None = None
    spacing: tuple[float, ...] | None = None
    codec: Path | None = None
    layout: str = "flat"
    outputs: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    work: Path = Path()


class ClassSize(FrozenModel):
    """Area or volume of a class, and its interval of 90 % where there is one; both in `unit`."""

    name: str
    size: float
    low: float | None = None
    high: float | None = None
    unit: str


class CaseOutcome(FrozenModel):
    """What became of one case.

    Attributes
    ----------
    case
        The name of the case.
    state
        See `State`.
    reason
        Why it failed; else what could not be written, and why; mostly empty.
    seconds
        How long it took.
    result
        The record of the result, relative to the folder of the batch; empty where it failed.
    sizes
        Of each class; none for time series, whose sizes change from point to point.
    doubtful_slice
        The slice with the largest uncertainty, counted from 1, after the time point where there is one
        (``"3/17"``); empty for a single slice, and where the samples do not tell.
    fit
        Whether the model was made for the image, see `napari_latentseg.core.fit.Fit.state`; empty where that
        was not checked.
    expected_dice
        The Dice to expect of the class with the lowest; None where the model was not calibrated for the run.
    stops_batch
        Whether the next case would fail in the same way: the disk is full, or the model cannot be loaded.
    """

    case: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    result: str = ""
    sizes: tuple[ClassSize, ...] = ()
    doubtful_slice: str = ""
    fit: str = ""
    expected_dice: float | None = None
    stops_batch: bool = False
