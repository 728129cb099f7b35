"""NIfTI 1 and 2; headers through nibabel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.units import MM_PER_UNIT, conversion
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, silence_logger, write_errors
from napari_latentseg.io._nibabel import StoredArray, nibabel_errors, open_unpacked
from napari_latentseg.io._nifti_place import nifti_place, time_axis
from napari_latentseg.io._notes import no_thickness_note
from napari_latentseg.io._ras import from_ras, to_ras
from napari_latentseg.utils.size_claims import HARMLESS_BYTES

NAME = "nifti"
SUFFIXES = (".nii.gz", ".nii")
RESULT_SUFFIX = ".nii.gz"

_KIND = "a NIfTI file"
_LABELS = "tzyx"
# The header fields that hold the geometry. No others are kept: they may name the patient.
_GEOMETRY_FIELDS = (
    "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "toffset",
)  # fmt: skip
_SPACE_UNITS = {"meter": "m", "mm": "mm", "micron": "um"}
_TIME_UNITS = {"sec": "s", "msec": "ms", "usec": "us"}
_MAX_LENGTH = {1: 2**15 - 1, 2: 2**63 - 1}
# In voxels: a header is reused if the geometry differs from it by rounding alone (napari recomputes affines).
_ROUNDING_STEPS = 1e-6
# How much a new header may differ from the geometry, in voxels and in millimetres. A tenth of a micrometre is
# far below what a scanner resolves, and above the float32 rounding of NIfTI 1 in a volume of ordinary size.
_TOLERANCE_STEPS = 1e-2
_TOLERANCE_MM = 1e-4


def read(path: Path) -> Scan:
    """Read as `zyx`, `tzyx`, or `yx` if the file holds a 2D image.

    The array is nibabel's with its axes reversed; the affine is converted from RAS to LPS. A 2D image that is
    not axial (sagittal, coronal or oblique) is read as a `zyx` volume of one slice, since the geometry of two
    axes cannot hold its position. Colours (RGB24, RGBA32) become a last axis `c`.

    Where sform and qform disagree, the one that ITK programs use counts, and a note says so. Where neither is
    set, there is no frame: the axes are those of the file.

    Integers keep their type unless the header scales them; then they become float32. A header without a unit
    of length means millimetres, as in all common tools.

    Parameters
    ----------
    path
        A `.nii` or `.nii.gz` file. Compression is detected from the content.

    Raises
    ------
    BadInput
        If the file is cut short or damaged (its gzip checksum is verified), is not a single-file NIfTI, or
        has fewer than two or more than four dimensions.
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
            image_class, version, gives_thickness = _image_class(path, file)
            header = image_class.header_class.from_fileobj(file)
        array = StoredArray.from_header(path, header, _KIND).load(lazy=lazy)
        return scan_from_header(path, array, header, version, gives_thickness=gives_thickness)


def _image_class(path: Path, file: BinaryIO) -> tuple[Any, int, bool]:
    """Nibabel's image class for the file, the version of NIfTI, and what `check_header` gives."""
    import nibabel as nib

    header_bytes = file.read(540)
    file.seek(0)
    nifti1_magic, nifti2_magic = header_bytes[344:348], header_bytes[4:8]
    if nifti1_magic == b"ni1\0" or nifti2_magic == b"ni2\0":
        raise BadInput(
            path, "is one of a pair of files, header and image", "rename them to end in .hdr and .img"
        )
    if nifti1_magic != b"n+1\0" and nifti2_magic != b"n+2\0":
        raise ValueError("no magic number of NIfTI")
    kind, version = (nib.Nifti1Image, 1) if nifti1_magic == b"n+1\0" else (nib.Nifti2Image, 2)
    _check_data_offset(path, kind, header_bytes)
    return kind, version, check_header(path, kind, header_bytes)


def _check_data_offset(path: Path, image_class: Any, header_bytes: bytes) -> None:
    """Refuse values that begin within the header, or so far behind it that its extensions fill the memory.

    Programs differ in where they look for values that would begin within the header, and nibabel reads all
    that lies before the values.
    """
    header_class = image_class.header_class
    offset = header_class(header_bytes[: header_class.sizeof_hdr], check=False)["vox_offset"]
    first = header_class.single_vox_offset
    if not offset >= first:
        raise BadInput(
            path,
            f"has a header (vox_offset) that puts the values before byte {first}, where they cannot be",
            "write it again with a current program",
        )
    if not offset <= HARMLESS_BYTES:
        raise BadInput(path, "is damaged: its values would begin far behind its header", "export it again")


