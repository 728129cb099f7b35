"""Mask files, read as what they are: labels of any numbers, palettes, colours, or a picture of one class."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan, to_numpy
from napari_latentseg.core.turn import find_turn, misplacement
from napari_latentseg.data.mask_values import (
    COLOR_LABEL,
    MIN_PICTURE_MAXIMUM,
    WHITE_TOLERANCE,
    as_labels,
    as_whole_numbers,
    color_labels,
    counted_labels,
    is_picture,
    is_scan,
    is_soft_brush,
)
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.palette import read_palette_image

__all__ = ["MaskFile", "UnreadableFile", "read_mask_file", "turned_to_image"]

_LABELS_REMEDY = "say what they mean with --labels"


class UnreadableFile(BadInput):
    """A file that cannot be decoded: the other images of its folder may still be used."""

    @classmethod
    def of(cls, error: BadInput) -> UnreadableFile:
        """The same error of a reader, as one of this kind."""
        return error if isinstance(error, cls) else cls(error.what, error.why, error.remedy)


@dataclass(frozen=True)
class MaskFile:
    """The labels of a mask file.

    Attributes
    ----------
    labels
        uint8, or int32 where a label is above 255; in the spatial shape of the file. A colour is a label too:
        see `COLOR_LABEL`.
    geometry
        Of the file.
    """

    labels: NDArray[Any]
    geometry: Geometry


def read_mask_file(path: Path, known_labels: Collection[int] | None = None) -> MaskFile:
    """Read a mask file.

    Of a palette (PNG, BMP, TIFF) the indices are the labels. Where the mask is of one class, a picture of it
    (white on black with soft edges or the noise of JPEG) is cut at half of its maximum, and probabilities at
    0.5. NaN and infinity are background, and alpha is dropped.

    Parameters
    ----------
    path
        The file.
    known_labels
        The labels that the mask may hold; None for a mask of one class that may have any label. Several
        colours are only read where colours are among them.

    Raises
    ------
    UnreadableFile
        If the file cannot be decoded.
    BadInput
        If it holds negative numbers, fractions or colours that are not labels, or is an image.
    """
    try:
        scan = read_scan(path)
        values = to_numpy(scan.array)
    except BadInput as error:
        raise UnreadableFile.of(error) from error
    has_color_labels = any(label >= COLOR_LABEL for label in known_labels or ())
    if scan.axes.endswith(CHANNEL):
        if not has_color_labels and (indices := _palette_indices(path, scan)) is not None:
            return MaskFile(as_labels(indices), scan.geometry)
        rgb = values[..., :3]
        _check_not_in_alpha(path, values)
        if (rgb == rgb[..., :1]).all():
            values = rgb[..., 0]
        elif has_color_labels and rgb.shape[-1] == 3 and rgb.dtype.kind == "u":
            return MaskFile(color_labels(rgb), scan.geometry)
        else:
            values = _grey_of_one_color(path, rgb)
    return MaskFile(_labels_of(path, values, known_labels), scan.geometry)


def _palette_indices(path: Path, scan: Scan) -> NDArray[Any] | None:
    palette_image = read_palette_image(path)
    if palette_image is None or not palette_image.has_label_indices:
        return None
    # pages of length one are dropped from a scan's axes
    return palette_image.indices.reshape(scan.spatial_shape)


def _check_not_in_alpha(path: Path, values: NDArray[Any]) -> None:
    """Refuse a mask that is of one colour, with transparency around its shapes: without alpha it is full."""
    if values.shape[-1] not in (2, 4) or np.ptp(values[..., -1]) == 0:
        return
    colors = values[..., :-1].reshape(-1, values.shape[-1] - 1)
    if (colors == colors[0]).all():
        why = "is of one colour, and has its shapes in the alpha channel"
        raise BadInput(path, why, "save it on a black background, without alpha")


def _grey_of_one_color(path: Path, rgb: NDArray[Any]) -> NDArray[Any]:
    """The brightness of a picture of one colour on black; refuses several colours."""
    if rgb.shape[-1] != 3 or rgb.dtype.kind != "u":
        raise BadInput(path, "has channels, but a mask has none", "give a mask of labels")
    codes = color_labels(rgb)
    colors = np.unique(codes[codes > 0])
    if len(colors) == 1:
        return (codes > 0).astype(np.uint8)
    brightness: NDArray[Any] = rgb.max(axis=-1)
    planes = brightness.reshape(-1, *brightness.shape[-2:])
    if brightness.max() >= MIN_PICTURE_MAXIMUM and is_soft_brush(rgb) and is_picture(planes):
        return brightness
    raise BadInput(
        path,
        f"holds {len(colors)} colours: {counted_labels(codes)}",
        f"{_LABELS_REMEDY}, such as '#800000=NAME,#008000=NAME', or save class numbers",
    )


def _labels_of(path: Path, values: NDArray[Any], known_labels: Collection[int] | None) -> NDArray[Any]:
    """The labels of values without channels."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    foreground = 1 if known_labels is None else _only(known_labels)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        whole_numbers = as_whole_numbers(values)
        if whole_numbers is None:
            return _cut_fractions(path, values, foreground)
        values = whole_numbers
    if values.min() < 0:
        raise BadInput(path, "holds negative numbers, which no class has", "number the classes from 1")
    top = int(values.max())
    if top >= COLOR_LABEL:
        raise BadInput(path, f"holds the number {top}, which is not a label", "number the classes from 1")
    if foreground is not None and top >= MIN_PICTURE_MAXIMUM:
        # white stands for label 1, or for a label that is itself white
        is_white = foreground == 1 or abs(foreground - top) <= WHITE_TOLERANCE * top
        if is_white and is_picture(values.reshape(-1, *values.shape[-2:])):
            return as_labels((values > top / 2) * foreground)
    if is_scan(values):
        why = "looks like an image: its values change from pixel to pixel"
        raise BadInput(path, why, "give a mask of labels")
    return as_labels(values)


