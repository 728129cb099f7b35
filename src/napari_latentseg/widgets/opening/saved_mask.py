"""A Labels layer that is saved as DICOM-SEG: its image, whose mask it is, and its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.layers import Image, Labels

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.drawn_mask import drawn_mask
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import (
    METADATA_KEY,
    PLACEMENT_KEY,
    is_drawn_on,
    layer_geometry,
    matches_geometry,
    place_on,
    role_of,
    scan_from_layer,
)
from napari_latentseg.widgets._shared.per_viewer import objects_of
from napari_latentseg.widgets._shared.session import ViewerSession, session_of
from napari_latentseg.widgets._shared.shown_mask import ShownMask

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["place_saved_mask", "saved_mask"]

_MASK_ROLES = ("mask", "corrected", "")  # a layer without a role is one that a person has drawn
_ELSE = "save it as .nii.gz, .nrrd or .mha"


def place_saved_mask(path: Path, layer: Labels) -> None:
    """Give the copy of a mask that was drawn on a tilted scan the place of that scan in the patient.

    Parameters
    ----------
    path
        The file to write, named in errors.
    layer
        The copy that napari gives to a writer. It is changed only if it has no place of its own.

    Raises
    ------
    BadInput
        If it is drawn on several tilted scans, which lie in different places.
    """
    viewer = napari.current_viewer()
    layers = list(viewer.layers) if viewer is not None else []
    images = [other for other in layers if isinstance(other, Image) and role_of(other) == "scan"]
    below = [image for image in images if _has_shape(layer, image) and is_drawn_on(layer, image)]
    visible = [image for image in below if image.visible]
    placements = {image.metadata[METADATA_KEY][PLACEMENT_KEY] for image in visible or below}
    if len(placements) > 1:
        raise BadInput(
            path.name, "the mask is drawn on several tilted scans", "show only the one that it belongs to"
        )
    if placements:
        place_on(layer, (visible or below)[0])


def _has_shape(layer: Labels, image: Image) -> bool:
    return not image.multiscale and tuple(image.data.shape[: image.ndim]) == tuple(layer.data.shape)


def saved_mask(path: Path, layer: Layer) -> Segmentation:
    """What to write for a layer, with its image and with whose mask it is.

    Parameters
    ----------
    path
        The file to write, named in errors.
    layer
        A copy of the layer that is saved, as napari gives it to a writer.

    Raises
    ------
    BadInput
        If it is no mask, or does not lie on one DICOM series that is open.
    """
    role = role_of(layer)
    if not isinstance(layer, Labels) or role not in _MASK_ROLES:
        what = role or "image"
        raise BadInput(path.name, f"the {what} layer cannot be saved as DICOM", f"{_ELSE}, or use Export")
    viewer = napari.current_viewer()
    image = _image_below(path, layer, viewer)
    scan = scan_from_layer(image)
    if scan.format != "dicom":
        raise BadInput(path.name, "a DICOM-SEG needs a mask on an image opened from DICOM", _ELSE)
    mask = _as_labels(path, layer)
    metadata: dict[str, Any] = layer.metadata.get(METADATA_KEY, {}) if role else {}
    if role and viewer is not None:
        for result in session_of(viewer).results:
            is_its_run = result.layers.run_number == metadata.get("run")
            if result.layers.image is image and is_its_run and result.segmentation is not None:
                order = result.job.view.order
                return ShownMask(result.segmentation, None, mask, result.person_mask(), order).segmentation
    model = metadata.get("model")
    return drawn_mask(scan, mask, _classes(layer, mask), model=(model[0], model[1]) if model else None)


def _image_below(path: Path, layer: Labels, viewer: ViewerModel | None) -> Image:
    """The image that a mask belongs to, or for a drawn one the image that it lies on.

    Of several it is that on which it was drawn, where that is known. Which of them is shown says nothing: it
    may be another patient's.
    """
    layers = list(viewer.layers) if viewer is not None else []
    images = [other for other in layers if isinstance(other, Image) and role_of(other) in ("", "scan")]
    if role_of(layer):
        image_id = layer.metadata[METADATA_KEY].get("image")
        images = [image for image in images if str(image.unique_id) == image_id]
    fitting = [
        image
        for image in images
        if _has_shape(layer, image) and matches_geometry(layer, layer_geometry(image))
    ]
    dicom_images = [image for image in fitting if scan_from_layer(image).format == "dicom"]
    if len(dicom_images or fitting) == 1:
        return (dicom_images or fitting)[0]
    owner = _image_drawn_on(layer, viewer)
    if any(image is owner for image in dicom_images):
        return owner
    why = "lies on several images" if fitting else "lies on no image that is open"
    raise BadInput(path.name, f"the mask {why}, and a DICOM-SEG refers to one", _ELSE)


def _image_drawn_on(layer: Labels, viewer: ViewerModel | None) -> Any:
    """The image on which the mask was drawn of which a layer is the copy; None where that is not known."""
    if viewer is None or not any(isinstance(each, ViewerSession) for each in objects_of(viewer)):
        return None
    # names of layers are unique in a viewer, and a copy keeps that of its layer
    originals = [other for other in viewer.layers if isinstance(other, Labels) and other.name == layer.name]
    return session_of(viewer).cases.image_of(originals[0]) if originals else None


def _as_labels(path: Path, layer: Labels) -> Any:
    data = np.asarray(layer.data)
    if data.min(initial=0) < 0 or data.max(initial=0) > 255:
        raise BadInput(path.name, "the mask has labels above 255", f"use labels from 1 to 255, or {_ELSE}")
    return data.astype(np.uint8)


def _classes(layer: Labels, mask: Any) -> list[ClassInfo]:
    """The classes of a drawn mask: named in the layer's table, else by their number."""
    features = layer.features
    names = {}
    if {"index", "class"} <= set(features.columns):
        names = dict(zip(features["index"], features["class"], strict=True))
    labels = sorted({int(n) for n in np.unique(mask)} - {0})
    return [
        ClassInfo(label=n, name=str(names.get(n) or f"label {n}"), color=_color(layer, n)) for n in labels
    ]


def _color(layer: Labels, label: int) -> str:
    red, green, blue = np.round(255 * np.asarray(layer.get_color(label))[:3]).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
