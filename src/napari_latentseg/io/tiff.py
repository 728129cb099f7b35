"""TIFF, ImageJ TIFF and OME-TIFF through tifffile."""

from __future__ import annotations

import math
import struct
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.units import MM_PER_UNIT, OME_SYMBOLS, SECONDS, as_known_unit, conversion
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, read_errors, silence_logger, write_errors
from napari_latentseg.io._tiff_checks import check_ome_claims, check_page_chain, check_series_claim
from napari_latentseg.utils.size_claims import check_memory

NAME = "tiff"
SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif")
RESULT_SUFFIX = ".tif"

_KIND = "a TIFF file"

# The tags with OME's and ImageJ's metadata: ImageDescription, and ImageJ's two private tags.
_METADATA_TAGS = {270, 50838, 50839}

# Axis letter to a length or time and its unit.
_Steps = dict[str, tuple[float, str]]


def read(path: Path) -> Scan:
    """Read the first series of images at full resolution.

    A plain TIFF with several pages of one size is a `zyx` stack. If the sizes differ, the pages of the first
    size are read, and ``properties["series"]`` is the number of sizes. Axes of length one are dropped.
    Spacing and origin come from OME or ImageJ metadata, in the unit of x, or in pixels if x or y has none.
    The baseline resolution tags are ignored (they are print settings more often than pixel sizes), and so is
    the orientation tag. Palettes become RGB and white-is-zero is inverted, except in ImageJ and OME files,
    where both concern display only.

    Parameters
    ----------
    path
        A TIFF, BigTIFF, ImageJ or OME-TIFF file.

    Raises
    ------
    BadInput
        If it is not a TIFF, lacks pages or data, or has unknown axes or colours other than grey, RGB and
        palette.
    """
    with _tiff_errors(path), _open_tiff(path) as tif:
        return _make_scan(path, tif, lazy=False)


def read_lazy(path: Path) -> Scan:
    """As `read`, with the values left in the file; coarser levels of a pyramid become `levels` of the scan.

    Raises
    ------
    BadInput
        As `read`.
    """
    with _tiff_errors(path):
        tif = _open_tiff(path)
        try:
            return _make_scan(path, tif, lazy=True)
        except BaseException:
            tif.close()
            raise


@contextmanager
def _tiff_errors(path: Path) -> Iterator[None]:
    """As `read_errors`, with tifffile's log kept still, and after the chain of pages was checked."""
    with silence_logger("tifffile"), read_errors(path, _KIND):
        check_page_chain(path)
        yield


def _open_tiff(path: Path) -> Any:
    import tifffile

    # An NDTiff has an index beside it, which may name any file: its pages are read as those of a plain TIFF.
    return tifffile.TiffFile(path, is_ndtiff=False)


def _make_scan(path: Path, tif: Any, lazy: bool) -> Scan:
    if tif.is_ome and tif.ome_metadata:
        check_ome_claims(path, tif.ome_metadata)
    series = tif.series[0]
    check_series_claim(path, series)
    if not lazy:
        check_memory(path, int(series.nbytes))
    _check_complete(path, tif, series)
    axes = series.axes
    arrays = [_as_dask(tif, level) for level in series.levels] if lazy else [series.asarray()]
    steps: _Steps = {}
    offsets: _Steps = {}
    if tif.is_ome and tif.ome_metadata:
        steps, offsets = _ome_geometry(tif.ome_metadata)
    elif tif.is_imagej:
        steps = _imagej_spacing(tif)
    else:
        arrays = [_resolve_colours(path, series.keyframe, array, axes) for array in arrays]
        axes = axes + "S" if arrays[0].ndim > len(axes) else axes
    axes_and_levels = [_to_scan_axes(path, array, axes) for array in arrays]
    array, axes = axes_and_levels[0]
    levels = tuple(level for level, same in axes_and_levels[1:] if same == axes)
    geometry = _geometry(axes.removesuffix(CHANNEL), steps, offsets)
    properties: dict[str, Any] = {"series": len(tif.series)}
    if axes.endswith(CHANNEL) and tif.is_ome and tif.ome_metadata:
        properties["channels"] = _ome_channels(tif.ome_metadata)
    return Scan(array, axes, geometry, format=NAME, properties=properties, source=path, levels=levels)


