"""What a model's training images were like, so that it can be told whether another image is like them."""

from __future__ import annotations

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.header_fit import HeaderRange

__all__ = ["FitReference"]


class FitReference(FrozenModel):
    """The training images of a model, as far as it takes to compare others with them; part of the card.

    Attributes
    ----------
    images
        How many training images it describes.
    headers
        Their dimensions, colours, spacing and size.
    """

    images: int = Field(ge=1)
    headers: HeaderRange
