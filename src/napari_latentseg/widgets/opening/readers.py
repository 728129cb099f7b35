"""The reader for File > Open, drag and drop, and `viewer.open`; it reads in a thread."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.widgets.opening.layer_data import LayerData, layers_of_scan, survey_path

if TYPE_CHECKING:
    from napari import Viewer

__all__ = ["get_reader", "open_in_thread"]

_MAX_FILES_CHECKED = 200  # files of a folder that are checked before it is left to other plugins
_MAX_CHECK_S = 0.05  # the same, as a time, because napari waits on the GUI thread
_NO_LAYERS_YET: list[LayerData] = [(None,)]  # napari's value for "no layers now"


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """The reader for a path of a supported format; None where a path is not supported.

    Notes
    -----
    In a running window (drag and drop, menu) the layers are added when they are read. A script that calls
    `viewer.open` before `napari.run` gets them at once, as it expects; the window stays responsive meanwhile.
    """
    paths = [Path(p) for p in ([path] if isinstance(path, str | os.PathLike) else path)]
    if not all(map(_is_ours, paths)):
        return None

    def read(napari_paths: Any) -> list[LayerData]:
        import napari

        viewer = napari.current_viewer()
        if viewer is None:
            return [layer for p in paths for layer in _read_blocking(p)]
        if _window_is_running():
            for p in paths:
                open_in_thread(viewer, p)
            return _NO_LAYERS_YET
        return [layer for p in paths for layer in _read_with_event_loop(viewer, p)] or _NO_LAYERS_YET

    return read


def _is_ours(path: Path) -> bool:
    from napari_latentseg.io import readable_suffixes
    from napari_latentseg.io.dicom.files import begins_as_dicom

    if not path.is_dir():
        return path.name.lower().endswith(readable_suffixes()) or begins_as_dicom(path)
    from napari_latentseg.io import ome_zarr

    if ome_zarr.is_ours(path):
        return True
    until = time.monotonic() + _MAX_CHECK_S
    files = (Path(at, name) for at, _, names in os.walk(path) for name in sorted(names))
    for file in islice(files, _MAX_FILES_CHECKED):
        if begins_as_dicom(file):
            return True
        if time.monotonic() > until:
            return False
    return False


def _read_blocking(path: Path) -> list[LayerData]:
    survey = survey_path(path)
    return layers_of_scan(survey.read(None), survey.layer_name(None))


def _window_is_running() -> bool:
    """Whether the event loop runs, and not a script before `napari.run`."""
    from qtpy.QtCore import QThread

    thread = QThread.currentThread()
    return thread is not None and thread.loopLevel() > 0


def open_in_thread(viewer: Viewer, path: Path) -> None:
    """Read in a thread, then add the layers, one in each iteration of the event loop.

    Parameters
    ----------
    viewer
        The viewer to add them to.
    path
        A file or folder.
    """
    from napari_latentseg.widgets.opening.opening import opener_of

    window = viewer.window._qt_window
    opener_of(window).open(
        path, lambda layers: _on_next_turn(viewer, window, partial(_add_layers, layers=layers))
    )


def _add_layers(viewer: Viewer, window: Any, layers: list[LayerData]) -> None:
    if not layers:
        return
    (data, arguments, _), *others = layers
    viewer.add_image(data, **arguments)
    _load_layers_into_memory(viewer, window, [data])
    _on_next_turn(viewer, window, partial(_add_layers, layers=others))


def _read_with_event_loop(viewer: Viewer, path: Path) -> list[LayerData]:
    """Read the layers in a thread, and process the window's events until they are read."""
    from qtpy.QtCore import QEventLoop

    from napari_latentseg.widgets.opening.opening import opener_of

    window = viewer.window._qt_window
    loop = QEventLoop()
    read_layers: list[LayerData] = []

    def done(layers: list[LayerData]) -> None:
        read_layers.extend(layers)
        loop.quit()

    window.destroyed.connect(loop.quit)
    opener_of(window).open(path, done)
    loop.exec()
    # napari adds them after this has returned
    _on_next_turn(
        viewer, window, partial(_load_layers_into_memory, arrays=[data for data, *_ in read_layers])
    )
    return read_layers


def _on_next_turn(viewer: Viewer, window: Any, function: Callable[[Viewer, Any], None]) -> None:
    """Call in the next iteration of the event loop, if viewer and window still exist."""
    from qtpy.QtCore import QTimer

    viewer_ref, window_ref = weakref.ref(viewer), weakref.ref(window)

    def call_function() -> None:
        viewer, window = viewer_ref(), window_ref()
        if viewer is not None and window is not None:
            function(viewer, window)

    timer = QTimer(window)
    timer.setSingleShot(True)
    timer.timeout.connect(call_function)
    timer.timeout.connect(timer.deleteLater)
    timer.start(0)


def _load_layers_into_memory(viewer: Viewer, window: Any, arrays: list[Any]) -> None:
    from napari_latentseg.widgets.opening.load_into_memory import load_into_memory

    for layer in list(viewer.layers):
        if any(layer.data is array for array in arrays):
            load_into_memory(viewer, layer, window)
