"""The outlines of the single samples over the image, on the slice that is on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_latentseg.widgets._shared.layers import METADATA_KEY, index_on_screen, spatial_arguments
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["SampleContours", "contour_segments"]

# told apart by those who see few colours, too (Okabe and Ito 2008)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")


def contour_segments(
    samples: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The outlines of samples as short lines.

    Parameters
    ----------
    samples
        Probabilities of one plane, `(n, K, H, W)` in [0, 1].
    threshold
        Where they are cut.

    Returns
    -------
    segments, sample
        `(N, 2, 2)`, start and way of each in rows and columns; and which sample each belongs to, `(N,)`.
    """
    from skimage.measure import find_contours

    starts, directions, numbers = [], [], []
    for number, sample in enumerate(samples):
        for class_probability in sample:
            padded = np.pad(class_probability, 1)  # an outline closes at the edge of the image
            for line in find_contours(padded, threshold):
                starts.append(line[:-1] - 1)
                directions.append(np.diff(line, axis=0))
                numbers.append(np.full(len(line) - 1, number))
    if not starts:
        return np.zeros((0, 2, 2), dtype=np.float32), np.zeros(0, dtype=np.intp)
    segments = np.stack([np.concatenate(starts), np.concatenate(directions)], axis=1).astype(np.float32)
    return segments, np.concatenate(numbers)


class SampleContours(QObject):
    """A layer of outlines that follows the slice on screen while it is on.

    Parameters
    ----------
    viewer
        Where it is shown.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.layer: Vectors | None = None
        self._result: RunResult | None = None
        self._worker: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(40)
        self._timer.timeout.connect(self._draw)
        viewer.dims.events.current_step.connect(self._on_step)

    @property
    def is_on(self) -> bool:
        """Whether they are shown."""
        return self.layer is not None and self.layer in self.viewer.layers and self.layer.visible

    def unavailable_reason(self, result: RunResult | None) -> str:
        """Why a result has no outlines of its samples; empty where it has."""
        segmentation = result.segmentation if result is not None else None
        if segmentation is None:
            return "There is no result yet"
        if segmentation.record.source == "none":
            return "This result is one answer; there are no samples to draw"
        if segmentation.sample_maps is None or not segmentation.sample_maps.is_complete:
            return "The samples took too much memory to be kept; their mean and variance were"
        return ""

    def show_contours(self, result: RunResult | None, on: bool) -> None:
        """Turn them on for a result, or off."""
        self._result = result
        if not on or self.unavailable_reason(result):
            if self.layer is not None and self.layer in self.viewer.layers:
                self.layer.visible = False
            return
        if self.layer is not None and self.layer in self.viewer.layers:
            self.layer.visible = True
        self._timer.start()

    def _on_step(self, event: Any = None) -> None:
        if self.is_on:
            self._timer.start()

    def _draw(self) -> None:
        result = self._result
        if result is None or result.segmentation is None or result.segmentation.sample_maps is None:
            return
        if self._worker is not None:
            self._timer.start()
            return
        image = result.layers.image
        screen_index = index_on_screen(self.viewer, image)
        leading_index = [at for at in screen_index[:-2] if not isinstance(at, slice)]
        if len(leading_index) != image.ndim - 2:  # another cut of the volume is on screen
            return
        segmentation, maps = result.segmentation, result.segmentation.sample_maps
        number = (
            int(np.ravel_multi_index(leading_index, segmentation.mask.shape[:-2])) if leading_index else 0
        )

        def compute() -> Any:
            return contour_segments(maps.plane_samples(number), segmentation.record.threshold)

        def show(answer: Any) -> None:
            self._worker = None
            if result is self._result and image in self.viewer.layers:  # neither removed nor closed since
                self._show(result, leading_index, *answer)

        def fail(error: BaseException) -> None:
            self._worker = None

        self._worker = run_in_thread(compute, show, fail, self)

    def _show(
        self, result: RunResult, lead: list[Any], segments: NDArray[np.float32], numbers: NDArray[np.intp]
    ) -> None:
        image = result.layers.image
        data = np.zeros((len(segments), 2, image.ndim), dtype=np.float32)
        data[:, 0, : len(lead)] = lead
        data[:, :, -2:] = segments
        colours = np.array([_COLOURS[k % len(_COLOURS)] for k in numbers]) if len(numbers) else "white"
        if self.layer is None or self.layer not in self.viewer.layers:
            self.layer = Vectors(
                data, ndim=image.ndim, name=f"{image.name} samples", metadata={METADATA_KEY: {"role": "outlines"}},
                edge_color=colours, edge_width=_width(image), vector_style="line", **spatial_arguments(image),
            )  # fmt: skip
            active = self.viewer.layers.selection.active
            self.viewer.add_layer(self.layer)
            self.viewer.layers.selection.active = active
            return
        self.layer.data = data
        self.layer.edge_color = colours


def _width(image: Any) -> float:
    """About a four-hundredth of the image's side, in its elements."""
    data = image.data[0] if image.multiscale else image.data
    return max(0.2, max(data.shape[image.ndim - 2 : image.ndim]) / 400)
