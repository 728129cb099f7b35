"""NRRD files, with attached or detached data; pynrrd reads and writes the headers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, as_known_unit, canonical_unit
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, read_errors, write_errors
from napari_latentseg.io._notes import NO_TIME_UNIT_NOTE, no_thickness_note
from napari_latentseg.io._raw import RawLayout, sibling_file
from napari_latentseg.utils.atomic import atomic_path

# Not SimpleITK: it loses units, sheared axes and which axis is time or channels, cannot read lazily, and
# takes more than 250 MB on disk. The tests compare this module with it.
NAME = "nrrd"
SUFFIXES = (".nhdr", ".nrrd")
RESULT_SUFFIX = ".nrrd"

_KIND = "an NRRD file"
# Signs of x, y, z that convert the space of a file to LPS.
_SPACE_SIGNS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_WORLD_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed", "")
# NumPy type code of each name of a type in a file.
_TYPES = {
    "f4": ("float",), "f8": ("double",),
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64",
           "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
}  # fmt: skip
_ENCODINGS = {"raw": "raw", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2",
              "ascii": "text", "text": "text", "txt": "text"}  # fmt: skip
_SPATIAL_KINDS = ("domain", "space", "???", "none")  # of axes that may be spatial
_UNSPECIFIC_KINDS = (*_SPATIAL_KINDS, "list")  # of a slowest axis that is taken as time
_FRAMES_OF_SLICER = "MultiVolume.NumberOfFrames"  # 3D Slicer writes its time series with a list as first axis
_NO_LENGTH_UNIT_NOTE = "the file gives no unit of length; millimetres were assumed"


def read(path: Path) -> Scan:
    """Read as `yx` or `zyx`, with `t` before and `c` after them.

    An axis without a direction is time if its kind says so or it is the slowest axis, else channels. The
    slowest of three axes is that of a single slice if it has one element, and neither a direction or spacing
    nor a kind that says otherwise; the slice is 1 thick, with a note. Of four axes with directions, as ITK
    writes a time series, the slowest is time in seconds, with a note. LPS, RAS and LAS are converted to LPS;
    any other space has no frame. Without a unit, lengths are taken as millimetres, as in all common tools,
    and a note says so.

    Parameters
    ----------
    path
        A `.nrrd` file, or a `.nhdr` file with its data file in the same folder.

    Raises
    ------
    BadInput
        If it is not NRRD, is damaged or cut short, or has a geometry or unit that is not supported.
    """
    raw_layout, header = _read_layout(path)
    with read_errors(path, _KIND):
        return _make_scan(path, raw_layout.read(), header)


def read_lazy(path: Path) -> Scan:
    """As `read`, with the values left in the file.

    Raises
    ------
    BadInput
        As `read`, for what the header shows.
    """
    raw_layout, header = _read_layout(path)
    with read_errors(path, _KIND):
        return _make_scan(path, raw_layout.read_lazy(), header)


def _read_layout(path: Path) -> tuple[RawLayout, dict[str, Any]]:
    import nrrd

    with read_errors(path, _KIND):
        with path.open("rb") as file:
            header = dict(nrrd.read_header(file))
            data_offset = file.tell()
        name = header.get("data file", header.get("datafile"))
        files = (path,)
        if name is not None:
            if name.split()[0] == "LIST" or len(name.split("%")) > 1:
                raise BadInput(path, "has its data in many files", "save it as one .nrrd")
            files, data_offset = (sibling_file(path, name),), 0
        if header.get("line skip", header.get("lineskip", 0)):
            raise BadInput(path, "has lines to skip before its data", "save it as one .nrrd")
        sizes = [int(n) for n in header["sizes"]]
        encoding = _ENCODINGS[str(header["encoding"]).lower()]
        type_code = next(t for t, names in _TYPES.items() if str(header["type"]).lower() in names)
        has_byte_order = encoding != "text" and type_code[1] != "1"
        byte_order = {"little": "<", "big": ">"}[header["endian"]] if has_byte_order else "="
        if len(sizes) != int(header["dimension"]):
            raise ValueError("sizes that do not fit the dimension")
        skip = int(header.get("byte skip", header.get("byteskip", 0)) or 0)
        shape = tuple(sizes[::-1])
        return RawLayout(
            files, np.dtype(byte_order + type_code), shape, skip, encoding, data_offset, _KIND
        ), header


def _make_scan(path: Path, array: Any, header: Mapping[str, Any]) -> Scan:
    header = _with_time_apart(path, header)
    is_one_slice = _is_slice_without_thickness(header)
    if is_one_slice and header.get("space directions") is None:
        header = _with_unit_thickness(header)
    elif is_one_slice:
        array, header = array[0], _without_slowest_axis(header)
    names, vectors = _axes(path, header)
    order = sorted(range(len(names)), key=lambda i: "tzyxc".index(names[i]))
    array = array.transpose(order)
    axes = "".join(names[i] for i in order)
    if axes.endswith(CHANNEL) and array.shape[-1] == 1:
        array, axes = array[..., 0], axes.removesuffix(CHANNEL)
    if "z" not in axes and vectors.shape == (3, 2):  # a 2D image with a position in 3D: a volume of one slice
        z_position = axes.index("y")  # in front of y, so after t if there is one
        array = np.expand_dims(array, z_position)
        axes = axes[:z_position] + "z" + axes[z_position:]
        vectors = np.column_stack([_slice_normal(vectors, header), vectors])
        is_one_slice = True
    geometry, notes = _geometry(path, axes.removesuffix(CHANNEL), vectors, header)
    if is_one_slice and "z" in axes:
        notes += (no_thickness_note(geometry.units[-1]),)
    return Scan(array, axes, geometry, format=NAME, source=path, notes=notes)


def _with_time_apart(path: Path, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """A header whose fourth axis is time and has no direction, where the file gives it one, as ITK does."""
    directions = header.get("space directions")
    if len(header["sizes"]) != 4 or directions is None or any(d is None or len(d) != 4 for d in directions):
        return header
    matrix = np.asarray(directions, dtype=np.float64)
    step = float(matrix[3, 3])
    if matrix[3, :3].any() or matrix[:3, 3].any() or not step > 0:
        raise BadInput(path, "has a time axis that is mixed with space", "save it as a series of volumes")
    units = [str(name).strip() for name in header.get("space units", ("",) * 4)]
    changed: dict[str, Any] = {
        "space": str(header.get("space", "")).lower().removesuffix("-time"),
        "space directions": np.vstack([matrix[:3, :3], np.full((1, 3), np.nan)]),
        "space origin": list(header.get("space origin", [0.0] * 4))[:3],
        "kinds": [*_kinds(header)[:3], "time"],
        "spacings": [*[float("nan")] * 3, step],
        "units": ["", "", "", units[3]],
    }
    if "space units" in header:
        changed["space units"] = units[:3]
    return {**header, **changed}


def _is_slice_without_thickness(header: Mapping[str, Any]) -> bool:
    """Whether the slowest axis is that of a single slice, as ITK takes it, rather than of a single time."""
    kinds = _kinds(header)
    *is_spatial, is_last_spatial = _is_spatial(header, kinds)
    has_time_unit = "units" in header and canonical_unit(header["units"][-1]) in SECONDS
    if int(header["sizes"][-1]) != 1 or kinds[-1] not in _SPATIAL_KINDS or has_time_unit:
        return False
    return sum(is_spatial) == 2 and not is_last_spatial


def _with_unit_thickness(header: Mapping[str, Any]) -> dict[str, Any]:
    """A header without directions whose slowest axis has the spacing 1 in the unit of the axis before it."""
    changed = {"spacings": [*header["spacings"][:-1], 1.0]}
    if "units" in header:
        changed["units"] = [*header["units"][:-1], header["units"][-1] or header["units"][-2]]
    return {**header, **changed}


def _without_slowest_axis(header: Mapping[str, Any]) -> dict[str, Any]:
    """A header whose fields leave out the slowest axis."""
    fields = ("sizes", "kinds", "space directions", "spacings", "units")
    shorter = {name: header[name][:-1] for name in fields if name in header}
    return {**header, **shorter, "dimension": int(header["dimension"]) - 1}


def _kinds(header: Mapping[str, Any]) -> list[str]:
    """The kind of each axis, in lower case; `???` where the file gives none."""
    kinds = [str(kind).lower() for kind in header.get("kinds", ["???"] * int(header["dimension"]))]
    if _FRAMES_OF_SLICER not in header:
        return kinds
    return ["time" if kind == "list" else kind for kind in kinds]


def _slice_normal(vectors: NDArray[np.float64], header: Mapping[str, Any]) -> NDArray[np.float64]:
    """Unit normal of a slice, so that x, y and the normal are right-handed in LPS, as in DICOM.

    `vectors` has the directions of y and x as columns, `(3, 2)`, with their x component last.
    """
    normal = np.cross(vectors[:, 0], vectors[:, 1])  # y x x: reversed components reverse the sign
    handedness = np.prod(_SPACE_SIGNS.get(str(header.get("space", "")).lower(), (1, 1, 1)))
    unit_normal: NDArray[np.float64] = handedness * normal / np.linalg.norm(normal)
    return unit_normal


def _axes(path: Path, header: Mapping[str, Any]) -> tuple[list[str], NDArray[np.float64]]:
    """A letter for each axis, slowest first, and the direction vectors of the spatial axes as columns.

    The columns are in the same order; the rows are world coordinates, x last, in the space of the file.
    """
    count = int(header["dimension"])
    kinds = _kinds(header)
    directions = header.get("space directions")
    spatial = _is_spatial(header, kinds)
    spatial_count = sum(spatial)
    if spatial_count not in (2, 3):
        raise BadInput(
            path, f"has {spatial_count} spatial axes of {count}", "give a 2D image, a volume or a series"
        )
    names: list[str] = []
    directions_xyz: list[NDArray[np.float64]] = []
    for i, kind in enumerate(kinds):
        if spatial[i]:
            vector = (
                directions[i]
                if directions is not None
                else _axis_vector(spatial_count, len(directions_xyz), header, i)
            )
            names.append("xyz"[len(directions_xyz)])
            directions_xyz.append(np.asarray(vector, dtype=np.float64)[::-1])
        elif kind == "time" or (i == count - 1 and kind in _UNSPECIFIC_KINDS):
            names.append("t")
        else:
            names.append(CHANNEL)
    if len(set(names)) != len(names):
        raise BadInput(path, "has axes whose meaning is not clear", "name their kinds, or save a volume")
    return names[::-1], np.column_stack(directions_xyz[::-1])


def _is_spatial(header: Mapping[str, Any], kinds: list[str]) -> list[bool]:
    """Which axes are spatial: those with a direction; without directions, those of no other kind."""
    directions = header.get("space directions")
    if directions is not None:
        return [d is not None and not np.isnan(np.asarray(d, dtype=np.float64)).all() for d in directions]
    steps = header.get("spacings", [1.0] * len(kinds))
    is_spatial = [k in _SPATIAL_KINDS and bool(np.isfinite(s)) for k, s in zip(kinds, steps, strict=True)]
    if sum(is_spatial) > 3:
        is_spatial[-1] = False  # the slowest of four axes is time
    return is_spatial


def _axis_vector(spatial_count: int, spatial_axis: int, header: Mapping[str, Any], axis: int) -> list[float]:
    """Direction of an axis in a file without directions: along one world axis, as long as its spacing."""
    spacing = float(header["spacings"][axis]) if "spacings" in header else 1.0
    return [spacing if i == spatial_axis else 0.0 for i in range(spatial_count)]


def _geometry(
    path: Path, labels: str, vectors: NDArray[np.float64], header: Mapping[str, Any]
) -> tuple[Geometry, tuple[str, ...]]:
    space = str(header.get("space", "")).lower()
    if space not in _SPACE_SIGNS and space not in _WORLD_SPACES:
        raise BadInput(path, "has a coordinate space that is not supported", "save it in LPS or RAS")
    if "space origin" not in header and ("axis mins" in header or "axismins" in header):
        raise BadInput(
            path, "gives its origin as axis minima, which is not supported", "save it with a space origin"
        )
    notes = []
    world_dims = len(vectors)
    matrix = np.eye(len(labels) + 1)
    first = len(labels) - world_dims  # 1 with a time axis, else 0
    matrix[first:-1, first:-1] = vectors
    matrix[first:-1, -1] = np.asarray(header.get("space origin", [0.0] * world_dims), dtype=np.float64)[::-1]
    if space in _SPACE_SIGNS:
        matrix[first:-1] *= np.array(_SPACE_SIGNS[space][::-1], dtype=np.float64)[:, None]
    unit_names = [str(name).strip() for name in header.get("space units") or _spatial_units(header)]
    if any(unit_names):
        factors, units = _known_lengths(path, unit_names[::-1], world_dims)
        matrix[first:-1] *= np.array(factors)[:, None]
    else:
        has_geometry = space or "space directions" in header or "spacings" in header
        units = ["mm" if has_geometry else "pixel"] * world_dims
        notes = [_NO_LENGTH_UNIT_NOTE] if has_geometry else []
    if labels.startswith("t"):
        time_step, time_unit, time_notes = _time_step(header)
        matrix[0, 0] = time_step
        units = [time_unit, *units]
        notes += time_notes
    frame = "LPS" if space in _SPACE_SIGNS else ""
    return Geometry.from_matrix(matrix, tuple(units), tuple(labels), frame).in_one_unit(), tuple(notes)


def _known_lengths(path: Path, names: list[str], count: int) -> tuple[list[float], list[str]]:
    """Factors and units of this package for the units of a file: all of them lengths, or all pixels."""
    known = [as_known_unit(name) for name in names]
    units = [unit[1] for unit in known if unit is not None]
    is_usable = set(units) <= set(MM_PER_UNIT) or set(units) == {"pixel"}
    if len(units) != count or not is_usable:
        raise BadInput(path, "has unknown units of length", "save it in millimetres")
    return [unit[0] for unit in known if unit is not None], units


def _spatial_units(header: Mapping[str, Any]) -> list[str]:
    """The units of the spatial axes in the field `units`, which has one entry for each axis."""
    kinds = _kinds(header)
    units = header.get("units", [])
    return [unit for unit, spatial in zip(units, _is_spatial(header, kinds), strict=False) if spatial]


def _time_step(header: Mapping[str, Any]) -> tuple[float, str, list[str]]:
    """Step and unit of the time axis, which is the last one where no kind says so, and notes for the user."""
    kinds = _kinds(header)
    axis = kinds.index("time") if "time" in kinds else -1
    step = float(header["spacings"][axis]) if "spacings" in header else float("nan")
    if not np.isfinite(step) or step <= 0:
        return 1.0, "pixel", []
    unit = canonical_unit(header["units"][axis]) if "units" in header else ""
    return (step, unit, []) if unit in SECONDS else (step, "s", [NO_TIME_UNIT_NOTE])


def write(
    path: Path,
    array: NDArray[np.generic],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write an array with its geometry, compressed with gzip.

    Parameters
    ----------
    path
        File to write; its name ends in `.nrrd`.
    array
        Real values, one array axis for each letter of `axes`.
    axes
        ``"yx"``, ``"zyx"``, ``"tyx"`` or ``"tzyx"``, followed by ``c`` if there are channels.
    geometry
        Geometry of these axes without ``c``.
    properties
        Not used; the writers of all formats have the same signature.

    Raises
    ------
    BadInput
        If NRRD cannot hold the time axis: it is coupled with a spatial axis, its step is not positive, or it
        does not begin at 0.
    """
    import nrrd

    with write_errors(path, (".nrrd",), _KIND):
        values = as_writable(path, array, axes, geometry)
        spatial = axes.removesuffix(CHANNEL)
        has_time = spatial.startswith("t")
        matrix = geometry.matrix
        if has_time and (matrix[0, 1:].any() or matrix[1:-1, 0].any() or matrix[0, 0] <= 0):
            raise BadInput(path, "has a time axis that NRRD cannot hold", "let time begin at 0")
        first = int(has_time)
        vectors, origin = matrix[first:-1, first:-1], matrix[first:-1, -1]
        world_dims = len(vectors)
        # world coordinates x first; one row for each axis, the fastest first
        directions = vectors[::-1, ::-1].T
        channel_axes = int(CHANNEL in axes)
        header: dict[str, Any] = {"encoding": "gzip"}
        if geometry.frame == "LPS" and world_dims == 3:
            header["space"] = "left-posterior-superior"
        else:
            header["space dimension"] = world_dims
        no_direction = np.full((1, world_dims), np.nan)
        header["space directions"] = np.vstack(
            [*[no_direction] * channel_axes, directions, *[no_direction] * has_time]
        )
        header["kinds"] = ["vector"] * channel_axes + ["domain"] * world_dims + ["time"] * has_time
        header["space units"] = list(geometry.units[first:][::-1])
        header["space origin"] = origin[::-1]
        if has_time and geometry.units[0] != "pixel":
            header["spacings"] = [*[float("nan")] * (channel_axes + world_dims), float(matrix[0, 0])]
            header["units"] = [*[""] * (channel_axes + world_dims), geometry.units[0]]
        with atomic_path(path) as temporary:
            nrrd.write(str(temporary), values, header, index_order="C", compression_level=6)
