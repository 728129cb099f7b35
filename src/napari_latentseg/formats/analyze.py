"""Pairs of a header and an image: Analyze 7.5, and NIfTI in two files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.formats import nifti
from napari_latentseg.formats._common import quiet, reading
from napari_latentseg.formats._lazy import mapped
from napari_latentseg.formats.nifti import write
from napari_latentseg.scan import Geometry, Scan

__all__ = ["NAME", "RESULT_SUFFIX", "SUFFIXES", "look", "read", "write"]

NAME = "analyze"
SUFFIXES = (".hdr", ".img")
RESULT_SUFFIX = ".nii.gz"  # Analyze cannot say where an image lies, and would lose a result's place

_KIND = "an Analyze or NIfTI pair of .hdr and .img"
_LABELS = "tzyx"
_NOTE = "Analyze does not say how the image lies in the patient: left and right are not known"


def read(path: Path) -> Scan:
    """Read a pair of files as `zyx`, `tzyx` or `yx`, from the name of either.

    A pair that is NIfTI is read as NIfTI is, with its place. An Analyze header has spacings in millimetres
    and nothing else of a place, so that its world is the image's own, and a note says so.

    Parameters
    ----------
    path
        The `.hdr` or the `.img` file.

    Raises
    ------
    BadInput
        Where one of the two is missing, damaged or cut short, where they are no such pair, a spacing is
        zero, or there are fewer than two or more than four dimensions.
    """
    return _read(path, lazy=False)


def look(path: Path) -> Scan:
    """As `read`, with the values left in the file.

    Raises
    ------
    BadInput
        As `read` does.
    """
    return _read(path, lazy=True)


def _read(path: Path, lazy: bool) -> Scan:
    import nibabel as nib

    header_path, image_path = _pair(path)
    with quiet("nibabel.global"), reading(path, _KIND):
        start = header_path.read_bytes()[:540]
        kind: Any = {b"ni1\0": nib.Nifti1Pair, b"n+1\0": None}.get(start[344:348], nib.AnalyzeImage)
        if start[4:8] == b"ni2\0":
            kind = nib.Nifti2Pair
        if kind is None or len(start) < 348:
            raise ValueError("not a pair")
        if kind is not nib.AnalyzeImage:
            nifti.check_spacing(path, kind, start)
        files = kind.make_file_map({"header": str(header_path), "image": str(image_path)})
        image = kind.from_file_map(files, mmap=False)
        header = image.header
        proxy = image.dataobj
        if lazy:
            stored = mapped(image_path, int(proxy.offset), proxy.shape, proxy.dtype, "F")
            array = nifti.settled(stored, float(proxy.slope), float(proxy.inter))
        else:
            array = nifti.unscaled(image)
        if kind is not nib.AnalyzeImage:
            return nifti.scan_of(path, array, header, 2 if kind is nib.Nifti2Pair else 1)
        # as stored: nibabel puts a 1 in the place of a zero
        as_stored = nib.AnalyzeHeader.from_fileobj(BytesIO(start), check=False)
        return _scan(path, array, [float(v) for v in as_stored["pixdim"][1:5]])


def _pair(path: Path) -> tuple[Path, Path]:
    """The header and the image, whichever of them is named; upper case stays upper case."""
    upper = path.suffix.isupper()
    header, image = (path.with_suffix(e.upper() if upper else e) for e in SUFFIXES)
    for part in (header, image):
        if not part.is_file():
            raise BadInput(path, f"lacks {part.name} beside it", "keep the two files together")
    return header, image


def _scan(path: Path, array: Any, steps: list[float]) -> Scan:
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array.squeeze(-1)
    if not 2 <= array.ndim <= 4:
        raise BadInput(path, f"has {array.ndim} dimensions", "give a plane, a volume or a time series")
    labels = _LABELS[-array.ndim :]
    spacing = [abs(v) for v in steps[: array.ndim]][::-1]
    if labels[0] == "t" and not spacing[0] > 0:
        spacing[0] = 1.0
    if not all(np.isfinite(v) and v > 0 for v in spacing):
        raise BadInput(path, "has a spacing of zero", "repair the file's header")
    geometry = Geometry.plain(labels, tuple(spacing), "mm")
    return Scan(array.transpose(), labels, geometry, format=NAME, source=path, notes=(_NOTE,))
