"""The contours of the samples over the image, on the current slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_latentseg.widgets._shared.layers import METADATA_KEY, index_on_screen, spatial_arguments
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["SampleContours", "contour_segments"]

# distinguishable with red-green colour blindness (Okabe and Ito 2008)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")


def contour_segments(
    samples: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The contours of samples as line segments.

    Parameters
    ----------
    samples
        Probabilities of one slice, `(n, K, H, W)` in [0, 1].
    threshold
        Level of the contours, in [0, 1].

    Returns
    -------
    segments, sample
        Start and direction of each segment in rows and columns, `(N, 2, 2)`, and its sample number, `(N,)`.
    """
    from skimage.measure import find_contours

    starts, directions, numbers = [], [], []
    for number, sample in enumerate(samples):
        for class_probability in sample:
            padded = np.pad(class_probability, 1)  # so that contours close at the edge of the image
            for line in find_contours(padded, threshold):
                starts.append(line[:-1] - 1)
                directions.append(np.diff(line, axis=0))
                numbers.append(np.full(len(line) - 1, number))
    if not starts:
        return np.zeros((0, 2, 2), dtype=np.float32), np.zeros(0, dtype=np.intp)
    segments = np.stack([np.concatenate(starts), np.concatenate(directions)], axis=1).astype(np.float32)
    return segments, np.concatenate(numbers)


class SampleContours(QObject):
    """A layer of sample contours, which follows the current slice while it is visible.

    Parameters
    ----------
    viewer
        The viewer to add the layer to.
    """

    role = "outlines"
    title = "samples"
    colours: tuple[str, ...] = _COLOURS

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

    @property
    def is_on(self) -> bool:
        """Whether the contours are shown."""
        return self.layer is not None and self.layer in self.viewer.layers and self.layer.visible

    def unavailable_reason(self, result: RunResult | None) -> str:
        """Why the contours of a result are not available; empty where they are."""
        segmentation = result.segmentation if result is not None else None
        if segmentation is None:
            return "There is no result yet"
        if segmentation.record.source == "none":
            return "This result is a single pass without samples"
        if segmentation.sample_maps is None or not segmentation.sample_maps.is_complete:
            return "Single samples were not kept (memory limit); only mean and variance are available"
        return ""

    def show_contours(self, result: RunResult | None, on: bool) -> None:
        """Show the contours of a result, or hide them."""
        self._result = result
        if not on or self.unavailable_reason(result):
            if self.layer is not None and self.layer in self.viewer.layers:
                self.layer.visible = False
            return
        if self.layer is not None and self.layer in self.viewer.layers:
            self.layer.visible = True
        self._timer.start()

    def follow_slice(self, event: Any = None) -> None:
        """Draw the contours of the slice that is on screen now."""
        if self.is_on:
            self._timer.start()

    def _draw(self) -> None:
        result = self._result
        if result is None or result.segmentation is None or self.unavailable_reason(result):
            return
        if self._worker is not None:
            self._timer.start()
            return
        image = result.layers.image
        screen_index = index_on_screen(self.viewer, image)
        leading_index = [at for at in screen_index[:-2] if not isinstance(at, slice)]
        if len(leading_index) != image.ndim - 2:  # the view shows another orientation of the volume
            return
        compute = self.segments_of(result, tuple(int(i) for i in leading_index))

        def show(answer: Any) -> None:
            self._worker = None
            if (
                result is self._result and image in self.viewer.layers
            ):  # neither removed nor closed in the meantime
                self._show(result, leading_index, *answer)

        def fail(error: BaseException) -> None:
            self._worker = None

        self._worker = run_in_thread(compute, show, fail, self)

    def segments_of(self, result: RunResult, index: tuple[int, ...]) -> Callable[[], Any]:
        """The function that computes the lines of a slice in a worker, see `contour_segments`."""
        segmentation = result.segmentation
        assert segmentation is not None
        maps, threshold = segmentation.sample_maps, segmentation.record.threshold
        assert maps is not None
        number = int(np.ravel_multi_index(index, segmentation.mask.shape[:-2])) if index else 0
        return lambda: contour_segments(maps.plane_samples(number), threshold)

    def _show(
        self,
        result: RunResult,
        leading_index: list[Any],
        segments: NDArray[np.float32],
        numbers: NDArray[np.intp],
    ) -> None:
        image = result.layers.image
        data = np.zeros((len(segments), 2, image.ndim), dtype=np.float32)
        data[:, 0, : len(leading_index)] = leading_index
        data[:, :, -2:] = segments
        colours = (
            np.array([self.colours[k % len(self.colours)] for k in numbers]) if len(numbers) else "white"
        )
        if self.layer is None or self.layer not in self.viewer.layers:
            self.layer = Vectors(
                data,
                ndim=image.ndim,
                name=f"{image.name} {self.title}",
                metadata={METADATA_KEY: {"role": self.role}},
                edge_color=colours,
                edge_width=_width(image),
                vector_style="line",
                **spatial_arguments(image),
            )
            active = self.viewer.layers.selection.active
            self.viewer.add_layer(self.layer)
            self.viewer.layers.selection.active = active
            return
        self.layer.data = data
        self.layer.edge_color = colours


def _width(image: Any) -> float:
    """Width of the lines, in pixels of the image: 1/400 of its longer side, about 2 pixels on the screen."""
    data = image.data[0] if image.multiscale else image.data
    return max(0.2, max(data.shape[image.ndim - 2 : image.ndim]) / 400)