def _ome_channels(text: str) -> list[dict[str, str]]:
    """Names and colours (``"#rrggbb"``) of the channels of the first image, empty text if not given."""
    image = next((e for e in ElementTree.fromstring(text) if _tag(e) == "Image"), None)
    channels = []
    for element in image.iter() if image is not None else ():
        if _tag(element) == "Channel":
            colour = element.get("Color")  # RGBA in a signed 32-bit integer
            number = int(colour) & 0xFFFFFFFF if colour and colour.lstrip("-").isdigit() else None
            channels.append(
                {
                    "name": element.get("Name") or "",
                    "colour": "" if number is None else f"#{number >> 8:06x}",
                }
            )
    return channels


def _as_dask(tif: Any, level: Any) -> Any:
    """A resolution level as a dask array; the file is closed when the array is garbage collected."""
    import dask.array as da
    import zarr

    zarr_array = zarr.open_array(level.aszarr(), mode="r")
    weakref.finalize(zarr_array, tif.close)
    return da.from_zarr(zarr_array)


def _check_complete(path: Path, tif: Any, series: Any) -> None:
    """Refuse a file that tifffile would read in part: a broken chain of pages, missing pages or data."""
    size = tif.filehandle.size
    is_complete = _ifd_tag_codes(tif) & _METADATA_TAGS <= set(tif.pages[0].tags.keys())
    position = tif.pages.next_page_offset
    if position is not None:
        tif.filehandle.seek(position)
        end_marker = tif.filehandle.read(tif.tiff.offsetsize)
        is_complete &= (
            len(end_marker) == tif.tiff.offsetsize
            and struct.unpack(tif.tiff.offsetformat, end_marker)[0] == 0
        )
    if is_complete and series.dataoffset is not None:
        is_complete = series.dataoffset + series.nbytes <= size
    elif is_complete:
        for page in series.pages:
            if page is None:
                raise BadInput(path, "lacks some of its pages", "keep the files of one image together")
            data_ends = (a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=False))
            if page.parent is tif and max(data_ends, default=0) > size:
                is_complete = False
    if not is_complete:
        raise BadInput(path, "is cut short", "copy or export it again")


def _ifd_tag_codes(tif: Any) -> set[int]:
    """The tags of the first page, with those that tifffile left out as unreadable."""
    file, tiff = tif.filehandle, tif.tiff
    file.seek(tif.pages[0].offset)
    (count,) = struct.unpack(tiff.tagnoformat, file.read(tiff.tagnosize))
    entries = file.read(count * tiff.tagsize)
    starts = range(0, len(entries), tiff.tagsize)
    return {struct.unpack_from(tiff.byteorder + "H", entries, i)[0] for i in starts}


def _resolve_colours(path: Path, page: Any, array: Any, axes: str) -> Any:
    """Convert the stored colours to grey, RGB or RGBA."""
    from tifffile import COMPRESSION, PHOTOMETRIC

    photometric = page.photometric
    if photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        table: NDArray[np.uint8] = (page.colormap >> 8).astype(np.uint8)
        if isinstance(array, np.ndarray):
            return np.moveaxis(table[:, array], 0, -1)
        return array.map_blocks(
            lambda block: np.moveaxis(table[:, block], 0, -1),
            dtype=table.dtype, new_axis=array.ndim, chunks=(*array.chunks, (3,)),
        )  # fmt: skip
    if photometric == PHOTOMETRIC.MINISWHITE:
        if array.dtype == np.bool_:
            return ~array
        if array.dtype.kind == "u":
            return np.subtract(2**page.bitspersample - 1, array, dtype=array.dtype)
    jpeg = page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)  # tifffile converts these to RGB
    grey = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    if photometric not in grey and not (photometric == PHOTOMETRIC.YCBCR and jpeg):
        raise BadInput(path, "has a colour model that is not supported", "save it as grey or RGB")
    if axes.endswith("S") and array.shape[-1] == 2 and photometric != PHOTOMETRIC.RGB and page.extrasamples:
        return array[..., :1]  # grey with alpha
    return array


