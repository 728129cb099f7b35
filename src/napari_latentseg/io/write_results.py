"""Write a segmentation: mask, mean, variance and the run record, all of them or none."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io import ome_zarr
from napari_latentseg.io.dicom import seg
from napari_latentseg.io.geojson import write_geojson
from napari_latentseg.io.registry import format_for
from napari_latentseg.utils.atomic import ensure_writable_folder

__all__ = ["RESULT_SUFFIXES", "check_format", "class_suffixes", "write_segmentation"]

RESULT_SUFFIXES: dict[str, str] = {
    "nifti": ".nii.gz",
    "tiff": ".tif",
    "ome-tiff": ".ome.tif",
    "nrrd": ".nrrd",
    "metaimage": ".mha",
    "ome-zarr": ".ome.zarr",
    "png": ".png",
}
"""The formats in which any result can be written, whatever its source was, and the suffix of the files."""


def write_segmentation(
    segmentation: Segmentation,
    folder: Path,
    stem: str = "",
    *,
    format: str | None = None,
    deidentify: bool = False,
    contours: bool = False,
    write_table: Callable[[Path], object] | None = None,
) -> list[Path]:
    """Write a segmentation, by default in the format that suits the file that was segmented.

    Parameters
    ----------
    segmentation
        What to write.
    folder
        Created where it is missing. Files of the same names are replaced.
    stem
        Start of every file name: `STEM_mask`, `STEM_mean`, `STEM_variance` (where there is a variance; where
        there is none, the file of an earlier run is removed) and `STEM_run.json`. With several classes there
        is one mean and one variance file for each, `STEM_mean-NAME`.
    format
        One of `RESULT_SUFFIXES`, or ``"dicom-seg"`` where a DICOM series was segmented (see
        `napari_latentseg.io.dicom.seg.write_dicom_results`). None: the `RESULT_SUFFIX` of the scan's format.
    deidentify
        Leave out what names patient, study or institution. Only DICOM-SEG holds such attributes.
    contours
        Write `STEM_contours.geojson` too.
    write_table
        Writes the table of measurements to the path it is given, `STEM_measurements.csv`; see
        `napari_latentseg.measure.write_csv`. None: no table.

    Returns
    -------
    list of Path
        The files written, the run record last.

    Raises
    ------
    BadInput
        If the folder cannot be written or the format cannot hold the geometry. Nothing is left behind then,
        not even a folder that was created for the result.
    """
    as_dicom = format == seg.NAME
    source_format: Any = format_for(_source_format(segmentation))
    check_format(format)
    suffix_of_format = {
        None: source_format.RESULT_SUFFIX,
        seg.NAME: seg.RESULT_SUFFIX,
    } | RESULT_SUFFIXES
    suffix = suffix_of_format[format]
    name_prefix = f"{_safe_stem(stem)}_" if stem else ""
    arrays: dict[str, NDArray[np.generic]] = {f"{name_prefix}mask": segmentation.mask}
    class_names = class_suffixes(segmentation.classes)
    for kind, per_class in (("mean", segmentation.mean), ("variance", segmentation.variance)):
        if per_class is not None:
            arrays |= {
                f"{name_prefix}{kind}{name}": class_array
                for name, class_array in zip(class_names, per_class, strict=True)
            }
    folder = Path(folder)
    new_folders = _folders_to_create(folder)
    try:
        ensure_writable_folder(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
            written = []
            if as_dicom:
                written = seg.write_dicom_results(
                    segmentation, Path(temporary), name_prefix, class_names, deidentify=deidentify
                )
                arrays = {}
            for name, array in arrays.items():
                path = Path(temporary) / f"{name}{suffix}"
                format_for(path).write(
                    path, array, segmentation.axes, segmentation.geometry, segmentation.properties
                )
                written.append(path)
            if contours:
                written.append(Path(temporary) / f"{name_prefix}contours.geojson")
                write_geojson(segmentation, written[-1])
            if write_table is not None:
                written.append(Path(temporary) / f"{name_prefix}measurements.csv")
                write_table(written[-1])
            record = Path(temporary) / f"{name_prefix}run.json"
            record.write_text(segmentation.record.model_dump_json(indent=2) + "\n", "utf-8")
            written.append(record)
            _move_into(written, folder)
            if segmentation.variance is None:  # a variance of an earlier run does not belong to this mean
                for name in class_names:
                    _remove_result(folder / f"{name_prefix}variance{name}{suffix}")
    except (BadInput, OSError) as error:
        for parent in new_folders:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, BadInput):
            # name the file by the folder it was to go to, not by the temporary folder
            faulty_path = folder / Path(error.what).name if ".part-" in error.what else error.what
            raise BadInput(faulty_path, error.why, error.remedy) from error
        raise BadInput(
            folder,
            f"could not be written ({error.strerror})",
            "free some disk space, or choose another folder",
        ) from error
    return [folder / path.name for path in written]


def check_format(format: str | None) -> None:
    """Refuse an unknown format before a run begins.

    Raises
    ------
    BadInput
        If the format is unknown; the message lists the known ones.
    """
    if format not in (None, seg.NAME, *RESULT_SUFFIXES):
        raise BadInput("format", f"{format!r} is not known", f"use {', '.join((*RESULT_SUFFIXES, seg.NAME))}")


def _source_format(segmentation: Segmentation) -> str:
    """The format of the scan; TIFF for DICOM images without a physical pixel size, which NIfTI needs."""
    if segmentation.format == "dicom" and "pixel" in segmentation.geometry.units:
        return "tiff"
    return segmentation.format or "tiff"


def _move_into(files: list[Path], folder: Path) -> None:
    """Move the files into the folder, after checking that no folder has one of their names."""
    for path in files:
        target = folder / path.name
        if target.is_dir() and not (path.is_dir() and ome_zarr.is_ours(target)):
            raise BadInput(target, "is a folder", "rename or remove it")
    for path in files:
        target = folder / path.name
        if target.is_dir():  # an OME-Zarr of an earlier run; deleted with the temporary folder
            target.replace(path.with_name(f"earlier-{path.name}"))
        path.replace(target)


def _remove_result(path: Path) -> None:
    if path.is_dir() and ome_zarr.is_ours(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _folders_to_create(folder: Path) -> list[Path]:
    """The folders that do not exist yet, innermost first."""
    missing = []
    for parent in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):  # the name is too long; creating the folder will report it
            if parent.exists():
                break
        missing.append(parent)
    return missing


def class_suffixes(classes: Sequence[ClassInfo]) -> list[str]:
    """One file name suffix for each class: ``""`` for a single class, else ``"-NAME"``, all different."""
    if len(classes) == 1:
        return [""]
    names = [_slug(info.name) for info in classes]
    return [
        f"-{name}" if names.count(name) == 1 else f"-{name}-{info.label}"
        for name, info in zip(names, classes, strict=True)
    ]


def _safe_stem(stem: str) -> str:
    """A layer name may hold slashes; in a file name they would be folders."""
    return re.sub(r"[/\\\x00]", "_", stem)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "class"
