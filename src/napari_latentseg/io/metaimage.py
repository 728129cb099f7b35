"""MetaImage: a short text header, and the values in the same file or another one."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, as_known_unit
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, read_errors, write_errors
from napari_latentseg.io._notes import NO_TIME_UNIT_NOTE
from napari_latentseg.io._raw import RawLayout, sibling_file
from napari_latentseg.utils.atomic import atomic_path

# Not SimpleITK: it loses units, sheared axes and which axis is time or channels, cannot read lazily, and
# takes more than 250 MB on disk. The tests compare this reader with it.
NAME = "metaimage"
SUFFIXES = (".mha", ".mhd")
RESULT_SUFFIX = ".mha"

_KIND = "a MetaImage file"
_MAX_HEADER_BYTES = 1 << 16  # headers have 1 KB or so; a file that is no MetaImage is not read to its end
_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4",
    "MET_INT": "i4", "MET_ULONG_LONG": "u8", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}
_SPACING_KEYS = ("ElementSpacing", "ElementSize")
_ORIGIN_KEYS = ("Offset", "Position", "Origin")
_MATRIX_KEYS = ("TransformMatrix", "Rotation", "Orientation")
_NO_SPACING_NOTE = "the file gives no spacing; 1 was assumed along each axis"
_UNKNOWN_UNIT_NOTE = "the file gives its sizes in a unit that is not known; millimetres were assumed"


def read(path: Path) -> Scan:
    """Read as `yx`, `zyx` or `tzyx`, with `c` last if there are several channels.

    The coordinates of a volume are patient coordinates (LPS), as in ITK; a 2D image has no frame. Lengths are
    in millimetres unless the header says otherwise.

    Parameters
    ----------
    path
        A `.mha` file, or a `.mhd` file with its data in the same folder: raw, compressed or one file
        a slice.

    Raises
    ------
    BadInput
        If it is not MetaImage, is damaged or cut short, or has a spacing of zero or dependent axes.
    """
    raw_layout, fields = _read_layout(path)
    with read_errors(path, _KIND):
        return _make_scan(path, raw_layout.read(), fields)


def read_lazy(path: Path) -> Scan:
    """As `read`, with the values left in the file.

    Raises
    ------
    BadInput
        As `read`, for what the header shows.
    """
    raw_layout, fields = _read_layout(path)
    with read_errors(path, _KIND):
        return _make_scan(path, raw_layout.read_lazy(), fields)


def _read_layout(path: Path) -> tuple[RawLayout, dict[str, str]]:
    with read_errors(path, _KIND):
        fields, data_offset = _read_header(path)
        shape = tuple(int(n) for n in fields["DimSize"].split())[::-1]
        if len(shape) != int(fields["NDims"]) or not 2 <= len(shape) <= 4:
            raise BadInput(path, f"has {fields['NDims']} dimensions", "give a 2D image, a volume or a series")
        channels = int(fields.get("ElementNumberOfChannels", "1"))
        is_big_endian = _is_true(
            fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
        )
        dtype = np.dtype((">" if is_big_endian else "<") + _type_code(path, fields["ElementType"]))
        encoding = "deflate" if _is_true(fields.get("CompressedData", "False")) else "raw"
        if not _is_true(fields.get("BinaryData", "True")):
            encoding = "text"
        files = _data_files(path, fields["ElementDataFile"], shape)
        if files == (path,):
            skip = 0
        else:
            data_offset, skip = 0, int(fields.get("HeaderSize", "0"))
        if channels > 1:
            shape = (*shape, channels)
        return RawLayout(files, dtype, shape, skip, encoding, data_offset, _KIND), fields


def _type_code(path: Path, element_type: str) -> str:
    """NumPy's type code, without byte order.

    Raises
    ------
    BadInput
        If the type is unknown, or its size is not the same everywhere.
    """
    name = element_type.removesuffix("_ARRAY")
    if name in ("MET_LONG", "MET_ULONG"):
        raise BadInput(
            path, f"has values of type {name}, which has 4 or 8 bytes by system", "save it as MET_INT"
        )
    if name not in _TYPES:
        raise BadInput(path, "has a type of values that is not known", "save it as MET_SHORT or MET_FLOAT")
    return _TYPES[name]


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """The header fields, and the position after them, where the values of a `.mha` begin."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(_MAX_HEADER_BYTES)
            if not line or file.tell() > _MAX_HEADER_BYTES:
                raise ValueError("no end of the header")
            name, separator, value = line.decode("latin-1").partition("=")
            if separator:
                fields[name.strip()] = value.strip()
        if fields["ElementDataFile"].startswith("LIST"):
            names = file.read(_MAX_HEADER_BYTES * 16).decode("latin-1").splitlines()
            fields["ElementDataFile"] = "\n".join(
                [fields["ElementDataFile"], *(n for n in names if n.strip())]
            )
        return fields, file.tell()


def _data_files(path: Path, value: str, shape: tuple[int, ...]) -> tuple[Path, ...]:
    if value.upper() == "LOCAL":
        return (path,)
    first, *names = value.split("\n")
    if first.startswith("LIST"):
        return tuple(sibling_file(path, name.strip()) for name in names)
    pattern = re.fullmatch(r"([^\s%]*%\d{0,2}d[^\s%]*)((?:\s+\d+){0,3})", first)
    if pattern is None:
        return (sibling_file(path, first),)
    low, high, step = ([int(n) for n in pattern[2].split()] + [1, shape[0], 1][len(pattern[2].split()) :])[:3]
    return tuple(sibling_file(path, pattern[1] % number) for number in range(low, high + 1, max(1, step)))


