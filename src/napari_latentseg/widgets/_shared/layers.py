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
from napari_latentseg.core.placement import Placement
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, canonical_unit
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = [
    "CHANNELS_KEY",
    "METADATA_KEY",
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
    "scan_from_layer",
    "spatial_arguments",
]

METADATA_KEY = "napari-latentseg"
"""Key of our entry in a layer's metadata; layers are never identified by their names."""

SPACING_GIVEN_KEY = "spacing_given"
"""In our entry of an image layer's metadata: its spacing was given by a person."""

CHANNELS_KEY = "channels"
"""Key in that entry: it has the same value for the channels of one file, which are one case."""

PLACEMENT_KEY = "placement"
"""Key in that entry of a layer that is drawn in its own planes: its `Placement`."""

_AXES = {2: "yx", 3: "zyx", 4: "tzyx"}


def role_of(layer: Layer) -> str:
    """The role of our layers, ``"mask"``, ``"mean"``, ``"variance"``, ``"scan"`` ...; empty for others."""
    return str(_entry(layer).get("role", ""))


def _entry(layer: Layer) -> dict[str, Any]:
    """Our entry in a layer's metadata; empty where there is none."""
    metadata = layer.metadata.get(METADATA_KEY)
    return metadata if isinstance(metadata, dict) else {}


def layer_matrix(layer: Layer) -> NDArray[np.float64]:
    """The affine with which napari draws a layer, `(n + 1, n + 1)`: scale, rotation and so on.

    Where the layer lies is another matter for one that is drawn in its own planes, see `exact_matrix`.
    """
    layer_transform = Affine(
        scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate
    )
    return np.asarray(layer.affine.affine_matrix) @ layer_transform.affine_matrix


def _placement(layer: Layer) -> Placement | None:
    placement = _entry(layer).get(PLACEMENT_KEY)
    return placement if isinstance(placement, Placement) and placement.ndim == layer.ndim else None


def exact_matrix(layer: Layer) -> NDArray[np.float64]:
    """The affine from array index to where a layer lies, `(n + 1, n + 1)`.

    For a scan that is drawn in its own planes this is the affine of its file. If the layer was moved on
    screen (transform mode) it is moved in these planes.
    """
    placement = _placement(layer)
    return layer_matrix(layer) if placement is None else placement.exact_matrix(layer_matrix(layer))


def axis_directions(layer: Layer) -> NDArray[np.float64]:
    """Where the axes of the screen run for a layer: column j is the direction of the viewer's axis j."""
    placement = _placement(layer)
    return np.eye(layer.ndim) if placement is None else placement.to_exact[:-1, :-1]


def placement_metadata(layer: Layer) -> dict[str, Any]:
    """What our entry of a new layer on `layer` needs, so that it lies where `layer` does."""
    entry = _entry(layer)
    placement = {PLACEMENT_KEY: entry[PLACEMENT_KEY]} if PLACEMENT_KEY in entry else {}
    return {"frame": entry.get("frame", ""), **placement}


def is_drawn_on(layer: Labels, image: Layer) -> bool:
    """Whether a layer without a placement of its own is drawn on an image that is drawn in its own planes."""
    return _has_planes_for(layer, image) and _agree(_drawn(layer), _drawn(image), tuple(layer.data.shape))


def place_on(layer: Labels, image: Layer) -> None:
    """Tell a mask that was made elsewhere where it lies, if it lies on an image drawn in its own planes.

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
    layer.metadata = {**layer.metadata, METADATA_KEY: {**_entry(layer), **placement_metadata(image)}}


def _has_planes_for(layer: Labels, image: Layer) -> bool:
    return _placement(image) is not None and _placement(layer) is None and layer.ndim == image.ndim


def _drawn(layer: Layer) -> Geometry:
    return Geometry.from_matrix(layer_matrix(layer), _units(layer), _labels(layer))


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
    scan_metadata = _entry(layer) if role_of(layer) == "scan" else {}
    axes = scan_metadata.get("axes", "").removesuffix("c") or _AXES[layer.ndim]
    geometry = Geometry.from_matrix(
        exact_matrix(layer), _units(layer), tuple(axes), _entry(layer).get("frame", "")
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


def _labels(layer: Layer) -> tuple[str, ...]:
    return tuple(map(str, layer.axis_labels))


def layer_geometry(layer: Image | Labels) -> Geometry:
    """Where a layer lies, see `exact_matrix`; without the frame, which masks of other software do not have.

    Raises
    ------
    BadInput
        If the transform is singular.
    """
    return Geometry.from_matrix(exact_matrix(layer), _units(layer), _labels(layer))


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
