"""Pairs of header and image file (.hdr, .img): Analyze 7.5 and two-file NIfTI."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti
from napari_latentseg.io._nibabel import StoredArray, nibabel_errors
from napari_latentseg.io.nifti import write

__all__ = ["NAME", "RESULT_SUFFIX", "SUFFIXES", "read", "read_lazy", "write"]

NAME = "analyze"
SUFFIXES = (".hdr", ".img")
RESULT_SUFFIX = ".nii.gz"  # Analyze has no affine, so a result would lose its position

_KIND = "an Analyze or NIfTI pair of .hdr and .img"
_LABELS = "tzyx"
_NO_ORIENTATION_NOTE = (
    "Analyze does not say how the image is oriented in the patient: left and right are unknown"
)


def read(path: Path) -> Scan:
    """Read a pair of files as `zyx`, `tzyx` or `yx`, from the name of either.

    A two-file NIfTI is read as NIfTI, with its affine. An Analyze header has spacings in millimetres and no
    affine: the geometry has no frame then, and a note says so.

    Parameters
    ----------
    path
        The `.hdr` or the `.img` file.

    Raises
    ------
    BadInput
        If one of the two is missing, damaged or cut short, a spacing is zero, or there are fewer than two or
        more than four dimensions.
    """
    return _read(path, lazy=False)


def read_lazy(path: Path) -> Scan:
    """As `read`, with the values left in the file.

    Raises
    ------
    BadInput
        As `read`.
    """
    return _read(path, lazy=True)


def _read(path: Path, *, lazy: bool) -> Scan:
    import nibabel as nib

    header_path, image_path = _header_and_image(path)
    with nibabel_errors(path, _KIND):
        header_bytes = header_path.read_bytes()[:540]
        image_class: Any = {b"ni1\0": nib.Nifti1Pair, b"n+1\0": None}.get(
            header_bytes[344:348], nib.AnalyzeImage
        )
        if header_bytes[4:8] == b"ni2\0":
            image_class = nib.Nifti2Pair
        if image_class is None or len(header_bytes) < 348:
            raise ValueError("not a pair")
        if image_class is not nib.AnalyzeImage:
            nifti.check_header(path, image_class, header_bytes)
        with header_path.open("rb") as file:
            header = image_class.header_class.from_fileobj(file)
        array = StoredArray.from_header(image_path, header, _KIND).load(lazy=lazy)
        if image_class is not nib.AnalyzeImage:
            return nifti.scan_from_header(path, array, header, 2 if image_class is nib.Nifti2Pair else 1)
        # unchecked, for nibabel replaces a spacing of zero by 1
        raw_header = nib.AnalyzeHeader.from_fileobj(BytesIO(header_bytes), check=False)
        return _make_scan(path, array, [float(v) for v in raw_header["pixdim"][1:5]])


def _header_and_image(path: Path) -> tuple[Path, Path]:
    """Header and image file, from the name of either; ``.HDR`` goes with ``.IMG``."""
    is_upper_case = path.suffix.isupper()
    header, image = (path.with_suffix(e.upper() if is_upper_case else e) for e in SUFFIXES)
    for path_of_pair in (header, image):
        if not path_of_pair.is_file():
            raise BadInput(
                path, f"needs {path_of_pair.name} in the same folder", "keep the two files together"
            )
    return header, image


def _make_scan(path: Path, array: Any, header_spacing: list[float]) -> Scan:
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array.squeeze(-1)
    if not 2 <= array.ndim <= 4:
        raise BadInput(path, f"has {array.ndim} dimensions", "give a 2D image, a volume or a time series")
    labels = _LABELS[-array.ndim :]
    spacing = [abs(v) for v in header_spacing[: array.ndim]][::-1]
    if labels[0] == "t" and not spacing[0] > 0:
        spacing[0] = 1.0
    if not all(np.isfinite(v) and v > 0 for v in spacing):
        raise BadInput(path, "has a spacing of zero", "repair the file's header")
    geometry = Geometry.from_spacing(labels, tuple(spacing), "mm")
    return Scan(array.transpose(), labels, geometry, format=NAME, source=path, notes=(_NO_ORIENTATION_NOTE,))
