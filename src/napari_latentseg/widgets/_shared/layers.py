"""Between napari's layers and scans: data, geometry and the part of a layer that is on screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, canonical_unit
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = [
    "CHANNELS_KEY",
    "METADATA_KEY",
    "SPACING_GIVEN_KEY",
    "geometry_on_screen",
    "index_on_screen",
    "layer_matrix",
    "matches_geometry",
    "role_of",
    "scan_from_layer",
    "spatial_arguments",
]

METADATA_KEY = "napari-latentseg"
"""Key of our entry in a layer's metadata; layers are never identified by their names."""

SPACING_GIVEN_KEY = "spacing_given"
"""In our entry of an image layer's metadata: its spacing was given by a person."""

CHANNELS_KEY = "channels"
"""Key in that entry: it has the same value for the channels of one file, which are one case."""

_AXES = {2: "yx", 3: "zyx", 4: "tzyx"}


def role_of(layer: Layer) -> str:
    """The role of our layers, ``"mask"``, ``"mean"``, ``"variance"``, ``"scan"`` ...; empty for others."""
    return str(_entry(layer).get("role", ""))


def _entry(layer: Layer) -> dict[str, Any]:
    """Our entry in a layer's metadata; empty where there is none."""
    metadata = layer.metadata.get(METADATA_KEY)
    return metadata if isinstance(metadata, dict) else {}


def layer_matrix(layer: Layer) -> NDArray[np.float64]:
    """The affine from array index to world, `(n + 1, n + 1)`, with the layer's scale, rotation and so on."""
    layer_transform = Affine(
        scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate
    )
    return np.asarray(layer.affine.affine_matrix) @ layer_transform.affine_matrix


def scan_from_layer(layer: Image | Labels) -> Scan:
    """The scan that a layer shows, with its geometry; arrays are not copied, dask stays lazy.

    Raises
    ------
    BadInput
        If the layer does not have two to four dimensions.
    """
    data, *coarser = list(layer.data) if layer.multiscale else [layer.data]
    if layer.ndim not in _AXES:
        raise BadInput(layer.name, f"has {layer.ndim} dimensions", "use an image with two to four")
    metadata = layer.metadata.get(METADATA_KEY, {}) if role_of(layer) else {}
    scan_metadata = metadata if role_of(layer) == "scan" else {}
    axes = scan_metadata.get("axes", "").removesuffix("c") or _AXES[layer.ndim]
    geometry = Geometry.from_matrix(
        layer_matrix(layer), _units(layer), tuple(axes), metadata.get("frame", "")
    )
    return Scan(
        data,
        axes + ("c" if getattr(layer, "rgb", False) else ""),
        geometry,
        modality=scan_metadata.get("modality", ""),
        format=scan_metadata.get("format", "") or ("tiff" if geometry.is_axis_aligned else "nifti"),
        properties=scan_metadata.get("properties", {}),
        source=scan_metadata.get("source") or Path(layer.name),
        notes=(GIVEN_SPACING_NOTE,) if _entry(layer).get(SPACING_GIVEN_KEY) else (),
        levels=tuple(coarser),
    )


def _units(layer: Layer) -> tuple[str, ...]:
    names = [canonical_unit(unit) for unit in layer.units]
    return tuple(name if name in MM_PER_UNIT or name in SECONDS else "pixel" for name in names)


def geometry_on_screen(layer: Image | Labels) -> Geometry:
    """The geometry in which napari draws a layer, in world coordinates; the frame of a file is ignored.

    Raises
    ------
    BadInput
        If the transform is singular.
    """
    return Geometry.from_matrix(layer_matrix(layer), _units(layer), tuple(map(str, layer.axis_labels)))


def matches_geometry(mask: Labels, image: Geometry) -> bool:
    """Whether a mask is drawn on its image, see `Geometry.agrees_with`.

    Parameters
    ----------
    mask
        A layer of the same shape as the image; only its geometry is compared.
    image
        See `geometry_on_screen`. A mask from other software often has no units, and is drawn as if they were
        the same; then only the numbers must agree.
    """
    try:
        mask_geometry = geometry_on_screen(mask)
    except BadInput:
        return False
    if "pixel" in (*mask_geometry.units, *image.units) and mask_geometry.ndim == image.ndim:
        mask_geometry = replace(mask_geometry, units=image.units)
    return image.agrees_with(mask_geometry, tuple(mask.data.shape))


def spatial_arguments(layer: Layer) -> dict[str, Any]:
    """The keywords that give a new layer the geometry of `layer`."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def index_on_screen(viewer: ViewerModel, layer: Layer) -> tuple[int | slice, ...]:
    """The part of a layer's data on screen: an index for each axis of the sliders, a slice for the others.

    Of a volume that is oblique to the world axes napari shows the slice at the origin of the plane on screen.
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
