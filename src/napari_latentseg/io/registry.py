"""Which format reads which file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

__all__ = ["FORMATS", "Format", "format_for", "read_scan", "read_scan_lazy", "readable_suffixes", "stem_of"]


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

    Notes
    -----
    A module may also offer `look(path)`: as `read`, with the values left in the file, so that only headers
    are read. One whose files hold several images offers `list_series(path)`, and its `read` and `look` take
    `series` too, counted from 1.
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
    "nifti": "napari_latentseg.io.nifti",
    "tiff": "napari_latentseg.io.tiff",
    "photo": "napari_latentseg.io.photo",
    "analyze": "napari_latentseg.io.analyze",
    "mgh": "napari_latentseg.io.mgh",
    "nrrd": "napari_latentseg.io.nrrd",
    "metaimage": "napari_latentseg.io.metaimage",
    "omezarr": "napari_latentseg.io.ome_zarr",
    "dicom": "napari_latentseg.io.dicom.reader",
}
_FOLDER_FORMATS = ("omezarr", "dicom")  # whose images may be folders; the first that knows its own reads it
_SUFFIXES: dict[str, str] = {
    ".ome.zarr": "omezarr",
    ".zarr.zip": "omezarr",
    ".ome.tiff": "tiff",
    ".ome.tif": "tiff",
    ".mgh.gz": "mgh",
    ".nii.gz": "nifti",
    ".dicom": "dicom",
    ".tiff": "tiff",
    ".jpeg": "photo",
    ".nhdr": "nrrd",
    ".nrrd": "nrrd",
    ".zarr": "omezarr",
    ".dcm": "dicom",
    ".ima": "dicom",
    ".zip": "dicom",
    ".hdr": "analyze",
    ".img": "analyze",
    ".mgh": "mgh",
    ".mgz": "mgh",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".nii": "nifti",
    ".tif": "tiff",
    ".jpg": "photo",
    ".png": "photo",
    ".bmp": "photo",
    ".ozx": "omezarr",
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


def read_scan(path: Path | str, *, series: int | None = None) -> Scan:
    """Read an image or volume with its geometry.

    Parameters
    ----------
    path
        A file of any of the formats; a folder where the format has such (OME-Zarr).
    series
        Which of several images, counted from 1; needed only where there are several.

    Raises
    ------
    BadInput
        Where the file is missing, cut short, empty, or not what its name says; where there are several
        images and none is chosen.
    """
    return _read_with(Path(path), series, "read")


def read_scan_lazy(path: Path | str, *, series: int | None = None) -> Scan:
    """As `read_scan`, with the values left in the file wherever the format allows it: quick at any size.

    Raises
    ------
    BadInput
        As `read_scan` does, for what the headers show.
    """
    return _read_with(Path(path), series, "read_lazy")


def list_series(path: Path | str) -> list[Any]:
    """What a file or folder holds, where its format may hold several images; else nothing.

    Raises
    ------
    BadInput
        As `read_scan` does, for what the headers show.
    """
    module: Any = find_reader(Path(path))
    return list(module.list_series(Path(path))) if hasattr(module, "list_series") else []


def _read_with(path: Path, series: int | None, function_name: str) -> Scan:
    reader: Any = find_reader(path)
    function = getattr(reader, function_name, reader.read)
    if hasattr(reader, "list_series"):
        return cast(Scan, function(path, series=series))
    if series not in (None, 1):
        raise BadInput("series", f"{path.name} holds one image", "leave it out")
    return cast(Scan, function(path))


def find_reader(path: Path) -> Format:
    """The format that reads what lies at a path.

    Raises
    ------
    BadInput
        Where nothing is there, or nothing that is read.
    """
    try:
        exists, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
        is_empty = is_file and path.stat().st_size == 0
    except (OSError, ValueError) as error:  # a name too long for the disk, a folder that may not be entered
        raise BadInput(path, "cannot be looked at", "check the path and the right to read it") from error
    if not exists:
        raise BadInput(path, "no such file", "check the path")
    if is_folder:
        for name in _FOLDER_FORMATS:
            module = import_module(FORMATS[name])
            if module.is_ours(path):
                return cast(Format, module)
        raise BadInput(path, "is a folder", "give one file, or a folder of DICOM or OME-Zarr")
    if not is_file:
        raise BadInput(path, "is not a file", "give a file")
    dicom = import_module(FORMATS["dicom"])  # whose files often have no ending, or one that is a number
    reader = cast(Format, dicom) if _suffix_of(path) is None and dicom.is_ours(path) else format_for(path)
    if is_empty:
        raise BadInput(path, "is empty (0 bytes)", "copy it again")
    return reader