def _to_scan_axes(path: Path, array: Any, axes: str) -> tuple[Any, str]:
    """Transpose from tifffile's axes to `t z y x c`, without axes of length one."""
    letters = list(axes.upper())
    for i in reversed(range(len(letters))):
        if array.shape[i] == 1 and letters[i] not in "YX":
            array = array.squeeze(i)
            del letters[i]
    names = []
    for letter in letters:
        if letter == "S" or (letter == "C" and "S" not in letters):
            names.append(CHANNEL)
        elif letter in "TZYX":
            names.append(letter.lower())
        elif letter in "QI" and "Z" not in letters and "z" not in names:
            names.append("z")  # a plain stack of pages
        else:
            raise BadInput(path, f"has axes {axes!r}, of which {letter} is not known", "save it as a stack")
    if "y" not in names or "x" not in names:
        raise BadInput(path, f"axes {axes!r} lack y or x", "save it as an image")
    order = sorted(range(len(names)), key=lambda i: "tzyxc".index(names[i]))
    array = array.transpose(order)
    return array.astype(array.dtype.newbyteorder("="), copy=False), "".join(names[i] for i in order)


def _parse_length(size: object, unit: object) -> tuple[float, str] | None:
    """A length in a unit of `MM_PER_UNIT` or in pixels; None if it is not finite or the unit is no length."""
    number, (factor, name) = float(str(size)), as_known_unit(unit) or (1.0, "")
    if not math.isfinite(number) or (name != "pixel" and name not in MM_PER_UNIT):
        return None
    return number * factor, name


def _time(size: object, unit: object) -> tuple[float, str] | None:
    """A time in a unit of `SECONDS`; None if it is not a positive number or the unit is no time."""
    number, (factor, name) = float(str(size)), as_known_unit(unit) or (1.0, "")
    if not math.isfinite(number) or number <= 0 or name not in SECONDS:
        return None
    return number * factor, name


def _convert_length(length: tuple[float, str], unit: str) -> float | None:
    """Convert a length to another unit; None between pixels and physical units."""
    number, length_unit = length
    factor = conversion(length_unit, unit)
    return None if factor is None else number * factor


def _geometry(axes: str, steps: _Steps, offsets: _Steps) -> Geometry:
    unit = steps["x"][1] if "x" in steps and "y" in steps else "pixel"
    matrix = np.eye(len(axes) + 1)
    units = []
    for i, axis in enumerate(axes):
        if axis == "t":
            matrix[i, i], name = steps.get("t", (1.0, "pixel"))
            units.append(name)
            continue
        step = _convert_length(steps[axis], unit) if axis in steps and "x" in steps and "y" in steps else None
        units.append("pixel" if step is None else unit)
        matrix[i, i] = 1.0 if step is None else step
        offset = _convert_length(offsets[axis], unit) if axis in offsets and step is not None else None
        matrix[i, -1] = 0.0 if offset is None else offset
    return Geometry.from_matrix(matrix, tuple(units), tuple(axes))


def _ome_geometry(xml: str) -> tuple[_Steps, _Steps]:
    """The physical pixel sizes and the position of the first slice, by axis."""
    steps: _Steps = {}
    offsets: _Steps = {}
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if _tag(e) == "Pixels"), None)
    if pixels is None:
        return steps, offsets
    planes = [e for e in pixels if _tag(e) == "Plane"]
    first = min(planes, key=lambda e: [int(e.get(k, "0")) for k in ("TheT", "TheC", "TheZ")], default=None)
    for axis in "XYZ":
        size = _parse_length(
            pixels.get(f"PhysicalSize{axis}", "nan"), pixels.get(f"PhysicalSize{axis}Unit", "um")
        )
        if size is not None and size[0] > 0:
            steps[axis.lower()] = size
        if first is not None:
            unit = first.get(f"Position{axis}Unit", "reference frame")
            offset = _parse_length(first.get(f"Position{axis}", "nan"), unit)
            if offset is not None:
                offsets[axis.lower()] = offset
    time = _time(pixels.get("TimeIncrement", "nan"), pixels.get("TimeIncrementUnit", "s"))
    if time is not None:
        steps["t"] = time
    return steps, offsets


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _imagej_spacing(tif: Any) -> _Steps:
    meta = tif.imagej_metadata or {}
    tags = tif.pages[0].tags
    steps: _Steps = {}

    def unit(key: str) -> str:
        # ImageJ writes the micro sign as the six characters \u00B5
        return str(meta.get(key, meta.get("unit", ""))).replace("\\u00B5", "\N{MICRO SIGN}")

    for axis, tag, key in (("x", "XResolution", "unit"), ("y", "YResolution", "yunit")):
        if tag in tags and unit(key):
            count, per = tags[tag].value
            size = _parse_length(per / count if count > 0 and per > 0 else "nan", unit(key))
            if size is not None and size[1] != "pixel":
                steps[axis] = size
    spacing = _parse_length(meta.get("spacing", "nan"), unit("zunit"))
    if spacing is not None and spacing[0] > 0 and steps:
        steps["z"] = spacing
    interval = meta.get("finterval") or "nan"
    time = _time(interval, meta.get("tunit", "s")) or _time(
        interval, "s"
    )  # without a unit, ImageJ's interval is in seconds
    if time is not None:
        steps["t"] = time
    return steps


