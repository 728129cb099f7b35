"""The scan that a layer of napari shows. Layers are only looked at: napari itself is not imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE
from napari_latentseg.core.placement import Placement
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, canonical_unit
from napari_latentseg.errors import BadInput

__all__ = [
    "METADATA_KEY",
    "NOTES_KEY",
    "PLACEMENT_KEY",
    "SPACING_GIVEN_KEY",
    "entry_of",
    "exact_matrix",
    "layer_labels",
    "layer_matrix",
    "layer_placement",
    "layer_units",
    "role_of",
    "scan_from_layer",
]

METADATA_KEY = "napari-latentseg"
"""Key of our entry in a layer's metadata; layers are never identified by their names."""

SPACING_GIVEN_KEY = "spacing_given"
"""In our entry of an image layer's metadata: its spacing was given by a person."""

NOTES_KEY = "notes"
"""In our entry of an image layer's metadata: the notes of the reader, see `Scan.notes`."""

PLACEMENT_KEY = "placement"
"""Key in that entry of a layer that is drawn in its own planes: its `Placement`."""

_AXES = {2: "yx", 3: "zyx", 4: "tzyx"}


def role_of(layer: Any) -> str:
    """The role of our layers, ``"mask"``, ``"mean"``, ``"variance"``, ``"scan"`` ...; empty for others."""
    return str(entry_of(layer).get("role", ""))


def entry_of(layer: Any) -> dict[str, Any]:
    """Our entry in a layer's metadata; empty where there is none."""
    metadata = layer.metadata.get(METADATA_KEY)
    return metadata if isinstance(metadata, dict) else {}


def layer_matrix(layer: Any) -> NDArray[np.float64]:
    """The affine with which napari draws a layer, `(n + 1, n + 1)`: scale, rotation and so on.

    Where the layer lies is another matter for one that is drawn in its own planes, see `exact_matrix`.
    """
    affine: Any = type(layer.affine)  # napari's class, which is not imported here
    layer_transform = affine(
        scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate
    )
    return np.asarray(layer.affine.affine_matrix @ layer_transform.affine_matrix, dtype=np.float64)


def layer_placement(layer: Any) -> Placement | None:
    """Where a layer that is drawn in its own planes lies; None for others."""
    placement = entry_of(layer).get(PLACEMENT_KEY)
    return placement if isinstance(placement, Placement) and placement.ndim == layer.ndim else None


def exact_matrix(layer: Any) -> NDArray[np.float64]:
    """The affine from array index to where a layer lies, `(n + 1, n + 1)`.

    For a scan that is drawn in its own planes this is the affine of its file. If the layer was moved on
    screen (transform mode) it is moved in these planes.
    """
    placement = layer_placement(layer)
    return layer_matrix(layer) if placement is None else placement.exact_matrix(layer_matrix(layer))


def scan_from_layer(layer: Any) -> Scan:
    """The scan that a layer shows, with its geometry; arrays are not copied, dask stays lazy.

    Raises
    ------
    BadInput
        If the layer does not have two to four dimensions.
    """
    data, *coarser = list(layer.data) if layer.multiscale else [layer.data]
    if layer.ndim not in _AXES:
        raise BadInput(layer.name, f"has {layer.ndim} dimensions", "use an image with two to four")
    scan_metadata = entry_of(layer) if role_of(layer) == "scan" else {}
    axes = scan_metadata.get("axes", "").removesuffix("c")
    if len(axes) != layer.ndim:  # no scan of ours, or other data were put into its layer
        scan_metadata, axes = {}, _AXES[layer.ndim]
    geometry = Geometry.from_matrix(
        exact_matrix(layer), layer_units(layer), tuple(axes), entry_of(layer).get("frame", "")
    )
    return Scan(
        data,
        axes + ("c" if getattr(layer, "rgb", False) else ""),
        geometry,
        modality=scan_metadata.get("modality", ""),
        format=scan_metadata.get("format", "") or ("tiff" if geometry.is_axis_aligned else "nifti"),
        properties=scan_metadata.get("properties", {}),
        source=scan_metadata.get("source") or Path(layer.name),
        notes=(
            *scan_metadata.get(NOTES_KEY, ()),
            *((GIVEN_SPACING_NOTE,) if entry_of(layer).get(SPACING_GIVEN_KEY) else ()),
        ),
        levels=tuple(coarser),
    )


def layer_units(layer: Any) -> tuple[str, ...]:
    """The unit of each axis, ``"pixel"`` for what is no unit of length or time."""
    names = [canonical_unit(unit) for unit in layer.units]
    return tuple(name if name in MM_PER_UNIT or name in SECONDS else "pixel" for name in names)


def layer_labels(layer: Any) -> tuple[str, ...]:
    """The names of the axes."""
    return tuple(map(str, layer.axis_labels))
