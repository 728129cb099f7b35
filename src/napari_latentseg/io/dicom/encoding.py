"""How a DICOM file stores its pixels, and whether they are complete; nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from napari_latentseg.errors import BadInput
from napari_latentseg.io._codestreams import STREAM_HEADER_BYTES, stream_pixels
from napari_latentseg.io.dicom.deflated import DEFLATED_SYNTAX
from napari_latentseg.io.dicom.files import DicomFile
from napari_latentseg.io.dicom.lookup_tables import has_modality_lut
from napari_latentseg.utils.size_claims import JPEG_RATIO, RLE_RATIO, check_claim

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["PixelEncoding", "read_encoding"]

_BYTES_PER_PIXEL = 4  # of a decoder, at least: OpenJPEG keeps 32 bits for each sample
_RLE_SYNTAX = "1.2.840.10008.1.2.5"
_VIDEO_SYNTAXES = "1.2.840.10008.1.2.4.10"  # how they begin: all frames of a video are in one fragment
_BIG_ENDIAN_SYNTAX = "1.2.840.10008.1.2.2"
_FLOAT_PIXEL_TAGS = {(0x7FE0, 0x0008): "float32", (0x7FE0, 0x0009): "float64"}
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_ITEM_TAG, _END_TAG = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


@dataclass(frozen=True)
class PixelEncoding:
    """How a file stores its pixel values.

    Attributes
    ----------
    syntax
        UID of the transfer syntax.
    rows, columns, samples_per_pixel, bits_allocated, bits_stored
        As in the header.
    photometric
        Photometric interpretation: ``"MONOCHROME2"``, ``"RGB"``.
    signed
        Whether the integers are signed (pixel representation 1).
    float_dtype
        ``"float32"`` or ``"float64"`` for Float Pixel Data; empty for integers.
    has_modality_lut
        Whether a modality LUT replaces slope and intercept.
    whole_file_only
        Whether single frames cannot be read: the file is deflated as a whole, or not encoded as its transfer
        syntax says.
    tiles
        Of a mosaic of slices, the number of tiles down and across; `rows` and `columns` are those of a tile.
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
    tiles: tuple[int, int] = (1, 1)

    @property
    def is_big_endian(self) -> bool:
        """Whether the file stores words with the high byte first."""
        return self.syntax == _BIG_ENDIAN_SYNTAX

    @property
    def is_mosaic(self) -> bool:
        """Whether the image is a mosaic of slices."""
        return self.tiles != (1, 1)

    def tile_slices(self, tile: int) -> tuple[slice, slice]:
        """Rows and columns of a tile in the image, counted from the upper left, row by row."""
        down, across = divmod(tile, self.tiles[1])
        top, left = down * self.rows, across * self.columns
        return slice(top, top + self.rows), slice(left, left + self.columns)


def read_encoding(item: DicomFile, file: BinaryIO, ds: Dataset, inflated_bytes: int = 0) -> PixelEncoding:
    """Read the pixel encoding from a header, and check that the file is long enough for its pixels.

    Parameters
    ----------
    item
        The file, for its size and for messages.
    file
        The open file, at the end of the header.
    ds
        The header.
    inflated_bytes
        Of a deflated file, what `inflated_size` gives.

    Raises
    ------
    BadInput
        If the file ends before its pixels do, or cannot hold as many as its header claims.
    """
    syntax = _transfer_syntax(ds)
    available_bytes = inflated_bytes or item.size()
    # a frame has at least a byte; the header is kept for each frame, so their number is checked first
    if int(ds.get("NumberOfFrames") or 1) > available_bytes:
        raise _cut_short(item)
    if syntax == DEFLATED_SYNTAX:
        float_dtype, whole_file_only = "", True
        if available_bytes < _uncompressed_bytes(ds):
            raise _cut_short(item)
    else:
        float_dtype, whole_file_only = _check_complete(item, file, ds, syntax)
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
        has_modality_lut(ds),
        whole_file_only,
    )


