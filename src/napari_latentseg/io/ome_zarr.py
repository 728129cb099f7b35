"""OME-Zarr: 0.5 and earlier read, 0.5 written, chunk by chunk (https://ngff.openmicroscopy.org/0.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors, writable_dtype, write_errors
from napari_latentseg.io._lazy import lazy_from_store
from napari_latentseg.io._missing_chunks import missing_chunk_notes
from napari_latentseg.io._ngff import (
    axis_layout,
    channel_display,
    image_names,
    multiscale_metadata,
    ngff_metadata,
)
from napari_latentseg.utils.atomic import atomic_folder
from napari_latentseg.utils.size_claims import ANY_RATIO, HARMLESS_BYTES, check_claim, check_memory

if TYPE_CHECKING:
    import dask.array as da
    from yaozarrs import v05

NAME = "omezarr"
SUFFIXES = (".ome.zarr", ".zarr.zip", ".zarr", ".ozx")
RESULT_SUFFIX = ".ome.zarr"

_KIND = "an OME-Zarr image"
_DAMAGED_CHUNK = "has a chunk that is damaged or cut short"
_ZARR_MARKER_FILES = ("zarr.json", ".zgroup", ".zattrs")
_CHUNK_SIDE = 512  # pixels, along y and x: 256 KiB of uint8, read in one go by a viewer that shows a slice
_MAX_CHUNKS = 2**22  # a task of dask takes about 1 kB; a stack of 1,000 planes of 32,768 x 32,768 has as many
_SMALLEST_LEVEL_SIDE = 256  # the pyramid ends once both sides are no longer, the size of a thumbnail


def is_ours(folder: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return any((folder / name).is_file() for name in _ZARR_MARKER_FILES)


def list_series(path: Path) -> list[str]:
    """The images in a folder or zip, as paths within it; usually one, ``""``.

    Raises
    ------
    BadInput
        If it holds no image.
    """
    with read_errors(path, _KIND):
        return image_names(path, _open_group(path))


def read(path: Path, series: int | None = None) -> Scan:
    """Open as a dask array; values are read when they are computed.

    The level of full resolution is the scan, the others are its `levels`. Axes are in the order `t z y x c`;
    a channel or time axis of length one is dropped.

    Parameters
    ----------
    path
        The folder of an image (with any name), or a zip of it (`.zarr.zip`, `.ozx`).
    series
        Which of several images, counted from 1.

    Raises
    ------
    BadInput
        If it is not an OME-Zarr image, has lost chunks, has unknown axes or units, or has a coordinate
        transformation other than a scale and a translation.
    """
    import zarr

    with read_errors(path, _KIND):
        root = _open_group(path)
        names = image_names(path, root)
        if series is None and len(names) > 1:
            raise BadInput(path, f"holds {len(names)} images", f"choose one with --series 1 to {len(names)}")
        chosen = 1 if series is None else series
        if not 1 <= chosen <= len(names):
            raise BadInput("series", f"{path.name} holds images 1 to {len(names)}", "choose one of them")
        group = root[names[chosen - 1]] if names[chosen - 1] else root
        metadata = multiscale_metadata(group.attrs.asdict())
        assert metadata is not None  # `image_names` lists groups with metadata only
        arrays = [group[dataset["path"]] for dataset in metadata["datasets"]]
        if not arrays or not all(isinstance(a, zarr.Array) for a in arrays):
            raise ValueError("levels that are not arrays")
        for array in arrays:
            _check_chunks(path, array)
        layout = axis_layout(path, metadata, arrays[0].shape)
        levels = [layout.to_scan_axes(_as_dask(path, a)) for a in arrays]
        coarser = tuple(levels[1:])
        channels = channel_display(group.attrs.asdict()) if CHANNEL in layout.axes else []
        properties = {"channels": channels} if channels else {}
        return Scan(
            levels[0], layout.axes, layout.geometry, format=NAME,
            properties=properties, source=path, notes=missing_chunk_notes(path, arrays), levels=coarser,
        )  # fmt: skip


read_lazy = read


def _check_chunks(path: Path, array: Any) -> None:
    """Refuse more chunks than dask can list, or chunks that are larger than what is stored could fill."""
    chunk_count = math.prod(-(-n // max(1, c)) for n, c in zip(array.shape, array.chunks, strict=True))
    if chunk_count > _MAX_CHUNKS:
        raise BadInput(path, f"has {chunk_count} chunks, too many to be read", "save it in larger chunks")
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if chunk_bytes > HARMLESS_BYTES:
        check_claim(path, chunk_bytes, _stored_bytes(path), ANY_RATIO)
        check_memory(path, 2 * chunk_bytes)  # compressed and unpacked


def _stored_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _as_dask(path: Path, array: Any) -> da.Array:
    lazy_array = lazy_from_store(array, partial(read_errors, path, _KIND, _DAMAGED_CHUNK))
    native: da.Array = lazy_array.astype(lazy_array.dtype.newbyteorder("="))
    return native


def _open_group(path: Path) -> Any:
    """The topmost Zarr group of a folder or zip, opened for reading."""
    import zarr
    from zarr.storage import ZipStore

    if path.is_dir():
        return zarr.open_group(path, mode="r")
    import zipfile

    with zipfile.ZipFile(path) as archive:
        marker_files = [n for n in archive.namelist() if n.rpartition("/")[2] in _ZARR_MARKER_FILES]
    if not marker_files:
        raise ValueError("no Zarr in the zip")
    group_path = min(marker_files, key=lambda n: n.count("/")).rpartition("/")[0]
    return zarr.open_group(ZipStore(path, mode="r"), mode="r", path=group_path)


def write(
    path: Path,
    array: NDArray[np.generic] | da.Array,
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write an OME-Zarr 0.5 pyramid chunk by chunk; memory use does not depend on the size of the image.

    Coarser levels of integers, which may be labels, take every second pixel; those of colours and of
    floating-point values take means of 2 x 2. OME-Zarr has no patient coordinates, so the frame is lost.

    Parameters
    ----------
    path
        The folder to write; ends in `.zarr`. It must not exist yet.
    array
        NumPy or dask; real values in the shape of `axes`.
    axes
        Letters out of ``t z y x``, and ``c`` last where there are channels.
    geometry
        Of these axes but `c`.
    properties
        Not needed.

    Raises
    ------
    BadInput
        If OME-Zarr cannot hold the geometry: rotated, sheared, with flipped rows or columns, or in a unit it
        does not know.
    """
    import dask.array as da
    import zarr

    with write_errors(path, (".zarr",), _KIND):
        dtype = writable_dtype(path, array, axes, geometry)
        ordered = da.asarray(array)
        spatial = axes.removesuffix(CHANNEL)
        if CHANNEL in axes:  # the standard's order is t c z y x
            channel_axis = int(spatial.startswith("t"))
            ordered = da.moveaxis(ordered, -1, channel_axis)
            order = spatial[:channel_axis] + CHANNEL + spatial[channel_axis:]
        else:
            order = axes
        metadata = ngff_metadata(path, order, geometry)
        averages = CHANNEL in axes or dtype.kind == "f"
        with atomic_folder(path) as temporary:
            group = zarr.open_group(temporary, mode="w", zarr_format=3)
            datasets: list[v05.Dataset] = []
            factors = [1] * ordered.ndim
            level = ordered.astype(dtype)
            while True:
                name = str(len(datasets))
                stored = _store_level(group, name, level, order)
                datasets.append(metadata.dataset_entry(name, factors, averages))
                halved = [2 if a in "yx" and n > 1 else 1 for a, n in zip(order, level.shape, strict=True)]
                if max(level.shape[-2:]) <= _SMALLEST_LEVEL_SIDE:
                    break
                level = _downsample(da.from_zarr(stored), halved, averages, dtype)
                factors = [f * h for f, h in zip(factors, halved, strict=True)]
            group.attrs["ome"] = metadata.group_metadata(datasets)


def _store_level(group: Any, name: str, level: da.Array, order: str) -> Any:
    import dask.array as da

    chunks = tuple(min(n, _CHUNK_SIDE) if a in "yx" else 1 for a, n in zip(order, level.shape, strict=True))
    zarr_array = group.create_array(
        name,
        shape=level.shape,
        dtype=level.dtype,
        chunks=chunks,
        dimension_names=list(order),
        config={"write_empty_chunks": True},  # so that a chunk that is not there is one that was lost
    )
    da.store(level.rechunk(chunks), zarr_array, lock=False)
    return zarr_array


def _downsample(level: da.Array, factors: list[int], averages: bool, dtype: np.dtype[Any]) -> da.Array:
    import dask.array as da

    if not averages:
        strided: da.Array = level[tuple(slice(None, None, f) for f in factors)]
        return strided
    means: da.Array = da.coarsen(np.mean, level, dict(enumerate(factors)), trim_excess=True)
    downsampled: da.Array = (means.round() if dtype.kind in "iu" else means).astype(dtype)
    return downsampled
