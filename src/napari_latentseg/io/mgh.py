"""FreeSurfer's MGH and MGZ; headers through nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io._nibabel import StoredArray, nibabel_errors, open_unpacked
from napari_latentseg.io._ras import from_ras
from napari_latentseg.io.nifti import write

__all__ = ["NAME", "RESULT_SUFFIX", "SUFFIXES", "read", "read_lazy", "write"]

NAME = "mgh"
SUFFIXES = (".mgh.gz", ".mgh", ".mgz")
RESULT_SUFFIX = ".nii.gz"

_KIND = "an MGH file"
_NO_ORIENTATION_NOTE = (
    "the file does not say how it is oriented in the patient; FreeSurfer's default (coronal) was assumed"
)


def read(path: Path) -> Scan:
    """Read as `zyx`, or `tzyx` where there are several frames, in millimetres and milliseconds.

    Parameters
    ----------
    path
        A `.mgh`, `.mgz` or `.mgh.gz` file.

    Raises
    ------
    BadInput
        If it is not an MGH file, is damaged or cut short, or its affine or spacing is invalid.
    """
    return _read(path, lazy=False)


def read_lazy(path: Path) -> Scan:
    """As `read`, with the values left in the file: only the header is read.

    Raises
    ------
    BadInput
        As `read`, for what the header shows.
    """
    return _read(path, lazy=True)


def _read(path: Path, *, lazy: bool) -> Scan:
    import nibabel as nib

    with nibabel_errors(path, _KIND):
        with open_unpacked(path) as file:
            header: Any = nib.MGHImage.header_class.from_fileobj(file)
        array = StoredArray.from_header(path, header, _KIND).load(lazy=lazy)
        if array.ndim == 4 and array.shape[3] == 1:
            array = array.squeeze(3)
        labels = "tzyx"[-array.ndim :]
        repetition_time = max(float(header["tr"]), 0.0) if array.ndim == 4 else 0.0
        affine = np.asarray(header.get_affine(), dtype=np.float64)
        if not np.isfinite(affine).all() or not (np.asarray(header["delta"]) > 0).all():
            raise BadInput(path, "has an invalid spacing or affine", "repair the file's header")
        geometry = Geometry.from_matrix(
            from_ras(affine, array.ndim, (repetition_time or 1.0, 0.0)),
            tuple("ms" if a == "t" else "mm" for a in labels),
            tuple(labels),
            "LPS",
        )
        notes = () if int(header["goodRASFlag"]) == 1 else (_NO_ORIENTATION_NOTE,)
        return Scan(array.transpose(), labels, geometry, format=NAME, source=path, notes=notes)
