"""Contours of a mask as polygons in GeoJSON (RFC 7946, except for the coordinates)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.contours import CONTOUR_SIDES, Contours
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation

__all__ = ["find_outlines", "write_geojson"]

_Ring = NDArray[np.float64]


def write_geojson(segmentation: Segmentation, path: Path, band: Contours | None = None) -> None:
    """Write the contours of every class, slice by slice, as polygons with holes.

    Coordinates are world coordinates, x first: patient coordinates (LPS) in millimetres if the scan has them,
    else those of the image in its unit or in pixels. They are not longitude and latitude. The member
    ``"place"`` of the file names frame, order and units.

    Parameters
    ----------
    segmentation
        Its mask is written.
    path
        The file to write.
    band
        Contours that enclose the true edge, which are written too: their features have a property
        ``"contour"`` (``"inner contour (90 %)"``) and the file a member ``"promise"``.
    """
    geometry = segmentation.geometry
    spatial = [i for i, a in enumerate(geometry.axis_labels) if a != "t"]
    planes = list(np.ndindex(*segmentation.mask.shape[:-2]))

    def features_of(
        info: ClassInfo, plane_mask: Callable[[tuple[int, ...]], NDArray[np.bool_]], **properties: str
    ) -> Iterator[dict[str, Any]]:
        fixed = {"class": info.name, "label": info.label, "color": info.color} | properties
        for index in planes:
            for rings in _world_polygons(plane_mask(index), geometry, index, spatial):
                yield {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": rings},
                    "properties": fixed | {"plane": list(index)},
                }

    features = [
        feature
        for info in segmentation.mask_classes
        for feature in features_of(info, partial(_plane_mask, segmentation.mask, info.label))
    ]
    if band is not None:
        for class_contours in band.classes:
            info = segmentation.classes[class_contours.class_index]
            for side in CONTOUR_SIDES:
                region = class_contours.region(side)
                features += features_of(info, region.__getitem__, contour=band.name(side))
    coordinate_system = {
        "frame": geometry.frame or "the image's own",
        "order": [geometry.axis_labels[i] for i in reversed(spatial)],
        "units": [geometry.units[i] for i in reversed(spatial)],
    }
    collection: dict[str, Any] = {"type": "FeatureCollection", "place": coordinate_system}
    collection["features"] = features
    if band is not None:
        collection["promise"] = band.promise
    text = json.dumps(collection)
    path.write_text(text + "\n", "utf-8")


def _plane_mask(mask: Any, label: int, index: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(np.asarray(mask[index]) == label, dtype=np.bool_)


def _world_polygons(
    mask: NDArray[np.bool_], geometry: Geometry, index: tuple[int, ...], spatial: list[int]
) -> Iterator[list[list[list[float]]]]:
    for rings in find_outlines(mask):
        world_rings = []
        for ring in rings:
            array_points = np.column_stack([np.broadcast_to(index, (len(ring), len(index))), ring])
            world = array_points @ geometry.matrix[:-1, :-1].T + geometry.matrix[:-1, -1]
            world_rings.append(world[:, spatial[::-1]].tolist())
        yield world_rings


def find_outlines(mask: NDArray[np.bool_]) -> list[list[_Ring]]:
    """The contours of a mask: for each polygon its outer ring, then the rings of its holes.

    They run half way between foreground and background pixels (`skimage.measure.find_contours` at 0.5).

    Parameters
    ----------
    mask
        `(H, W)`.

    Returns
    -------
    list of list of ndarray
        Each ring `(M, 2)`: row and column in pixels, closed (the last point is the first).
    """
    from skimage.measure import find_contours, points_in_poly

    if not mask.any():
        return []
    rings = [ring - 1 for ring in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]
    areas = [_signed_area(ring) for ring in rings]
    sign = np.sign(areas[int(np.argmax(np.abs(areas)))])  # the largest ring is an outer one
    polygons = [[ring] for ring, area in zip(rings, areas, strict=True) if area * sign > 0]
    for hole in (ring for ring, area in zip(rings, areas, strict=True) if area * sign < 0):
        enclosing = [part for part in polygons if points_in_poly(hole[:1], part[0])[0]]
        min(enclosing, key=lambda part: abs(_signed_area(part[0]))).append(hole)
    return polygons


def _signed_area(ring: _Ring) -> float:
    """Area by the shoelace formula; its sign is the sense of rotation."""
    y, x = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