def check_header(path: Path, image_class: Any, header_bytes: bytes) -> bool:
    """Refuse unknown types of values, and a spacing of zero if the affine depends on it.

    Nibabel would replace such a spacing by 1.

    Parameters
    ----------
    path
        For the message.
    image_class
        Nibabel's image class for the file.
    header_bytes
        The start of the file, at least its whole header.

    Returns
    -------
    bool
        Whether `pixdim` gives the distance of slices, or the thickness of a single one.

    Raises
    ------
    BadInput
        If the values are of no known type, or are single bits; or if the spacing along an axis longer than
        one voxel is zero or not finite, and there is no sform.
    """
    from nibabel.nifti1 import data_type_codes

    header = image_class.header_class(header_bytes[: image_class.header_class.sizeof_hdr], check=False)
    data_type = int(header["datatype"])
    if data_type not in data_type_codes.code or data_type_codes.dtype[data_type].itemsize == 0:
        why = f"has values of a type that is not supported (datatype {data_type})"
        raise BadInput(path, why, "save it as integers or floating-point numbers")
    shape, steps = header["dim"][1:4], np.asarray(header["pixdim"][1:4], dtype=np.float64)
    is_used = (np.arange(3) < header["dim"][0]) & (shape > 1)
    is_given = np.isfinite(steps) & (steps != 0)
    if header["sform_code"] <= 0 and not is_given[is_used].all():
        raise BadInput(path, "has a spacing of zero", "repair the file's header")
    return bool(is_given[2])


