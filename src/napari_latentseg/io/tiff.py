"""TIFF, ImageJ TIFF and OME-TIFF through tifffile."""

from __future__ import annotations

import math
import struct
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import as_writable, read_errors, silence_logger, write_errors
from napari_latentseg.io._lazy import lazy_from_store
from napari_latentseg.io._tiff_checks import check_ome_claims, check_page_chain, check_series_claim
from napari_latentseg.io._tiff_metadata import (
    TiffSizes,
    calibrated,
    imagej_calibration,
    imagej_sizes,
    ome_channels,
    ome_metadata,
    ome_sizes,
)
from napari_latentseg.io.palette import tiff_palette_colors
from napari_latentseg.utils.size_claims import check_memory

NAME = "tiff"
SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif")
RESULT_SUFFIX = ".tif"

_KIND = "a TIFF file"

# Each tile that is read by itself costs about a millisecond: of 16 x 16 pixels, seconds for a page.
_SMALL_TILE_BYTES = 4 * 2**10
_WHOLE_PAGE_BYTES = 64 * 2**20

# The tags with OME's and ImageJ's metadata: ImageDescription, and ImageJ's two private tags.
_METADATA_TAGS = {270, 50838, 50839}


def read(path: Path) -> Scan:
    """Read the first series of images at full resolution.

    A plain TIFF with several pages of one size is a `zyx` stack. If the sizes differ, the pages of the first
    size are read, and ``properties["series"]`` is the number of sizes. Axes of length one are dropped.
    Spacing and origin come from OME or ImageJ metadata, in the unit of x, or in pixels if x or y has none.
    ImageJ's linear calibration of the values is applied, since ImageJ stores signed ones that way.
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


def _open_tiff(path: Path) -> Any:
    import tifffile

    check_page_chain(path)
    # An NDTiff has an index beside it, which may name any file: its pages are read as those of a plain TIFF.
    return tifffile.TiffFile(path, is_ndtiff=False)


def _make_scan(path: Path, tif: Any, lazy: bool) -> Scan:
    if tif.is_ome and tif.ome_metadata:
        check_ome_claims(path, tif.ome_metadata)
    series = tif.series[0]
    check_series_claim(path, series)
    if not lazy:
        check_memory(path, int(series.nbytes))
    _check_compression(path, series.keyframe)
    for level in series.levels:
        _check_complete(path, tif, level)
    axes = series.axes
    decode_errors = partial(_tiff_errors, path, _decode_fault(series.keyframe))
    if lazy:
        arrays = [_as_dask(tif, series, level, decode_errors) for level in range(len(series.levels))]
    else:
        with decode_errors():
            arrays = [series.asarray()]
    sizes = TiffSizes()
    if tif.is_ome and tif.ome_metadata:
        sizes = ome_sizes(tif.ome_metadata)
    elif tif.is_imagej:
        sizes = imagej_sizes(tif)
        line, calibration_notes = imagej_calibration(tif.imagej_metadata or {})
        arrays = [calibrated(array, *line) for array in arrays]
        sizes.notes += calibration_notes
    else:
        arrays = [_resolve_colours(path, series.keyframe, array, axes) for array in arrays]
        axes = axes + "S" if arrays[0].ndim > len(axes) else axes
    axes_and_levels = [_to_scan_axes(path, array, axes) for array in arrays]
    array, axes = axes_and_levels[0]
    levels = tuple(level for level, same in axes_and_levels[1:] if same == axes)
    properties: dict[str, Any] = {"series": len(tif.series)}
    if axes.endswith(CHANNEL) and tif.is_ome and tif.ome_metadata:
        properties["channels"] = ome_channels(tif.ome_metadata)
    return Scan(
        array, axes, sizes.geometry(axes.removesuffix(CHANNEL)), format=NAME,
        properties=properties, source=path, notes=tuple(sizes.notes), levels=levels,
    )  # fmt: skip


@contextmanager
def _tiff_errors(path: Path, why: str = "") -> Iterator[None]:
    """As `read_errors`, without tifffile's log messages: they hold the file's name."""
    with silence_logger("tifffile"), read_errors(path, _KIND, why):
        yield


def _decode_fault(page: Any) -> str:
    """The reason to give if the values of a page cannot be decoded."""
    from tifffile import COMPRESSION

    if page.compression == COMPRESSION.OJPEG:
        return "is compressed as old-style JPEG, in a variant that cannot be decoded"
    return "has values that cannot be decoded: they are damaged or cut short"


def _check_compression(path: Path, page: Any) -> None:
    """Refuse a method of compression that tifffile does not know, before any value is decoded."""
    from tifffile import TIFF

    try:
        TIFF.DECOMPRESSORS[page.compression]
    except KeyError:
        raise BadInput(
            path,
            f"is compressed by a method that is not supported (TIFF compression {int(page.compression)})",
            "save it uncompressed, or with LZW or Deflate",
        ) from None


def _as_dask(tif: Any, series: Any, level: int, decode_errors: Any) -> Any:
    """A resolution level as a dask array; the file is closed when the array is garbage collected."""
    import zarr

    # without `level`, the store of a pyramid is a group of all its levels
    store = series.aszarr(level=level, chunkmode=_chunk_mode(series.levels[level].keyframe))
    zarr_array = zarr.open_array(store, mode="r")
    weakref.finalize(zarr_array, tif.close)
    return lazy_from_store(zarr_array, decode_errors)


def _chunk_mode(page: Any) -> str:
    """Read tile by tile, but pages of very small tiles or strips as a whole."""
    is_small = math.prod(page.chunks) * page.dtype.itemsize < _SMALL_TILE_BYTES
    page_bytes = math.prod(page.shape) * page.dtype.itemsize
    return "page" if is_small and page_bytes <= _WHOLE_PAGE_BYTES else "strile"


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
            # tifffile would read strips and tiles that are not listed as zeros
            is_complete &= len(page.dataoffsets) >= math.prod(series.keyframe.chunked)
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
        table = tiff_palette_colors(page.colormap)
        if array.dtype == np.bool_:
            array = array.astype(np.uint8)  # truth values would select instead of index
        if isinstance(array, np.ndarray):
            return np.moveaxis(table[:, array], 0, -1)
        return array.map_blocks(
            lambda block: np.moveaxis(table[:, block], 0, -1),
            dtype=table.dtype, new_axis=array.ndim, chunks=(*array.chunks, (3,)),
        )  # fmt: skip
    has_alpha = "S" in axes and array.shape[axes.index("S")] == 2 and page.extrasamples
    if has_alpha and photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE):
        array = array[(*[slice(None)] * axes.index("S"), slice(1))]  # grey with alpha
    if photometric == PHOTOMETRIC.MINISWHITE:
        if array.dtype == np.bool_:
            return ~array
        if array.dtype.kind == "u":
            return np.subtract(2**page.bitspersample - 1, array, dtype=array.dtype)
    jpeg = page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)  # tifffile converts these to RGB
    grey = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    if photometric not in grey and not (photometric == PHOTOMETRIC.YCBCR and jpeg):
        raise BadInput(path, "has a colour model that is not supported", "save it as grey or RGB")
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
        If OME-TIFF cannot hold the geometry: rotated, sheared or flipped along x or y, an unknown unit, or a
        time axis that does not begin at 0.
    """
    import tifffile

    with write_errors(path, SUFFIXES, _KIND):
        values = as_writable(path, array, axes, geometry)
        if CHANNEL in axes:
            values = np.moveaxis(values, -1, 0)
        order = CHANNEL * (CHANNEL in axes) + axes.removesuffix(CHANNEL)
        metadata = {"axes": order.upper(), **ome_metadata(path, geometry, order, values.shape)}
        tifffile.imwrite(
            path, values, ome=True, metadata=metadata, compression="zlib", photometric="minisblack"
        )
