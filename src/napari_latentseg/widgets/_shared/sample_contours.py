"""The contours of the samples over the image, on the current slice."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.widgets._shared.layers import METADATA_KEY, index_on_screen, spatial_arguments
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["SampleContours", "contour_segments", "sample_contours_of"]

# distinguishable with red-green colour blindness (Okabe and Ito 2008)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")

_FAINTEST = 0.15  # opacity of the outline of a sample that hints contradict: still seen


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
    """A layer of sample contours, which follows the current result and slice while it is visible.

    Parameters
    ----------
    viewer
        The viewer to add the layer to.

    Signals
    -------
    toggled
        The contours were shown or hidden.
    """

    role = "outlines"
    title = "samples"
    colours: tuple[str, ...] = _COLOURS

    toggled = Signal(bool)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.layer: Vectors | None = None
        self._result: RunResult | None = None
        self._worker: ThreadWorker | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(40)
        self._timer.timeout.connect(self._draw)
        self._session = session_of(viewer)
        self._session.results_changed.connect(self._follow_result)
        self._session.thresholded.connect(self._follow_result)
        viewer.dims.events.current_step.connect(self.follow_slice)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def is_on(self) -> bool:
        """Whether the contours are shown."""
        viewer = self._viewer()
        return (
            self.layer is not None
            and viewer is not None
            and self.layer in viewer.layers
            and bool(self.layer.visible)
        )

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
        on = on and not self.unavailable_reason(result)
        if self.layer is not None and self.layer.visible != on:
            self.layer.visible = on
        if on:
            self._timer.start()

    def _follow_result(self, *_: Any) -> None:
        """Draw the contours of the result that is current now."""
        if self.is_on:
            self.show_contours(self._session.current, True)

    def follow_slice(self, event: Any = None) -> None:
        """Draw the contours of the slice that is on screen now."""
        if self.is_on:
            self._timer.start()

    def _draw(self) -> None:
        result, viewer = self._result, self._viewer()
        if viewer is None or result is None or result.segmentation is None or self.unavailable_reason(result):
            return
        if self._worker is not None:
            self._timer.start()
            return
        image = result.layers.image
        screen_index = index_on_screen(viewer, image)
        leading_index = [at for at in screen_index[:-2] if not isinstance(at, slice)]
        if len(leading_index) != image.ndim - 2:  # the view shows another orientation of the volume
            return
        compute = self.segments_of(result, tuple(int(i) for i in leading_index))

        def show(answer: Any) -> None:
            self._worker = None
            if (
                result is self._result and image in viewer.layers
            ):  # neither removed nor closed in the meantime
                self._show(result, leading_index, *answer)

        def fail(error: BaseException) -> None:
            self._worker = None

        self._worker = run_in_thread(compute, show, fail, self)

    def segments_of(self, result: RunResult, index: tuple[int, ...]) -> Callable[[], Any]:
        """The function that computes the lines of a slice in a worker, see `contour_segments`."""
        segmentation = result.segmentation
        assert segmentation is not None
        maps, threshold = segmentation.sample_maps, segmentation.record.sample_threshold
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
        colours = np.array(self._colours_of(result))[numbers] if len(numbers) else "white"
        owner = {
            "role": self.role,
            "image": str(image.unique_id),
            "run": result.layers.run_number,
        }
        name = f"{elide_middle(image.name, MAX_IMAGE_NAME)} run {result.layers.run_number} {self.title}"
        viewer = self._viewer()
        if viewer is None:
            return
        if self.layer is not None and self.layer in viewer.layers:
            if self.layer.metadata[METADATA_KEY] == owner:
                self.layer.data = data
                self.layer.edge_color = colours
                return
            viewer.layers.remove(self.layer)  # another image may have other dimensions and another geometry
        self.layer = Vectors(
            data,
            ndim=image.ndim,
            name=name,
            metadata={METADATA_KEY: owner},
            edge_color=colours,
            edge_width=_width(image),
            vector_style="line",
            **spatial_arguments(image),
        )
        self.layer.events.visible.connect(self._on_visible)
        active = viewer.layers.selection.active
        viewer.add_layer(self.layer)
        viewer.layers.selection.active = active
        self._on_visible()

    def _colours_of(self, result: RunResult) -> list[str]:
        """The colour of each sample; where hints weight them, those that count less are fainter."""
        segmentation = result.segmentation
        hints = segmentation.record.hints if segmentation is not None else None
        count = segmentation.record.samples if segmentation is not None else 0
        colours = [self.colours[k % len(self.colours)] for k in range(max(count, len(self.colours)))]
        if hints is None:
            return colours
        most = max(hints.weights)
        strengths = [max(_FAINTEST, weight / most) for weight in hints.weights]
        return [f"{c}{round(255 * s):02x}" for c, s in zip(colours, strengths, strict=False)]

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer = None
            self._on_visible()

    def _on_visible(self, event: Any = None) -> None:
        self.toggled.emit(self.is_on)


@per_viewer
def sample_contours_of(viewer: ViewerModel) -> SampleContours:
    """The sample contours of a viewer, shared by its widgets."""
    return SampleContours(viewer)


def _width(image: Any) -> float:
    """Width of the lines, in pixels of the image: 1/400 of its longer side, about 2 pixels on the screen."""
    data = image.data[0] if image.multiscale else image.data
    return max(0.2, max(data.shape[image.ndim - 2 : image.ndim]) / 400)
