"""Accepting an answer, or a proposal through a volume, as an object."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.plain_text import show_info, show_warning

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.widgets.point.drawing import Drawing
    from napari_latentseg.widgets.point.objects import AcceptedObjects
    from napari_latentseg.widgets.point.pending import PendingObject
    from napari_latentseg.widgets.point.through_volume import ThroughVolume

__all__ = ["Accepting"]


class PointedAt(Protocol):
    """The part of `Pointing` that `Accepting` uses."""

    image: Image | None
    card: ModelCard | None
    drawing: Drawing
    objects: AcceptedObjects
    through: ThroughVolume
    name: tuple[str, int]

    @property
    def index(self) -> tuple[int, ...] | None:
        """Index of the slice on screen."""
        ...

    @property
    def pending(self) -> PendingObject | None:
        """The object on the slice on screen."""
        ...

    @property
    def all_pending(self) -> dict[tuple[int, ...], PendingObject]:
        """The objects on all slices."""
        ...

    def next_color(self) -> str:
        """The colour of the object."""
        ...

    def after_accepting(self) -> None:
        """Show what was accepted."""
        ...


class Accepting:
    """The action of the button Accept.

    The layer of the objects of an image is added at the first of them, which takes napari a while. The object
    is put into it in the next iteration of the event loop, so that the window is held for less time at once.

    Parameters
    ----------
    pointing
        What is pointed at.
    """

    def __init__(self, pointing: PointedAt) -> None:
        self._of = weakref.ref(pointing)

    @property
    def _pointing(self) -> PointedAt:
        pointing = self._of()
        assert pointing is not None
        return pointing

    @property
    def problem(self) -> str:
        """Why there is nothing to accept; empty where there is."""
        pointing = self._pointing
        if pointing.image is not None and not pointing.objects.is_looked_up(pointing.image):
            return "Earlier objects are being looked up"
        if pointing.through.proposal is not None:
            return pointing.through.accept_problem
        pending = pointing.pending
        return "Click inside a structure first" if pending is None else pending.accept_problem

    def accept(self) -> None:
        """Accept the answer on the slice on screen, or the proposal; or show why that is not possible."""
        reason = self.problem
        if reason:
            show_info(f"{reason}.")
            return
        pointing = self._pointing
        image, card, index = pointing.image, pointing.card, pointing.index
        if image is None or card is None:
            return
        if pointing.objects.has_layer(image, card):
            self._accept(index)
            return
        try:
            pointing.objects.add_layer(image, card, pointing.name)
        except BadInput as error:
            show_warning(str(error))
            return
        pointing.drawing.turns.call("accept", lambda: self._accept(index))

    def _accept(self, index: tuple[int, ...] | None) -> None:
        pointing = self._pointing
        try:
            note = pointing.through.accept() if pointing.through.proposal else self._accept_slice(index)
        except BadInput as error:
            show_warning(str(error))
            return
        if note:
            show_info(note)
        pointing.after_accepting()

    def _accept_slice(self, index: tuple[int, ...] | None) -> str:
        """Accept the answer on a slice as an object; returns a note for the user."""
        pointing = self._pointing
        pending = None if index is None else pointing.all_pending.get(index)
        image, card = pointing.image, pointing.card
        mask = None if pending is None or pending.answered is None else pending.answered.answer.mask
        if mask is None or index is None or image is None or card is None:
            return ""  # `problem` has said so
        color = pointing.next_color()
        info, note = pointing.objects.accept(image, card, index, mask, pointing.name, color)
        del pointing.all_pending[index]
        pointing.through.forget_last()
        return f"{info.name}: {note}." if note else ""
