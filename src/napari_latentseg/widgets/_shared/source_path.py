"""The place of images that a person has typed: a path, or the address of an archive."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.io.dicomweb.address import is_archive_address

__all__ = ["source_path"]


def source_path(text: str) -> Path:
    """A path that does not depend on the folder of the program; an address of an archive stays as it is."""
    path = Path(text.strip())
    return path if is_archive_address(path) else path.absolute()
