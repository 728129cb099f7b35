"""Where a NIfTI header places its image: sform, qform, or neither; and the unit of its time axis."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.io._notes import NO_TIME_UNIT_NOTE

_SCANNER_CODE = 1  # NIFTI_XFORM_SCANNER_ANAT
# In voxels, at the corners of the image: more than the rounding of the quaternion, less than can be seen.
_TOLERANCE_STEPS = 1e-2
_ORTHOGONAL = 1e-4  # largest cosine between the axes of an affine that counts as free of shear
_TIME_BITS = 56  # of the header field xyzt_units

_NO_PLACE_NOTE = "the file does not say how the image lies in the patient (sform and qform are not set)"


class NiftiPlace(NamedTuple):
    """The affine of a NIfTI image.

    Attributes
    ----------
    affine
        `(4, 4)`, RAS, x first.
    is_known
        Whether the header says that these are coordinates of the patient.
    uses_pixdim
        Whether the sizes of the voxels are those of `pixdim`, and not of the sform.
    notes
        What a person should know of it.
    """

    affine: NDArray[np.float64]
    is_known: bool
    uses_pixdim: bool
    notes: tuple[str, ...] = ()


def nifti_place(header: Any) -> NiftiPlace:
    """The affine that counts, which is the one that ITK programs (3D Slicer, ITK-SNAP) use.

    The sform counts. Where a qform places the image elsewhere, the qform counts if the sform is not that of
    the scanner, as after an alignment with an atlas; but a sheared sform always counts, since no qform can
    be sheared. Where neither is set, the axes are those of the file and the origin is 0.

    Parameters
    ----------
    header
        Nibabel's.
    """
    sform = np.asarray(header.get_sform(), dtype=np.float64) if header["sform_code"] > 0 else None
    qform = _qform(header)
    if sform is None and qform is None:
        steps = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
        steps[~np.isfinite(steps) | (steps == 0)] = 1.0  # of axes of length one
        return NiftiPlace(np.diag([-steps[0], -steps[1], steps[2], 1.0]), False, True, (_NO_PLACE_NOTE,))
    if sform is None or qform is None:
        only = qform if sform is None else sform
        assert only is not None
        return NiftiPlace(only, True, sform is None)
    ends = np.array([*(max(1, n) - 1 for n in (*header.get_data_shape(), 1, 1, 1)[:3]), 1.0])
    corners = np.array(list(np.ndindex(2, 2, 2, 2))[1::2]) * ends
    apart = np.linalg.norm(((sform - qform) @ corners.T)[:3], axis=0).max()
    if not apart > _TOLERANCE_STEPS * np.linalg.norm(sform[:3, :3], axis=0).min():
        return NiftiPlace(sform, True, False)
    use_sform = header["sform_code"] == _SCANNER_CODE or _is_sheared(sform)
    unit = {1: "m", 3: "um"}.get(int(header["xyzt_units"]) & 7, "mm")
    note = (
        f"sform and qform place the image differently, by up to {apart:.3g} {unit}; "
        f"the {'sform' if use_sform else 'qform'} counts"
    )
    return NiftiPlace(sform if use_sform else qform, True, not use_sform, (note,))


def _qform(header: Any) -> NDArray[np.float64] | None:
    """The qform; None if it is not set, or its quaternion is invalid while there is an sform."""
    from nibabel.spatialimages import HeaderDataError

    if header["qform_code"] <= 0:
        return None
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        if header["sform_code"] > 0:
            return None
        raise


def _is_sheared(affine: NDArray[np.float64]) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHOGONAL)


def time_axis(header: Any) -> tuple[float, float, str, tuple[str, ...]]:
    """Step, start and unit of the time axis, and notes; without unit and step the times are only counted."""
    step, start = float(header["pixdim"][4]), float(header["toffset"])
    step = step if np.isfinite(step) and step > 0 else 1.0
    start = start if np.isfinite(start) else 0.0
    unit = {8: "s", 16: "ms", 24: "us"}.get(int(header["xyzt_units"]) & _TIME_BITS, "")
    if unit:
        return step, start, unit, ()
    if (step, start) == (1.0, 0.0):
        return step, start, "pixel", ()
    return step, start, "s", (NO_TIME_UNIT_NOTE,)