def scan_from_header(
    path: Path, array: Any, header: Any, version: int, *, gives_thickness: bool = True
) -> Scan:
    """Make a scan of an array (x first) and its NIfTI header.

    Parameters
    ----------
    path
        The file.
    array
        Values, x first, colours last.
    header
        Nibabel's header.
    version
        Of NIfTI, 1 or 2.
    gives_thickness
        Whether the file gave the third number of `pixdim`, which nibabel makes 1 where it is 0.

    Raises
    ------
    BadInput
        If there are fewer than two or more than four dimensions.
    """
    channel_axes = array.ndim - len(header.get_data_shape())
    spatial = array.ndim - channel_axes
    while spatial > 3 and array.shape[spatial - 1] == 1:
        array = array.squeeze(spatial - 1)
        spatial -= 1
    if not 2 <= spatial <= 4:
        raise BadInput(path, f"has {spatial} dimensions", "give a 2D image, a volume or a time series")
    place = nifti_place(header)
    affine, notes = place.affine, place.notes
    is_axial = bool((np.abs(affine[2, :2]) <= _ROUNDING_STEPS * np.linalg.norm(affine[:3, :2], axis=0)).all())
    if spatial == 2 and not is_axial:
        array, spatial = np.expand_dims(array, 2), 3
    array = array.transpose(*reversed(range(spatial)), *([spatial] if channel_axes else []))
    labels = _LABELS[-spatial:]
    step, start, time_unit = 1.0, 0.0, ""
    if spatial == 4:
        step, start, time_unit, time_notes = time_axis(header)
        notes += time_notes
    code = int(header["xyzt_units"])
    space_unit = _space_unit(code)
    if place.uses_pixdim and "z" in labels and not gives_thickness:
        notes += (no_thickness_note(space_unit),)
    return Scan(
        array,
        labels + ("c" if channel_axes else ""),
        Geometry.from_matrix(
            from_ras(affine, spatial, (step, start)),
            tuple(time_unit if a == "t" else space_unit for a in labels),
            tuple(labels),
            "LPS" if place.is_known else "",
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
        notes=notes,
    )


def _space_unit(code: int) -> str:
    """The unit of length in the header field `xyzt_units`."""
    return {1: "m", 2: "mm", 3: "um"}.get(code & 7, "mm")


def write(
    path: Path,
    array: NDArray[np.generic],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write an image, volume or time series in its geometry.

    If the geometry is that of the file that was read, its affine fields, codes and units are copied.
    Any other geometry is written as sform, and also as qform unless it is sheared. NIfTI 2, which fewer
    programs read, is used if NIfTI 1 would be inexact by 1e-4 mm or cannot hold the shape. Nanometres and
    centimetres are converted to micrometres and millimetres.

    Parameters
    ----------
    path
        Ends in `.nii` or `.nii.gz`.
    array
        Real values in the shape of `axes`.
    axes
        ``"yx"``, ``"zyx"``, ``"tyx"`` or ``"tzyx"``.
    geometry
        Of these axes, in units of length. Without a frame its world coordinates are taken as LPS.
    properties
        Of the scan, if this module read it; otherwise ignored.

    Raises
    ------
    BadInput
        If NIfTI cannot hold the geometry: no physical pixel size, or a time axis mixed with space. No file is
        left behind then.
    """
    import nibabel as nib

    with silence_logger("nibabel.global"), write_errors(path, SUFFIXES, _KIND):
        if axes.endswith(CHANNEL):
            raise BadInput(
                path, "a NIfTI written here holds no colours or channels", "choose a channel, or write TIFF"
            )
        if axes not in ("yx", "zyx", "tyx", "tzyx"):
            raise BadInput(path, f"axes {axes!r} do not fit NIfTI", "write TIFF instead")
        values = as_writable(path, array, axes, geometry).transpose()
        if axes == "tyx":
            values = values[:, :, None, :]
        geometry = _to_nifti_units(path, axes, geometry)
        header = _reuse_header(properties, values, axes, geometry)
        if header is None:
            header = _new_header(path, values, axes, geometry, properties)
        kind: Any = nib.Nifti2Image if header.sizeof_hdr == 540 else nib.Nifti1Image
        nib.save(kind(values, None, header), path)  # affine None: nibabel keeps the header as it is


def _to_nifti_units(path: Path, axes: str, geometry: Geometry) -> Geometry:
    """The geometry in units that NIfTI knows, the same unit of length along all axes."""
    matrix = geometry.matrix
    n = geometry.ndim
    space = [i for i, a in enumerate(axes) if a != "t"]
    if not {geometry.units[i] for i in space} <= MM_PER_UNIT.keys():
        raise BadInput(path, "has no physical size, which NIfTI needs", "write TIFF, or give a spacing in mm")
    last_unit = geometry.units[-1]
    unit = last_unit if last_unit in _SPACE_UNITS.values() else "um" if last_unit == "nm" else "mm"
    for i in space:
        factor = conversion(geometry.units[i], unit)
        assert factor is not None
        matrix[i] *= factor
    units = [unit] * n
    if axes.startswith("t"):
        time = geometry.units[0]
        is_mixed = np.any(matrix[0, 1:n] != 0) or np.any(matrix[1:n, 0] != 0)
        if time not in (*_TIME_UNITS.values(), "pixel") or is_mixed or matrix[0, 0] <= 0:
            raise BadInput(path, "has a time axis that NIfTI cannot hold", "give its steps in seconds")
        units[0] = time
    return Geometry.from_matrix(matrix, tuple(units), geometry.axis_labels, geometry.frame)


def _new_empty_header(version: int, values: NDArray[Any]) -> Any:
    import nibabel as nib

    header: Any = nib.Nifti2Header() if version == 2 else nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    return header


def _header_agrees(
    header: Any, axes: str, geometry: Geometry, *, atol_steps: float, atol: float = np.inf
) -> bool:
    """Whether a header, whose numbers may be rounded, holds this geometry."""
    time = (1.0, 0.0)
    if axes.startswith("t"):
        step, start, unit, _ = time_axis(header)
        time = (step, start)
        if unit != geometry.units[0]:
            return False
    rows = [*(i for i, a in enumerate(_LABELS) if a in axes), len(_LABELS)]
    lengths = (*header.get_data_shape(), 1, 1)[3::-1]
    try:
        with np.errstate(all="ignore"):
            full = from_ras(nifti_place(header).affine, 4, time)
        header_geometry = Geometry.from_matrix(
            full[np.ix_(rows, rows)], geometry.units, geometry.axis_labels, geometry.frame
        )
    except BadInput:
        return False
    shape = tuple(int(lengths[i]) for i in rows[:-1])
    return geometry.agrees_with(header_geometry, shape, atol_steps=atol_steps, atol=atol)


def _reuse_header(
    properties: Mapping[str, Any],
    values: NDArray[Any],
    axes: str,
    geometry: Geometry,
) -> Any:
    """A header with the geometry fields of the file that was read; None if they no longer apply."""
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
    if _space_unit(code) != geometry.units[-1]:
        return None
    header = _new_empty_header(version, values)
    header["pixdim"][: len(pixdim)] = pixdim
    for key, value in geometry_fields.items():
        header[key] = value
    header["xyzt_units"] = code
    if axes.startswith("t"):
        header["pixdim"][4], header["toffset"] = geometry.affine[0][0], geometry.affine[0][-1]
    return header if _header_agrees(header, axes, geometry, atol_steps=_ROUNDING_STEPS) else None


def _new_header(
    path: Path,
    values: NDArray[Any],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> Any:
    """A header for any geometry, in the first version of NIfTI that holds it exactly."""
    code = 1 if geometry.frame else 2  # NIFTI_XFORM_SCANNER_ANAT, or ..._ALIGNED_ANAT: frame unknown
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
        # A qform cannot be sheared, and is inexact near rotations by 180 degrees; then there is no qform.
        try:
            qform_error = (np.abs(header.get_qform() - affine) @ corner).max()
        except ValueError:
            qform_error = np.inf
        if qform_error > tolerance:
            header["qform_code"] = 0
        if axes.startswith("t"):
            header["pixdim"][4], header["toffset"] = matrix[0, 0], matrix[0, -1]
        lengths = {v: k for k, v in _SPACE_UNITS.items()}
        times = {v: k for k, v in _TIME_UNITS.items()} | {"pixel": "unknown"}
        header.set_xyzt_units(lengths[length], times[geometry.units[0] if axes.startswith("t") else "s"])
        if _header_agrees(header, axes, geometry, atol_steps=_TOLERANCE_STEPS, atol=_TOLERANCE_MM):
            return header
    raise BadInput(path, "has a geometry that NIfTI cannot hold exactly", "write TIFF instead")
