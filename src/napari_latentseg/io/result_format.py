"""In which formats a result can be written, known from the header of its image."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.io.registry import format_for
from napari_latentseg.io.result_names import (
    AGREEMENT_NAME,
    DICOM_FORMATS,
    DICOM_LABELMAP,
    DICOM_SEG,
    MAX_FRACTIONAL_VALUE,
    RESULT_SUFFIXES,
)

__all__ = ["check_agreement", "check_format", "impossible_formats", "result_suffix", "write_small_array"]

_SMALL = 2  # voxels along each axis of the array that is written to test a format


def check_format(format: str | None, image: Scan | Segmentation | None = None) -> None:
    """Refuse an unknown format, or one that cannot hold the results of an image, before a run begins.

    Parameters
    ----------
    format
        One of `RESULT_SUFFIXES`, ``"dicom-seg"``, ``"dicom-labelmap"``, or None for the format of the image.
    image
        The image, of which only the header is used; None to test the name of the format alone.

    Raises
    ------
    BadInput
        If the format is unknown (the message lists the known ones), or cannot hold the geometry of the image;
        for DICOM-SEG, if the image is not a DICOM series, or its files have moved.
    """
    if format not in (None, *DICOM_FORMATS, *RESULT_SUFFIXES):
        raise BadInput(
            "format", f"{format!r} is not known", f"use {', '.join((*RESULT_SUFFIXES, *DICOM_FORMATS))}"
        )
    if image is None:
        return
    header = ImageHeader.of(image)
    if format in DICOM_FORMATS:
        from napari_latentseg.io.dicom.source import find_source

        find_source(header)
    else:
        _write_small_array(header, result_suffix(format, header))


def check_agreement(samples: int, source: str, format: str | None) -> None:
    """Refuse to write an agreement of samples that are too few, or too many for the format.

    Parameters
    ----------
    samples, source
        As in `napari_latentseg.core.record.RunRecord`.
    format
        As for `check_format`.

    Raises
    ------
    BadInput
        If there are fewer than 3 samples, or more than DICOM-SEG has steps.
    """
    if source == "none":
        why, remedy = "needs 3 samples or more, and one pass has none", "choose another sampling source"
    elif samples < MIN_SAMPLES_FOR_VARIANCE:
        why = f"needs {MIN_SAMPLES_FOR_VARIANCE} samples or more, and there are {samples}"
        remedy = "segment with more samples"
    elif format in DICOM_FORMATS and samples > MAX_FRACTIONAL_VALUE:
        why = f"of {samples} samples: DICOM-SEG can count {MAX_FRACTIONAL_VALUE}"
        remedy = "choose another format, or fewer samples"
    else:
        return
    raise BadInput(AGREEMENT_NAME, why, remedy)


def impossible_formats(image: Scan | Segmentation) -> dict[str | None, str]:
    """The formats that cannot hold the results of an image, with the reason in words.

    Parameters
    ----------
    image
        The image, of which only the header is used.

    Returns
    -------
    dict
        By format; None stands for that of the image. Formats that can hold the results are left out.
    """
    reasons: dict[str | None, str] = {}
    for format in (None, *RESULT_SUFFIXES, DICOM_SEG):  # which stands for both of DICOM: it reads all headers
        try:
            check_format(format, image)
        except BadInput as error:
            reasons[format] = f"{error.why}; {error.remedy}" if error.remedy else error.why
    if DICOM_SEG in reasons:
        reasons[DICOM_LABELMAP] = reasons[DICOM_SEG]
    return reasons


def result_suffix(format: str | None, image: ImageHeader) -> str:
    """The suffix of the files of a result.

    Parameters
    ----------
    format
        As for `check_format`; None for the `RESULT_SUFFIX` of the image's format.
    image
        The header of the image.
    """
    if format is not None:
        return ".dcm" if format in DICOM_FORMATS else RESULT_SUFFIXES[format]
    source_format: Any = format_for(_source_format(image))
    suffix: str = source_format.RESULT_SUFFIX
    return suffix


def _source_format(image: ImageHeader) -> str:
    """The format of the image; TIFF for DICOM images without a physical pixel size, which NIfTI needs."""
    space_units = [unit for axis, unit in zip(image.axes, image.geometry.units, strict=False) if axis != "t"]
    if image.format == "dicom" and "pixel" in space_units:
        return "tiff"
    return image.format or "tiff"


def _write_small_array(image: ImageHeader, suffix: str) -> None:
    """As `write_small_array` for a mask, with the error about the format instead of the small file."""
    try:
        write_small_array(
            f"mask{suffix}", image.axes, image.shape, np.uint8, image.geometry, image.properties
        )
    except BadInput as error:
        raise BadInput("format", f"{suffix}: {error.why}", error.remedy) from error


def write_small_array(
    name: str,
    axes: str,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Let the writer itself judge the geometry, with an array so small that it takes no time.

    Parameters
    ----------
    name
        Of the file that is to be written; its suffix determines the format.
    axes, shape, dtype
        Of the array that is to be written.
    geometry, properties
        Of its scan.

    Raises
    ------
    BadInput
        That of the writer, about a file that is gone.
    """
    small_shape = tuple(n if axis == CHANNEL else min(n, _SMALL) for axis, n in zip(axes, shape, strict=True))
    with tempfile.TemporaryDirectory(prefix="latentseg-") as folder:
        path = Path(folder) / name
        format_for(path).write(path, np.zeros(small_shape, dtype), axes, geometry, properties)
