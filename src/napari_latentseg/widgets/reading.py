"""From a path to what napari shows of it: the scans that are there, and one of them as layers; without Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.scan import CHANNEL, Scan, values_of
from napari_latentseg.widgets.samples import scan_arguments

__all__ = ["LayerData", "Survey", "layers_of_scan", "limits_of", "survey_of"]

LayerData = tuple[Any, ...]

_AT_ONCE = 4 * 2**20  # bytes; what takes more stays in its file where it can be had in parts
_WHOLE = 10_000_000  # values; of more, a few planes say what the limits are
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # where these planes lie


@dataclass(frozen=True)
class Survey:
    """What a path holds.

    Attributes
    ----------
    name
        For layers.
    several
        The scans to choose from, for people; where there is one, it or nothing.
    read
        Gives one of them, by its number from 1; values stay in the file where they can be had in parts.
    """

    name: str
    several: tuple[Any, ...]
    read: Callable[[int | None], Scan]


def survey_of(path: Path) -> Survey:
    """Read the headers of a file, folder or zip.

    Raises
    ------
    BadInput
        Where nothing in it can be read.
    """
    from napari_latentseg.formats import dicom, stem_of
    from napari_latentseg.formats.registry import list_series, reader_of

    name = stem_of(path) if path.is_file() else path.name.removesuffix(".zarr").removesuffix(".ome")
    if reader_of(path) is dicom:
        found = dicom.Survey.of(path)
        return Survey(name, tuple(found.infos), lambda number: _small_at_once(found.read(number)))
    return Survey(name, tuple(list_series(path)), lambda number: _read(path, number))


def _in_parts(scan: Scan) -> bool:
    return getattr(scan.array, "npartitions", 1) > 1 and scan.array.nbytes > _AT_ONCE


def _small_at_once(scan: Scan) -> Scan:
    return scan if _in_parts(scan) else scan.replace(array=values_of(scan.array))


def _read(path: Path, series: int | None) -> Scan:
    from napari_latentseg.formats import look_at, read_scan

    scan = look_at(path, series=series)
    return scan if scan.levels or _in_parts(scan) else read_scan(path, series=series)


def layers_of_scan(scan: Scan, name: str) -> list[LayerData]:
    """A scan as napari takes it: colours in one layer, other channels in a layer each.

    Parameters
    ----------
    scan
        Its values may still lie in a file; the limits of what is shown are found here, so that napari
        need not look for them while a person waits.
    name
        Of the layer. Channels have their own names where the file gives them, and their colours; without
        colours the first is shown alone, for grey over grey would hide it.
    """
    from napari_latentseg.views import one_channel

    channels = scan.array.shape[-1] if scan.axes.endswith(CHANNEL) else 0
    if not channels or channels in (3, 4):
        return [_layer(scan, {"name": name})]
    described = list(scan.properties.get("channels", ()))
    found = []
    for k in range(channels):
        about = described[k] if k < len(described) else {}
        own: dict[str, Any] = {"name": f"{name} {about.get('name') or f'channel {k + 1}'}"}
        if about.get("colour"):
            own |= {"colormap": about["colour"], "blending": "additive"}
        else:
            own |= {"visible": k == 0}
        found.append(_layer(one_channel(scan, k + 1), own))
    return found


def _layer(scan: Scan, arguments: dict[str, Any]) -> LayerData:
    limits = limits_of(scan)
    if limits is not None:
        arguments["contrast_limits"] = limits
    data = [scan.array, *scan.levels] if scan.levels else scan.array
    return data, {**arguments, "multiscale": bool(scan.levels), **scan_arguments(scan)}, "image"


def limits_of(scan: Scan) -> tuple[float, float] | None:
    """The least and the greatest value, of some planes where there are very many values.

    Returns
    -------
    tuple or None
        None where napari knows them without looking: colours, and whole numbers of 8 bits.
    """
    values = scan.levels[-1] if scan.levels else scan.array
    if scan.axes.endswith(CHANNEL) or values.dtype in (np.uint8, np.bool_):
        return None
    if values.size <= _WHOLE:
        planes = [values]
    else:
        lead = [n - 1 for n in values.shape[:-2]]
        places = dict.fromkeys(tuple(round(share * n) for n in lead) for share in _SHARES)
        planes = [values[place] for place in places]
        if planes[0].size > _WHOLE:
            step = int(np.ceil(np.sqrt(planes[0].size / _WHOLE)))
            planes = [plane[::step, ::step] for plane in planes]
    low, high = np.inf, -np.inf
    for plane in planes:
        array = values_of(plane)
        array = array if array.dtype.kind in "iu" else array[np.isfinite(array)]
        if array.size:
            low, high = min(low, float(array.min())), max(high, float(array.max()))
    if low > high:
        return None
    return (low, high) if low < high else (min(low, 0.0), max(high, 1.0))
