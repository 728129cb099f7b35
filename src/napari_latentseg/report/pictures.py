"""Pictures of a result: a whole slice, and regions with the outline of the mask and the uncertainty."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_latentseg.core.doubt import MAX_DOUBT, doubt_of
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.io.geojson import find_outlines
from napari_latentseg.report.slice_parts import slice_part
from napari_latentseg.review import Finding

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = [
    "ImageStrip",
    "Overview",
    "Panels",
    "background_of",
    "render_overview",
    "render_strip",
    "side_by_side",
    "with_heatmap",
    "with_outlines",
]

# Sizes in pixels, chosen by hand so that three rows of pictures fit on one sheet of A4 and a lesion of a few
# voxels can still be seen.
_LARGEST_PANEL = (460, 340)  # width and height of each of the three panels
_GAP = 8
_MAX_CROP_FRACTION = 0.7  # of the area of the plane; a larger crop is replaced by the whole plane
_MIN_CROP_SIDE = 48  # voxels, so that the surroundings of a small region are visible
_FULL_VIEW_SIDE = 160  # voxels; a plane up to this size is always shown whole
# colours of matplotlib's "inferno", from black through red to yellow
_HEATMAP_COLORS = np.array(
    [[0, 0, 0], [120, 28, 109], [229, 92, 48], [251, 180, 26], [252, 255, 164]], dtype=float
)
_Range = tuple[int, int]


@dataclass(frozen=True)
class Panels:
    """Pictures of one size side by side.

    Attributes
    ----------
    png
        As PNG.
    size
        Width and height in pixels.
    """

    png: bytes
    size: tuple[int, int]

    @property
    def values(self) -> dict[str, Any]:
        """What a template needs of them."""
        width, height = self.size
        return {"width": width, "height": height, "png": base64.b64encode(self.png).decode("ascii")}


@dataclass(frozen=True)
class ImageStrip:
    """Three pictures side by side: image, outline, doubt (`Segmentation.doubt`, the brightest colour at 0.5).

    Attributes
    ----------
    panels
        The pictures.
    is_cropped
        Whether a part of the plane is shown.
    """

    panels: Panels
    is_cropped: bool


@dataclass(frozen=True)
class Overview:
    """A whole slice, without and with the outlines of the mask.

    Attributes
    ----------
    panels
        The two pictures.
    index
        Index of the slice along the leading axes, from 0; empty for a 2D image.
    is_empty
        Whether the mask holds nothing in it, and then in no slice.
    """

    panels: Panels
    index: tuple[int, ...]
    is_empty: bool


def render_strip(
    segmentation: Segmentation, image: Scan | None, finding: Finding, mask: Any = None
) -> ImageStrip:
    """Draw the image, the image with the outline of the mask, and the image with the doubt over it.

    Parameters
    ----------
    segmentation
        The segmentation.
    image
        The segmented image; the mean probability is shown if it is None.
    finding
        Which region to show; the doubt is that of its class.
    mask
        Edited label map instead of `segmentation.mask`.
    """
    shape = segmentation.mask.shape[-2:]
    rows, columns = _crop_ranges(finding.box[-2:], (shape[0], shape[1]))
    part = slice_part(finding.index, slice(*rows), slice(*columns), segmentation.geometry, _LARGEST_PANEL)
    plane_crop, size = part.plane, part.size
    class_index = next(i for i, info in enumerate(segmentation.classes) if info.label == finding.label)
    mean = np.asarray(segmentation.mean[(class_index, *plane_crop)], dtype=np.float64)
    background = background_of(image, plane_crop, mean).resize(size, Image.Resampling.BICUBIC)
    labels = np.asarray((segmentation.mask if mask is None else mask)[plane_crop])
    outlined = with_outlines(background, labels, [(c.label, c.color) for c in segmentation.mask_classes])
    panels = [
        background,
        outlined,
        with_heatmap(background, doubt_of(mean) / MAX_DOUBT),
    ]
    return ImageStrip(side_by_side(panels), (rows, columns) != ((0, shape[0]), (0, shape[1])))


def render_overview(segmentation: Segmentation, image: Scan | None) -> Overview:
    """Draw a whole slice, and beside it the same with the outlines of the mask.

    Of a volume it is the slice with the largest part of the mask, or the middle one where the mask is empty.

    Parameters
    ----------
    segmentation, image
        As for `render_strip`.
    """
    *leading, rows, columns = segmentation.mask.shape
    index = _largest_slice(segmentation, tuple(leading))
    part = slice_part(index, slice(0, rows), slice(0, columns), segmentation.geometry, _LARGEST_PANEL)
    plane, size = part.plane, part.size
    if len(segmentation.mean):
        mean = np.asarray(segmentation.mean[(slice(None), *plane)], dtype=np.float64).max(axis=0)
    else:
        mean = np.zeros(np.asarray(segmentation.mask[plane]).shape)
    background = background_of(image, plane, mean).resize(size, Image.Resampling.BICUBIC)
    colors = [(c.label, c.color) for c in segmentation.mask_classes]
    labels = np.asarray(segmentation.mask[plane])
    panels = side_by_side([background, with_outlines(background, labels, colors)])
    return Overview(panels, index, not labels.any())


def _largest_slice(segmentation: Segmentation, leading: tuple[int, ...]) -> tuple[int, ...]:
    areas = {
        index: int(np.count_nonzero(np.asarray(segmentation.mask[index]))) for index in np.ndindex(*leading)
    }
    largest = max(areas, key=lambda index: areas[index])
    return largest if areas[largest] else tuple(n // 2 for n in leading)


def side_by_side(panels: Sequence[Picture]) -> Panels:
    """Panels of one size as one picture."""
    width, height = panels[0].size
    strip_image = Image.new("RGB", (len(panels) * (width + _GAP) - _GAP, height), "white")
    for number, panel in enumerate(panels):
        strip_image.paste(panel, (number * (width + _GAP), 0))
    stream = io.BytesIO()
    strip_image.save(stream, "PNG")  # optimize takes 5 to 10 times as long, to save a sixth
    return Panels(stream.getvalue(), strip_image.size)


def _crop_ranges(box: Sequence[_Range], shape: tuple[int, int]) -> tuple[_Range, _Range]:
    """Rows and columns around a box; the whole plane if they are most of it."""
    ranges = []
    for (start, stop), length in zip(box, shape, strict=True):
        margin = max((stop - start) // 2, (_MIN_CROP_SIDE - (stop - start) + 1) // 2, 0)
        ranges.append((max(0, start - margin), min(length, stop + margin)))
    rows, columns = ranges
    crop_area = (rows[1] - rows[0]) * (columns[1] - columns[0])
    show_full_plane = max(shape) <= _FULL_VIEW_SIDE or crop_area > _MAX_CROP_FRACTION * shape[0] * shape[1]
    return ((0, shape[0]), (0, shape[1])) if show_full_plane else (rows, columns)


def background_of(image: Scan | None, plane_crop: tuple[Any, ...], mean: NDArray[np.float64]) -> Picture:
    """The image in grey or RGB; grey levels are stretched from the 1st to the 99th percentile."""
    if image is None:
        return Image.fromarray(np.clip(255 * mean, 0, 255).astype(np.uint8)).convert("RGB")
    values = np.asarray(image.array[plane_crop]).astype(np.float64)
    if image.axes.endswith(CHANNEL):
        values = values[..., :3] if values.shape[-1] in (3, 4) else values[..., 0]
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    if image.array.dtype == np.uint8 and values.ndim == 3:  # photographs keep their colours
        low, high = 0.0, 255.0
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return Image.fromarray(np.clip(255 * scaled, 0, 255).astype(np.uint8)).convert("RGB")


def with_outlines(background: Picture, labels: NDArray[Any], colours: list[tuple[int, str]]) -> Picture:
    """The image with the outlines of a label map, each label in its colour."""
    outlined = background.copy()
    draw = ImageDraw.Draw(outlined)
    x_scale, y_scale = (n / m for n, m in zip(background.size, labels.shape[::-1], strict=True))
    for label, colour in colours:
        for polygon in find_outlines(labels == label):
            for ring in polygon:
                points = [((x + 0.5) * x_scale, (y + 0.5) * y_scale) for y, x in ring.tolist()]
                draw.line(points, fill="black", width=4, joint="curve")
                draw.line(points, fill=colour, width=2, joint="curve")
    return outlined


def with_heatmap(background: Picture, relative: NDArray[np.float64]) -> Picture:
    """The image in grey with a heatmap over it; `relative` is in [0, 1], and 0 is transparent."""
    color_position = np.clip(relative, 0, 1) * (len(_HEATMAP_COLORS) - 1)
    below = np.minimum(color_position.astype(int), len(_HEATMAP_COLORS) - 2)
    blend_weight = (color_position - below)[..., None]
    colour = _HEATMAP_COLORS[below] * (1 - blend_weight) + _HEATMAP_COLORS[below + 1] * blend_weight
    alpha = np.clip(relative * 2, 0, 0.85)[..., None] * 255
    layer = Image.fromarray(np.concatenate([colour, alpha], axis=-1).round().astype(np.uint8), "RGBA")
    layer = layer.resize(background.size, Image.Resampling.BILINEAR)
    grey = background.convert("L").convert("RGBA")
    return Image.alpha_composite(grey, layer).convert("RGB")
