"""Write a segmentation: mask, mean, variance and the run record, all of them or none."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.agreement import agreement_counts, agreement_unavailable_reason
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.contours import CONTOUR_SIDES, Contours
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io import ome_zarr
from napari_latentseg.io.commit_files import (
    commit_files,
    finish_interrupted,
    is_interrupted,
    remove_abandoned,
    temporary_folder,
)
from napari_latentseg.io.earlier_results import check_replaceable, files_to_remove, find_earlier_result
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.geojson import write_geojson
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.io.registry import format_for
from napari_latentseg.io.result_format import check_agreement, check_format, result_suffix
from napari_latentseg.io.result_names import (
    AGREEMENT_NAME,
    DICOM_FORMATS,
    DICOM_LABELMAP,
    DOUBT_NAME,
    RECORD_NAME,
    array_names,
    check_name_lengths,
    class_suffixes,
    name_prefix,
)
from napari_latentseg.utils.atomic import check_writable_folder, ensure_writable_folder
from napari_latentseg.utils.path_lock import path_lock

__all__ = ["CONTOURS_NAME", "check_target", "write_segmentation"]

_LOCK_NAME = ".latentseg.lock"
CONTOURS_NAME = "contours.geojson"
"""The name of the outlines, after the prefix of the result."""


def check_target(
    image: Scan | Segmentation,
    folder: Path,
    stem: str,
    classes: Sequence[ClassInfo],
    *,
    format: str | None = None,
    input_sha256: Callable[[], str] | None = None,
    is_box: bool = False,
    agreement: bool = False,
    doubt: bool = False,
    band: bool = False,
    extra_names: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Refuse, before anything is computed, what `write_segmentation` would refuse at the end.

    Parameters
    ----------
    image
        The image, of which only the header is used.
    folder, stem, format, overwrite
        As for `write_segmentation`.
    classes
        Of the model.
    input_sha256
        Gives `RunRecord.input.sha256` of the run to come; called only where it is needed. None: results that
        already exist are not looked at.
    is_box
        Whether the hash is that of a box in the image.
    agreement
        Whether the agreement of the samples is to be written.
    doubt
        Whether the doubt of the mean is to be written.
    band
        Whether contours that enclose the true edge are to be written.
    extra_names
        Names of further files, without the stem.

    Raises
    ------
    BadInput
        As `write_segmentation`.
    """
    check_format(format, image)
    if agreement and isinstance(image, Segmentation):
        _check_agreement(image, format)
    folder, prefix = Path(folder), name_prefix(stem)
    suffix = result_suffix(format, ImageHeader.of(image))
    maps = array_names(classes, with_agreement=agreement, with_doubt=doubt, with_band=band)
    names = [f"{prefix}{name}{suffix}" for name in maps]
    names += [f"{prefix}{name}" for name in (*extra_names, RECORD_NAME)]
    check_name_lengths(folder, names)
    check_writable_folder(folder)
    if input_sha256 is not None and not overwrite:
        _finish_earlier_write(folder, f"{prefix}{RECORD_NAME}")
        check_replaceable(find_earlier_result(folder, prefix), input_sha256, names, is_box=is_box)


def _finish_earlier_write(folder: Path, record_name: str) -> None:
    """Put back the record of a result that a killed process left without one, as it says whose the files are.

    Raises
    ------
    BadInput
        If a file cannot be moved, or somebody changed one since.
    """
    if is_interrupted(folder, record_name):
        try:
            with path_lock(folder / _LOCK_NAME, folder):
                finish_interrupted(folder, record_name)
        except OSError as error:
            raise BadInput(folder, f"could not be written ({error.strerror})", _remedy(error)) from error


