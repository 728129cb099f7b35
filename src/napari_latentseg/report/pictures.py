"""Pictures of a place in a result: the image, the mask's outline, and how unsure the result is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_latentseg.formats.outlines import outlines
from napari_latentseg.review import Finding
from napari_latentseg.scan import CHANNEL, Scan
from napari_latentseg.segmentation import Segmentation

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["Strip", "strip_of"]

_HEIGHT, _WIDTH = 340, 460  # of a panel, at most
_GAP = 8
_ZOOM = 0.7  # a part of the plane is shown where it takes less than this of it
_LEAST = 48  # elements of a part, across
_SMALL = 160  # a plane no larger is always shown whole
_MOST = 1024  # elements read across; of more, every other is left out
_HEAT = np.array([[0, 0, 0], [120, 28, 109], [229, 92, 48], [251, 180, 26], [252, 255, 164]], dtype=float)
_Range = tuple[int, int]


@dataclass(frozen=True)
class Strip:
    """Three pictures side by side.

    Attributes
    ----------
    png
        The picture.
    size
        Width and height.
    most
        What the brightest colour of the third stands for.
    what
        What it shows: ``"variance"``, or ``"min(p, 1 - p)"`` of a result without one.
    is_part
        Whether only a part of the plane is shown.
    """

    png: bytes
    size: tuple[int, int]
    most: float
    what: str
    is_part: bool


def strip_of(found: Segmentation, image: Scan | None, finding: Finding, mask: Any = None) -> Strip:
    """The image, the same with the outline of the mask, and with the uncertainty over it.

    Parameters
    ----------
    found
        The result.
    image
        What was segmented; without it the mean probability takes its place.
    finding
        Where to look. Its class is the one whose uncertainty is shown.
    mask
        An edited mask in place of `found.mask`.
    """
    shape = found.mask.shape[-2:]
    rows, columns = _shown(finding.box[-2:], (shape[0], shape[1]))
    step = max(1, -(-max(rows[1] - rows[0], columns[1] - columns[0]) // _MOST))
    place: tuple[Any, ...] = (*finding.index, slice(*rows, step), slice(*columns, step))
    spacing = found.geometry.spacing[-2:]
    height, width = (-(-(b - a) // step) for a, b in (rows, columns))
    scale = min(_HEIGHT / (height * spacing[0]), _WIDTH / (width * spacing[1]))
    size = (max(1, round(width * spacing[1] * scale)), max(1, round(height * spacing[0] * scale)))
    k = next(i for i, info in enumerate(found.classes) if info.label == finding.label)
    mean = np.asarray(found.mean[(k, *place)], dtype=np.float64)
    if found.variance is not None:
        doubt, what = np.asarray(found.variance[(k, *place)], dtype=np.float64), "variance"
    else:
        doubt, what = np.minimum(mean, 1 - mean), "min(p, 1 - p)"
    ground = _ground(image, place, mean).resize(size, Image.Resampling.BICUBIC)
    labels = np.asarray((found.mask if mask is None else mask)[place])
    outlined = _outlined(ground, labels, [(c.label, c.color) for c in found.classes])
    most = float(doubt.max(initial=0.0))
    panels = [ground, outlined, _heated(ground, doubt / most if most else doubt)]
    whole = Image.new("RGB", (3 * size[0] + 2 * _GAP, size[1]), "white")
    for number, panel in enumerate(panels):
        whole.paste(panel, (number * (size[0] + _GAP), 0))
    stream = io.BytesIO()
    whole.save(stream, "PNG", optimize=True)
    is_part = (rows, columns) != ((0, shape[0]), (0, shape[1]))
    return Strip(stream.getvalue(), whole.size, most, what, is_part)


def _shown(box: Sequence[_Range], shape: tuple[int, int]) -> tuple[_Range, _Range]:
    """Rows and columns about a box; the whole plane where they are most of it."""
    found = []
    for (start, stop), length in zip(box, shape, strict=True):
        reach = max((stop - start) // 2, (_LEAST - (stop - start) + 1) // 2, 0)
        found.append((max(0, start - reach), min(length, stop + reach)))
    rows, columns = found
    taken = (rows[1] - rows[0]) * (columns[1] - columns[0])
    whole = max(shape) <= _SMALL or taken > _ZOOM * shape[0] * shape[1]
    return ((0, shape[0]), (0, shape[1])) if whole else (rows, columns)


def _ground(image: Scan | None, place: tuple[Any, ...], mean: NDArray[np.float64]) -> Picture:
    """The image from its 1st to its 99th percentile, in grey or its colours."""
    if image is None:
        return Image.fromarray(np.clip(255 * mean, 0, 255).astype(np.uint8)).convert("RGB")
    values = np.asarray(image.array[place]).astype(np.float64)
    if image.axes.endswith(CHANNEL):
        values = values[..., :3] if values.shape[-1] in (3, 4) else values[..., 0]
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    if image.array.dtype == np.uint8 and values.ndim == 3:  # colours as they are
        low, high = 0.0, 255.0
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return Image.fromarray(np.clip(255 * scaled, 0, 255).astype(np.uint8)).convert("RGB")


def _outlined(ground: Picture, labels: NDArray[Any], colours: list[tuple[int, str]]) -> Picture:
    found = ground.copy()
    draw = ImageDraw.Draw(found)
    across, down = (n / m for n, m in zip(ground.size, labels.shape[::-1], strict=True))
    for label, colour in colours:
        for part in outlines(labels == label):
            for ring in part:
                points = [((x + 0.5) * across, (y + 0.5) * down) for y, x in ring.tolist()]
                draw.line(points, fill="black", width=4, joint="curve")
                draw.line(points, fill=colour, width=2, joint="curve")
    return found


def _heated(ground: Picture, share: NDArray[np.float64]) -> Picture:
    """The image in grey with a share, in [0, 1], over it from nothing through red to yellow."""
    place = np.clip(share, 0, 1) * (len(_HEAT) - 1)
    below = np.minimum(place.astype(int), len(_HEAT) - 2)
    part = (place - below)[..., None]
    colour = _HEAT[below] * (1 - part) + _HEAT[below + 1] * part
    alpha = np.clip(share * 2, 0, 0.85)[..., None] * 255
    layer = Image.fromarray(np.concatenate([colour, alpha], axis=-1).round().astype(np.uint8), "RGBA")
    layer = layer.resize(ground.size, Image.Resampling.BILINEAR)
    grey = ground.convert("L").convert("RGBA")
    return Image.alpha_composite(grey, layer).convert("RGB")