def _transfer_syntax(ds: Dataset) -> str:
    """The transfer syntax; if the file does not name it, the one that pydicom detected."""
    meta = getattr(ds, "file_meta", None)
    syntax_uid = meta.get("TransferSyntaxUID") if meta is not None else None
    if syntax_uid:
        return str(syntax_uid)
    implicit, is_little_endian = ds.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if is_little_endian else _BIG_ENDIAN_SYNTAX


def _check_complete(item: DicomFile, file: BinaryIO, ds: Dataset, syntax: str) -> tuple[str, bool]:
    """Refuse a file that ends before its pixels do; return `float_dtype` and `whole_file_only`."""
    from pydicom.uid import UID, AllTransferSyntaxes

    uid = UID(syntax)
    is_known = uid in AllTransferSyntaxes  # pixels in any other are refused when they are decoded
    is_little_endian = not is_known or uid.is_little_endian
    tag_and_length = file.read(12)
    if len(tag_and_length) < 8:
        raise BadInput(item.name, "ends before its pixels", "copy it again")
    tag = struct.unpack("<HH" if is_little_endian else ">HH", tag_and_length[:4])
    float_dtype = _FLOAT_PIXEL_TAGS.get(tag, "")
    data_offset = file.tell()
    implicit = (
        tag_and_length[4:6] not in _LONG_VRS
    )  # implicit VR: the length follows the tag, even in some files whose syntax says explicit VR
    if implicit:
        data_offset -= 4
        file.seek(data_offset)
    if not is_known:
        return float_dtype, False
    whole_file_only = implicit != uid.is_implicit_VR
    if uid.is_compressed:
        frames = int(ds.get("NumberOfFrames") or 1)
        is_video = syntax.startswith(_VIDEO_SYNTAXES)
        packed_bytes, most_pixels = _check_fragments(item, file, 1 if is_video else frames)
        ratio = RLE_RATIO if syntax == _RLE_SYNTAX else JPEG_RATIO
        check_claim(item.name, _uncompressed_bytes(ds) // frames, packed_bytes, ratio)
        check_claim(item.name, most_pixels * _BYTES_PER_PIXEL, packed_bytes, ratio)
        return float_dtype, whole_file_only
    if item.size() - data_offset < _uncompressed_bytes(ds):
        raise _cut_short(item)
    return float_dtype, whole_file_only


def _cut_short(item: DicomFile) -> BadInput:
    return BadInput(item.name, "is cut short: its pixels are not all there", "copy it again")


def _uncompressed_bytes(ds: Dataset) -> int:
    """The size of uncompressed pixels in bytes."""
    values = int(ds.get("NumberOfFrames") or 1) * int(ds.get("SamplesPerPixel") or 1) * ds.Rows * ds.Columns
    bits = int(values) * int(ds.BitsAllocated)
    is_subsampled = ds.get("PhotometricInterpretation") == "YBR_FULL_422"  # two pixels share one colour
    return -(-bits // 8) * 2 // 3 if is_subsampled else -(-bits // 8)


def _check_fragments(item: DicomFile, file: BinaryIO, frames: int) -> tuple[int, int]:
    """Skip through the fragments of compressed pixels by their lengths, to the sequence delimiter.

    Gives their total size, and the most pixels that one of them claims; refuses fewer fragments than frames.
    """
    size, packed_bytes, most_pixels = item.size(), 0, 0
    fragment_count = -1  # the first item is the offset table
    while True:
        head = file.read(8)
        if len(head) < 8:
            break
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _END_TAG:
            break
        fragment_count += 1
        if (group, element) != _ITEM_TAG or file.tell() + length > size:
            raise _cut_short(item)
        packed_bytes += length
        head = file.read(min(length, STREAM_HEADER_BYTES))
        most_pixels = max(most_pixels, stream_pixels(head))
        file.seek(length - len(head), 1)
    if fragment_count < frames:
        raise _cut_short(item)
    return packed_bytes, most_pixels
