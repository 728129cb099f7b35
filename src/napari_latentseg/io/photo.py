"""PNG, JPEG and BMP: 2D images without physical units, through Pillow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, read_errors, write_errors
from napari_latentseg.io._lazy import lazy_from_loader
from napari_latentseg.utils.size_claims import (
    DEFLATE_RATIO,
    JPEG_RATIO,
    RLE_RATIO,
    check_claim,
    check_memory,
)

NAME = "photo"
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp")
RESULT_SUFFIX = ".tif"  # mean and variance are floating point, which none of these formats can hold

_MAX_UINT16 = 65535
_PILLOW_LOCK = threading.Lock()
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP")
_EXIF_ORIENTATION = 0x0112  # tag of the camera orientation; values of 5 and more exchange height and width
_NATIVE_MODES = ("L", "RGB", "RGBA", "I", "F")
_ALPHA_MODES = ("LA", "La", "PA", "RGBa")


def read(path: Path) -> Scan:
    """Read as `yx` or `yxc`, in pixels.

    Palettes become RGB, alpha is kept, CMYK becomes RGB, and one-bit images become 0 and 255. The EXIF
    orientation is applied, as in every viewer: height and width of a photo taken with the camera rotated are
    exchanged compared with the file, and its mask must be drawn on the rotated photo. Of a file with several
    images the first is read.

    Parameters
    ----------
    path
        A PNG, JPEG or BMP file. The format is detected from the content.

    Raises
    ------
    BadInput
        If it is none of these, is cut short or damaged, is too large to open safely, or has colours of 16
        bits a channel (of which Pillow would keep 8).
    """
    from PIL import Image, ImageOps

    with _pillow_errors(path):
        with Image.open(path, formats=_PILLOW_FORMATS) as opened:
            _check_bit_depth(path, opened)
            if opened.format == "PNG":
                _check_claim(path, opened)
                opened.verify()  # checksums and end marker, which reading alone ignores
        with Image.open(path, formats=_PILLOW_FORMATS) as opened:
            _check_claim(path, opened)
            opened.load()
            try:
                image = ImageOps.exif_transpose(opened)
            except Exception:  # the tag is malformed; the pixels are complete
                image = opened.copy()
        return _make_scan(path, _to_array(image))


def read_lazy(path: Path) -> Scan:
    """As `read`, with the pixels left in the file.

    Raises
    ------
    BadInput
        As `read`, for what the header shows.
    """
    from PIL import Image

    with _pillow_errors(path), Image.open(path, formats=_PILLOW_FORMATS) as opened:
        _check_bit_depth(path, opened)
        _check_claim(path, opened)
        one_pixel_image = Image.new(opened.mode, (1, 1))
        one_pixel_image.info = dict(opened.info)
        pixel = _to_array(one_pixel_image)
        shape = opened.size[::-1] if opened.getexif().get(_EXIF_ORIENTATION, 1) < 5 else opened.size
        return _make_scan(
            path, lazy_from_loader(shape + pixel.shape[2:], pixel.dtype, lambda: np.asarray(read(path).array))
        )


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """As `read_errors`, with Pillow's limit of pixels as an error of its own."""
    from PIL import Image

    with read_errors(path, "a PNG, JPEG or BMP image"), _refuse_truncated():
        try:
            yield
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise BadInput(
                path, "has more pixels than are safe to open", "crop it, or save it as a TIFF"
            ) from error


def _make_scan(path: Path, array: Any) -> Scan:
    return Scan(
        array, "yxc" if array.ndim == 3 else "yx", Geometry.from_spacing("yx"), format=NAME, source=path
    )


def _check_bit_depth(path: Path, opened: Any) -> None:
    """Refuse colours of 16 bits a channel, which Pillow would reduce to 8."""
    raw_mode = opened.tile[0][3] if opened.tile else ""
    raw_mode = raw_mode if isinstance(raw_mode, str) else str(raw_mode[0])
    # a BMP of 16 bits has 5 or 6 bits a channel, which Pillow keeps
    if opened.format == "PNG" and "16" in raw_mode and not opened.mode.startswith("I"):
        raise BadInput(path, "has colours of 16 bits, which cannot be read without loss", "save it as a TIFF")


def _check_claim(path: Path, opened: Any) -> None:
    """Refuse a header that claims more pixels than the file can hold, or than fit into memory."""
    width, height = opened.size
    claimed_bytes = width * height * len(opened.getbands())
    ratio = {"PNG": DEFLATE_RATIO, "JPEG": JPEG_RATIO}.get(opened.format, RLE_RATIO * 2)
    check_claim(path, claimed_bytes, path.stat().st_size, ratio)
    check_memory(path, 2 * claimed_bytes)  # Pillow's image and the array


@contextmanager
def _refuse_truncated() -> Iterator[None]:
    """Switch off Pillow's global option to fill up truncated files, which another package may have set."""
    from PIL import ImageFile

    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _PILLOW_LOCK:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _to_array(image: Any) -> NDArray[Any]:
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in _ALPHA_MODES or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode not in _NATIVE_MODES and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    array = np.array(image)  # a writable copy, which torch needs
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def write(
    path: Path,
    array: NDArray[np.generic],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write a PNG if the name ends in `.png`, else a TIFF (`RESULT_SUFFIX`).

    Parameters
    ----------
    path
        Ends in `.png`, or as a TIFF does.
    array
        For a PNG: uint8; uint16 without channels; or floating point in [0, 1] (probabilities, variances),
        rounded to multiples of 1/65535, which a comment in the file states.
    axes
        For a PNG: ``"yx"`` or ``"yxc"``.
    geometry
        For a PNG: in pixels, with spacing 1 and origin 0, since it has no metadata for them.
    properties
        Not needed.

    Raises
    ------
    BadInput
        If a PNG cannot hold the values or the geometry; and as `napari_latentseg.io.tiff.write`.
    """
    if not path.name.lower().endswith(".png"):
        from napari_latentseg.io import tiff

        tiff.write(path, array, axes, geometry, properties)
        return
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    with write_errors(path, (".png",), "a PNG image"):
        values = as_writable(path, array, axes, geometry)
        if axes not in ("yx", "yxc") or (values.ndim == 3 and values.shape[2] not in (3, 4)):
            raise BadInput(path, "a PNG holds one 2D image, grey or in colours", "write TIFF instead")
        if (geometry.matrix != np.eye(3)).any() or set(geometry.units) != {"pixel"}:
            raise BadInput(path, "a PNG cannot hold a spacing or a position", "write TIFF or NIfTI instead")
        png_info = PngInfo()
        if values.dtype.kind == "f" and values.ndim == 2 and values.min() >= 0 and values.max() <= 1:
            values = np.round(values.astype(np.float64) * _MAX_UINT16).astype(np.uint16)
            png_info.add_text("Comment", f"{_MAX_UINT16} stands for 1.0")
        if values.dtype != np.uint8 and (values.dtype != np.uint16 or values.ndim == 3):
            raise BadInput(path, f"a PNG cannot hold values of type {values.dtype}", "write TIFF instead")
        Image.fromarray(values).save(path, "PNG", pnginfo=png_info)
