"""How a DICOM file stores its values, and whether they are all there; nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from napari_latentseg.errors import BadInput
from napari_latentseg.formats.dicom_files import Item

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Stored", "stored_of"]

_DEFLATED = "1.2.840.10008.1.2.1.99"
_FLOATS = {(0x7FE0, 0x0008): "float32", (0x7FE0, 0x0009): "float64"}
_LONG = (b"OB", b"OW", b"OF", b"OD", b"UN")
_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


@dataclass(frozen=True)
class Stored:
    """How a file holds its values.

    Attributes
    ----------
    syntax
        The transfer syntax's UID.
    kind
        The photometric interpretation.
    real
        ``"float32"`` or ``"float64"`` where the values are real numbers; else empty.
    table
        Whether values go through a table (a modality LUT) instead of slope and intercept.
    odd
        Whether the file is packed as a whole, or not written as its syntax says: frames cannot be read alone.
    """

    syntax: str
    rows: int
    columns: int
    samples: int
    kind: str
    allocated: int
    stored: int
    signed: bool
    real: str = ""
    table: bool = False
    odd: bool = False


def stored_of(item: Item, file: BinaryIO, ds: Dataset) -> Stored:
    """Read from a header, and see that the file goes on to the end of its pixels.

    Parameters
    ----------
    item
        The file, for messages and its size.
    file
        Open, where the header ends.
    ds
        The header.

    Raises
    ------
    BadInput
        Where the file ends before its pixels do.
    """
    syntax = _syntax(ds)
    real, odd = ("", True) if syntax == _DEFLATED else _check_whole(item, file, ds, syntax)
    return Stored(
        syntax,
        int(ds.Rows),
        int(ds.Columns),
        int(ds.get("SamplesPerPixel") or 1),
        str(ds.PhotometricInterpretation),
        int(ds.BitsAllocated),
        int(ds.get("BitsStored") or ds.BitsAllocated),
        bool(ds.get("PixelRepresentation") or 0),
        real,
        "ModalityLUTSequence" in ds,
        odd,
    )


def _syntax(ds: Dataset) -> str:
    """The transfer syntax; where the file does not name it, the one that it was read with."""
    meta = getattr(ds, "file_meta", None)
    named = meta.get("TransferSyntaxUID") if meta is not None else None
    if named:
        return str(named)
    implicit, little = ds.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _check_whole(item: Item, file: BinaryIO, ds: Dataset, syntax: str) -> tuple[str, bool]:
    """Refuse a file that ends before its pixels do; give the kind of its real numbers, and if it is odd."""
    from pydicom.uid import UID

    uid = UID(syntax)
    little = uid.is_private or uid.is_little_endian
    start = file.read(12)
    if len(start) < 8:
        raise BadInput(item.name, "ends before its pixels", "copy it again")
    tag = struct.unpack("<HH" if little else ">HH", start[:4])
    real = _FLOATS.get(tag, "")
    begins = file.tell()
    implicit = start[4:6] not in _LONG  # the length follows at once, also in files that should be explicit
    if implicit:
        begins -= 4
        file.seek(begins)
    odd = implicit != uid.is_implicit_VR if not uid.is_private else False
    if not uid.is_private and uid.is_compressed:
        _check_fragments(item, file, int(ds.get("NumberOfFrames") or 1))
        return real, odd
    if item.size() - begins < _length(ds):
        raise BadInput(item.name, "is cut short: its pixels are not all there", "copy it again")
    return real, odd


def _length(ds: Dataset) -> int:
    """How many bytes pixels that are not compressed take."""
    values = int(ds.get("NumberOfFrames") or 1) * int(ds.get("SamplesPerPixel") or 1) * ds.Rows * ds.Columns
    bits = int(values) * int(ds.BitsAllocated)
    shared = ds.get("PhotometricInterpretation") == "YBR_FULL_422"  # two pixels have one colour
    return -(-bits // 8) * 2 // 3 if shared else -(-bits // 8)


def _check_fragments(item: Item, file: BinaryIO, frames: int) -> None:
    """Go through the parts of compressed pixels by their lengths, to the mark of their end."""
    size, found = item.size(), -1  # the first part is a table of the others
    while True:
        head = file.read(8)
        if len(head) < 8:
            if found >= frames:
                return
            break
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _END:
            return
        found += 1
        if (group, element) != _ITEM or file.tell() + length > size:
            break
        file.seek(length, 1)
    raise BadInput(item.name, "is cut short: its pixels are not all there", "copy it again")
