"""OME-Zarr 0.4 and 0.5, read and written in chunks; see https://ngff.openmicroscopy.org/0.5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.files import atomic_folder
from napari_latentseg.formats._common import reading, storable_type, writing
from napari_latentseg.formats._ngff import channels_of, described, images_of, metadata_of, place_of
from napari_latentseg.scan import CHANNEL, Geometry, Scan

if TYPE_CHECKING:
    import dask.array as da
    from yaozarrs import v05

NAME = "omezarr"
SUFFIXES = (".ome.zarr", ".zarr.zip", ".zarr", ".ozx")
RESULT_SUFFIX = ".ome.zarr"

_KIND = "an OME-Zarr image"
_MARKS = ("zarr.json", ".zgroup", ".zattrs")
_TILE = 512  # of what is written
_SMALLEST = 256  # coarser levels are made until both sides are no more than this


def knows(folder: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return any((folder / name).is_file() for name in _MARKS)


def list_series(path: Path) -> list[str]:
    """The images that a folder or zip holds, as paths within it; one in most.

    Raises
    ------
    BadInput
        Where it holds none.
    """
    with reading(path, _KIND):
        return images_of(path, _group(path))


def read(path: Path, series: int | None = None) -> Scan:
    """Open as a dask array; values are read when they are asked for, whatever the size of the image.

    The finest level is the scan, the others are its `levels`. Axes come in the order `t z y x c`; a
    channel or time axis of length one is dropped.

    Parameters
    ----------
    path
        The folder of an image (its name need not end in `.zarr`), or a zip of it (`.zarr.zip`, `.ozx`).
    series
        Which of several images, counted from 1.

    Raises
    ------
    BadInput
        Where it is no OME-Zarr image, lacks a part, has axes or units that are not known, or is placed by
        more than a scale and a translation.
    """
    import zarr

    with reading(path, _KIND):
        root = _group(path)
        names = images_of(path, root)
        if series is None and len(names) > 1:
            raise BadInput(path, f"holds {len(names)} images", f"choose one with --series 1 to {len(names)}")
        chosen = 1 if series is None else series
        if not 1 <= chosen <= len(names):
            raise BadInput("series", f"{path.name} holds images 1 to {len(names)}", "choose one of them")
        group = root[names[chosen - 1]] if names[chosen - 1] else root
        metadata = metadata_of(group.attrs.asdict())
        assert metadata is not None  # `images_of` has looked
        arrays = [group[dataset["path"]] for dataset in metadata["datasets"]]
        if not arrays or not all(isinstance(a, zarr.Array) for a in arrays):
            raise ValueError("levels that are no arrays")
        place = place_of(path, metadata, arrays[0].shape)
        levels = [place.settle(_lazily(a)) for a in arrays]
        coarser = tuple(levels[1:])
        named = channels_of(group.attrs.asdict()) if CHANNEL in place.axes else []
        properties = {"channels": named} if named else {}
        return Scan(
            levels[0], place.axes, place.geometry, format=NAME,
            properties=properties, source=path, levels=coarser,
        )  # fmt: skip


look = read


def _lazily(array: Any) -> da.Array:
    import dask.array as da

    made: da.Array = da.from_zarr(array)
    native: da.Array = made.astype(made.dtype.newbyteorder("="))
    return native


def _group(path: Path) -> Any:
    """The group at the top, for reading; of a zip, that of the folder in it which is one."""
    import zarr
    from zarr.storage import ZipStore

    if path.is_dir():
        return zarr.open_group(path, mode="r")
    import zipfile

    with zipfile.ZipFile(path) as packed:
        found = [n for n in packed.namelist() if n.rpartition("/")[2] in _MARKS]
    if not found:
        raise ValueError("no Zarr in the zip")
    inside = min(found, key=lambda n: n.count("/")).rpartition("/")[0]
    return zarr.open_group(ZipStore(path, mode="r"), mode="r", path=inside)


def write(
    path: Path,
    array: NDArray[np.generic] | da.Array,
    axes: str,
    geometry: Geometry,
    properties: Mapping[str, Any],
) -> None:
    """Write an OME-Zarr 0.5 with coarser levels, chunk by chunk: memory does not depend on the size.

    The coarser levels of whole numbers, which may be labels, take every other element; those of colours and
    of real numbers take means. OME-Zarr knows no patient, so the name of the geometry's frame is not kept.

    Parameters
    ----------
    path
        The folder to be; ends in `.zarr`. An earlier one of that name is not touched.
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
        Where OME-Zarr cannot say the geometry: turned, sheared or flipped, or a unit that it does not know.
    """
    import dask.array as da
    import zarr

    with writing(path, (".zarr",), _KIND):
        dtype = storable_type(path, array, axes, geometry)
        ordered = da.asarray(array)
        spatial = axes.removesuffix(CHANNEL)
        if CHANNEL in axes:  # the standard's order is t c z y x
            at = int(spatial.startswith("t"))
            ordered = da.moveaxis(ordered, -1, at)
            order = spatial[:at] + CHANNEL + spatial[at:]
        else:
            order = axes
        metadata = described(path, order, geometry)
        smooth = CHANNEL in axes or dtype.kind == "f"
        with atomic_folder(path) as temporary:
            group = zarr.open_group(temporary, mode="w", zarr_format=3)
            datasets: list[v05.Dataset] = []
            factors = [1] * ordered.ndim
            level = ordered.astype(dtype)
            while True:
                name = str(len(datasets))
                stored = _store(group, name, level, order)
                datasets.append(metadata.dataset(name, factors, smooth))
                halved = [2 if a in "yx" and n > 1 else 1 for a, n in zip(order, level.shape, strict=True)]
                if max(level.shape[-2:]) <= _SMALLEST:
                    break
                level = _coarser(da.from_zarr(stored), halved, smooth, dtype)
                factors = [f * h for f, h in zip(factors, halved, strict=True)]
            group.attrs["ome"] = metadata.whole(datasets)


def _store(group: Any, name: str, level: da.Array, order: str) -> Any:
    import dask.array as da

    chunks = tuple(min(n, _TILE) if a in "yx" else 1 for a, n in zip(order, level.shape, strict=True))
    made = group.create_array(
        name, shape=level.shape, dtype=level.dtype, chunks=chunks, dimension_names=list(order)
    )
    da.store(level.rechunk(chunks), made, lock=False)
    return made


def _coarser(level: da.Array, factors: list[int], smooth: bool, dtype: np.dtype[Any]) -> da.Array:
    import dask.array as da

    if not smooth:
        every: da.Array = level[tuple(slice(None, None, f) for f in factors)]
        return every
    means: da.Array = da.coarsen(np.mean, level, dict(enumerate(factors)), trim_excess=True)
    found: da.Array = (means.round() if dtype.kind in "iu" else means).astype(dtype)
    return found
