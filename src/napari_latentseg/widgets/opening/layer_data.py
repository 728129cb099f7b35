"""Which scans a file or folder contains, and a scan as napari layer data; without Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import is_zipfile

import numpy as np

from napari_latentseg.core.scan import CHANNEL, Scan, to_numpy
from napari_latentseg.widgets._shared.layers import CHANNELS_KEY, METADATA_KEY, scan_arguments

__all__ = ["LayerData", "ScanSurvey", "contrast_limits_of", "layers_of_scan", "survey_path"]

LayerData = tuple[Any, ...]  # napari's: data, keyword arguments of the layer, layer type

_MAX_EAGER_BYTES = 4 * 2**20  # read in a few ms; larger scans stay lazy where the file can be read in parts
# in voxels; contrast limits of larger scans come from a few slices, so that a scan opens without being read
_MAX_VALUES = 10_000_000
_SAMPLE_POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of these slices, from the first to the last


@dataclass(frozen=True)
class ScanSurvey:
    """The scans in a file, folder or zip.

    Attributes
    ----------
    name
        Name for the layers.
    series
        Descriptions of the series; the user chooses if there are two or more.
    titles
        For each series of a folder or zip of DICOM files a name for its layers; empty for `name`.
    read
        Reads a series by its number, from 1, or the only one for None; lazily if the file can be read in
        parts.
    """

    name: str
    series: tuple[Any, ...]
    read: Callable[[int | None], Scan]
    titles: tuple[str, ...] = ()

    def layer_name(self, number: int | None) -> str:
        """The name for the layers of a series, by its number, from 1, or of the only one."""
        return (self.titles[(number or 1) - 1] if self.titles else "") or self.name


def survey_path(path: Path) -> ScanSurvey:
    """Read the headers of a file, folder or zip.

    Raises
    ------
    BadInput
        If it has no readable image.
    """
    from napari_latentseg.io import stem_of
    from napari_latentseg.io.dicom import reader
    from napari_latentseg.io.dicomweb.retrieve import local_copy
    from napari_latentseg.io.registry import find_reader, list_series

    path, _ = local_copy(path, None)
    name = stem_of(path) if path.is_file() else path.name.removesuffix(".zarr").removesuffix(".ome")
    if find_reader(path) is reader:
        dicom_survey = reader.SeriesIndex.from_path(path)
        infos = tuple(dicom_survey.series_infos)
        # a file was chosen by its name; a folder is mostly called "dicom", or by a number
        is_one_file = path.is_file() and not is_zipfile(path)
        return ScanSurvey(
            name,
            infos,
            lambda number: _load_if_small(dicom_survey.read(number)),
            () if is_one_file else tuple(info.title for info in infos),
        )
    return ScanSurvey(name, tuple(list_series(path)), lambda number: _read(path, number))


def _is_large_and_chunked(scan: Scan) -> bool:
    """Whether the values stay lazy: a dask array of several chunks, too large to be read at once."""
    return getattr(scan.array, "npartitions", 1) > 1 and scan.array.nbytes > _MAX_EAGER_BYTES


def _load_if_small(scan: Scan) -> Scan:
    return scan if _is_large_and_chunked(scan) else scan.replace(array=to_numpy(scan.array))


def _read(path: Path, series: int | None) -> Scan:
    from napari_latentseg.io import read_scan, read_scan_lazy

    scan = read_scan_lazy(path, series=series)
    return scan if scan.levels or _is_large_and_chunked(scan) else read_scan(path, series=series)


def layers_of_scan(scan: Scan, name: str) -> list[LayerData]:
    """A scan as napari layer data: 3 or 4 channels are one RGB(A) layer, others are one layer each.

    Parameters
    ----------
    scan
        Its values may be lazy; the contrast limits are computed here, so that napari does not compute them on
        the GUI thread.
    name
        Name of the layer. Channels get the names and colours of the file; without colours only the first is
        visible, because the layers would cover each other.
    """
    from napari_latentseg.core.reorient import select_channel

    channels = scan.array.shape[-1] if scan.axes.endswith(CHANNEL) else 0
    if not channels or channels in (3, 4):
        return [_layer_data(scan, {"name": name})]
    channel_infos = list(scan.properties.get("channels", ()))
    file_id = uuid4().hex
    layers = []
    for k in range(channels):
        channel_info = channel_infos[k] if k < len(channel_infos) else {}
        layer_arguments: dict[str, Any] = {"name": f"{name} {channel_info.get('name') or f'channel {k + 1}'}"}
        if channel_info.get("colour"):
            layer_arguments |= {"colormap": channel_info["colour"], "blending": "additive"}
        else:
            layer_arguments |= {"visible": k == 0}
        layer_data = _layer_data(select_channel(scan, k + 1), layer_arguments)
        layer_data[1]["metadata"][METADATA_KEY][CHANNELS_KEY] = file_id
        layers.append(layer_data)
    return layers


def _layer_data(scan: Scan, arguments: dict[str, Any]) -> LayerData:
    limits = contrast_limits_of(scan)
    if limits is not None:
        arguments["contrast_limits"] = limits
    data = [scan.array, *scan.levels] if scan.levels else scan.array
    return data, {**arguments, "multiscale": bool(scan.levels), **scan_arguments(scan)}, "image"


def contrast_limits_of(scan: Scan) -> tuple[float, float] | None:
    """The minimum and maximum of a scan, or of a few slices of a large one.

    Returns
    -------
    low, high : float, or None
        Always low < high. None for RGB and 8 bit images, for which napari needs none, and if no value is
        finite.
    """
    values = scan.levels[-1] if scan.levels else scan.array  # the coarsest resolution
    if scan.axes.endswith(CHANNEL) or values.dtype in (np.uint8, np.bool_):
        return None
    if values.size <= _MAX_VALUES:
        planes = [values]
    else:
        last_indices = [n - 1 for n in values.shape[:-2]]
        plane_indices = dict.fromkeys(
            tuple(round(fraction * n) for n in last_indices) for fraction in _SAMPLE_POSITIONS
        )
        planes = [values[plane_index] for plane_index in plane_indices]
        if planes[0].size > _MAX_VALUES:  # such as a whole slide image: every n-th pixel
            step = int(np.ceil(np.sqrt(planes[0].size / _MAX_VALUES)))
            planes = [plane[::step, ::step] for plane in planes]
    low, high = np.inf, -np.inf
    for plane in planes:
        array = to_numpy(plane)
        array = array if array.dtype.kind in "iu" else array[np.isfinite(array)]
        if array.size:
            low, high = min(low, float(array.min())), max(high, float(array.max()))
    if low > high:
        return None
    return (low, high) if low < high else (min(low, 0.0), max(high, 1.0))
