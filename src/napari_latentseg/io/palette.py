"""The indices of an image with a palette, which are the labels of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PaletteImage", "read_palette_image", "tiff_palette_colors"]

_PHOTO_SUFFIXES, _TIFF_SUFFIXES = (".png", ".bmp"), (".tif", ".tiff")


@dataclass(frozen=True)
class PaletteImage:
    """An image as it is stored: indices into a table of colours.

    Attributes
    ----------
    indices
        Unsigned integers `(H, W)`, or `(N, H, W)` of several pages.
    colors
        uint8 `(K, 3)`.
    """

    indices: NDArray[Any]
    colors: NDArray[np.uint8]

    @property
    def has_label_indices(self) -> bool:
        """Whether the indices are labels: index 0 is the background, and the table has colours.

        Not where all colours are greys (a picture that was packed), nor where black, which is the background
        of every tool, has another index (the order of the table then comes from the packing).
        """
        used = np.unique(self.indices)
        used_colors = self.colors[used]
        is_grey = (used_colors == used_colors[:, :1]).all()
        black_indices = used[~used_colors.any(axis=1)]
        return not is_grey and set(black_indices.tolist()) <= {0}


def read_palette_image(path: Path) -> PaletteImage | None:
    """The indices and the table of a PNG, BMP or TIFF with a palette; None for any other image.

    Parameters
    ----------
    path
        A file that `read_scan` has read: it is known to be whole and of a size that is safe to open.
    """
    name = path.name.lower()
    if name.endswith(_PHOTO_SUFFIXES):
        return _photo_palette(path)
    return _tiff_palette(path) if name.endswith(_TIFF_SUFFIXES) else None


def _photo_palette(path: Path) -> PaletteImage | None:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        if opened.mode != "P":
            return None
        image = ImageOps.exif_transpose(opened)
        indices = np.array(image)
        table = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colors = np.zeros((max(256, len(table)), 3), np.uint8)  # Pillow leaves out unused entries at the end
    colors[: len(table)] = table
    return PaletteImage(indices, colors)


def _tiff_palette(path: Path) -> PaletteImage | None:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page: Any = tif.pages[0]
        if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
            return None
        if tif.is_imagej or tif.is_ome:  # a table for display: `read_scan` gives the values then
            return None
        return PaletteImage(tif.series[0].asarray(), tiff_palette_colors(page.colormap).T)


def tiff_palette_colors(colormap: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The colours of a TIFF's palette in 8 bits.

    The format asks for 16 bits. Some programs write 8, which libtiff takes as such where no value is larger:
    in 16 bits, all of them would be black.

    Parameters
    ----------
    colormap
        uint16 `(3, K)`.

    Returns
    -------
    ndarray
        uint8 `(3, K)`.
    """
    has_8_bits = int(colormap.max(initial=0)) <= np.iinfo(np.uint8).max
    return (colormap if has_8_bits else colormap >> 8).astype(np.uint8)
