"""Between napari's layers and scans: data, geometry and the part of a layer that is on screen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.placement import placement_of
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.napari_layers import (
    METADATA_KEY,
    NOTES_KEY,
    PLACEMENT_KEY,
    SPACING_GIVEN_KEY,
    entry_of,
    exact_matrix,
    layer_labels,
    layer_matrix,
    layer_placement,
    layer_units,
    role_of,
    scan_from_layer,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = [
    "CHANNELS_KEY",
    "METADATA_KEY",
    "NOTES_KEY",
    "PLACEMENT_KEY",
    "SPACING_GIVEN_KEY",
    "axis_directions",
    "exact_matrix",
    "index_on_screen",
    "is_drawn_on",
    "layer_geometry",
    "layer_matrix",
    "matches_geometry",
    "place_on",
    "placement_metadata",
    "role_of",
    "scan_arguments",
    "scan_from_layer",
    "spatial_arguments",
]

CHANNELS_KEY = "channels"
"""Key in that entry: it has the same value for the channels of one file, which are one case."""


def axis_directions(layer: Layer) -> NDArray[np.float64]:
    """Where the axes of the screen run for a layer: column j is the direction of the viewer's axis j."""
    placement = layer_placement(layer)
    return np.eye(layer.ndim) if placement is None else placement.to_exact[:-1, :-1]


def placement_metadata(layer: Layer) -> dict[str, Any]:
    """The metadata of a new layer that is to lie where `layer` lies."""
    entry = entry_of(layer)
    placement = {PLACEMENT_KEY: entry[PLACEMENT_KEY]} if PLACEMENT_KEY in entry else {}
    return {"frame": entry.get("frame", ""), **placement}


def is_drawn_on(layer: Labels, image: Layer) -> bool:
    """Whether a layer without a placement of its own is drawn on an image that is drawn in its own planes."""
    return _has_planes_for(layer, image) and _agree(_drawn(layer), _drawn(image), tuple(layer.data.shape))


def place_on(layer: Labels, image: Layer) -> None:
    """Give a mask that was made elsewhere its placement, if it lies on an image drawn in its own planes.

    A mask that was made in this viewer, such as with napari's button for a new layer, is drawn on the image;
    one of other software may lie on it in the patient, and is drawn in the planes of the image from then on.
    """
    if not _has_planes_for(layer, image):
        return
    if not is_drawn_on(layer, image):
        drawn = _drawn(image)
        exact = Geometry.from_matrix(exact_matrix(image), drawn.units, drawn.axis_labels)
        if not _agree(_drawn(layer), exact, tuple(layer.data.shape)):
            return
        for name, value in spatial_arguments(image).items():
            setattr(layer, name, value)
    layer.metadata = {**layer.metadata, METADATA_KEY: {**entry_of(layer), **placement_metadata(image)}}


def _has_planes_for(layer: Labels, image: Layer) -> bool:
    return layer_placement(image) is not None and layer_placement(layer) is None and layer.ndim == image.ndim


def _drawn(layer: Layer) -> Geometry:
    return Geometry.from_matrix(layer_matrix(layer), layer_units(layer), layer_labels(layer))


def layer_geometry(layer: Image | Labels) -> Geometry:
    """Where a layer lies, see `exact_matrix`; without the frame, which masks of other software do not have.

    Raises
    ------
    BadInput
        If the transform is singular.
    """
    return Geometry.from_matrix(exact_matrix(layer), layer_units(layer), layer_labels(layer))


def matches_geometry(mask: Labels, image: Geometry) -> bool:
    """Whether a mask lies on its image, see `Geometry.agrees_with`.

    Parameters
    ----------
    mask
        A layer of the same shape as the image; only its geometry is compared.
    image
        See `layer_geometry`. A mask from other software often has no units, and is drawn as if they were
        the same; then only the numbers must agree.
    """
    try:
        return _agree(layer_geometry(mask), image, tuple(mask.data.shape))
    except BadInput:
        return False


def _agree(mask: Geometry, image: Geometry, shape: tuple[int, ...]) -> bool:
    if "pixel" in (*mask.units, *image.units) and mask.ndim == image.ndim:
        mask = replace(mask, units=image.units)
    return image.agrees_with(mask, shape)


def spatial_arguments(layer: Layer) -> dict[str, Any]:
    """The keywords that draw a new layer where `layer` is drawn; see `placement_metadata`, too."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def scan_arguments(scan: Scan) -> dict[str, Any]:
    """The keywords for `add_image` that give the layer the geometry of the scan.

    A scan that is oblique to the axes of the world is drawn in its own planes, so that the slices on screen
    are those of the scan, and a slider has as many positions; its exact affine is in the metadata.
    """
    geometry = scan.geometry
    placement = placement_of(geometry, scan.spatial_shape)
    arguments: dict[str, Any] = {
        "axis_labels": geometry.axis_labels,
        "units": geometry.units,
        "rgb": scan.axes.endswith("c"),
        "metadata": {
            METADATA_KEY: {
                "role": "scan",
                "axes": scan.axes,
                "frame": geometry.frame,
                "format": scan.format,
                "modality": scan.modality,
                "properties": dict(scan.properties),
                NOTES_KEY: scan.notes,
                "source": scan.source,  # in memory only: DICOM-SEG references the files
            }
        },
    }
    if placement is not None:
        arguments["metadata"][METADATA_KEY][PLACEMENT_KEY] = placement
    matrix = geometry.matrix if placement is None else np.array(placement.drawn)
    scale = [float(matrix[i, i]) for i in range(geometry.ndim)]
    return arguments | {"scale": scale, "translate": [float(v) for v in matrix[:-1, -1]]}


def index_on_screen(viewer: ViewerModel, layer: Layer) -> tuple[int | slice, ...]:
    """The part of a layer's data on screen: an index for each axis of the sliders, a slice for the others.

    Of a layer that is drawn oblique to the axes of the viewer, which ours are not, napari shows the slice at
    the origin of the plane on screen.
    """
    dims = viewer.dims
    point = [0.0 if axis in dims.displayed else coordinate for axis, coordinate in enumerate(dims.point)]
    data_point = layer.world_to_data(point[-layer.ndim :])
    shape = (layer.data[0] if getattr(layer, "multiscale", False) else layer.data).shape
    displayed = {axis - (dims.ndim - layer.ndim) for axis in dims.displayed}
    return tuple(
        slice(None) if axis in displayed else int(min(max(round(float(coordinate)), 0), size - 1))
        for axis, (coordinate, size) in enumerate(zip(data_point, shape[: layer.ndim], strict=True))
    )
