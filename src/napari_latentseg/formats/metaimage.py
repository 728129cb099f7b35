"""MetaImage: a short text header, and the values in the same file or beside it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.files import atomic_path
from napari_latentseg.formats._common import reading, storable, writing
from napari_latentseg.formats._raw import Stored, beside
from napari_latentseg.scan import CHANNEL, Geometry, Scan
from napari_latentseg.units import MILLIMETRES, SECONDS

# Not SimpleITK: it drops units, sheared axes and which axis is time or channels, reads whole files at once,
# and takes more than 250 MB on disk; the tests hold this reader against it.
NAME = "metaimage"
SUFFIXES = (".mha", ".mhd")
RESULT_SUFFIX = ".mha"

_KIND = "a MetaImage file"
_LONGEST_HEADER = 1 << 16
_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4",
    "MET_INT": "i4", "MET_ULONG_LONG": "u8", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}
_ORIGIN = ("Offset", "Position", "Origin")
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_SECONDS = "the file gives no unit of time; seconds were taken"


def read(path: Path) -> Scan:
    """Read as `yx`, `zyx` or `tzyx`, and `c` last where an element has several channels.

    A volume lies in the patient (LPS), as ITK takes it; a plane in a world of its own. Lengths are in
    millimetres unless the header says otherwise.

    Parameters
    ----------
    path
        A `.mha` file, or a `.mhd` file with its data beside it: plain, compressed, or one file a slice.

    Raises
    ------
    BadInput
        Where it is none, is damaged or cut short, has a spacing of zero or axes that lie in one plane.
    """
    stored, fields = _open(path)
    with reading(path, _KIND):
        return _scan(path, stored.read(), fields)


def look(path: Path) -> Scan:
    """As `read`, with the values left in the file.

    Raises
    ------
    BadInput
        As `read` does, for what the header shows.
    """
    stored, fields = _open(path)
    with reading(path, _KIND):
        return _scan(path, stored.lazy(), fields)


def _open(path: Path) -> tuple[Stored, dict[str, str]]:
    with reading(path, _KIND):
        fields, start = _header(path)
        shape = tuple(int(n) for n in fields["DimSize"].split())[::-1]
        if len(shape) != int(fields["NDims"]) or not 2 <= len(shape) <= 4:
            raise BadInput(path, f"has {fields['NDims']} dimensions", "give a plane, a volume or a series")
        channels = int(fields.get("ElementNumberOfChannels", "1"))
        big = _true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
        dtype = np.dtype((">" if big else "<") + _TYPES[fields["ElementType"].removesuffix("_ARRAY")])
        encoding = "deflate" if _true(fields.get("CompressedData", "False")) else "raw"
        if not _true(fields.get("BinaryData", "True")):
            encoding = "text"
        files = _files(path, fields["ElementDataFile"], shape)
        if files == (path,):
            skip = 0
        else:
            start, skip = 0, int(fields.get("HeaderSize", "0"))
        if channels > 1:
            shape = (*shape, channels)
        return Stored(files, dtype, shape, skip, encoding, start, _KIND), fields


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where the values begin if they follow; `ElementDataFile` ends the header."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(_LONGEST_HEADER)
            if not line or file.tell() > _LONGEST_HEADER:
                raise ValueError("no end of the header")
            name, sign, value = line.decode("latin-1").partition("=")
            if sign:
                fields[name.strip()] = value.strip()
        if fields["ElementDataFile"].startswith("LIST"):
            names = file.read(_LONGEST_HEADER * 16).decode("latin-1").splitlines()
            fields["ElementDataFile"] = "\n".join(
                [fields["ElementDataFile"], *(n for n in names if n.strip())]
            )
        return fields, file.tell()


def _files(path: Path, value: str, shape: tuple[int, ...]) -> tuple[Path, ...]:
    if value.upper() == "LOCAL":
        return (path,)
    first, *names = value.split("\n")
    if first.startswith("LIST"):
        return tuple(beside(path, name.strip()) for name in names)
    pattern = re.fullmatch(r"(\S*%\d*d\S*)((?:\s+\d+){0,3})", first)
    if pattern is None:
        return (beside(path, first),)
    low, high, step = ([int(n) for n in pattern[2].split()] + [1, shape[0], 1][len(pattern[2].split()) :])[:3]
    return tuple(beside(path, pattern[1] % number) for number in range(low, high + 1, max(1, step)))


def _true(text: str) -> bool:
    return text[:1].lower() in ("t", "1")


def _scan(path: Path, array: Any, fields: Mapping[str, str]) -> Scan:
    n = int(fields["NDims"])
    labels = "tzyx"[-n:]
    axes = labels + (CHANNEL if array.ndim > n else "")
    matrix = np.eye(n + 1)
    steps = _numbers(fields, ("ElementSpacing", "ElementSize"), n, [1.0] * n)
    if not (steps > 0).all():
        raise BadInput(path, "has a spacing of zero or less", "repair the file's header")
    turned = _numbers(fields, _MATRIX, n * n, np.eye(n).ravel()).reshape(n, n)  # a row an axis of the array
    matrix[:n, :n] = (turned * steps[:, None]).T[::-1, ::-1]
    matrix[:n, n] = _numbers(fields, _ORIGIN, n, [0.0] * n)[::-1]
    unit = {"um": "um", "cm": "cm"}.get(fields.get("DistanceUnits", "mm").strip().lower(), "mm")
    units = tuple("s" if a == "t" else unit for a in labels)
    return Scan(
        array,
        axes,
        Geometry.from_matrix(matrix, units, tuple(labels), "LPS" if n > 2 else ""),
        modality=_MODALITIES.get(fields.get("Modality", ""), ""),
        format=NAME,
        source=path,
        notes=(_SECONDS,) if "t" in labels else (),
    )


def _numbers(fields: Mapping[str, str], names: tuple[str, ...], count: int, otherwise: Any) -> NDArray[Any]:
    text = next((fields[name] for name in names if name in fields), None)
    values = np.array([float(w) for w in text.split()] if text is not None else otherwise, dtype=np.float64)
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
    """Write one compressed `.mha`, or a `.mhd` with its `.zraw` beside it, in millimetres and seconds.

    Parameters
    ----------
    path
        Ends in `.mha` or `.mhd`.
    array
        Real values in the shape of `axes`.
    axes
        ``"yx"``, ``"zyx"`` or ``"tzyx"``, and ``c`` last where there are channels.
    geometry
        Of these axes but `c`, in units of length; where it has no frame its world is taken as LPS.
    properties
        Not needed.

    Raises
    ------
    BadInput
        Where MetaImage cannot say the geometry: pixels without a physical size,
        a time axis without a unit or mixed with space.
    """
    with writing(path, SUFFIXES, _KIND):
        values = storable(path, array, axes, geometry)
        fields = {
            "ObjectType": "Image",
            "NDims": str(geometry.ndim),
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "CompressedData": "True",
            **_place(path, axes.removesuffix(CHANNEL), geometry),
            "DimSize": " ".join(map(str, values.shape[: geometry.ndim][::-1])),
        }
        if CHANNEL in axes:
            fields["ElementNumberOfChannels"] = str(values.shape[-1])
        fields["ElementType"] = {v: k for k, v in _TYPES.items()}[values.dtype.str[1:]]
        packed = zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 6)
        fields["CompressedDataSize"] = str(len(packed))
        local = path.name.lower().endswith(".mha")
        data = path.with_suffix(".zraw")
        fields["ElementDataFile"] = "LOCAL" if local else data.name
        header = "".join(f"{name} = {value}\n" for name, value in fields.items()).encode("utf-8")
        if not local:
            with atomic_path(data) as temporary:
                temporary.write_bytes(packed)
        with atomic_path(path) as temporary:
            temporary.write_bytes(header + packed if local else header)


def _place(path: Path, axes: str, geometry: Geometry) -> dict[str, str]:
    matrix = geometry.matrix
    n = geometry.ndim
    if axes not in ("yx", "zyx", "tzyx"):
        raise BadInput(path, f"axes {axes!r} do not fit MetaImage", "write NRRD instead")
    for i, axis in enumerate(axes):
        unit = geometry.units[i]
        if axis == "t":
            mixed = matrix[0, 1:n].any() or matrix[1:n, 0].any()
            factor = SECONDS.get(unit)
            if mixed or factor is None:
                raise BadInput(path, "has a time axis that MetaImage cannot say", "give its steps in seconds")
        elif unit in MILLIMETRES:
            factor = MILLIMETRES[unit]
        else:
            raise BadInput(path, "has no physical size, which MetaImage needs", "write TIFF or NRRD instead")
        matrix[i] *= factor
    linear = matrix[:n, :n][::-1, ::-1]
    steps = np.linalg.norm(linear, axis=0)
    turned = linear / steps
    return {
        "TransformMatrix": _joined(turned.T.ravel()),
        "Offset": _joined(matrix[:n, n][::-1]),
        "CenterOfRotation": _joined([0.0] * n),
        "ElementSpacing": _joined(steps),
    }


def _joined(numbers: Any) -> str:
    # 17 digits give back the very number; ITK reads "-0" as well, but it looks odd
    return " ".join(repr(float(v) + 0.0) for v in numbers)
