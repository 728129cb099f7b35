"""What decodes the frames of a DICOM file: read once from its header, not again for each frame."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_latentseg.io.dicom.files import DicomFile

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

__all__ = ["PixelHeader", "read_pixel_header"]

# Frames are asked for file by file. A few more than one, for the threads that read different files at once:
# a header takes up to a megabyte (palettes, offsets).
_HELD_HEADERS = 16
_PIXEL_GROUP = 0x0028
_PIXEL_KEYWORDS = {
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
    (0x7FE0, 0x0010): "PixelData",
}


@dataclass(frozen=True)
class PixelHeader:
    """What pydicom's decoders need to know of a file; not to be changed, since all frames share it.

    Attributes
    ----------
    attributes
        The elements that describe the pixels (group 0028), lookup tables among them.
    options
        For `pydicom.pixels.decoders.base.Decoder.as_array`.
    data_offset
        Bytes before the value of the pixel data.
    """

    attributes: Dataset
    options: Mapping[str, Any]
    data_offset: int


def read_pixel_header(item: DicomFile, syntax: UID) -> PixelHeader:
    """The pixel header of a file; the last few are held, until their files change.

    Parameters
    ----------
    item
        The file, which is not deflated, and encoded as its transfer syntax says.
    syntax
        The transfer syntax.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or has no pixels; other errors if it is damaged.
    """
    status = item.path.stat()
    return _read(item, syntax, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_HELD_HEADERS)
def _read(item: DicomFile, syntax: UID, _changed: int, _size: int) -> PixelHeader:
    import pydicom
    from pydicom.pixels.utils import as_pixel_options

    with item.open_seekable() as file:
        ds = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        attributes = ds.group_dataset(_PIXEL_GROUP)
        attributes.set_original_encoding(*ds.original_encoding)
        options: dict[str, Any] = as_pixel_options(ds, transfer_syntax_uid=syntax)
        tag, representation = _read_pixel_tag(file, syntax)
        if tag not in _PIXEL_KEYWORDS:
            raise ValueError("no pixels")
        options["pixel_keyword"] = _PIXEL_KEYWORDS[tag]
        if representation:
            options["pixel_vr"] = representation
        data_offset = file.tell()
        if syntax.is_encapsulated and "extended_offsets" not in options:
            offsets = _frame_offsets(file, int(options["number_of_frames"]))
            if offsets is not None:
                options["extended_offsets"] = offsets
    return PixelHeader(attributes, options, data_offset)


def _read_pixel_tag(file: BinaryIO, syntax: UID) -> tuple[tuple[int, ...], str]:
    """The tag at the end of a header, and its value representation; leaves the file at the value."""
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8)
    if len(head) < 8:
        raise ValueError("no pixels")
    if syntax.is_implicit_VR:
        return struct.unpack(order + "HH", head[:4]), ""
    file.seek(4, 1)  # the length, which has four bytes after any representation of pixels
    return struct.unpack(order + "HH", head[:4]), head[4:6].decode("ascii")


def _frame_offsets(file: BinaryIO, frames: int) -> tuple[list[int], list[int]] | None:
    """Offsets and lengths of compressed frames in a file without a table of them, as pydicom takes them.

    None where there is a table, or where a frame may have several fragments.
    """
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    if frames < 2 or parse_basic_offsets(file):
        return None
    begin = file.tell()
    count, offsets = parse_fragments(file)
    if count != frames:
        return None
    lengths = []
    for offset in offsets:
        file.seek(offset + 4)
        lengths.append(struct.unpack("<L", file.read(4))[0])
    return [offset - begin for offset in offsets], lengths
