"""What is asked of a run, checked before anything is loaded or computed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_latentseg.errors import BadInput, first_problem
from napari_latentseg.models.card import ModelCard
from napari_latentseg.precision import check_choice
from napari_latentseg.segmentation import SOURCES, SamplingSource

__all__ = ["Request"]

MOST_SAMPLES = 1000


class Request(BaseModel):
    """The settings of a run.

    Attributes
    ----------
    samples
        How many samples are drawn.
    source
        Where their differences come from.
    seed
        Makes the run repeatable on the same machine.
    threshold
        Probability above which a place belongs to a class.
    device, precision
        See `choose_compute`.
    tiles_at_once
        Tiles in one batch; halved by itself where memory runs out.
    first_plane
        The plane to begin with, the one on screen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(ge=1, le=MOST_SAMPLES)
    source: SamplingSource
    seed: int = Field(0, ge=0, lt=2**63)
    threshold: float = Field(0.5, gt=0, lt=1)
    device: str = "auto"
    precision: str = "auto"
    tiles_at_once: int = Field(4, ge=1)
    first_plane: int = Field(0, ge=0)

    @classmethod
    def of(cls, card: ModelCard, **values: Any) -> Request:
        """Fill in what is not given from the card, and check the rest against it.

        Raises
        ------
        BadInput
            Naming the field, where a value makes no sense for this model.
        """
        given = {k: v for k, v in values.items() if v is not None}
        source = given.setdefault("source", card.sources[0])
        if source not in SOURCES:
            raise BadInput("source", f"{source!r} is not known", f"use one of {', '.join(card.sources)}")
        if source not in card.sources:
            raise BadInput(
                "source",
                f"{card.name} has no samples from {source!r}",
                f"use one of {', '.join(card.sources)}",
            )
        if source == "augment" and card.augment.distinct == 1:
            raise BadInput(
                "source",
                f"{card.name} was trained without varying its images, so all samples would be equal",
                "use none",
            )
        given.setdefault("samples", 1 if source == "none" else card.default_samples)
        given.setdefault("threshold", card.threshold)
        if source == "none" and isinstance(given["samples"], int) and given["samples"] > 1:
            raise BadInput(
                "samples",
                f"{card.name} gives the same answer every time without a sampling source",
                "ask for 1 sample, or choose a source",
            )
        try:
            request = cls.model_validate(given)
        except ValidationError as error:
            field, why = first_problem(error)
            if field == "threshold":
                why = "must lie between 0 and 1"
            raise BadInput(field, why, "correct it") from error
        check_choice(request.device, request.precision)
        return request
