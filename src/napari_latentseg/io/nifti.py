"""NIfTI 1 and 2 through nibabel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, silence_logger, write_errors
from napari_latentseg.io._nibabel import StoredArray, nibabel_errors, open_unpacked
from napari_latentseg.io._ras import from_ras, to_ras

NAME = "nifti"
SUFFIXES = (".nii.gz", ".nii")
RESULT_SUFFIX = ".nii.gz"

_KIND = "a NIfTI file"
_LABELS = "tzyx"
# What of the header says where the image lies, and nothing else of it: the rest may name the patient.
_GEOMETRY_FIELDS = (
    "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "toffset",
)  # fmt: skip
_SPACE_UNITS = {"meter": "m", "mm": "mm", "micron": "um"}
_TIME_UNITS = {"sec": "s", "msec": "ms", "usec": "us"}
_MAX_LENGTH = {1: 2**15 - 1, 2: 2**63 - 1}
# A header is reused where the geometry differs by no more than float64 rounding, in voxels (napari recomputes affines).
_ROUNDING_STEPS = 1e-6
# A new header may be off by this much, in voxels and in millimetres: a tenth of a micrometre is far below what a
# scanner resolves, and above what the float32 numbers of NIfTI 1 lose in a body of ordinary size.
_TOLERANCE_STEPS = 1e-2
_TOLERANCE_MM = 1e-4


def read(path: Path) -> Scan:
    """Read as `zyx`, `tzyx`, or `yx` where the file holds a plane with two axes.

    The array is nibabel's with its axes reversed; the affine is moved with it, from RAS to LPS. A plane of
    two axes that does not lie across the body (a sagittal one, an oblique one) is given as `zyx` with
    one plane, since two axes cannot say where it lies. Colours (RGB24, RGBA32) come as a last axis `c`.

    Whole numbers stay what they are; where the header scales them they become float32. A header
    without a unit of length means millimetres, as every common tool takes it.

    Parameters
    ----------
    path
        A `.nii` or `.nii.gz` file. Whether it is compressed is seen from what it holds.

    Raises
    ------
    BadInput
        Where the file is cut short, damaged (its checksum counts too), no single NIfTI file, or holds
        fewer than two or more than four dimensions.
    """
    return _read(path, lazy=False)


def read_lazy(path: Path) -> Scan:
    """As `read`, with the values left in the file: only the header is read.

    Raises
    ------
    BadInput
        As `read`, for what the header shows and for an uncompressed file shorter than its header says.
    """
    return _read(path, lazy=True)


def _read(path: Path, *, lazy: bool) -> Scan:
    with nibabel_errors(path, _KIND):
        with open_unpacked(path) as file:
            image_class, version = _image_class(path, file)
            header = image_class.header_class.from_fileobj(file)
        array = StoredArray.from_header(path, header, _KIND).load(lazy=lazy)
        return scan_from_header(path, array, header, version)


def _image_class(path: Path, file: BinaryIO) -> tuple[Any, int]:
    """Nibabel's class for the file, and which NIfTI it is."""
    import nibabel as nib

    header_bytes = file.read(540)
    file.seek(0)
    nifti1_magic, nifti2_magic = header_bytes[344:348], header_bytes[4:8]
    if nifti1_magic == b"ni1\0" or nifti2_magic == b"ni2\0":
        raise BadInput(path, "is one half of a pair of files", "let the names end in .hdr and .img")
    if nifti1_magic != b"n+1\0" and nifti2_magic != b"n+2\0":
        raise ValueError("neither mark of NIfTI is there")
    kind, version = (nib.Nifti1Image, 1) if nifti1_magic == b"n+1\0" else (nib.Nifti2Image, 2)
    check_spacing(path, kind, header_bytes)
    return kind, version


def check_spacing(path: Path, image_class: Any, header_bytes: bytes) -> None:
    """Refuse a spacing of zero where the place depends on it; nibabel puts a 1 there.

    Parameters
    ----------
    path
        For the message.
    image_class
        nibabel's class for the file.
    header_bytes
        The header as it is stored, and perhaps more.

    Raises
    ------
    BadInput
        Where it is so.
    """
    header = image_class.header_class(header_bytes[: image_class.header_class.sizeof_hdr], check=False)
    shape, steps = header["dim"][1:4], np.asarray(header["pixdim"][1:4], dtype=np.float64)
    is_used = (np.arange(3) < header["dim"][0]) & (shape > 1)
    if header["sform_code"] <= 0 and not (np.isfinite(steps) & (steps != 0))[is_used].all():
        raise BadInput(path, "has a spacing of zero", "repair the file's header")