def _only(labels: Collection[int]) -> int | None:
    """The one label that there is; None where there are several."""
    distinct = set(labels)
    return next(iter(distinct)) if len(distinct) == 1 else None


def _cut_fractions(path: Path, values: NDArray[Any], foreground: int | None) -> NDArray[Any]:
    """Probabilities, or a picture in floating point, cut at half; None for a mask of several classes."""
    top = float(values.max())
    if values.min() < 0:
        raise BadInput(path, "holds negative numbers, which no class has", "number the classes from 1")
    if foreground is not None:
        if top <= 1:
            return as_labels((values > 0.5) * foreground)
        planes = values.reshape(-1, *values.shape[-2:])
        if top >= MIN_PICTURE_MAXIMUM and is_picture(planes):
            return as_labels((values > top / 2) * foreground)
    raise BadInput(path, "holds fractions, which are not labels", "save class numbers, without interpolation")


def turned_to_image(mask: MaskFile, image: Scan, name: str) -> NDArray[Any]:
    """The labels of a mask index on index with its image.

    A mask that lies where its image does but is stored in another orientation is turned back exactly, by
    flips and permutations. Where one of the two does not say where it lies in the patient, the mask is taken
    as it is.

    Parameters
    ----------
    mask
        Of the file.
    image
        Only its geometry and shape are used.
    name
        What an error calls the mask.

    Raises
    ------
    BadInput
        If the mask lies elsewhere in the patient; the reason says along which axis, and how far.
    """
    geometry, shape = image.geometry, image.spatial_shape
    if not (geometry.frame and mask.geometry.frame and geometry.ndim == mask.geometry.ndim):
        return mask.labels
    turn = find_turn(mask.geometry, mask.labels.shape, geometry, shape)
    if turn is None:
        why = misplacement(mask.geometry, mask.labels.shape, geometry, shape)
        raise BadInput(name, why, "save it with the geometry of its image")
    return np.ascontiguousarray(turn.apply(mask.labels))
