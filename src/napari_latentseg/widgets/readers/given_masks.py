"""The masks of readers that a comparison is given: layers on an image, files, and annotation stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_latentseg.core.scan import Scan
from napari_latentseg.io.napari_layers import entry_of
from napari_latentseg.widgets._shared.layers import (
    is_drawn_on,
    layer_geometry,
    matches_geometry,
    role_of,
    scan_from_layer,
)
from napari_latentseg.widgets.annotate.correction import ROLE as CORRECTION

if TYPE_CHECKING:
    from napari.layers import Image, Layer

__all__ = ["GivenMask", "masks_on", "spatial_shape"]


@dataclass(eq=False)
class GivenMask:
    """A mask that can be compared.

    Attributes
    ----------
    reader
        Whose it is.
    source
        A layer, or the path of a file or of an annotation store.
    origin
        Where it comes from, in words.
    is_chosen
        Whether it is compared.
    problem
        Why it cannot be; mostly empty.
    """

    reader: str
    source: Labels | Path
    origin: str
    is_chosen: bool = True
    problem: str = ""

    def as_given(self, image: Image | None) -> Scan | Path:
        """What `napari_latentseg.compare_readers` takes; of a layer a copy, without later strokes.

        Parameters
        ----------
        image
            The image on which a layer lies.
        """
        if isinstance(self.source, Path):
            return self.source
        assert image is not None  # layers are listed for an image
        scan = scan_from_layer(image)
        data: Any = self.source.data
        labels = np.array(data) if isinstance(data, np.ndarray) else data
        return Scan(labels, scan.spatial_axes, scan.geometry)


def spatial_shape(image: Image) -> tuple[int, ...]:
    """The shape of a mask of an image."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(size) for size in data.shape[: image.ndim])


def masks_on(image: Image, layers: Iterable[Layer], known: Iterable[GivenMask]) -> list[GivenMask]:
    """The label layers that can be masks of an image; those that were known stay as they are.

    Parameters
    ----------
    image
        The layer of the image.
    layers
        Of the viewer.
    known
        What was listed before, with the names that a person gave.
    """
    by_layer = {mask.source: mask for mask in known if isinstance(mask.source, Labels)}
    masks = []
    for layer in layers:
        if not isinstance(layer, Labels) or layer.multiscale or layer.ndim != image.ndim:
            continue
        owner = str(entry_of(layer).get("image", image.unique_id))
        if role_of(layer) not in ("", "mask", CORRECTION) or owner != str(image.unique_id):
            continue
        mask = by_layer.get(layer) or GivenMask(
            layer.name,
            layer,
            "layer: the model's mask" if role_of(layer) == "mask" else "layer",
            is_chosen=role_of(layer) != "mask",  # it is compared with the readers as a result
        )
        mask.problem = _problem(layer, image)
        masks.append(mask)
    return masks


def _problem(layer: Labels, image: Image) -> str:
    """Why a layer is no mask of an image."""
    shape = spatial_shape(image)
    if tuple(layer.data.shape) != shape:
        return f"has shape {tuple(layer.data.shape)}, and the image {shape}"
    if not (matches_geometry(layer, layer_geometry(image)) or is_drawn_on(layer, image)):
        return "lies elsewhere than the image"
    return ""
