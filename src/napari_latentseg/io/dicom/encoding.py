"""How a DICOM file stores its values, and whether they are all there; nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.files import DicomFile

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["PixelEncoding", "read_encoding"]

_DEFLATED_SYNTAX = "1.2.840.10008.1.2.1.99"
_FLOAT_PIXEL_TAGS = {(0x7FE0, 0x0008): "float32", (0x7FE0, 0x0009): "float64"}
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_ITEM_TAG, _END_TAG = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


@dataclass(frozen=True)
class PixelEncoding:
    """How a file holds its values.

    Attributes
    ----------
    syntax
        The transfer syntax's UID.
    photometric
        The photometric interpretation.
    float_dtype
        ``"float32"`` or ``"float64"`` where the values are real numbers; else empty.
    has_modality_lut
        Whether values go through a table (a modality LUT) instead of slope and intercept.
    whole_file_only
        Whether the file is packed as a whole, or not written as its syntax says: frames cannot be read alone.
    """

    syntax: str
    rows: int
    columns: int
    samples_per_pixel: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    float_dtype: str = ""
    has_modality_lut: bool = False
    whole_file_only: bool = False


def read_encoding(item: DicomFile, file: BinaryIO, ds: Dataset) -> PixelEncoding:
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
    syntax = _transfer_syntax(ds)
    float_dtype, whole_file_only = (
        ("", True) if syntax == _DEFLATED_SYNTAX else _check_complete(item, file, ds, syntax)
    )
    return PixelEncoding(
        syntax,
        int(ds.Rows),
        int(ds.Columns),
        int(ds.get("SamplesPerPixel") or 1),
        str(ds.PhotometricInterpretation),
        int(ds.BitsAllocated),
        int(ds.get("BitsStored") or ds.BitsAllocated),
        bool(ds.get("PixelRepresentation") or 0),
        float_dtype,
        "ModalityLUTSequence" in ds,
        whole_file_only,
    )


def _transfer_syntax(ds: Dataset) -> str:
    """The transfer syntax; where the file does not name it, the one that it was read with."""
    meta = getattr(ds, "file_meta", None)
    syntax_uid = meta.get("TransferSyntaxUID") if meta is not None else None
    if syntax_uid:
        return str(syntax_uid)
    implicit, is_little_endian = ds.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if is_little_endian else "1.2.840.10008.1.2.2"


def _check_complete(item: DicomFile, file: BinaryIO, ds: Dataset, syntax: str) -> tuple[str, bool]:
    """Refuse a file that ends before its pixels do; give the kind of its real numbers, and if it is odd."""
    from pydicom.uid import UID

    uid = UID(syntax)
    is_little_endian = uid.is_private or uid.is_little_endian
    tag_and_length = file.read(12)
    if len(tag_and_length) < 8:
        raise BadInput(item.name, "ends before its pixels", "copy it again")
    tag = struct.unpack("<HH" if is_little_endian else ">HH", tag_and_length[:4])
    float_dtype = _FLOAT_PIXEL_TAGS.get(tag, "")
    data_offset = file.tell()
    implicit = (
        tag_and_length[4:6] not in _LONG_VRS
    )  # the length follows at once, also in files that should be explicit
    if implicit:
        data_offset -= 4
        file.seek(data_offset)
    whole_file_only = implicit != uid.is_implicit_VR if not uid.is_private else False
    if not uid.is_private and uid.is_compressed:
        _check_fragments(item, file, int(ds.get("NumberOfFrames") or 1))
        return float_dtype, whole_file_only
    if item.size() - data_offset < _uncompressed_bytes(ds):
        raise BadInput(item.name, "is cut short: its pixels are not all there", "copy it again")
    return float_dtype, whole_file_only


def _uncompressed_bytes(ds: Dataset) -> int:
    """How many bytes pixels that are not compressed take."""
    values = int(ds.get("NumberOfFrames") or 1) * int(ds.get("SamplesPerPixel") or 1) * ds.Rows * ds.Columns
    bits = int(values) * int(ds.BitsAllocated)
    is_subsampled = ds.get("PhotometricInterpretation") == "YBR_FULL_422"  # two pixels have one colour
    return -(-bits // 8) * 2 // 3 if is_subsampled else -(-bits // 8)


def _check_fragments(item: DicomFile, file: BinaryIO, frames: int) -> None:
    """Go through the parts of compressed pixels by their lengths, to the mark of their end."""
    size, fragment_count = item.size(), -1  # the first part is a table of the others
    while True:
        head = file.read(8)
        if len(head) < 8:
            if fragment_count >= frames:
                return
            break
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _END_TAG:
            return
        fragment_count += 1
        if (group, element) != _ITEM_TAG or file.tell() + length > size:
            break
        file.seek(length, 1)
    raise BadInput(item.name, "is cut short: its pixels are not all there", "copy it again")
