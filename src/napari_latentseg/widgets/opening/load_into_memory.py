"""Load a volume into memory in the background, while it is already shown from its files.

napari reads a lazy volume on the GUI thread when the user scrolls. That is fast along the axis in which the
slices are stored, but slow for compressed files and in the other two orientations, where one view needs every
stored slice.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentseg.core.scan import to_numpy
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.widgets._shared.background_task import BackgroundTask
from napari_latentseg.widgets._shared.plain_text import show_error

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from qtpy.QtWidgets import QWidget

__all__ = ["load_into_memory"]

_MAX_BYTES = 2**30  # 1 GiB: larger volumes stay in their files, so that they cannot fill the memory


def load_into_memory(viewer: ViewerModel, layer: Image, window: QWidget) -> None:
    """Read a layer's lazy array in the background, then replace it by the same values in memory.

    Parameters
    ----------
    viewer
        The viewer of the layer. A layer that was removed from it, or got other data in the meantime, is not
        changed.
    layer
        Not changed if it is multiscale, larger than 1 GiB, or already in memory.
    window
        Reading stops when it is closed.
    """
    data = layer.data
    if layer.multiscale or not hasattr(data, "dask") or data.nbytes > _MAX_BYTES:
        return
    layer_ref, viewer_ref = weakref.ref(layer), weakref.ref(viewer)

    def read(task: BackgroundTask) -> Any:
        values = np.empty(data.shape, data.dtype)
        for i in range(len(data)):
            task.report_progress(i, len(data))
            if layer_ref() is None:
                raise Cancelled
            values[i] = to_numpy(data[i])
        return values

    def replace_data(values: Any) -> None:
        layer, viewer = layer_ref(), viewer_ref()
        if layer is not None and viewer is not None and layer in viewer.layers and layer.data is data:
            layer.data = values

    def failed(error: BaseException) -> None:
        if isinstance(error, BadInput):
            show_error(str(error))  # a damaged slice; the layer stays lazy, so the others can be viewed
        # any other error also leaves the layer lazy, and is raised again when the slice is viewed

    BackgroundTask(window, read, replace_data, failed).start()
