"""The images that files and folders on a command line stand for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from napari_latentseg.errors import BadInput
from napari_latentseg.io.earlier_results import names_in_records
from napari_latentseg.io.registry import FORMATS, readable_suffixes, stem_of

__all__ = ["FoundScans", "check_different_stems", "find_scans", "is_image_file"]

_FOLDER_FORMATS = ("omezarr", "dicom")
# Headers of these name a second file with the values, which is not an image of its own
_HEADERS_OF_VALUES = {".img": (".hdr", ".nhdr", ".mhd")}


class FoundScans(NamedTuple):
    """Images in the order of their names, and how many other entries were passed over in folders."""

    scans: tuple[Path, ...]
    passed_over: int


def find_scans(paths: Iterable[Path]) -> FoundScans:
    """Replace folders of images by the images in them, each once; results of earlier runs are none.

    Parameters
    ----------
    paths
        Files; folders that are one image each (DICOM, OME-Zarr); and folders with images in them, whose own
        folders are looked at only if they are one image.

    Raises
    ------
    BadInput
        If a folder holds no image.
    """
    scans: dict[Path, Path] = {}
    passed_over = 0
    for path in paths:
        if not path.is_dir() or _is_image_folder(path):
            scans.setdefault(path.absolute(), path)
            continue
        try:
            entries = sorted(path.iterdir())
        except OSError as error:
            raise BadInput(
                path, f"cannot be read ({error.strerror})", "check the permission to read it"
            ) from error
        of_results = names_in_records(path, entries)
        images = [entry for entry in entries if entry.name not in of_results and _is_image(entry)]
        if not images:
            raise BadInput(path, "is a folder without images", "give files, or a folder that holds some")
        passed_over += len(entries) - len(images)
        for image in images:
            scans.setdefault(image.absolute(), image)
    return FoundScans(tuple(scans.values()), passed_over)


def check_different_stems(scans: Iterable[Path]) -> None:
    """Refuse images whose results would have the same names, before any is segmented.

    Raises
    ------
    BadInput
        If two have names that differ in folder, suffix or case alone.
    """
    owners: dict[str, Path] = {}
    for scan in scans:
        other = owners.setdefault(stem_of(scan).lower(), scan)
        if other is not scan:
            why = f"its results would have the same names as those of {other}"
            raise BadInput(scan, why, "rename one of them, or write it into a folder of its own")


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):  # hidden, or the ._ files of macOS
        return False
    return _is_image_folder(path) if path.is_dir() else is_image_file(path)


def is_image_file(path: Path) -> bool:
    """Whether a file has the name of an image; values that another file is the header of are none."""
    name = path.name.lower()
    if any(path.with_suffix(header).exists() for header in _HEADERS_OF_VALUES.get(path.suffix.lower(), ())):
        return False
    return name.endswith(readable_suffixes())


def _is_image_folder(path: Path) -> bool:
    modules: list[Any] = [import_module(FORMATS[name]) for name in _FOLDER_FORMATS]
    return any(module.is_ours(path) for module in modules)
