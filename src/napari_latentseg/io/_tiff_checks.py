"""What a TIFF claims, held against its size before tifffile builds lists of pages from it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from napari_latentseg.errors import BadInput
from napari_latentseg.io._codestreams import STREAM_HEADER_BYTES, stream_pixels
from napari_latentseg.io._raw import check_inside_folder
from napari_latentseg.utils.size_claims import DEFLATE_RATIO, JPEG_RATIO, check_claim

__all__ = ["check_ome_claims", "check_page_chain", "check_series_claim"]

# header size, then the formats of an offset and of a number of tags, and the size of a tag, by version
_LAYOUTS = {42: (4, "I", "H", 12), 43: (8, "Q", "Q", 20)}
_MAX_MODULO_STEPS = 1_000_000  # tifffile makes an array of them to count them; real ones have a few dozen
_MAX_DIGITS = 20  # more than any size of a file has; Python refuses to read thousands
_NO_COMPRESSION = 1
_BYTES_PER_PIXEL = 4  # of a decoder: OpenJPEG keeps 32 bits for each sample
_MAX_CHECKED_TILES = 2000  # 20 ms; a slide has a hundred thousand
_DEFLATE_LIKE = (5, 8, 32773, 32946)  # LZW and PackBits do less than Deflate
_DAMAGED = ("is damaged: its pages do not follow each other", "export it again")


def check_page_chain(path: Path) -> None:
    """Refuse a chain of pages that has no end, or more pages than the file has room for.

    A chain that breaks off is left to the reader.

    Raises
    ------
    BadInput
        If the chain returns to a page, or the pages overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        layout = _LAYOUTS.get(struct.unpack(f"{order}H", head[2:])[0]) if order and len(head) == 4 else None
        if layout is None:
            return
        start, offset_code, count_code, tag_bytes = layout
        offset_format, count_format = order + offset_code, order + count_code  # type: ignore[operator]
        file.seek(start)
        offset = _unpack_or_zero(offset_format, file.read(struct.calcsize(offset_format)))
        seen: set[int] = set()
        page_bytes = 0
        while 0 < offset < size:
            if offset in seen or page_bytes > size:
                raise BadInput(path, *_DAMAGED)
            seen.add(offset)
            file.seek(offset)
            tags = _unpack_or_zero(count_format, file.read(struct.calcsize(count_format)))
            page_bytes += struct.calcsize(count_format) + tags * tag_bytes
            file.seek(tags * tag_bytes, 1) if tags * tag_bytes < size else file.seek(size)
            offset = _unpack_or_zero(offset_format, file.read(struct.calcsize(offset_format)))


def _unpack_or_zero(number_format: str, data: bytes) -> int:
    return int(struct.unpack(number_format, data)[0]) if len(data) == struct.calcsize(number_format) else 0


def check_ome_claims(path: Path, xml: str) -> None:
    """Refuse OME metadata that name a file outside the folder, or more planes than the files have bytes.

    Parameters
    ----------
    path
        The TIFF file.
    xml
        Its OME metadata; what is no XML is left to the reader.

    Raises
    ------
    BadInput
        As described.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return
    elements = [(element.tag.rpartition("}")[2], element) for element in root.iter()]
    names = {element.get("FileName", "") for tag, element in elements if tag == "UUID"} - {""}
    for name in names:
        check_inside_folder(path, name)
    files = {path, *(path.parent / name for name in names)}
    stored_bytes = sum(file.stat().st_size for file in files if file.is_file())
    for tag, element in elements:
        if tag == "Pixels":
            planes = _product(_integer(element, f"Size{axis}") for axis in "ZCT")
        elif tag == "TiffData":
            planes = max(_integer(element, name) for name in ("PlaneCount", "NumPlanes", "IFD"))
        elif tag.startswith("Along"):
            planes = stored_bytes + 1 if _modulo_steps(element) > _MAX_MODULO_STEPS else 0
        else:
            continue
        if planes > stored_bytes:  # each plane has at least a byte
            raise BadInput(
                path, "is cut short or damaged: its header claims more planes than it holds", "copy it again"
            )


def _integer(element: ElementTree.Element, name: str) -> int:
    """An attribute as a number; 0 where it is none, which is left to the reader."""
    digits = element.get(name, "").strip()
    return int(digits[:_MAX_DIGITS]) if digits.isdecimal() else 0


def _product(numbers: Iterable[int]) -> int:
    product = 1
    for number in numbers:
        product *= max(1, number)
    return product


def _modulo_steps(element: ElementTree.Element) -> float:
    """How many steps an axis has that is folded into another (OME's modulo annotations)."""
    try:
        start, end = float(element.get("Start", "0")), float(element.get("End", "0"))
        return abs(end - start) / abs(float(element.get("Step", "1")))
    except (ValueError, ZeroDivisionError):
        return 0.0


def check_series_claim(path: Path, series: Any) -> None:
    """Refuse a series of pages whose values cannot be in its files, whatever their compression.

    Parameters
    ----------
    path
        The TIFF file.
    series
        Of tifffile.

    Raises
    ------
    BadInput
        As described.
    """
    compression = int(series.keyframe.compression)
    ratio = 1 if compression == _NO_COMPRESSION else DEFLATE_RATIO
    if ratio > 1 and compression not in _DEFLATE_LIKE:
        ratio = JPEG_RATIO
    handles = {page.parent.filehandle.path for page in series.pages if page is not None}
    stored_bytes = sum(Path(file).stat().st_size for file in {str(path), *handles} if Path(file).is_file())
    check_claim(path, int(series.nbytes), stored_bytes, ratio)
    if ratio == JPEG_RATIO:
        _check_streams(path, series, stored_bytes)


def _check_streams(path: Path, series: Any, stored_bytes: int) -> None:
    """Refuse a tile whose own header claims too many pixels; of large images the first tiles are checked."""
    places = (
        place
        for page in series.pages
        if page is not None and page.parent is series.keyframe.parent
        for place in zip(page.dataoffsets, page.databytecounts, strict=False)
    )
    with path.open("rb") as file:
        for offset, length in islice(places, _MAX_CHECKED_TILES):
            file.seek(offset)
            pixels = stream_pixels(file.read(min(length, STREAM_HEADER_BYTES)))
            check_claim(path, pixels * _BYTES_PER_PIXEL, stored_bytes, JPEG_RATIO)
