"""The spacing of an image layer: in words, and given by a person, with all that was made from the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_latentseg.core.given_spacing import geometry_with_spacing
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import class_sizes
from napari_latentseg.measure.measurement import display_unit, format_value
from napari_latentseg.widgets._shared.layers import METADATA_KEY, SPACING_GIVEN_KEY, role_of, scan_from_layer
from napari_latentseg.widgets._shared.session import RunResult, ViewerSession, session_of
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.measure import Measurement

__all__ = ["give_spacing_to_image", "spacing_text"]


def spacing_text(image: Image | None) -> tuple[str, bool]:
    """The spacing of an image in words, and whether it has none that is physical."""
    if image is None or not 2 <= image.ndim <= 4:
        return "–", False
    geometry = scan_from_layer(image).geometry
    spatial_axes = [i for i, label in enumerate(geometry.axis_labels) if label != "t"]
    units = {geometry.units[i] for i in spatial_axes}
    if units == {"pixel"}:
        return "none: sizes are in pixels", True
    sizes = " × ".join(format_value(geometry.spacing[i]) for i in spatial_axes)
    unit = display_unit(geometry.units[spatial_axes[-1]]) if len(units) == 1 else "(mixed units)"
    given = ", given by hand" if image.metadata.get(METADATA_KEY, {}).get(SPACING_GIVEN_KEY) else ""
    return f"{sizes} {unit}{given}", False


def give_spacing_to_image(viewer: ViewerModel, image: Image, spacing: Sequence[float]) -> None:
    """Give a spacing to an image in pixels, to its layers and to its results.

    Parameters
    ----------
    viewer
        The viewer of the image.
    image
        The layer of the image.
    spacing
        In mm; see `napari_latentseg.core.given_spacing.give_spacing`.

    Raises
    ------
    BadInput
        If the spacing is not possible, the image is being segmented, or a mask of it is being corrected.
        Nothing is changed then.
    """
    session = session_of(viewer)
    if session.busy:
        raise BadInput("spacing", "a run is in progress", "wait for it, or cancel it")
    own_layers = [layer for layer in viewer.layers if _belongs_to(layer, image)]
    if any(role_of(layer) == "corrected" for layer in own_layers):
        raise BadInput(
            "spacing",
            "a mask of this image is being corrected",
            "finish it and remove the copy first: a corrected mask keeps the geometry that it was drawn on",
        )
    geometry = geometry_with_spacing(scan_from_layer(image).geometry, spacing)
    results = [result for result in session.results if result.layers.image is image]
    new_segmentations = [
        None if result.segmentation is None else result.segmentation.with_spacing(spacing)
        for result in results
    ]
    matrix = geometry.matrix
    for layer in (image, *own_layers):
        layer.units = geometry.units
        layer.affine = np.eye(layer.ndim + 1)
        layer.scale = [float(matrix[i, i]) for i in range(geometry.ndim)]
        layer.translate = [float(value) for value in matrix[:-1, -1]]
    image.metadata[METADATA_KEY] = {**image.metadata.get(METADATA_KEY, {}), SPACING_GIVEN_KEY: True}
    for result, segmentation in zip(results, new_segmentations, strict=True):
        if segmentation is not None:
            _update_result(session, result, segmentation, spacing)
    viewer.reset_view()
    session.results_changed.emit()


def _belongs_to(layer: Layer, image: Image) -> bool:
    metadata = layer.metadata.get(METADATA_KEY)
    return isinstance(metadata, dict) and metadata.get("image") == str(image.unique_id)


def _update_result(
    session: ViewerSession, result: RunResult, segmentation: Segmentation, spacing: Sequence[float]
) -> None:
    """Give a result the new geometry, and its run, which may draw more samples."""
    result.segmentation = segmentation
    result.job = replace(result.job, scan=scan_from_layer(result.layers.image))
    if result.run is not None:
        result.run.give_spacing(spacing)
    result.layers.store_record(segmentation)

    def show(sizes: tuple[Measurement, ...]) -> None:
        if result.segmentation is segmentation:
            result.sizes = sizes
            session.thresholded.emit(result)

    run_in_thread(lambda: class_sizes(segmentation, result.card), show)