def write_segmentation(
    segmentation: Segmentation,
    folder: Path,
    stem: str = "",
    *,
    format: str | None = None,
    deidentify: bool = False,
    agreement: bool = False,
    doubt: bool = False,
    contours: bool = False,
    band: Contours | None = None,
    extra_files: Mapping[str, Callable[[Path], object]] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a segmentation, by default in the format that suits the file that was segmented.

    A result of the same image that has the same name is replaced as a whole: what is not written again is
    removed, in whatever format it is. Other files are never touched.

    Parameters
    ----------
    segmentation
        What to write.
    folder
        Created where it is missing.
    stem
        Start of every file name: `STEM_mask`, `STEM_mean`, `STEM_variance` (where there is a variance) and
        `STEM_run.json`. With several classes there is one mean and one variance file for each,
        `STEM_mean-NAME`. The record names every file with its hash.
    format
        One of `napari_latentseg.io.result_names.RESULT_SUFFIXES`, or ``"dicom-seg"`` or ``"dicom-labelmap"``
        where a DICOM series was segmented (see `napari_latentseg.io.dicom.seg.write_dicom_results`). None:
        the `RESULT_SUFFIX` of the scan's format.
    deidentify
        Leave out what names patient, study or institution. Only DICOM-SEG holds such attributes.
    agreement
        Write how many samples assign each voxel to a class too, `STEM_agreement` (`STEM_agreement-NAME` with
        several classes): 0 to the record's `samples`, uint8, or uint16 with more than 255 samples. DICOM-SEG
        holds a segment for each class, in fractions of the number of samples.
    doubt
        Write `Segmentation.doubt` too, `STEM_doubt` (`STEM_doubt-NAME` with several classes), float32; in
        DICOM a parametric map for each class, as the variance.
    contours
        Write `STEM_contours.geojson` too.
    band
        Contours that enclose the true edge, from `napari_latentseg.measure.contours`: the regions inside them
        are written as `STEM_inner` and `STEM_outer` (`STEM_inner-NAME` with several classes), or as segments
        of `STEM_band.dcm`, and as polygons into the GeoJSON.
    extra_files
        Further files of the result, by name without the stem (``"measurements.csv"``): each function writes
        its file to the path that it is given.
    overwrite
        Replace a result of another image, files that were changed after their run, and files of these names
        that belong to no result. Without it they are refused.

    Returns
    -------
    list of Path
        The files written, the run record last.

    Raises
    ------
    BadInput
        If the folder cannot be written, the format cannot hold the geometry, the result has no agreement of
        its samples, or something is there that must not be replaced. Everything is as before then, and a
        folder that was created for the result is gone.

    Examples
    --------
    >>> from napari_latentseg import segment, write_segmentation
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> [path.name for path in write_segmentation(result, Path("results"), "phantom-1")]
    ['phantom-1_mask.tif', 'phantom-1_mean.tif', 'phantom-1_variance.tif', 'phantom-1_run.json']
    """
    check_format(format)
    if agreement:
        _check_agreement(segmentation, format)
    folder, prefix = Path(folder), name_prefix(stem)
    new_folders = _folders_to_create(folder)
    try:
        ensure_writable_folder(folder)
        with temporary_folder(folder) as temporary:
            counts = agreement_counts(segmentation) if agreement else None
            written = _write_arrays(
                segmentation, temporary, prefix, format, counts, band, doubt=doubt, deidentify=deidentify
            )
            extras = dict(extra_files or {})
            if contours:
                extras = {CONTOURS_NAME: lambda path: write_geojson(segmentation, path, band), **extras}
            for name, write_extra in extras.items():
                written.append(temporary / f"{prefix}{name}")
                write_extra(written[-1])
            hashes = {path.name.removeprefix(prefix): path_sha256(path) for path in written}
            record_path = temporary / f"{prefix}{RECORD_NAME}"
            record = segmentation.record.replace(files=hashes)
            record_path.write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
            names = [*(path.name for path in written), record_path.name]
            with path_lock(folder / _LOCK_NAME, folder):
                finish_interrupted(folder, record_path.name, overwrite=overwrite)
                remove_abandoned(folder)
                _check_no_folder_in_the_way(temporary, folder, names)
                earlier = find_earlier_result(folder, prefix)
                if not overwrite:
                    check_replaceable(
                        earlier, lambda: record.input.sha256, names, is_box=record.box is not None
                    )
                removed = files_to_remove(earlier, names)
                commit_files(temporary, folder, names, removed, earlier.hashes)
    except (BadInput, OSError) as error:
        for parent in new_folders:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, BadInput):
            # name the file by the folder it was to go to, not by the temporary folder
            faulty_path = folder / Path(error.what).name if ".part-" in error.what else error.what
            raise BadInput(faulty_path, error.why, error.remedy) from error
        raise BadInput(folder, f"could not be written ({error.strerror})", _remedy(error)) from error
    return [folder / name for name in names]


def _write_arrays(
    segmentation: Segmentation,
    folder: Path,
    prefix: str,
    format: str | None,
    agreement: NDArray[np.uint8] | NDArray[np.uint16] | None,
    band: Contours | None,
    *,
    doubt: bool,
    deidentify: bool,
) -> list[Path]:
    """Write mask, means, variances, agreement, doubt and contours."""
    class_names = class_suffixes(segmentation.classes)
    if format in DICOM_FORMATS:
        from napari_latentseg.io.dicom import seg

        return seg.write_dicom_results(
            segmentation,
            folder,
            prefix,
            class_names,
            agreement=agreement,
            band=band,
            doubt=doubt,
            deidentify=deidentify,
            labelmap=format == DICOM_LABELMAP,
        )
    arrays: dict[str, NDArray[np.generic]] = {"mask": segmentation.mask}
    for kind, per_class in (
        ("mean", segmentation.mean),
        ("variance", segmentation.variance),
        (AGREEMENT_NAME, agreement),
        (DOUBT_NAME, segmentation.doubt if doubt else None),
    ):
        if per_class is not None:
            arrays |= {
                f"{kind}{name}": class_array for name, class_array in zip(class_names, per_class, strict=True)
            }
    for class_contours in band.classes if band is not None else ():
        k = class_contours.class_index
        label = np.uint8(segmentation.classes[k].label)
        arrays |= {f"{side}{class_names[k]}": class_contours.region(side) * label for side in CONTOUR_SIDES}
    suffix = result_suffix(format, ImageHeader.of(segmentation))
    written = []
    for name, array in arrays.items():
        path = folder / f"{prefix}{name}{suffix}"
        format_for(path).write(path, array, segmentation.axes, segmentation.geometry, segmentation.properties)
        written.append(path)
    return written


def _check_agreement(segmentation: Segmentation, format: str | None) -> None:
    check_agreement(segmentation.record.samples, segmentation.record.source, format)
    if reason := agreement_unavailable_reason(segmentation):
        raise BadInput(AGREEMENT_NAME, f"{reason[0].lower()}{reason[1:]}", "write the result without it")


def _check_no_folder_in_the_way(temporary: Path, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        target = folder / name
        if target.is_dir() and not ((temporary / name).is_dir() and ome_zarr.is_ours(target)):
            raise BadInput(target, "is a folder", "rename or remove it")


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some disk space, or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EBUSY):
        return "close the file in other programs, or choose another folder"
    return "choose another folder or name"


def _folders_to_create(folder: Path) -> list[Path]:
    """The folders that do not exist yet, innermost first."""
    missing = []
    for parent in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):  # the name is too long; creating the folder will report it
            if parent.exists():
                break
        missing.append(parent)
    return missing
