"""What a result says about the voxel under the mouse, whichever layer is selected."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.core.doubt import doubt_of
from napari_latentseg.core.plane_axes import plane_axis_order
from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.result_layers import ResultLayers

__all__ = ["CursorReadout", "describe_voxel"]

_DELAY_MS = 40  # the mouse moves more often than anybody reads


class CursorReadout(QObject):
    """Follows the mouse over the canvas.

    Signals
    -------
    changed
        One line about the voxel; empty outside the image, in 3D and for results that are not in memory.
    """

    changed = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(unwrapped_viewer(viewer))
        self._layers: ResultLayers | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._read)

    def set_result(self, layers: ResultLayers | None) -> None:
        """Read out another result, or none."""
        self._layers = layers
        self.follow()

    def follow(self, event: Any = None) -> None:
        """Read the voxel under the mouse, in a moment."""
        if not self._timer.isActive():
            self._timer.start()

    def _read(self) -> None:
        self.changed.emit(self.text())

    def text(self) -> str:
        """One line about the voxel under the mouse."""
        viewer, layers = self._viewer(), self._layers
        if viewer is None or layers is None or layers.maps.segmentation is None:
            return ""
        segmentation = layers.maps.segmentation
        if viewer.dims.ndisplay != 2 or not viewer.mouse_over_canvas:
            return ""
        if not isinstance(segmentation.mean, np.ndarray):  # one voxel of it may take seconds to compute
            return ""
        image = layers.image
        point = image.world_to_data(viewer.cursor.position[-image.ndim :])
        index = tuple(int(i) for i in np.floor(np.asarray(point, dtype=float) + 0.5))
        if not all(0 <= i < n for i, n in zip(index, segmentation.mask.shape, strict=True)):
            return ""
        return _text_at(segmentation, layers, index)


def _is_segmented(segmentation: Segmentation, index: tuple[int, ...]) -> bool:
    """Whether a voxel has a prediction, as far as that is known."""
    region = segmentation.segmented_region
    if region.is_whole or region.ranges is None:
        return True
    order = plane_axis_order(segmentation.geometry, len(index), segmentation.record.plane)
    *slice_axes, row_axis, column_axis = order
    lengths = [segmentation.mask.shape[axis] for axis in slice_axes]
    number = int(np.ravel_multi_index([index[axis] for axis in slice_axes], lengths)) if slice_axes else 0
    top, left, bottom, right = region.box or (0, 0, *(segmentation.mask.shape[axis] for axis in order[-2:]))
    return number in region and top <= index[row_axis] < bottom and left <= index[column_axis] < right


def _text_at(segmentation: Segmentation, layers: ResultLayers, index: tuple[int, ...]) -> str:
    if not _is_segmented(segmentation, index):
        return "This voxel was not segmented"
    all_classes: Any = (slice(None), *index)
    means = segmentation.mean[all_classes]
    shows_map = any(layer.visible for role in layers.maps.layers for layer in layers.layers_of(role))
    position = layers.maps.shown_class if shows_map or not means.any() else int(means.argmax())
    at_class = (position, *index)
    agreement, variance = layers.maps.agreement, segmentation.variance
    return describe_voxel(
        segmentation.classes[position].name,
        None if agreement is None else int(agreement[at_class]),
        segmentation.record.samples,
        float(means[position]),
        None if variance is None else float(variance[at_class]),
        is_weighted=segmentation.record.hints is not None,
    )


def describe_voxel(
    class_name: str,
    agreeing: int | None,
    samples: int,
    mean: float,
    variance: float | None,
    *,
    is_weighted: bool = False,
) -> str:
    """One line about a voxel.

    Parameters
    ----------
    class_name
        Name of the class.
    agreeing, samples
        How many of the samples assign it to the class; None where that is not known.
    mean, variance
        Of the probability over the samples; no variance where None. The doubt follows from the mean.
    is_weighted
        Whether hints weight the samples.

    Examples
    --------
    >>> describe_voxel("lesion", 6, 8, 0.712, 0.0401)
    'lesion: 6 of 8 samples, mean 0.71, variance 0.04, doubt 0.29'
    """
    weighted = " by weight" if is_weighted else ""
    parts = [] if agreeing is None else [f"{agreeing} of {samples} samples{weighted}"]
    parts.append(f"mean {mean:.2f}")
    if variance is not None:
        parts.append(f"variance {variance:.2f}")
    parts.append(f"doubt {doubt_of(mean):.2f}")
    return f"{class_name}: {', '.join(parts)}"
