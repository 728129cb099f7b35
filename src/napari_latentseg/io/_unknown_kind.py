"""What a file holds whose name has no ending of a format, said in the words of its remedy."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from napari_latentseg.errors import BadInput

_NIFTI_MARK, _NIFTI_MARK_AT = b"n+1", 344
_HEAD_LENGTH = 352  # the mark of a NIfTI file lies within
# first bytes, the kind, and the ending that its files have
_READABLE = (
    (b"\x89PNG\r\n", "a PNG image", ".png"),
    (b"\xff\xd8\xff", "a JPEG image", ".jpg"),
    (b"II*\0", "a TIFF image", ".tif"),
    (b"MM\0*", "a TIFF image", ".tif"),
    (b"II+\0", "a TIFF image", ".tif"),
    (b"MM\0+", "a TIFF image", ".tif"),
    (b"NRRD0", "an NRRD image", ".nrrd"),
    (b"ObjectType = Image", "a MetaImage", ".mha"),
)
# where a mark stands, the mark, and the kind
_NOT_READABLE = (
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypavif", "an AVIF image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"%PDF", "a PDF document"),
)


def refuse_unknown_kind(path: Path) -> None:
    """Say what a file of no known ending holds, if its first bytes tell; return if they do not.

    Raises
    ------
    BadInput
        With the ending to give it, or the kind to save it as.
    """
    try:
        head, is_packed = _first_bytes(path)
    except (OSError, EOFError, zlib.error):  # cannot be read, or is packed and cut short
        return
    for start, kind, ending in _READABLE:
        if head.startswith(start):
            _refuse_name(path, kind, ending)
    if head[_NIFTI_MARK_AT:].startswith(_NIFTI_MARK):
        _refuse_name(path, "a NIfTI image", ".nii.gz" if is_packed else ".nii")
    for offset, mark, kind in _NOT_READABLE:
        if head[offset : offset + len(mark)] == mark:
            raise BadInput(path, f"is {kind}, which is not read", "save it as PNG or TIFF")


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    """The first bytes, unpacked, and whether they were packed by gzip."""
    with path.open("rb") as file:
        head = file.read(_HEAD_LENGTH)
    if not head.startswith(b"\x1f\x8b"):
        return head, False
    with gzip.open(path) as unpacked:
        return unpacked.read(_HEAD_LENGTH), True


def _refuse_name(path: Path, kind: str, ending: str) -> None:
    raise BadInput(path, f"is {kind}, but its name does not say so", f"add {ending} to its name")
