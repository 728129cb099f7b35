"""The outlines of the single samples over the image, on the slice that is on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_latentseg.widgets.background import in_background
from napari_latentseg.widgets.layers import KEY, place_on_screen, spatial_arguments

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.session import Result

__all__ = ["SampleOutlines", "segments_of"]

# told apart by those who see few colours, too (Okabe and Ito 2008)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")


def segments_of(
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

    starts, ways, numbers = [], [], []
    for number, sample in enumerate(samples):
        for each in sample:
            framed = np.pad(each, 1)  # an outline closes at the edge of the image
            for line in find_contours(framed, threshold):
                starts.append(line[:-1] - 1)
                ways.append(np.diff(line, axis=0))
                numbers.append(np.full(len(line) - 1, number))
    if not starts:
        return np.zeros((0, 2, 2), dtype=np.float32), np.zeros(0, dtype=np.intp)
    both = np.stack([np.concatenate(starts), np.concatenate(ways)], axis=1).astype(np.float32)
    return both, np.concatenate(numbers)


class SampleOutlines(QObject):
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
        self._result: Result | None = None
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

    def why_not(self, result: Result | None) -> str:
        """Why a result has no outlines of its samples; empty where it has."""
        found = result.found if result is not None else None
        if found is None:
            return "There is no result yet"
        if found.record.source == "none":
            return "This result is one answer; there are no samples to draw"
        if found.maps is None or not found.maps.is_complete:
            return "The samples took too much memory to be kept; their mean and variance were"
        return ""

    def show_for(self, result: Result | None, on: bool) -> None:
        """Turn them on for a result, or off."""
        self._result = result
        if not on or self.why_not(result):
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
        if result is None or result.found is None or result.found.maps is None:
            return
        if self._worker is not None:
            self._timer.start()
            return
        image = result.layers.image
        place = place_on_screen(self.viewer, image)
        lead = [at for at in place[:-2] if not isinstance(at, slice)]
        if len(lead) != image.ndim - 2:  # another cut of the volume is on screen
            return
        found, maps = result.found, result.found.maps
        number = int(np.ravel_multi_index(lead, found.mask.shape[:-2])) if lead else 0

        def work() -> Any:
            return segments_of(maps.plane(number), found.record.threshold)

        def show(answer: Any) -> None:
            self._worker = None
            if result is self._result and image in self.viewer.layers:  # neither removed nor closed since
                self._show(result, lead, *answer)

        def fail(error: BaseException) -> None:
            self._worker = None

        self._worker = in_background(work, show, fail, self)

    def _show(
        self, result: Result, lead: list[Any], segments: NDArray[np.float32], numbers: NDArray[np.intp]
    ) -> None:
        image = result.layers.image
        data = np.zeros((len(segments), 2, image.ndim), dtype=np.float32)
        data[:, 0, : len(lead)] = lead
        data[:, :, -2:] = segments
        colours = np.array([_COLOURS[k % len(_COLOURS)] for k in numbers]) if len(numbers) else "white"
        if self.layer is None or self.layer not in self.viewer.layers:
            self.layer = Vectors(
                data, ndim=image.ndim, name=f"{image.name} samples", metadata={KEY: {"role": "outlines"}},
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
