"""The size of deflated DICOM files, which pydicom inflates as a whole, measured in bounded memory."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.files import MAX_COMPRESSION_RATIO, DicomFile
from napari_latentseg.utils.size_claims import is_harmless_size

__all__ = ["DEFLATED_SYNTAX", "inflated_size"]

DEFLATED_SYNTAX = "1.2.840.10008.1.2.1.99"

_META_BYTES = 4096  # the file meta information, which holds the syntax, is a tenth of that
_BLOCK_BYTES = 1 << 16


def inflated_size(item: DicomFile, file: BinaryIO) -> int:
    """Size in bytes of what a deflated file holds; 0 for any other file.

    Parameters
    ----------
    item
        The file, for messages.
    file
        The open file, at its start, where it is left.

    Raises
    ------
    BadInput
        If it inflates to more than is safe.
    """
    is_deflated = DEFLATED_SYNTAX.encode() in file.read(_META_BYTES)
    file.seek(0)
    if not is_deflated:
        return 0
    _skip_file_meta(file)
    inflater, inflated_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof:
        compressed = inflater.unconsumed_tail or file.read(_BLOCK_BYTES)
        if not compressed:
            break
        inflated_bytes += len(inflater.decompress(compressed, _BLOCK_BYTES))
        # of what was read so far, so that a bomb ends at its first block
        if not is_harmless_size(inflated_bytes, file.tell(), MAX_COMPRESSION_RATIO):
            raise BadInput(item.name, "inflates to more than is safe", "export it without compression")
    file.seek(0)
    return inflated_bytes


def _skip_file_meta(file: BinaryIO) -> None:
    """Go to the first byte that is deflated."""
    from pydicom.filereader import read_dataset, read_preamble

    read_preamble(file, force=True)
    read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag.group != 2
    )
