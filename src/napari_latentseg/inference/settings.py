"""The settings of a run, checked against the model card before anything is loaded or computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field, ValidationError, field_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.record import AUGMENTING_SOURCES, SAMPLING_SOURCES, SamplingSource
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import CropBox, Planes
from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature
from napari_latentseg.errors import BadInput, first_validation_error
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.argument_types import number, whole_number, whole_numbers
from napari_latentseg.utils.device import check_device_and_precision, check_engine

__all__ = ["MAX_SAMPLES", "InferenceSettings", "members_limit_message"]

MAX_SAMPLES = 1000
"""Most samples of a run; far more than mean and variance need, it catches typing errors."""

# pixels: two positions of a latent grid at the usual factor of 8; less holds hardly any context
_MIN_BOX_SIDE = 16


class InferenceSettings(FrozenModel):
    """The settings of a run.

    Attributes
    ----------
    samples
        How many samples to draw, 1 to `MAX_SAMPLES`.
    source
        Where the differences between samples come from, one of the sources that the model card lists; see
        `napari_latentseg.core.record.SAMPLING_SOURCES`.
    seed
        Seed of noise and augmentation, which makes a run repeatable on the same machine; in bfloat16 with as
        many threads.
    threshold
        Mean probability above which a voxel belongs to a class, in (0, 1).
    temperature
        What the mean probability is calibrated with; that of the model where it is not given.
    device, precision, engine
        See `resolve_compute`.
    tiles_at_once
        Tiles in one batch, halved where memory runs out; None to choose by model and device, see
        `napari_latentseg.inference.batch_size.tiles_per_batch`.
    slices
        First and last plane to segment, both included, counted from 0; None for all.
    box
        Crop box in pixels, half-open: top, left, bottom, right; None for the whole plane. Nothing outside it
        is read. A model that sees the whole plane gets the box at its full working size, at a larger scale;
        one that works in tiles sees the box at the scale of the whole plane.
    first_plane
        The plane to segment first, such as the one on screen.
    classes
        Names of the requested classes; None for all. The result has no others.
    cleanup
        Post-processing of the mask, such as filling holes.
    tolerance
        Stop early when two samples in a row, the third at the earliest, change the mask by at most this (1 -
        Dice), see `napari_latentseg.inference.early_stopping.SampleStopper`; None to draw all samples.
    keep_samples
        Whether to keep the probabilities of each sample, rounded to 1/255, so that volumes can be measured at
        another threshold. At most a quarter of the memory limit is used for it; beyond that, none is kept.
    memory_limit
        Limit in bytes for the running sums and planes in memory; larger ones go to temporary files. None for
        the limit of `napari_latentseg.utils.scratch_arrays.memory_limit`.

    Examples
    --------
    >>> from napari_latentseg import InferenceSettings, list_models
    >>> card = list_models()["breast-ultrasound"]
    >>> settings = InferenceSettings.for_model(card, samples=8, slices=(10, 20))
    >>> settings.samples, settings.source, round(settings.threshold, 2)
    (8, 'augment', 0.44)
    """

    samples: int = Field(ge=1, le=MAX_SAMPLES)
    source: SamplingSource
    seed: int = Field(0, ge=0, lt=2**63)
    threshold: float = Field(0.5, gt=0, lt=1)
    temperature: Temperature = NO_TEMPERATURE
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    tiles_at_once: int | None = Field(None, ge=1)
    slices: tuple[int, int] | None = None
    box: CropBox | None = None
    first_plane: int = Field(0, ge=0)
    classes: tuple[str, ...] | None = None
    cleanup: PostProcess = PostProcess()
    tolerance: float | None = Field(None, gt=0, lt=1)
    keep_samples: bool = True
    memory_limit: int | None = Field(None, ge=0)

    @field_validator("slices")
    @classmethod
    def _check_slices(cls, slices: tuple[int, int] | None) -> tuple[int, int] | None:
        if slices is not None and not 0 <= slices[0] <= slices[1]:
            raise ValueError("must be a first and a last slice, in ascending order")
        return slices

    @field_validator("box")
    @classmethod
    def _check_box(cls, box: CropBox | None) -> CropBox | None:
        if box is not None:
            top, left, bottom, right = box
            if top < 0 or left < 0 or bottom <= top or right <= left:
                raise ValueError(
                    "must be top, left, bottom and right in pixels, from 0, each end beyond its start"
                )
            if min(bottom - top, right - left) < _MIN_BOX_SIDE:
                raise ValueError(f"must be {_MIN_BOX_SIDE} pixels or more along each side")
        return box

    @property
    def sample_threshold(self) -> float:
        """The threshold of samples, and of their mean before it is calibrated."""
        return self.temperature.raw_threshold(self.threshold)

    def plane_indices(self, count: int) -> range:
        """Indices of the slices to segment.

        Parameters
        ----------
        count
            How many slices the scan has.

        Raises
        ------
        BadInput
            If it has fewer than are chosen.
        """
        first, last = self.slices or (0, count - 1)
        if last >= count:
            why = f"end at {last + 1}, but the scan has {count}"
            raise BadInput("slices", why, f"choose from 1 to {count}")
        return range(first, last + 1)

    def check_part(self, scan: Scan) -> None:
        """Refuse slices or a crop box that a scan does not have; its values are not read.

        Parameters
        ----------
        scan
            As it is segmented, along its slices.

        Raises
        ------
        BadInput
            If it has fewer slices, or the box is not inside them.
        """
        planes = Planes(scan, 0.0, 1.0)  # for its shape alone, so the range of values does not matter
        self.plane_indices(len(planes))
        if self.box is not None:
            planes.crop(self.box)

    @classmethod
    def for_model(cls, card: ModelCard, **values: Any) -> InferenceSettings:
        """Settings for a model: values that are not given come from its card.

        Parameters
        ----------
        card
            Card of the model.
        **values
            Attributes of this class; None counts as not given.

        Raises
        ------
        BadInput
            Naming the field, if a value is out of range or the model does not support it.
        """
        explicit = {k: _checked(k, v) for k, v in values.items() if v is not None}
        source = explicit.setdefault("source", card.sources[0])
        if source not in SAMPLING_SOURCES:
            raise BadInput("source", f"{source!r} is not known", f"use one of {', '.join(card.sources)}")
        if source not in card.sources:
            raise BadInput(
                "source",
                f"{card.name} has no samples from {source!r}",
                f"use one of {', '.join(card.sources)}",
            )
        if source in AUGMENTING_SOURCES and card.augment.distinct_tta_count == 1:
            raise BadInput(
                "source",
                f"{card.name} was trained without augmentation, so all samples would be equal",
                "use none",
            )
        max_samples = card.members if source == "members" else MAX_SAMPLES
        if explicit.get("classes") is not None:
            explicit["classes"] = _ordered_class_names(card, explicit["classes"])
        explicit.setdefault("samples", 1 if source == "none" else min(card.default_samples, max_samples))
        explicit.setdefault("threshold", card.threshold)
        explicit.setdefault("temperature", card.temperature or NO_TEMPERATURE)
        if source == "none" and isinstance(explicit["samples"], int) and explicit["samples"] > 1:
            raise BadInput(
                "samples",
                f"{card.name} gives the same answer every time without a sampling source",
                "ask for 1 sample, or choose a source",
            )
        if isinstance(explicit["samples"], int) and max_samples < explicit["samples"] <= MAX_SAMPLES:
            remedy = f"ask for {max_samples} or fewer, or choose another source"
            raise BadInput("samples", members_limit_message(card), remedy)
        try:
            settings = cls.model_validate(explicit)
        except ValidationError as error:
            field, why = first_validation_error(error)
            if field == "threshold":
                why = "must lie between 0 and 1"
            raise BadInput(field, why, "correct it") from error
        check_device_and_precision(settings.device, settings.precision)
        check_engine(settings.engine)
        return settings


# What a value must be, since pydantic would take the text "3" and the number 3.0 for 3
_WHOLE_NUMBERS = ("samples", "seed", "tiles_at_once", "first_plane", "memory_limit")
_NUMBERS = ("threshold", "tolerance")
_TEXTS = ("source", "device", "precision", "engine")
_SEVERAL_WHOLE_NUMBERS = {"slices": 2, "box": 4}


def _checked(name: str, value: Any) -> Any:
    """A value of a field with NumPy's numbers made into Python's.

    Raises
    ------
    BadInput
        If it is of another type than the field.
    """
    if name in _WHOLE_NUMBERS:
        return whole_number(name, value)
    if name in _NUMBERS:
        return number(name, value)
    if name in _TEXTS and not isinstance(value, str):
        raise BadInput(name, f"{value!r} is not text", "write a word, such as 'auto'")
    if name in _SEVERAL_WHOLE_NUMBERS:
        return whole_numbers(name, value, _SEVERAL_WHOLE_NUMBERS[name])
    if name == "classes" and (isinstance(value, str) or not isinstance(value, Iterable)):
        raise BadInput("classes", f"{value!r} is not a list of names", f"write [{str(value)!r}]")
    if name == "classes":
        return list(value)
    if name == "cleanup" and not isinstance(value, PostProcess):
        raise BadInput(
            "cleanup",
            f"{value!r} is not a PostProcess object",
            "write PostProcess(fill_holes=True), for example",
        )
    return value


def _ordered_class_names(card: ModelCard, requested: Sequence[str]) -> tuple[str, ...]:
    """The names of the requested classes without duplicates, in the order of the card."""
    names = [c.name for c in card.classes]
    unknown = [str(name) for name in requested if name not in names]
    if unknown or not requested:
        why = f"{card.name} has no class {unknown[0]!r}" if unknown else "none is given"
        raise BadInput("classes", why, f"choose from {', '.join(names)}")
    return tuple(name for name in names if name in requested)


def members_limit_message(card: ModelCard) -> str:
    """Why a model gives no more samples from members."""
    return f"{card.name} has {card.members} members, and each of them gives one sample"
