"""Accepted objects: labels of one layer, saved as a draft, and never overwritten."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_latentseg.core.object_names import next_number, object_class
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.label_style import unused_color
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets.annotate.correction import model_family
from napari_latentseg.widgets.annotate.corrections import corrections_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.annotations import Draft
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.inference.slice_part import ObjectMask
    from napari_latentseg.models.card import ModelCard

__all__ = ["AcceptedObjects"]

# napari's undo history of more would hold the window for a noticeable time, as in `result_layers`
_MAX_UNDO_VOXELS = 400_000


class AcceptedObjects:
    """The objects that were accepted in a viewer.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = weakref.ref(viewer)
        self._corrections = corrections_of(viewer)

    def classes(self, image: Image, card: ModelCard) -> tuple[ClassInfo, ...]:
        """The objects of an image so far."""
        correction = self._corrections.objects_of(image, card)
        return correction.classes if correction is not None else ()

    def next_number(self, image: Image, card: ModelCard, class_name: str) -> int:
        """The number of the next object of a class."""
        return next_number((info.name for info in self.classes(image, card)), class_name)

    def next_color(self, image: Image, card: ModelCard) -> str:
        """The colour of the next object."""
        return unused_color(self.classes(image, card))

    def accept(
        self, image: Image, card: ModelCard, index: tuple[int, ...], mask: ObjectMask, name: tuple[str, int],
        color: str,
    ) -> tuple[ClassInfo, str]:  # fmt: skip
        """Make a mask an object, or a part of one; what is labelled already stays.

        Parameters
        ----------
        image, card
            What was pointed at, and the model that answered.
        index
            Of the slice, along the axes before rows and columns.
        mask
            The mask.
        name
            Class and number.
        color
            Of a new object.

        Returns
        -------
        info, note
            The object, and what else is to be said; empty where there is nothing.

        Raises
        ------
        BadInput
            If the slice is approved, all of the mask is accepted already, or there are too many objects.
        """
        classes = self.classes(image, card)
        info, is_new = object_class(classes, *name, color)
        correction = self._corrections.open_objects(image, card, info)
        plane = correction.plane_number(index)
        if plane in correction.approved:
            raise BadInput("slice", "is approved and locked", "unlock it in Annotate")
        layer = correction.layer
        assert layer is not None
        height, width = mask.values.shape
        where: tuple[Any, ...] = (
            *index,
            slice(mask.top, mask.top + height),
            slice(mask.left, mask.left + width),
        )
        region = np.asarray(layer.data)[where]
        free = mask.values & (region == 0)
        if not free.any():
            raise BadInput("object", "all of it belongs to accepted objects", "point at another place")
        if is_new and info not in correction.classes:
            correction.extend_classes([info])
        if np.count_nonzero(free) <= _MAX_UNDO_VOXELS:
            rows, columns = np.nonzero(free)
            leading = [np.full(len(rows), at) for at in index]
            layer.data_setitem((*leading, rows + mask.top, columns + mask.left), info.label)
        else:
            region[free] = info.label
            layer.refresh()
        correction.is_dirty = True
        self._corrections.autosaver.save(correction)
        self._corrections.changed.emit()
        kept = int(np.count_nonzero(mask.values & (region != 0) & (region != info.label)))
        note = f"{count_text(kept, 'pixel')} stayed with objects that were accepted before" if kept else ""
        return info, note

    def find_unfinished(self, image: Image, card: ModelCard, show: Callable[[Draft | None], None]) -> None:
        """Look for a draft of the objects of an image that no window works on, as after a crash.

        Parameters
        ----------
        image, card
            As for `accept`.
        show
            Called with the draft, or None.
        """
        if self._corrections.objects_of(image, card) is not None:
            show(None)
            return
        try:
            scan = scan_from_layer(image)
        except BadInput:  # nobody can point at it, which the panel says
            show(None)
            return
        family = model_family(card)
        stores = self._corrections.open_stores
        # those that were saved by this window are offered in Annotate
        find = lambda: [d for f, d in stores.unfinished_drafts(frozenset(), frozenset()) if f == family]  # noqa: E731
        run_in_thread(
            lambda: next((d for d in find() if d.key == scan.content_sha256), None),
            show,
            lambda error: show(None),
            self._corrections,
        )

    def resume(self, card: ModelCard, draft: Draft) -> None:
        """Make the objects of a draft a layer again."""
        self._corrections.autosaver.resume_draft(model_family(card), draft)
