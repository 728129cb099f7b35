"""Clicks on the copy of a mask that change it in their neighbourhood, with a model that takes prompts."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.click_edit import changed_near, steps_of_click
from napari_latentseg.core.mask_edit import edit_spacing
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import slice_text
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer
from napari_latentseg.widgets.annotate.mask_tools import LabelChange
from napari_latentseg.widgets.annotate.plane_lock import plane_on_screen

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_latentseg.inference.prompt_image import PromptImage
    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["ClickEditor"]

_DRAG_PIXELS = 5  # on screen: a hand that trembles still clicks
_SAMPLES = 4  # of an answer; the mask is that of their mean
_LARGEST_SIDE = 2048  # pixels: of a larger slice, the part around the click is looked at


class ClickEditor(QObject):
    """Answers clicks on one copy at a time, off the GUI thread.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Qt parent.

    Signals
    -------
    started
        A click is being answered.
    finished
        The `LabelChange`.
    failed
        The exception.

    Attributes
    ----------
    model
        Name of the model that answers; empty before one is chosen.
    radius
        Of the neighbourhood of a click, in the unit of `edit_spacing`.
    """

    started = Signal()
    finished = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(unwrapped_viewer(viewer))
        self._session = session_of(viewer)
        self.model = ""
        self.radius = 1.0
        self._correction: Correction | None = None
        self._layer: Labels | None = None
        self._is_busy = False
        self._image: tuple[Correction, str, PromptImage] | None = None  # used in the thread alone

    @property
    def is_on(self) -> bool:
        """Whether clicks change the mask."""
        return self._layer is not None

    def start(self, correction: Correction) -> None:
        """Let clicks on the copy of a correction change it."""
        self.stop()
        assert correction.layer is not None
        self._correction, self._layer = correction, correction.layer
        self._layer.mode = "pan_zoom"
        self._layer.mouse_drag_callbacks.append(self._on_mouse)

    def stop(self) -> None:
        """Let the mouse paint again."""
        layer, self._layer = self._layer, None
        if layer is not None and self._on_mouse in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_mouse)
            if layer.editable and str(layer.mode) == "pan_zoom":
                layer.mode = "paint"

    def _on_mouse(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or len(event.dims_displayed) != 2 or str(layer.mode) != "pan_zoom":
            return
        start, has_moved = np.array(event.pos, dtype=float), False
        inside, position = "Shift" not in event.modifiers, event.position
        yield
        while event.type == "mouse_move":
            has_moved = has_moved or float(np.linalg.norm(np.asarray(event.pos) - start)) >= _DRAG_PIXELS
            yield
        if not has_moved:
            self.click(tuple(float(v) for v in layer.world_to_data(position)), inside=inside)

    def click(self, point: tuple[float, ...], *, inside: bool) -> None:
        """Answer a click; one that comes while another is being answered is passed over.

        Parameters
        ----------
        point
            In voxels of the copy.
        inside
            Whether it is part of the class that is chosen for painting.
        """
        correction, layer, viewer = self._correction, self._layer, self._viewer()
        if correction is None or layer is None or viewer is None or self._is_busy:
            return
        number = plane_on_screen(viewer, layer, correction.axis_order)
        row, column = (point[axis] for axis in correction.axis_order[-2:])
        height, width = correction.scan.spatial_shape[-2:]
        if not (-0.5 <= row < height - 0.5 and -0.5 <= column < width - 0.5):
            return  # beside the image nothing is meant
        if number is None:
            self.failed.emit(BadInput("click", "the view shows another orientation", "show the slices"))
            return
        if number in correction.approved:
            name = slice_text(number, correction.plane_count) if correction.leading_shape else "this image"
            self.failed.emit(BadInput(name, "is approved and locked", "unlock it in Annotate"))
            return
        label, radius = int(layer.selected_label), self.radius
        before = np.array(correction.plane_of(np.asarray(layer.data), number))
        self._is_busy = True
        self.started.emit()

        def compute() -> LabelChange:
            return self._change(correction, number, before, label, (row, column), radius, inside)

        def show(change: LabelChange) -> None:
            self._is_busy = False
            self.finished.emit(change)

        def fail(error: BaseException) -> None:
            self._is_busy = False
            self.failed.emit(error)

        run_in_thread(compute, show, fail, self)

    def _change(
        self,
        correction: Correction,
        number: int,
        before: Any,
        label: int,
        click: tuple[float, float],
        radius: float,
        inside: bool,
    ) -> LabelChange:
        """In the thread: what a click changes on a slice."""
        region = before == label
        answer = self._answer(correction, number, region, click, inside)
        spacing = edit_spacing(correction.scan.geometry)[0][-2:]
        changed = (
            region if answer is None else changed_near(region, answer, click, radius, spacing, inside=inside)
        )
        after = before.copy()
        after[region & ~changed] = 0
        after[changed & (before == 0)] = label
        rows, columns = np.nonzero(after != before)
        leading = np.unravel_index(number, correction.leading_shape) if correction.leading_shape else ()
        voxels: list[Any] = [None] * len(correction.axis_order)
        in_planes = (*(np.full(len(rows), int(i), np.intp) for i in leading), rows, columns)
        for axis, indices in zip(correction.axis_order, in_planes, strict=True):
            voxels[axis] = indices
        return LabelChange(tuple(voxels), before[rows, columns], after[rows, columns])

    def _answer(
        self, correction: Correction, number: int, region: Any, click: tuple[float, float], inside: bool
    ) -> Any:
        from napari_latentseg.inference.prompt_image import PromptImage
        from napari_latentseg.inference.slice_part import SlicePart

        box = [0, 0, *region.shape]
        for axis, (place, size) in enumerate(zip(click, region.shape, strict=True)):
            if size > _LARGEST_SIDE:
                first = min(max(0, round(place) - _LARGEST_SIDE // 2), size - _LARGEST_SIDE)
                box[axis], box[axis + 2] = first, first + _LARGEST_SIDE
        top, left, bottom, right = box
        part = SlicePart(number, (top, left, bottom, right))
        present = region[top:bottom, left:right]
        pointed = steps_of_click(present, (click[0] - top, click[1] - left), inside=inside)
        if pointed is None:
            return None
        if self._image is None or self._image[:2] != (correction, self.model):
            self._image = None
            image = PromptImage(correction.scan, self._session.runner.load_model(self.model))
            self._image = correction, self.model, image
        prompts = type(pointed)()
        for step in pointed.steps:
            moved = [(y + top, x + left) for y, x in step.places]
            prompts.add_points(moved, is_inside=step.kind == "inside")
        previous = present.astype(np.float32) if present.any() else None
        answered = self._image[2].answer(part, prompts, _SAMPLES, previous)
        mask = np.zeros(region.shape, bool)
        found = answered.mask if answered is not None else None
        if found is not None:
            height, width = found.values.shape
            mask[found.top : found.top + height, found.left : found.left + width] = found.values
        return mask