def scan_from_header(path: Path, array: Any, header: Any, version: int) -> Scan:
    """The scan of values with x first, in the place that a NIfTI header says."""
    channel_axes = array.ndim - len(header.get_data_shape())
    spatial = array.ndim - channel_axes
    while spatial > 3 and array.shape[spatial - 1] == 1:
        array = array.squeeze(spatial - 1)
        spatial -= 1
    if not 2 <= spatial <= 4:
        raise BadInput(path, f"has {spatial} dimensions", "give a plane, a volume or a time series")
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    is_axial = bool((np.abs(affine[2, :2]) <= _ROUNDING_STEPS * np.linalg.norm(affine[:3, :2], axis=0)).all())
    if spatial == 2 and not is_axial:
        array, spatial = np.expand_dims(array, 2), 3
    array = array.transpose(*reversed(range(spatial)), *([spatial] if channel_axes else []))
    labels = _LABELS[-spatial:]

    step = float(header["pixdim"][4]) if spatial == 4 else 1.0
    start = float(header["toffset"]) if spatial == 4 else 0.0
    time = (step if np.isfinite(step) and step > 0 else 1.0, start if np.isfinite(start) else 0.0)
    code = int(header["xyzt_units"])
    space_unit, time_unit = _units(code)
    return Scan(
        array,
        labels + ("c" if channel_axes else ""),
        Geometry.from_matrix(
            from_ras(affine, spatial, time),
            tuple(time_unit if a == "t" else space_unit for a in labels),
            tuple(labels),
            "LPS",
        ),
        format=NAME,
        properties={
            "nifti": version,
            "axes": labels,
            "affine": affine.tolist(),
            "xyzt_units": code,
            "pixdim": np.asarray(header["pixdim"], dtype=np.float64).tolist(),
            "place": {key: np.asarray(header[key], dtype=np.float64).tolist() for key in _GEOMETRY_FIELDS},
        },
        source=path,
    )


def _units(code: int) -> tuple[str, str]:
    """The units of length and time that the header's number stands for."""
    return {1: "m", 2: "mm", 3: "um"}.get(code & 7, "mm"), {8: "s", 16: "ms", 24: "us"}.get(code & 56, "s")


