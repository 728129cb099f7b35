"""Hints on the image: clicks that weight the samples of a result, at once and without running the model."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.hints import Hint
from napari_latentseg.core.reweight import reweight, reweight_unavailable_reason
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.measure import class_sizes
from napari_latentseg.measure.expected_dice import with_expected_dice
from napari_latentseg.widgets._shared.layers import METADATA_KEY, spatial_arguments
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.result_layers import DisplayData
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception
from napari_latentseg.widgets.point.prompt_layers import INSIDE_COLOR, OUTSIDE_COLOR

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["Hinting", "hinting_of"]

_POINT_PIXELS = 16  # on screen, at any zoom
_LEAST_PERCENT = 5  # a number that changes more often is not read
_DRAG_PIXELS = 5  # on screen: a hand that trembles still clicks


@dataclass
class _Hinted:
    """The hints of a result, and what the result is without them."""

    original: Segmentation
    hints: list[Hint] = field(default_factory=list)


class Hinting(QObject):
    """The hints of each result of a viewer; clicks count while the layer of hints is selected.

    Parameters
    ----------
    viewer
        The viewer.

    Signals
    -------
    changed
        A hint was added or taken back, its weights are there, or clicks count or not.
    progressed
        How many percent of the slices are done, while samples are weighted.

    Attributes
    ----------
    inside
        Whether a click is part of the class; holding Shift turns it round.
    percent
        How many percent of the slices are done.
    """

    changed = Signal()
    progressed = Signal(int)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self._session = session_of(viewer)
        self._hinted: weakref.WeakKeyDictionary[RunResult, _Hinted] = weakref.WeakKeyDictionary()
        self._layers: weakref.WeakKeyDictionary[Image, Points] = weakref.WeakKeyDictionary()
        self._request = 0
        self._working: RunResult | None = None
        self.inside = True
        self.percent = 0
        self.progressed.connect(self._on_progress)
        self._session.results_changed.connect(self._follow_result)
        self._session.finished.connect(self._on_more_samples)
        viewer.layers.selection.events.active.connect(self._on_selected)

    @property
    def is_computing(self) -> bool:
        """Whether samples are being weighted."""
        return self._working is not None

    @property
    def counts_clicks(self) -> bool:
        """Whether the layer of hints is selected."""
        viewer = self._viewer()
        active = viewer.layers.selection.active if viewer is not None else None
        return active is not None and active in self._layers.values()

    def hints_of(self, result: RunResult | None) -> tuple[Hint, ...]:
        """The hints of a result, oldest first."""
        hinted = self._hinted.get(result) if result is not None else None
        return tuple(hinted.hints) if hinted is not None else ()

    def unavailable_reason(self, result: RunResult | None) -> str:
        """Why no hint can be given; empty where it can."""
        if result is None or result.segmentation is None:
            return "There is no result yet"
        return reweight_unavailable_reason(result.segmentation) or result.threshold_locked_reason

    def start(self, result: RunResult, *, inside: bool) -> None:
        """Let clicks on the image be hints."""
        viewer = self._viewer()
        if viewer is None or self.unavailable_reason(result):
            return
        self.inside = inside
        layer = self._layer_of(result.image)
        self._show_hints(result)
        layer.visible = True
        viewer.layers.selection.active = layer
        self.changed.emit()

    def stop(self) -> None:
        """Let clicks be those of the image again."""
        viewer, result = self._viewer(), self._session.current
        if viewer is not None and self.counts_clicks and result is not None and result.image in viewer.layers:
            viewer.layers.selection.active = result.image

    def _layer_of(self, image: Image) -> Points:
        viewer = self._viewer()
        assert viewer is not None
        layer = self._layers.get(image)
        if layer is not None and layer in viewer.layers:
            return layer
        layer = Points(
            ndim=image.ndim,
            name=f"{elide_middle(image.name, MAX_IMAGE_NAME)} hints",
            size=1,
            canvas_size_limits=(_POINT_PIXELS, _POINT_PIXELS),
            border_width=0,
            metadata={METADATA_KEY: {"role": "hints", "image": str(image.unique_id)}},
            **spatial_arguments(image),
        )
        layer.mouse_drag_callbacks.append(self._on_mouse)
        self._layers[image] = layer
        viewer.add_layer(layer)
        layer.editable = False  # napari's own tools would move hints that weight the samples
        return layer

    def _on_mouse(self, layer: Points, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or len(event.dims_displayed) != 2:
            return
        start, has_moved = np.array(event.pos, dtype=float), False
        is_other, position = "Shift" in event.modifiers, event.position
        yield
        while event.type == "mouse_move":
            has_moved = has_moved or float(np.linalg.norm(np.asarray(event.pos) - start)) >= _DRAG_PIXELS
            yield
        if not has_moved:
            self.add(tuple(float(v) for v in layer.world_to_data(position)), inside=self.inside != is_other)

    def add(self, point: tuple[float, ...], *, inside: bool) -> None:
        """Add a hint about the class whose maps are shown.

        Parameters
        ----------
        point
            In voxels of the image.
        inside
            Whether it is part of the class.
        """
        result = self._session.current
        reason = self.unavailable_reason(result)
        if result is None or result.segmentation is None or reason:
            show_exception(BadInput("hints", reason[0].lower() + reason[1:], "segment the image again"))
            return
        label = result.segmentation.classes[result.layers.maps.shown_class].label
        hint = Hint(point=tuple(round(value, 2) for value in point), inside=inside, label=label)
        shape = result.segmentation.mask.shape
        if not all(0 <= index < size for index, size in zip(hint.voxel, shape, strict=True)):
            return  # beside the image nothing is meant
        hinted = self._hinted.setdefault(result, _Hinted(result.segmentation))
        # a place is inside or outside: the last word counts
        hinted.hints = [h for h in hinted.hints if (h.voxel, h.label) != (hint.voxel, hint.label)] + [hint]
        self._apply(result)

    def take_back(self) -> None:
        """Take the last hint of the current result back."""
        self._remove(1)

    def clear(self) -> None:
        """Take all hints of the current result back, which gives the original result."""
        self._remove(len(self.hints_of(self._session.current)))

    def _remove(self, count: int) -> None:
        result = self._session.current
        hinted = self._hinted.get(result) if result is not None else None
        if result is None or hinted is None or not hinted.hints or result.threshold_locked_reason:
            return
        del hinted.hints[-count:]
        self._apply(result)

    def _apply(self, result: RunResult) -> None:
        """Weight the samples of a result in a worker; what was begun for earlier hints is given up."""
        self._show_hints(result)
        current, hinted = result.segmentation, self._hinted[result]
        assert current is not None
        self._request += 1
        request, hints, original = self._request, tuple(hinted.hints), hinted.original
        self._working, self.percent = result, 0
        self.changed.emit()
        shown = 0

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if request != self._request:
                raise Cancelled
            if (percent := 100 * done // total) >= shown + _LEAST_PERCENT:  # in a thread, for each slice
                shown = percent
                self.progressed.emit(percent)

        def compute() -> Any:
            plain = _as_shown(original, current)
            segmentation = reweight(plain, hints, progress=progress) if hints else plain
            if segmentation is not original:
                segmentation = with_expected_dice(segmentation, result.card)
            mask = np.array(segmentation.mask)
            return segmentation, class_sizes(segmentation, result.card), DisplayData(mask, None)

        def show(answer: Any) -> None:
            if request != self._request:
                return
            self._working = None
            if result.segmentation is not current:  # another threshold, or more samples
                self._apply(result)
                return
            if not result.threshold_locked_reason:
                segmentation, sizes, display = answer
                result.segmentation, result.sizes = segmentation, sizes
                for _ in result.layers.show_all(segmentation, display):
                    pass
                result.layers.maps.follow_samples(segmentation)
                self._session.thresholded.emit(result)
            self.changed.emit()

        def fail(error: BaseException) -> None:
            if request == self._request:
                self._working = None
                self.changed.emit()
                show_exception(error)

        run_in_thread(compute, show, fail, self)

    def _on_progress(self, percent: int) -> None:
        self.percent = percent
        self.changed.emit()

    def _show_hints(self, result: RunResult) -> None:
        """Draw the hints of a result."""
        layer = self._layers.get(result.image)
        if layer is None:
            return
        hints = self.hints_of(result)
        layer.data = np.array([hint.point for hint in hints], dtype=float).reshape(-1, result.image.ndim)
        if hints:
            colors = [INSIDE_COLOR if hint.inside else OUTSIDE_COLOR for hint in hints]
            layer.size = 1
            layer.face_color = layer.border_color = colors
            layer.symbol = ["cross" if hint.inside else "hbar" for hint in hints]
            layer.selected_data = set()

    def _follow_result(self, *_: Any) -> None:
        result = self._session.current
        if result is not None:
            self._show_hints(result)
        self.changed.emit()

    def _on_selected(self, event: Any = None) -> None:
        self.changed.emit()

    def _on_more_samples(self, result: Any) -> None:
        """More samples were drawn for a result: its hints weight all of them."""
        hinted = self._hinted.get(result) if result is not None else None
        segmentation = result.segmentation if hinted is not None else None
        if hinted is None or segmentation is None or segmentation.record.hints is not None:
            return
        hinted.original = segmentation
        if hinted.hints:
            self._apply(result)


def _as_shown(original: Segmentation, current: Segmentation) -> Segmentation:
    """The result without hints at the spacing, threshold and postprocessing of the one that is shown."""
    plain = original
    if plain.geometry != current.geometry:
        axes = [i for i, label in enumerate(current.geometry.axis_labels) if label != "t"]
        plain = plain.with_spacing([current.geometry.spacing[i] for i in axes])
    threshold = current.record.threshold
    if threshold != plain.record.threshold or current.cleanup != plain.cleanup:
        plain = plain.with_threshold(threshold, current.cleanup)
    return plain


@per_viewer
def hinting_of(viewer: ViewerModel) -> Hinting:
    """The hints of a viewer; they live as long as it does."""
    return Hinting(viewer)
