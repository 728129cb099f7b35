"""Writing a segmentation: mask, mean, variance and the record of the run, all of them or none."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
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
from napari_latentseg.measure import Measurement, measure, write_csv
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
"""The formats in which a result can be written whatever its source was, with what the files end in."""

_EXTRA_FILES = {"geojson": "contours.geojson", "csv": "measurements.csv"}


def write_segmentation(
    segmentation: Segmentation,
    folder: Path,
    stem: str = "",
    *,
    format: str | None = None,
    deidentify: bool = False,
    extras: Sequence[str] = (),
    measurements: Sequence[Measurement] | None = None,
) -> list[Path]:
    """Write a segmentation in the family of the file that it was made from.

    Parameters
    ----------
    segmentation
        What to write.
    folder
        Made where it is missing. Files of the same names are replaced.
    stem
        Begins every name: `STEM_mask`, `STEM_mean`, `STEM_variance` (where there is one; where there is
        none, that of an earlier run is removed) and `STEM_run.json`. Several classes have a mean and a
        variance file each, `STEM_mean-NAME`.
    format
        Another than the family: one of `RESULT_SUFFIXES`, or ``"dicom-seg"`` for a scan that was DICOM (see
        `dicom_seg.write_parts`).
    deidentify
        Write nothing of the source's that names patient, study or institution; only DICOM-SEG would.
    extras
        ``"geojson"`` for `STEM_contours.geojson`, ``"csv"`` for `STEM_measurements.csv`.
    measurements
        What goes into the latter; measured without image and calibrated interval where not given.

    Returns
    -------
    list of Path
        The files, the record last.

    Raises
    ------
    BadInput
        Where the folder cannot be written, or the format cannot hold the geometry; nothing is left then,
        not even a folder that was made for it.
    """
    as_dicom = format == seg.NAME
    source_format: Any = format_for(_source_format(segmentation))
    check_format(format)
    suffix_of_format = {
        None: source_format.RESULT_SUFFIX,
        seg.NAME: seg.RESULT_SUFFIX,
    } | RESULT_SUFFIXES
    suffix = suffix_of_format[format]
    unknown = set(extras) - _EXTRA_FILES.keys()
    if unknown:
        raise BadInput("also", f"{min(unknown)!r} is not known", f"use {' or '.join(_EXTRA_FILES)}")
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
            for kind in extras:
                path = Path(temporary) / f"{name_prefix}{_EXTRA_FILES[kind]}"
                if kind == "csv":
                    write_csv(path, measure(segmentation) if measurements is None else measurements)
                else:
                    write_geojson(segmentation, path)
                written.append(path)
            record = Path(temporary) / f"{name_prefix}run.json"
            record.write_text(segmentation.record.model_dump_json(indent=2) + "\n", "utf-8")
            written.append(record)
            _move_into(written, folder)
            if segmentation.variance is None:  # one of an earlier run must not stand beside this mean
                for name in class_names:
                    _remove_result(folder / f"{name_prefix}variance{name}{suffix}")
    except (BadInput, OSError) as error:
        for parent in new_folders:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, BadInput):
            # the temporary name of the file says nothing to anybody
            faulty_path = folder / Path(error.what).name if ".part-" in error.what else error.what
            raise BadInput(faulty_path, error.why, error.remedy) from error
        raise BadInput(
            folder, f"could not be written ({error.strerror})", "make room, or choose another"
        ) from error
    return [folder / path.name for path in written]


def check_format(format: str | None) -> None:
    """Refuse a format that is not known, before a run.

    Raises
    ------
    BadInput
        Naming those that are.
    """
    if format not in (None, seg.NAME, *RESULT_SUFFIXES):
        raise BadInput(
            "format", f"{format!r} is not written", f"use {', '.join((*RESULT_SUFFIXES, seg.NAME))}"
        )


def _source_format(segmentation: Segmentation) -> str:
    """The format of the source; where a DICOM picture has no physical size, which NIfTI needs, TIFF."""
    if segmentation.format == "dicom" and "pixel" in segmentation.geometry.units:
        return "tiff"
    return segmentation.format or "tiff"


def _move_into(files: list[Path], folder: Path) -> None:
    """Move the files into the folder, once it is sure that none of the names is taken by a folder."""
    for path in files:
        target = folder / path.name
        if target.is_dir() and not (path.is_dir() and ome_zarr.is_ours(target)):
            raise BadInput(target, "is a folder", "rename or remove it")
    for path in files:
        target = folder / path.name
        if target.is_dir():  # an OME-Zarr of an earlier run, which goes with the folder of temporary files
            target.replace(path.with_name(f"earlier-{path.name}"))
        path.replace(target)


def _remove_result(path: Path) -> None:
    if path.is_dir() and ome_zarr.is_ours(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _folders_to_create(folder: Path) -> list[Path]:
    """The folders that are to be made, innermost first."""
    missing = []
    for parent in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):  # a name that is too long: it cannot be made, and will be refused
            if parent.exists():
                break
        missing.append(parent)
    return missing


def class_suffixes(classes: Sequence[ClassInfo]) -> list[str]:
    """What tells the files of several classes apart; nothing where there is one class."""
    if len(classes) == 1:
        return [""]
    names = [_slug(info.name) for info in classes]
    return [
        f"-{name}" if names.count(name) == 1 else f"-{name}-{info.label}"
        for name, info in zip(names, classes, strict=True)
    ]


def _safe_stem(stem: str) -> str:
    """A layer may be called anything; a file's name holds no folders."""
    return re.sub(r"[/\\\x00]", "_", stem)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "class"