def write(
    path: Path,
    array: NDArray[np.generic],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write a plane, volume or time series in its geometry.

    Where the geometry is the one that the reader found, the header gets the very numbers, codes and units
    of that file. Any other is written as an sform, and as a qform too where it has no shear. NIfTI 2, which
    fewer programs read, is taken where NIfTI 1 would be off by 1e-4 mm or cannot hold the shape.
    Nanometres and centimetres become micrometres and millimetres.

    Parameters
    ----------
    path
        Ends in `.nii` or `.nii.gz`.
    array
        Real values in the shape of `axes`.
    axes
        ``"yx"``, ``"zyx"``, ``"tyx"`` or ``"tzyx"``.
    geometry
        Of these axes, in units of length; where it has no frame its world is taken as LPS.
    properties
        Those of the scan, for a file that this module read; else ignored.

    Raises
    ------
    BadInput
        Where NIfTI cannot say the geometry: pixels without a physical size, time mixed with space. Nothing
        that could be taken for a result is left then.
    """
    import nibabel as nib

    with silence_logger("nibabel.global"), write_errors(path, SUFFIXES, _KIND):
        if axes not in ("yx", "zyx", "tyx", "tzyx"):
            raise BadInput(path, f"axes {axes!r} do not fit NIfTI", "write one class at a time, as zyx")
        values = as_writable(path, array, axes, geometry).transpose()
        if axes == "tyx":
            values = values[:, :, None, :]
        geometry = _to_nifti_units(path, axes, geometry)
        header = _reuse_header(properties, values, axes, geometry)
        if header is None:
            header = _new_header(path, values, axes, geometry, properties)
        kind: Any = nib.Nifti2Image if header.sizeof_hdr == 540 else nib.Nifti1Image
        nib.save(kind(values, None, header), path)  # without an affine the header is left as it is


def _to_nifti_units(path: Path, axes: str, geometry: Geometry) -> Geometry:
    """The geometry in units that NIfTI knows, one of length for all axes."""
    matrix = geometry.matrix
    n = geometry.ndim
    space = [i for i, a in enumerate(axes) if a != "t"]
    if not {geometry.units[i] for i in space} <= MM_PER_UNIT.keys():
        raise BadInput(path, "has no physical size, which NIfTI needs", "write TIFF, or give a spacing in mm")
    last_unit = geometry.units[-1]
    unit = last_unit if last_unit in _SPACE_UNITS.values() else "um" if last_unit == "nm" else "mm"
    for i in space:
        if geometry.units[i] != unit:
            matrix[i] *= MM_PER_UNIT[geometry.units[i]] / MM_PER_UNIT[unit]
    units = [unit] * n
    if axes.startswith("t"):
        time = geometry.units[0]
        is_mixed = np.any(matrix[0, 1:n] != 0) or np.any(matrix[1:n, 0] != 0)
        if time not in _TIME_UNITS.values() or is_mixed or matrix[0, 0] <= 0:
            raise BadInput(path, "has a time axis that NIfTI cannot say", "give its steps in seconds")
        units[0] = time
    return Geometry.from_matrix(matrix, tuple(units), geometry.axis_labels, geometry.frame)


def _new_empty_header(version: int, values: NDArray[Any]) -> Any:
    import nibabel as nib

    header: Any = nib.Nifti2Header() if version == 2 else nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    return header


def _says(header: Any, axes: str, geometry: Geometry, *, atol_steps: float, atol: float = np.inf) -> bool:
    """Whether a header, whose numbers are rounded, puts its array where it should lie."""
    time = (float(header["pixdim"][4]), float(header["toffset"])) if axes.startswith("t") else (1.0, 0.0)
    rows = [*(i for i, a in enumerate(_LABELS) if a in axes), len(_LABELS)]
    lengths = (*header.get_data_shape(), 1, 1)[3::-1]
    with np.errstate(all="ignore"):
        full = from_ras(np.asarray(header.get_best_affine(), dtype=np.float64), 4, time)
    try:
        said = Geometry.from_matrix(
            full[np.ix_(rows, rows)], geometry.units, geometry.axis_labels, geometry.frame
        )
    except BadInput:
        return False
    shape = tuple(int(lengths[i]) for i in rows[:-1])
    return geometry.agrees_with(said, shape, atol_steps=atol_steps, atol=atol)


def _reuse_header(
    properties: Mapping[str, Any],
    values: NDArray[Any],
    axes: str,
    geometry: Geometry,
) -> Any:
    """A header with the numbers of the file that was read, where they still hold; else None."""
    try:
        version = int(properties["nifti"])
        is_plane = "z" not in properties["axes"]
        pixdim = np.asarray(properties["pixdim"], dtype=np.float64)[:5]
        code = int(properties["xyzt_units"])
        geometry_fields = {
            key: np.asarray(properties["place"][key], dtype=np.float64) for key in _GEOMETRY_FIELDS
        }
    except (KeyError, TypeError, ValueError):
        return None
    if (
        version not in _MAX_LENGTH
        or max(values.shape) > _MAX_LENGTH[version]
        or is_plane != (axes[-3:] != "zyx")
    ):
        return None
    length, time = _units(code)
    has_time = axes.startswith("t")
    if length != geometry.units[-1] or (has_time and time != geometry.units[0]):
        return None
    header = _new_empty_header(version, values)
    header["pixdim"][: len(pixdim)] = pixdim
    for key, value in geometry_fields.items():
        header[key] = value
    header["xyzt_units"] = code
    if has_time:
        header["pixdim"][4], header["toffset"] = geometry.affine[0][0], geometry.affine[0][-1]
    return header if _says(header, axes, geometry, atol_steps=_ROUNDING_STEPS) else None


def _new_header(
    path: Path,
    values: NDArray[Any],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> Any:
    """A header for any geometry."""
    code = 1 if geometry.frame else 2  # in the scanner's world, or only aligned with something
    source_geometry = properties.get("place")
    if isinstance(source_geometry, Mapping):
        code = int(source_geometry.get("sform_code") or source_geometry.get("qform_code") or code)
    matrix, length = geometry.matrix, geometry.units[-1]
    affine = to_ras(matrix[-4:, -4:] if "z" in axes else matrix[-3:, -3:])
    corner = np.array([*(*values.shape, 1)[:3], 1.0])
    finest = np.linalg.norm(affine[:3, :3], axis=0).min()
    tolerance = min(_TOLERANCE_STEPS * finest, _TOLERANCE_MM / MM_PER_UNIT[length])
    for version, largest in _MAX_LENGTH.items():
        if max(values.shape) > largest:
            continue
        header = _new_empty_header(version, values)
        header.set_sform(affine, code=code)
        header.set_qform(affine, code=code, strip_shears=True)
        # A qform has no shear, and loses digits at about half a turn; then the sform stands alone.
        try:
            qform_error = (np.abs(header.get_qform() - affine) @ corner).max()
        except ValueError:
            qform_error = np.inf
        if qform_error > tolerance:
            header["qform_code"] = 0
        if axes.startswith("t"):
            header["pixdim"][4], header["toffset"] = matrix[0, 0], matrix[0, -1]
        lengths = {v: k for k, v in _SPACE_UNITS.items()}
        times = {v: k for k, v in _TIME_UNITS.items()}
        header.set_xyzt_units(lengths[length], times[geometry.units[0] if axes.startswith("t") else "s"])
        if _says(header, axes, geometry, atol_steps=_TOLERANCE_STEPS, atol=_TOLERANCE_MM):
            return header
    raise BadInput(path, "lies where NIfTI has no numbers for", "write TIFF instead")
