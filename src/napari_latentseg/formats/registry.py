"""Which format reads which file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.scan import Geometry, Scan

__all__ = ["FORMATS", "Format", "format_for", "read_scan", "readable_suffixes", "stem_of"]


class Format(Protocol):
    """What a format module offers (a module is enough: these are its names).

    Attributes
    ----------
    NAME
        As a scan's `format` says it.
    SUFFIXES
        What its files end in, lower case, longest first.
    RESULT_SUFFIX
        What a result of this family ends in.
    """

    NAME: str
    SUFFIXES: tuple[str, ...]
    RESULT_SUFFIX: str

    def read(self, path: Path) -> Scan:
        """Read one scan; raise BadInput where the file is not one."""
        ...

    def write(
        self,
        path: Path,
        array: NDArray[np.generic],
        axes: str,
        geometry: Geometry,
        properties: Mapping[str, Any],
    ) -> None:
        """Write an array in this geometry, exactly, or raise BadInput where the format cannot say it."""
        ...


# Modules, imported when first asked for: `import napari_latentseg` must stay light.
FORMATS: dict[str, str] = {
    "nifti": "napari_latentseg.formats.nifti",
    "tiff": "napari_latentseg.formats.tiff",
    "photo": "napari_latentseg.formats.photo",
}
_SUFFIXES: dict[str, str] = {
    ".ome.tiff": "tiff",
    ".ome.tif": "tiff",
    ".nii.gz": "nifti",
    ".tiff": "tiff",
    ".jpeg": "photo",
    ".nii": "nifti",
    ".tif": "tiff",
    ".jpg": "photo",
    ".png": "photo",
    ".bmp": "photo",
}


def readable_suffixes() -> tuple[str, ...]:
    """Every file ending that can be read, longest first."""
    return tuple(_SUFFIXES)


def _suffix_of(path: Path) -> str | None:
    name = path.name.lower()
    return next((s for s in _SUFFIXES if name.endswith(s) and len(name) > len(s)), None)


def stem_of(path: Path | str) -> str:
    """The file's name without its ending, also where that is a double one (``.nii.gz``).

    Examples
    --------
    >>> stem_of("scans/knee.2.nii.gz")
    'knee.2'
    """
    path = Path(path)
    suffix = _suffix_of(path)
    return path.name[: -len(suffix)] if suffix else path.stem


def format_for(path: Path | str) -> Format:
    """The format for a file's ending, or for a format's own name.

    Parameters
    ----------
    path
        A file, which need not exist, or a format's name as text: ``"nifti"``.

    Raises
    ------
    BadInput
        Where no format has that name or ending.
    """
    if isinstance(path, str) and path in FORMATS:
        key: str | None = path
    else:
        key = _SUFFIXES.get(_suffix_of(Path(path)) or "")
    if key is None:
        raise BadInput(Path(path).name, "this kind of file is not read", f"use {', '.join(_SUFFIXES)}")
    return cast(Format, import_module(FORMATS[key]))


def read_scan(path: Path | str) -> Scan:
    """Read an image or volume with its geometry.

    Parameters
    ----------
    path
        A PNG, JPEG, BMP, TIFF, OME-TIFF or NIfTI file.

    Raises
    ------
    BadInput
        Where the file is missing, cut short, empty, or not what its name says.
    """
    path = Path(path)
    try:
        there, folder, file = path.exists(), path.is_dir(), path.is_file()
        empty = file and path.stat().st_size == 0
    except (OSError, ValueError) as error:  # a name too long for the disk, a folder that may not be entered
        raise BadInput(path, "cannot be looked at", "check the path and the right to read it") from error
    if not there:
        raise BadInput(path, "no such file", "check the path")
    if folder:
        raise BadInput(path, "is a folder", "give one file")
    if not file:
        raise BadInput(path, "is not a file", "give a file")
    reader = format_for(path)
    if empty:
        raise BadInput(path, "is empty (0 bytes)", "copy it again")
    return reader.read(path)
