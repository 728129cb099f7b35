"""What a file claims to hold, held against its size before memory is asked for.

A damaged or malicious file of a few bytes may claim gigabytes. Every reader compares the claim with the bytes
that are there, by the most that the file's compression can do, and with the memory of the machine.
"""

from __future__ import annotations

from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.memory import free_memory

__all__ = [
    "ANY_RATIO",
    "DEFLATE_RATIO",
    "HARMLESS_BYTES",
    "JPEG_RATIO",
    "RLE_RATIO",
    "check_claim",
    "check_memory",
    "is_harmless_size",
]

HARMLESS_BYTES = 64 * 2**20
"""A claim of no more than this is not checked: it does no harm, however few bytes there are."""

RLE_RATIO = 64
"""PackBits, and the RLE of DICOM: two bytes stand for 128 at most."""
DEFLATE_RATIO = 1032
"""zlib, gzip and zip: 258 bytes in 2 bits at most (zlib.net/zlib_tech.html)."""
JPEG_RATIO = 10_000
"""JPEG and its successors have no limit; a blank image of one colour reaches about 1,000."""
ANY_RATIO = 100_000
"""bzip2, zstd and blosc: far more than a scan or a mask of one value reaches (zstd: 32,000)."""

_GIB = 2**30


def is_harmless_size(claimed_bytes: int, stored_bytes: int, ratio: int) -> bool:
    """Whether data of this size may be unpacked: it is small, or not compressed beyond the ratio."""
    return claimed_bytes <= max(HARMLESS_BYTES, ratio * stored_bytes)


def check_claim(what: Any, claimed_bytes: int, stored_bytes: int, ratio: int = 1) -> None:
    """Refuse a file that claims more values than its bytes can stand for.

    Parameters
    ----------
    what
        The file, for the message.
    claimed_bytes
        Size of the values by the header.
    stored_bytes
        Size of what is there.
    ratio
        The most that the compression can do; 1 for none.

    Raises
    ------
    BadInput
        If the claim is above `HARMLESS_BYTES` and cannot be true.
    """
    if not is_harmless_size(claimed_bytes, stored_bytes, ratio):
        raise BadInput(
            what, "is cut short or damaged: its header claims more values than it holds", "copy it again"
        )


def check_memory(what: Any, needed_bytes: int) -> None:
    """Refuse to read more into memory than is free on the machine and in its container.

    Parameters
    ----------
    what
        The file, for the message.
    needed_bytes
        Size of the values in memory.

    Raises
    ------
    BadInput
        If they are above `HARMLESS_BYTES` and do not fit: on Linux the system would end the program.
    """
    if needed_bytes <= HARMLESS_BYTES:
        return
    free_bytes = free_memory()
    if needed_bytes > free_bytes:
        sizes = f"{needed_bytes / _GIB:.1f} GB, of which {free_bytes / _GIB:.1f} are free"
        raise BadInput(
            what, f"does not fit into memory: it needs {sizes}", "crop it, or use a machine with more memory"
        )