def write(
    path: Path,
    array: NDArray[np.generic],
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write an OME-TIFF with the physical pixel sizes and the position of every slice.

    OME-TIFF has no patient coordinates: sizes and positions are kept, the frame is lost.

    Parameters
    ----------
    path
        Ends in `.tif` or `.tiff`.
    array
        Real values in the shape of `axes`.
    axes
        Letters out of ``t z y x``, and ``c`` last where there are channels.
    geometry
        Of these axes but `c`.
    properties
        Not needed.

    Raises
    ------
    BadInput
        If OME-TIFF cannot hold the geometry: rotated, sheared or flipped, an unknown unit, or a time axis
        that does not begin at 0.
    """
    import tifffile

    with write_errors(path, SUFFIXES, _KIND):
        values = as_writable(path, array, axes, geometry)
        if CHANNEL in axes:
            values = np.moveaxis(values, -1, 0)
        order = CHANNEL * (CHANNEL in axes) + axes.removesuffix(CHANNEL)
        metadata = {"axes": order.upper(), **_ome_metadata(path, geometry, order, values.shape)}
        tifffile.imwrite(
            path, values, ome=True, metadata=metadata, compression="zlib", photometric="minisblack"
        )


def _ome_metadata(path: Path, geometry: Geometry, order: str, shape: tuple[int, ...]) -> dict[str, Any]:
    matrix = geometry.matrix
    if not geometry.is_axis_aligned or np.diag(matrix)[:-1].min() <= 0:
        raise BadInput(path, "a TIFF cannot hold a rotated or flipped geometry", "write NIfTI instead")
    metadata: dict[str, Any] = {}
    planes: dict[str, Any] = {}
    counts = [n for a, n in zip(order, shape, strict=True) if a not in "yx"]
    plane_count = math.prod(counts)
    for i, axis in enumerate(order.removeprefix(CHANNEL)):
        step, start, unit = float(matrix[i, i]), float(matrix[i, -1]), geometry.units[i]
        if unit == "pixel" and (step, start) == (1.0, 0.0):
            continue
        is_known = unit in SECONDS if axis == "t" else unit in MM_PER_UNIT or unit == "pixel"
        if not is_known or (axis == "t" and start != 0):
            raise BadInput(path, f"a TIFF cannot hold the axis {axis} in {unit!r}", "write NIfTI instead")
        if axis == "t":
            metadata |= {"TimeIncrement": step, "TimeIncrementUnit": OME_SYMBOLS[unit]}
            continue
        name = axis.upper()
        metadata |= {f"PhysicalSize{name}": step, f"PhysicalSize{name}Unit": OME_SYMBOLS[unit]}
        position = np.full(plane_count, start)
        if axis == "z":
            position += step * np.indices(counts)[[a for a in order if a not in "yx"].index("z")].ravel()
        planes |= {
            f"Position{name}": position.tolist(),
            f"Position{name}Unit": [OME_SYMBOLS[unit]] * plane_count,
        }
    return {**metadata, "Plane": planes} if planes else metadata
