"""The size of a compressed image by its own header: JPEG, JPEG-LS and JPEG 2000.

Decoders ask for memory by the size in the stream, whatever size the file around it states.
"""

from __future__ import annotations

import struct

__all__ = ["STREAM_HEADER_BYTES", "stream_pixels"]

STREAM_HEADER_BYTES = 4096
"""How much of a stream `stream_pixels` needs; of JPEG more where it begins with a long comment."""

_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
# markers of a frame header: all of C0 to CF but the tables C4 and CC and the extension C8; and JPEG-LS
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_SIZE_OF_J2K = struct.Struct(">II")


def stream_pixels(head: bytes) -> int:
    """The number of pixels in an image; 0 where it does not begin with the header of such a stream.

    Parameters
    ----------
    head
        The first `STREAM_HEADER_BYTES` of the stream.

    Examples
    --------
    >>> stream_pixels(bytes.fromhex("ffd8 ffc0 000b 08 0100 0200 01 011100"))
    131072
    """
    if head.startswith(_JPEG_START):
        return _jpeg_pixels(head)
    if head.startswith((_J2K_START, _JP2_START)):
        return _j2k_pixels(head)
    return 0


def _jpeg_pixels(head: bytes) -> int:
    position = len(_JPEG_START)
    while position + 9 <= len(head):
        if head[position] != 0xFF:
            return 0
        marker = head[position + 1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack_from(">HH", head, position + 5)
            return int(rows * columns)
        position += 2 + struct.unpack_from(">H", head, position + 2)[0]
    return 0


def _j2k_pixels(head: bytes) -> int:
    start = head.find(_J2K_START)
    size_at = start + len(_J2K_START) + 4  # after the length of the segment and the capabilities
    if start < 0 or size_at + 16 > len(head):
        return 0
    columns, rows = _SIZE_OF_J2K.unpack_from(head, size_at)
    left, top = _SIZE_OF_J2K.unpack_from(head, size_at + 8)
    return int(max(0, columns - left) * max(0, rows - top))
