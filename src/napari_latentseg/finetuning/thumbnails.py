"""Small pictures of what a model that is being taught now sees."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = ["outlined"]

_SIDE = 80
_LINE = (255, 150, 0)


def outlined(image: Tensor, mask: Tensor) -> str:
    """A picture of at most 80 pixels with a mask's edge drawn in, as PNG in base64, of some kilobytes.

    Parameters
    ----------
    image
        `(3, H, W)` in [0, 1].
    mask
        `(K, H, W)`; where it is above 0, any of the classes is.
    """
    rgb = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    inside = (mask > 0).any(0).numpy()
    scale = _SIDE / max(inside.shape)
    size = (max(1, round(inside.shape[1] * scale)), max(1, round(inside.shape[0] * scale)))
    small = np.array(Image.fromarray(rgb).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    shape = np.array(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
    small[_edge(shape)] = _LINE
    out = io.BytesIO()
    # so many colours are enough to see by, and make a fraction of the bytes
    Image.fromarray(small).quantize(24, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that have a neighbour outside."""
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    found: NDArray[np.bool_] = inside & ~core
    return found
