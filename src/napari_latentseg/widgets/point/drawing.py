"""The layers of clicks and answers of the images of one viewer: each image has its own."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.widgets._shared.turns import Turns
from napari_latentseg.widgets.point.answer_layers import MAPS, AnswerLayers
from napari_latentseg.widgets.point.prompt_layers import PromptLayers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from qtpy.QtCore import QObject

    from napari_latentseg.inference.slice_part import SlicePart
    from napari_latentseg.widgets.point.pending import PendingObject

__all__ = ["Drawing"]


class Drawing:
    """What is drawn of an object that a person points at.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Of the layers of clicks.

    Attributes
    ----------
    prompts
        The clicks of the image that is pointed at; None before it has any layers.
    answers
        The answers on it.
    turns
        What is still to be added or drawn.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        self._viewer = weakref.ref(viewer)
        self._parent = parent
        self.turns = Turns(parent)
        self.prompts: PromptLayers | None = None
        self.answers: AnswerLayers | None = None
        self._wanted = dict.fromkeys(MAPS, False)
        # by number of axes, which other values of an image may change; `ImageLayers` says why none is removed
        self._of_images: weakref.WeakKeyDictionary[Image, dict[int, tuple[PromptLayers, AnswerLayers]]] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def is_shown(self) -> bool:
        """Whether the layer of clicks is in the viewer."""
        return self.prompts is not None and self.prompts.is_in_viewer

    def open(self, image: Image, then: Callable[[], None]) -> PromptLayers | None:
        """Show the layers of an image; returns that of its clicks where it is new.

        Parameters
        ----------
        image
            The image.
        then
            Called once they are there, which is later: each is added in its own iteration of the event loop.
        """
        viewer = self._viewer()
        if viewer is None or self.is_shown:
            return None
        known = self._of_images.setdefault(image, {}).get(image.ndim)
        is_new = known is None
        if known is None:
            prompts = PromptLayers(viewer, image, self._parent)
            known = self._of_images[image][image.ndim] = (
                prompts,
                AnswerLayers(viewer, image, self.turns, self._wanted),
            )
        prompts, self.answers = known
        self.prompts = prompts
        for role in prompts.missing():
            self.turns.call(role, partial(prompts.add, role))
        self.turns.call("select", prompts.select)
        self.turns.call("then", then)
        return prompts if is_new else None

    def close(self) -> None:
        """Hide the layers."""
        self.turns.forget()
        prompts, self.prompts = self.prompts, None
        answers, self.answers = self.answers, None
        if prompts is not None:
            prompts.hide()
        if answers is not None:
            answers.clear()

    def show_map(self, role: str, on: bool) -> None:
        """Show or hide a map of the answer, see `MAPS`; also of later answers, and on other images."""
        self._wanted[role] = on
        if self.answers is not None:
            self.answers.update_map(role)

    def remove(self, image: Image) -> None:
        """Remove the layers of an image that has gone."""
        for known in self._of_images.pop(image, {}).values():
            if self.prompts in known:
                self.turns.forget()
            for group in known:
                group.remove()

    def fits(self, image: Image) -> bool:
        """Whether the layers that are shown have as many axes as an image, whose values may be others now."""
        return self.prompts is None or self.prompts.points.ndim == image.ndim

    def draw_steps(self, pending: PendingObject | None, index: tuple[int, ...] | None) -> None:
        """Draw the clicks on a slice."""
        if self.prompts is not None and self.is_shown and index is not None:
            self._raise_clicks(self.prompts)
            self.prompts.show(pending.pointed if pending is not None else PointedObject(), index)

    def _raise_clicks(self, prompts: PromptLayers) -> None:
        """Boxes and clicks above all layers: accepted objects are added later, and would hide them."""
        viewer = self._viewer()
        layers = viewer.layers if viewer is not None else []
        for layer, place in ((prompts.boxes, -2), (prompts.points, -1)):
            if viewer is not None and layers[place] is not layer:
                viewer.layers.move(viewer.layers.index(layer), len(layers))

    def prepare_answer(self, part: SlicePart, color: str) -> None:
        """Add the layer of answers to a part before the first click, at which it would hold the window."""
        if self.answers is not None and self.prompts is not None and self.is_shown:
            self.answers.prepare(part, color, self.prompts.boxes)

    def draw_answer(self, pending: PendingObject | None, index: tuple[int, ...] | None, color: str) -> None:
        """Draw the answer on a slice; one that is being computed leaves the last one on screen."""
        if self.answers is None or self.prompts is None or not self.is_shown:
            return
        if pending is None or index is None:
            self.answers.clear()
        elif pending.answered is not None:
            answered = pending.answered
            self.answers.show(answered.answer, index, answered.outlines, color, self.prompts.boxes)
