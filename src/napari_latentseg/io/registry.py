"""Find the format of a file, and read it."""

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
from napari_latentseg.io.dicomweb.address import is_archive_address

__all__ = ["FORMATS", "Format", "format_for", "read_scan", "read_scan_lazy", "readable_suffixes", "stem_of"]


class Format(Protocol):
    """The interface of a format: the names that its module defines.

    Attributes
    ----------
    NAME
        The format's key in `FORMATS`, and the `format` of its scans.
    SUFFIXES
        File name suffixes, lower case, longest first.
    RESULT_SUFFIX
        Suffix of the result files when a scan of this format is segmented.

    Notes
    -----
    A module may also define `read_lazy(path)`, which reads headers only and leaves the values in the file. A
    format whose files hold several images defines `list_series(path)`, and its `read` and `read_lazy` take
    `series`, counted from 1. A format whose images may be folders defines `is_ours(path)`.
    """

    NAME: str
    SUFFIXES: tuple[str, ...]
    RESULT_SUFFIX: str

    def read(self, path: Path) -> Scan:
        """Read one scan; raise `BadInput` if the file is not of this format."""
        ...

    def write(
        self,
        path: Path,
        array: NDArray[np.generic],
        axes: str,
        geometry: Geometry,
        properties: Mapping[str, Any],
    ) -> None:
        """Write an array in this geometry exactly, or raise `BadInput` if the format cannot hold it."""
        ...


# Modules by name, imported when a file is read, so that `import napari_latentseg` stays fast.
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
_FOLDER_FORMATS = ("omezarr", "dicom")  # may be folders; the first whose `is_ours` says yes reads the folder
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
    """All file name suffixes that can be read, longest first."""
    return tuple(_SUFFIXES)


def _suffix_of(path: Path) -> str | None:
    name = path.name.lower()
    return next((s for s in _SUFFIXES if name.endswith(s) and len(name) > len(s)), None)


def stem_of(path: Path | str) -> str:
    """The file name without its suffix, which may be a double one (``.nii.gz``).

    A name without the suffix of a format is returned whole: what follows its last dot may be a part of a
    UID, as in the names of DICOM files, and two files would get one stem.

    Examples
    --------
    >>> stem_of("scans/knee.2.nii.gz")
    'knee.2'
    >>> stem_of("1.2.840.113619.2.5")
    '1.2.840.113619.2.5'
    """
    path = Path(path)
    suffix = _suffix_of(path)
    return path.name[: -len(suffix)] if suffix else path.name


def format_for(path: Path | str) -> Format:
    """The format module for a file name suffix or a format name.

    Parameters
    ----------
    path
        A file, which need not exist, or the name of a format: ``"nifti"``.

    Raises
    ------
    BadInput
        If no format has that suffix or name.

    Examples
    --------
    >>> format_for("knee.nii.gz").NAME, format_for("scan.tif").RESULT_SUFFIX
    ('nifti', '.tif')
    """
    if isinstance(path, str) and path in FORMATS:
        key: str | None = path
    else:
        key = _SUFFIXES.get(_suffix_of(Path(path)) or "")
    if key is None:
        name = Path(path).name.partition("?")[0]  # behind which the address of an archive names the patient
        raise BadInput(name, "is a kind of file that is not known", f"use {', '.join(_SUFFIXES)}")
    return cast(Format, import_module(FORMATS[key]))


def read_scan(path: Path | str, *, series: int | None = None) -> Scan:
    """Read an image or volume with its geometry.

    Parameters
    ----------
    path
        A file of any format; for DICOM and OME-Zarr also a folder or zip. Or the address of an archive,
        ``dicomweb://host[:port]/path?patient=ID&date=DATE&modality=MR``, which is asked for a series.
    series
        Which of several images (DICOM series, OME-Zarr images), counted from 1. Needed only if there are
        several.

    Returns
    -------
    Scan
        Its array is in memory, except for OME-Zarr and DICOM series, which give dask arrays.

    Raises
    ------
    BadInput
        If the file is missing, empty, cut short or not of the format that its name says, or if it holds
        several images and none is chosen.

    Examples
    --------
    >>> from napari_latentseg import read_scan
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> folder = write_annotated_phantoms("phantoms", 1, shape=(96, 128))
    >>> scan = read_scan(folder / "images" / "phantom_0.png")
    >>> scan.axes, scan.array.shape, scan.array.dtype
    ('yx', (96, 128), dtype('uint8'))
    """
    return _read_with(Path(path), series, "read")


def read_scan_lazy(path: Path | str, *, series: int | None = None) -> Scan:
    """As `read_scan`, but only headers are read: values stay in the file until they are computed.

    Parameters
    ----------
    path, series
        As for `read_scan`.

    Returns
    -------
    Scan
        Its array is a dask array, except for formats that cannot be read lazily.

    Raises
    ------
    BadInput
        As `read_scan`, for what the headers show.
    """
    return _read_with(Path(path), series, "read_lazy")


def list_series(path: Path | str) -> list[Any]:
    """The images in a file or folder, if its format can hold several; else an empty list.

    Returns
    -------
    list
        `napari_latentseg.io.dicom.series.SeriesInfo` for DICOM, paths for OME-Zarr,
        `napari_latentseg.io.dicomweb.query.ArchiveSeries` for an archive of which several match.

    Raises
    ------
    BadInput
        As `read_scan`, for what the headers show.
    """
    if is_archive_address(path):
        from napari_latentseg.io.dicomweb.retrieve import local_copy, matching_series

        matching = matching_series(path)
        if len(matching) > 1:
            return list(matching)
        path, _ = local_copy(Path(path), None)
    module: Any = find_reader(Path(path))
    return list(module.list_series(Path(path))) if hasattr(module, "list_series") else []


def _read_with(path: Path, series: int | None, function_name: str) -> Scan:
    if is_archive_address(path):
        from napari_latentseg.io.dicomweb.retrieve import local_copy

        path, series = local_copy(path, series)
    reader: Any = find_reader(path)
    function = getattr(reader, function_name, reader.read)
    if hasattr(reader, "list_series"):
        return cast(Scan, function(path, series=series))
    if series not in (None, 1):
        raise BadInput("series", f"{path.name} holds one image", "leave it out")
    return cast(Scan, function(path))


def find_reader(path: Path) -> Format:
    """The format module that reads the file or folder at a path.

    Raises
    ------
    BadInput
        If there is no such file or folder, it is empty, or no format reads it.
    """
    try:
        exists, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
        is_empty = is_file and path.stat().st_size == 0
    except (OSError, ValueError) as error:  # a name that is too long, a folder without permission
        raise BadInput(path, "cannot be accessed", "check the path and the permission to read it") from error
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
    dicom = import_module(FORMATS["dicom"])  # DICOM files often have no suffix, or a number for one
    is_dicom = _suffix_of(path) is None and dicom.is_ours(path)
    reader = cast(Format, dicom) if is_dicom else _format_of_file(path)
    if is_empty:
        raise BadInput(path, "is empty (0 bytes)", "copy it again")
    return reader


def _format_of_file(path: Path) -> Format:
    """As `format_for`; of a file without the suffix of a format the error says what it holds."""
    if _suffix_of(path) is None:
        from napari_latentseg.io._unknown_kind import refuse_unknown_kind

        refuse_unknown_kind(path)
    return format_for(path)
