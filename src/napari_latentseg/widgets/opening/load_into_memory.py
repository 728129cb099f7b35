"""Volumes that are shown from their files at first, brought into memory while a person looks at them.

napari reads a slice on the GUI thread when it is scrolled to. That is quick along the slices of a file, not
across them, where every slice is needed, nor where they are compressed.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error

from napari_latentseg.core.scan import to_numpy
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.widgets.opening.reader_thread import BackgroundTask

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from qtpy.QtWidgets import QWidget

__all__ = ["load_into_memory"]

_MAX_BYTES = 2**30  # bytes; what takes more stays in its files


def load_into_memory(viewer: ViewerModel, layer: Image, window: QWidget) -> None:
    """Replace a layer's lazy array by one in memory, when it is read; the values are the same.

    Parameters
    ----------
    viewer
        Where the layer is shown. What is no longer there by then, or has other data, is left alone.
    layer
        Nothing is done for one with several levels, with more than a gigabyte, or in memory already.
    window
        When it goes, the reading ends.
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
            show_error(str(error))  # a slice that is damaged; the others can still be looked at

    BackgroundTask(window, read, replace_data, failed).start()