def _is_true(text: str) -> bool:
    return text[:1].lower() in ("t", "1")


def _make_scan(path: Path, array: Any, fields: Mapping[str, str]) -> Scan:
    n = int(fields["NDims"])
    labels = "tzyx"[-n:]
    axes = labels + (CHANNEL if array.ndim > n else "")
    matrix = np.eye(n + 1)
    steps = _read_numbers(fields, _SPACING_KEYS, n, [1.0] * n)
    if not (steps > 0).all():
        raise BadInput(path, "has a spacing of zero or less", "repair the file's header")
    directions = _read_numbers(fields, _MATRIX_KEYS, n * n, np.eye(n).ravel()).reshape(
        n, n
    )  # one row for each axis, x first
    matrix[:n, :n] = (directions * steps[:, None]).T[::-1, ::-1]
    matrix[:n, n] = _read_numbers(fields, _ORIGIN_KEYS, n, [0.0] * n)[::-1]
    factor, unit = as_known_unit(fields.get("DistanceUnits", "mm").strip() or "mm") or (1.0, "")
    notes = [NO_TIME_UNIT_NOTE] if "t" in labels else []
    if unit not in MM_PER_UNIT:
        factor, unit = 1.0, "mm"
        notes.append(_UNKNOWN_UNIT_NOTE)
    if not fields.keys() & set(_SPACING_KEYS):
        notes.append(_NO_SPACING_NOTE)
    matrix[int("t" in labels) : n] *= factor
    units = tuple("s" if a == "t" else unit for a in labels)
    return Scan(
        array,
        axes,
        Geometry.from_matrix(matrix, units, tuple(labels), "LPS" if n > 2 else ""),
        modality=_MODALITIES.get(fields.get("Modality", ""), ""),
        format=NAME,
        source=path,
        notes=tuple(notes),
    )


def _read_numbers(
    fields: Mapping[str, str], names: tuple[str, ...], count: int, default: Any
) -> NDArray[Any]:
    text = next((fields[name] for name in names if name in fields), None)
    values = np.array([float(w) for w in text.split()] if text is not None else default, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"{names[0]} is not {count} numbers")
    return values


def write(
    path: Path,
    array: NDArray[np.generic],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write a compressed `.mha`, or a `.mhd` with a `.zraw` in the same folder, in millimetres and seconds.

    Parameters
    ----------
    path
        Ends in `.mha` or `.mhd`.
    array
        Real values in the shape of `axes`.
    axes
        ``"yx"``, ``"zyx"`` or ``"tzyx"``, and ``c`` last where there are channels.
    geometry
        Of these axes but `c`, in units of length. Without a frame its world coordinates are taken as LPS.
    properties
        Not needed.

    Raises
    ------
    BadInput
        If MetaImage cannot hold the geometry: no physical pixel size, or a time axis mixed with space.
    """
    with write_errors(path, SUFFIXES, _KIND):
        values = as_writable(path, array, axes, geometry)
        fields = {
            "ObjectType": "Image",
            "NDims": str(geometry.ndim),
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "CompressedData": "True",
            **_geometry_fields(path, axes.removesuffix(CHANNEL), geometry),
            "DimSize": " ".join(map(str, values.shape[: geometry.ndim][::-1])),
        }
        if CHANNEL in axes:
            fields["ElementNumberOfChannels"] = str(values.shape[-1])
        fields["ElementType"] = {v: k for k, v in _TYPES.items()}[values.dtype.str[1:]]
        compressed = zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 6)
        fields["CompressedDataSize"] = str(len(compressed))
        is_single_file = path.name.lower().endswith(".mha")
        data = path.with_suffix(".zraw")
        fields["ElementDataFile"] = "LOCAL" if is_single_file else data.name
        header = "".join(f"{name} = {value}\n" for name, value in fields.items()).encode("utf-8")
        if not is_single_file:
            with atomic_path(data) as temporary:
                temporary.write_bytes(compressed)
        with atomic_path(path) as temporary:
            temporary.write_bytes(header + compressed if is_single_file else header)


def _geometry_fields(path: Path, axes: str, geometry: Geometry) -> dict[str, str]:
    matrix = geometry.matrix
    n = geometry.ndim
    if axes not in ("yx", "zyx", "tzyx"):
        raise BadInput(path, f"axes {axes!r} do not fit MetaImage", "write NRRD instead")
    for i, axis in enumerate(axes):
        unit = geometry.units[i]
        if axis == "t":
            mixed = matrix[0, 1:n].any() or matrix[1:n, 0].any()
            # times that are only counted, as in most diffusion series: MetaImage has no unit of time
            factor = 1.0 if unit == "pixel" else SECONDS.get(unit)
            if mixed or factor is None:
                raise BadInput(
                    path, "has a time axis that MetaImage cannot hold", "give its steps in seconds"
                )
        elif unit in MM_PER_UNIT:
            factor = MM_PER_UNIT[unit]
        else:
            raise BadInput(path, "has no physical size, which MetaImage needs", "write TIFF or NRRD instead")
        matrix[i] *= factor
    linear = matrix[:n, :n][::-1, ::-1]
    steps = np.linalg.norm(linear, axis=0)
    directions = linear / steps
    return {
        "TransformMatrix": _join_numbers(directions.T.ravel()),
        "Offset": _join_numbers(matrix[:n, n][::-1]),
        "CenterOfRotation": _join_numbers([0.0] * n),
        "ElementSpacing": _join_numbers(steps),
    }


def _join_numbers(numbers: Any) -> str:
    # repr gives every digit of the number; adding 0.0 turns -0.0 into 0.0
    return " ".join(repr(float(v) + 0.0) for v in numbers)
