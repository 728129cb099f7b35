"""A blind second reading: what other readers have approved of an image is not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["blind_metadata", "blind_reader"]

_KEY = "latentseg blind reader"


def blind_metadata(reader: str) -> dict[str, Any]:
    """Metadata of an image that a reader reads blind."""
    return {_KEY: reader}


def blind_reader(image: Image) -> str | None:
    """The reader who alone is to see what was approved of an image; None where all is shown."""
    return image.metadata.get(_KEY)
