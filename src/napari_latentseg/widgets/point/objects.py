"""Accepted objects: labels of one layer, saved as a draft, and never overwritten."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_latentseg.core.object_names import class_and_number, next_number, object_class, object_name
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.blind_reading import blind_reader
from napari_latentseg.widgets._shared.label_style import unused_color
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets.annotate.correction import model_family
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.point.accepted_volume import (
    MAX_UNDO_VOXELS,
    AcceptedVolume,
    PlacedMask,
    label_free_voxels,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.annotations import Draft
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.inference.slice_part import ObjectMask
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["AcceptedObjects"]


@dataclass(frozen=True)
class StoredObjects:
    """What the store has of earlier sessions.

    Attributes
    ----------
    classes
        The objects of all images of the model.
    approved
        The approved slices of this image.
    """

    classes: tuple[ClassInfo, ...] = ()
    approved: frozenset[int] = frozenset()


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
        self._latest: weakref.WeakKeyDictionary[Correction, tuple[str, int]] = weakref.WeakKeyDictionary()
        # of each label the slices; None of those of a resumed draft, which may be on any
        self._planes: weakref.WeakKeyDictionary[Correction, dict[int, set[int] | None]] = (
            weakref.WeakKeyDictionary()
        )
        self._stored: weakref.WeakKeyDictionary[Image, StoredObjects] = weakref.WeakKeyDictionary()

    @property
    def resumed(self) -> Any:
        """The signal that objects of an earlier session are a layer again."""
        return self._corrections.autosaver.resumed

    @property
    def replaced(self) -> Any:
        """The signal that an image has other values, and that its earlier objects were put away."""
        return self._corrections.replaced_images.compared

    def classes(self, image: Image, card: ModelCard) -> tuple[ClassInfo, ...]:
        """The objects on an image so far; its copy knows those of other images too."""
        correction = self._corrections.objects_of(image, card)
        if correction is None:
            return ()
        planes = self._planes_of(correction)
        return tuple(info for info in correction.classes if planes.get(info.label, set()) != set())

    def _planes_of(self, correction: Correction) -> dict[int, set[int] | None]:
        if correction not in self._planes:  # a resumed draft
            assert correction.layer is not None
            labels = np.unique(np.asarray(correction.layer.data))
            self._planes[correction] = dict.fromkeys(labels[labels > 0].tolist())
        return self._planes[correction]

    def _known_classes(self, image: Image, card: ModelCard) -> tuple[ClassInfo, ...]:
        """The objects of all images of the model, whose labels are taken."""
        correction = self._corrections.objects_of(image, card)
        own = correction.classes if correction is not None else ()
        labels = {info.label for info in own}
        stored = self._stored.get(image)
        return (*own, *(info for info in (stored.classes if stored else ()) if info.label not in labels))

    def is_looked_up(self, image: Image) -> bool:
        """Whether it is known what earlier sessions accepted and approved on the values of an image."""
        return image in self._stored and not self._corrections.replaced_images.is_comparing(image)

    def next_number(self, image: Image, card: ModelCard, class_name: str) -> int:
        """The number of the next object of a class."""
        return next_number((info.name for info in self.classes(image, card)), class_name)

    def color_of(self, image: Image, card: ModelCard, name: tuple[str, int] | None = None) -> str:
        """The colour of an object; of the next one where there is none of this name."""
        classes = self._known_classes(image, card)
        known = [info.color for info in classes if name is not None and info.name == object_name(*name)]
        return known[0] if known else unused_color(classes)

    def label_of(self, image: Image, card: ModelCard, name: tuple[str, int]) -> int | None:
        """The label of an object; None where there is none of this name."""
        named = object_name(*name)
        return next((info.label for info in self.classes(image, card) if info.name == named), None)

    def latest(self, image: Image, card: ModelCard) -> tuple[str, int] | None:
        """Class and number of the object that was accepted last; None where there is none."""
        correction = self._corrections.objects_of(image, card)
        name = None if correction is None else self._latest.get(correction)
        numbered = [class_and_number(info.name) for info in self.classes(image, card)]
        return name or next((entry for entry in reversed(numbered) if entry is not None), None)

    def labels_of(self, image: Image, card: ModelCard, name: tuple[str, int]) -> tuple[Any, int] | None:
        """The labels of all objects of an image, and that of one object; None where there is none."""
        correction, label = self._corrections.objects_of(image, card), self.label_of(image, card, name)
        if correction is None or correction.layer is None or label is None:
            return None
        return correction.layer.data, label

    def planes_of(self, image: Image, card: ModelCard, name: tuple[str, int]) -> set[int] | None:
        """The slices of a volume on which an object was accepted; None where that has to be looked up."""
        correction, label = self._corrections.objects_of(image, card), self.label_of(image, card, name)
        if correction is None or label is None:
            return set()
        return self._planes_of(correction)[label]

    def has_layer(self, image: Image, card: ModelCard) -> bool:
        """Whether there is a layer for the objects of an image."""
        return self._corrections.objects_of(image, card) is not None

    def add_layer(self, image: Image, card: ModelCard, name: tuple[str, int]) -> None:
        """Add the layer of the objects of an image, before the first of them.

        Raises
        ------
        BadInput
            If there are too many objects, or the image cannot have any.
        """
        self._open(image, card, name, self.color_of(image, card, name))

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
        correction, info = self._open(image, card, name, color)
        plane = correction.plane_number(index)
        if plane in self._approved(image, correction):
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
            raise BadInput("object", "all of it is part of other accepted objects", "point at another place")
        if np.count_nonzero(free) <= MAX_UNDO_VOXELS:
            rows, columns = np.nonzero(free)
            leading = [np.full(len(rows), at) for at in index]
            layer.data_setitem((*leading, rows + mask.top, columns + mask.left), info.label)
        else:
            region[free] = info.label
            layer.refresh()
        self._keep(correction, info, name, {plane})
        kept = int(np.count_nonzero(mask.values & (region != 0) & (region != info.label)))
        note = f"{count_text(kept, 'pixel')} stay with the objects that were accepted before" if kept else ""
        return info, note

    def accept_volume(
        self, image: Image, card: ModelCard, masks: Mapping[int, PlacedMask], name: tuple[str, int]
    ) -> AcceptedVolume:
        """Make masks on the slices of a volume an object, or a part of one; what is labelled already stays.

        Approved slices stay as they are.

        Parameters
        ----------
        image, card, name
            As for `accept`.
        masks
            By the number of the slice.

        Raises
        ------
        BadInput
            If no voxel of the masks is free, or there are too many objects.
        """
        correction, info = self._open(image, card, name, self.color_of(image, card, name))
        layer = correction.layer
        assert layer is not None
        approved = self._approved(image, correction)
        open_masks = {plane: mask for plane, mask in masks.items() if plane not in approved}
        labelled, kept = label_free_voxels(layer, open_masks, info.label)
        if not labelled:
            raise BadInput("object", "all of it is accepted or approved already", "point at another place")
        self._keep(correction, info, name, set(labelled))
        notes = []
        if kept:
            notes.append(f"{count_text(kept, 'voxel')} stay with the objects that were accepted before")
        if len(open_masks) < len(masks):
            locked = count_text(len(masks) - len(open_masks), "approved slice")
            notes.append(f"{locked} stayed as approved")

        def note_taken_back() -> None:
            planes = self._planes_of(correction)[info.label]
            if planes is not None:
                planes.difference_update(
                    plane for plane in labelled if not (np.asarray(layer.data[plane]) == info.label).any()
                )
            correction.is_dirty = True
            self._corrections.autosaver.save(correction, at_once=True)
            self._corrections.changed.emit()

        return AcceptedVolume(layer, info.label, "; ".join(notes), labelled, note_taken_back)

    def _open(
        self, image: Image, card: ModelCard, name: tuple[str, int], color: str
    ) -> tuple[Correction, ClassInfo]:
        """The copy that holds the objects of an image, with one of this name."""
        if not self.is_looked_up(image):
            raise BadInput("object", "what was accepted earlier is still being looked up", "accept it again")
        info, _ = object_class(self._known_classes(image, card), *name, color)
        is_opened = self._corrections.objects_of(image, card) is None
        correction = self._corrections.open_objects(image, card, info)
        if correction.layer is not None and correction.layer.data.shape != image_shape(image):
            raise BadInput(
                image.name,
                "has another size than the objects that were accepted on it",
                f"remove the layer {correction.layer.name}, which Annotate can resume, then accept again",
            )
        if is_opened:
            self._planes[correction] = {}
        if info.label not in {known.label for known in correction.classes}:
            correction.extend_classes([info])
        self._planes_of(correction).setdefault(info.label, set())
        return correction, info

    def _approved(self, image: Image, correction: Correction) -> set[int]:
        """The approved slices; those of earlier sessions may not be in the copy yet."""
        stored = self._stored.get(image)
        return {*correction.approved, *(stored.approved if stored and not correction.approved else ())}

    def _keep(self, correction: Correction, info: ClassInfo, name: tuple[str, int], planes: set[int]) -> None:
        """Save what was accepted."""
        self._latest[correction] = name
        known = self._planes_of(correction)[info.label]
        if known is not None:
            known |= planes
        correction.is_dirty = True
        self._corrections.autosaver.save(correction, at_once=True)
        self._corrections.changed.emit()

    def find_unfinished(self, image: Image, card: ModelCard, show: Callable[[Draft | None], None]) -> None:
        """Look for a draft of the objects of an image that no window works on, as after a crash.

        Parameters
        ----------
        image, card
            As for `accept`.
        show
            Called with the draft, or None.
        """
        try:
            scan = scan_from_layer(image)
        except BadInput:  # nobody can point at it, which the panel says
            show(None)
            return
        self._stored.pop(image, None)
        stores, family = self._corrections.open_stores, model_family(card)
        has_copy = self._corrections.objects_of(image, card) is not None

        def look() -> tuple[StoredObjects, Draft | None]:
            from napari_latentseg.annotations import list_stores

            # those that were saved by this window are offered in Annotate
            drafts = [d for f, d in stores.unfinished_drafts(frozenset(), frozenset()) if f == family]
            draft = next((d for d in drafts if d.key == scan.content_sha256), None)
            if family not in list_stores():
                return StoredObjects(), draft
            store = stores.store(family)
            case = store.annotated_case(scan, blind_reader(image))
            approved = frozenset(case.annotated_slices or ()) if case is not None else frozenset()
            return StoredObjects(tuple(store.classes), approved), draft

        def done(found: tuple[StoredObjects, Draft | None]) -> None:
            self._stored[image] = found[0]
            show(None if has_copy else found[1])

        def fail(error: BaseException) -> None:
            self._stored[image] = StoredObjects()  # saving says what is wrong with the store
            show(None)

        run_in_thread(look, done, fail, self._corrections)

    def resume(self, card: ModelCard, draft: Draft) -> None:
        """Make the objects of a draft a layer again; clicks go on to point, and do not paint in it."""
        viewer = self._viewer()
        active = viewer.layers.selection.active if viewer is not None else None

        def keep_active(_: Correction) -> None:
            self.resumed.disconnect(keep_active)
            if viewer is not None and active in viewer.layers:
                viewer.layers.selection.active = active

        self.resumed.connect(keep_active)
        self._corrections.autosaver.resume_draft(model_family(card), draft)
