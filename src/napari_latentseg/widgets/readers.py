"""The reader behind File > Open and drag and drop; large files and folders are read beside the window."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput
from napari_latentseg.scan import CHANNEL, Scan
from napari_latentseg.widgets.samples import scan_arguments

if TYPE_CHECKING:
    from napari import Viewer

__all__ = ["get_reader", "layers_of_scan", "open_beside"]

LayerData = tuple[Any, ...]

_AT_ONCE = 4 * 2**20  # bytes that are read while napari waits; what is larger is read in a thread
_LOOKED_AT = 200  # files of a folder that are looked at before it is left to other plugins
_NOTHING_YET: list[LayerData] = [(None,)]  # napari's sign that a reader has nothing to show at once


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Give napari a reader for our formats; None where something is not one of them."""
    paths = [Path(p) for p in ([path] if isinstance(path, str | os.PathLike) else path)]
    if not all(map(_is_ours, paths)):
        return None

    def read(given: Any) -> list[LayerData]:
        import napari

        viewer = napari.current_viewer()
        if viewer is None or all(p.is_file() and p.stat().st_size <= _AT_ONCE for p in paths):
            return [layer for p in paths for layer in layers_of_scan(_read(p), _name_of(p))]
        for p in paths:
            open_beside(viewer, p)
        return _NOTHING_YET

    return read


def _is_ours(path: Path) -> bool:
    from napari_latentseg.formats import dicom, omezarr, readable_suffixes

    if not path.is_dir():
        return path.name.lower().endswith(readable_suffixes())
    if omezarr.knows(path):
        return True
    inside = (Path(at, name) for at, _, names in os.walk(path) for name in sorted(names))
    return any(map(dicom.knows, islice(inside, _LOOKED_AT)))


def _name_of(path: Path) -> str:
    from napari_latentseg.formats import stem_of

    return stem_of(path)


def _read(path: Path, series: int | None = None) -> Scan:
    """The scan; its values stay in the file where they can be had in parts."""
    from napari_latentseg.formats import look_at, read_scan

    scan = look_at(path, series=series)
    in_parts = getattr(scan.array, "npartitions", 1) > 1 and scan.array.nbytes > _AT_ONCE
    return scan if in_parts else read_scan(path, series=series)


def layers_of_scan(scan: Scan, name: str) -> list[LayerData]:
    """A scan as napari takes it: colours in one layer, other channels in a layer each."""
    from napari_latentseg.views import one_channel

    channels = scan.array.shape[-1] if scan.axes.endswith(CHANNEL) else 0
    if channels and channels not in (3, 4):
        each = [(one_channel(scan, k + 1), f"{name} channel {k + 1}") for k in range(channels)]
    else:
        each = [(scan, name)]
    found: list[LayerData] = []
    for one, called in each:
        data = [one.array, *one.levels] if one.levels else one.array
        found.append((data, {"name": called, "multiscale": bool(one.levels), **scan_arguments(one)}, "image"))
    return found


def open_beside(viewer: Viewer, path: Path, series: int | None = None) -> Any:
    """Read in a thread and add the layers when they are there; of several series, ask for one first.

    Parameters
    ----------
    viewer
        Where they are shown.
    path
        A file or folder.
    series
        Which of several, from 1.

    Returns
    -------
    napari.qt.threading.FunctionWorker
        Already at work.
    """
    from napari.qt.threading import create_worker

    def work() -> Any:
        from napari_latentseg.formats.registry import list_series

        try:
            several = list_series(path) if series is None else []
            if len(several) > 1:
                return several
            return layers_of_scan(_read(path, series), _name_of(path))
        except BadInput as error:
            return str(error)

    def done(found: Any) -> None:
        from napari.utils.notifications import show_error

        if isinstance(found, str):
            show_error(found)
        elif isinstance(found[0], tuple):
            for data, arguments, _ in found:
                viewer.add_image(data, **arguments)
        elif (number := _chosen(path, found)) is not None:
            open_beside(viewer, path, number)

    return create_worker(work, _connect={"returned": done}, _progress={"desc": f"reading {path.name}"})


def _chosen(path: Path, several: list[Any]) -> int | None:
    """Which of several series a person wants, from 1; None where they want none."""
    from qtpy.QtWidgets import QInputDialog

    lines = [f"{i + 1}: {_line(one)}" for i, one in enumerate(several)]
    line, wanted = QInputDialog.getItem(
        None,
        "Which series?",
        f"{path.name} holds {len(lines)} series. Open this one:",
        lines,
        0,
        editable=False,
    )
    return lines.index(line) + 1 if wanted else None


def _line(one: Any) -> str:
    if isinstance(one, str):
        return one
    size = " × ".join(map(str, one.shape)) or f"{one.count} pictures"
    return ", ".join(part for part in (one.modality, one.description, size, one.problem) if part)
