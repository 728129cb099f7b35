"""Entries of the model card that a configuration gives, beside those that follow from the training."""

from __future__ import annotations

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["CardConfig"]


class CardConfig(FrozenModel):
    """Entries of the model card that do not follow from the training."""

    title: str = ""
    modality: str = ""
    class_name: str = Field("target", min_length=1)
    color: str = Field("#ffb000", pattern=r"^#[0-9a-fA-F]{6}$")
    default_samples: int = Field(5, ge=1)
    threshold: float = Field(0.5, gt=0, lt=1)
    data_name: str = "your images"
    data_licence: str = "not stated"
    data_reference: str = ""
    licence: str = "that of its training data"
    intended_use: str = "Research. Not a medical device."
    limits: str = ""
    # Whether images are cut out of scans pixel by pixel: then the number of pixels tells their scale, as it
    # does not for photographs, and images of another size are warned of.
    images_are_crops: bool = False
