"""The case of a viewer: the image that is worked on, and which layers are shown with it.

Every image is a case of its own, also two images of one patient: shape and geometry do not tell patients
apart (many data sets have one grid for all), so an image is never shown with another one by a guess. A click
on the eye of a hidden layer shows it together with the case, which is remembered for this case. Only the
channels of one file, and images that are blended additively into the case, belong to the case itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.widgets._shared.layers import (
    CHANNELS_KEY,
    METADATA_KEY,
    exact_matrix,
    place_on,
    role_of,
)
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["Cases", "is_case_image"]

_OVERLAY_BLENDINGS = ("additive", "minimum", "multiplicative")  # drawn into what is below, and not over it


def is_case_image(layer: object) -> TypeGuard[Image]:
    """Whether a layer is an image to work on, and not a map that we made of one."""
    return isinstance(layer, Image) and role_of(layer) in ("", "scan")


class Cases(QObject):
    """Follows what is opened, selected, renamed, changed and removed, and shows the layers of one case.

    Parameters
    ----------
    viewer
        The viewer to follow.
    parent
        Qt parent, which owns this.

    Signals
    -------
    image_changed
        Another image is the case, or None.
    layer_chosen
        A layer of the case that belongs to a run was selected.
    layers_changing
        Layers are going to be hidden or shown: whoever has shown others for a while restores them now.
    image_removed, image_renamed, data_replaced
        What happened to an image: the layer.

    Attributes
    ----------
    image
        The image of the case; None without images. An image that was removed stays the case while it has
        layers of results and no other image is open.
    """

    image_changed = Signal(object)
    layer_chosen = Signal(object)
    layers_changing = Signal()
    image_removed = Signal(object)
    image_renamed = Signal(object)
    data_replaced = Signal(object)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self.image: Image | None = None
        self._show_all = False
        self._hidden_runs: frozenset[int] = frozenset()
        self._images: weakref.WeakValueDictionary[str, Image] = weakref.WeakValueDictionary()
        self._names: dict[str, str] = {}
        self._owners: dict[str, str] = {}  # other people's masks -> the image on which they were opened
        self._group: dict[str, str] = {}  # image -> first image of its channels
        self._own_visibility: dict[str, bool] = {}  # of the layers that are hidden here
        self._shown_by_hand: dict[str, set[str]] = {}  # case -> layers of other cases shown with it
        self._is_updating = False
        self._timer = QTimer(self)  # after napari has selected what it selects
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._follow_selection)
        self._is_removing = False
        self._new_channel: Image | None = None  # napari selects it, and the case is to stay its first channel
        self._followed: weakref.ref[Layer] | None = None  # the selected layer that was acted upon last
        layers = viewer.layers
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.selection.events.active.connect(self._on_active)
        for layer in layers:
            self._adopt(layer)
        self._assign_interleaved_masks()
        active = layers.selection.active
        images = [layer for layer in layers if is_case_image(layer)]
        self.image = self.image_of(active) or (images[-1] if images else None)
        self._assign_masks()
        self.update_layers()

    def disconnect_all(self) -> None:
        """Stop following the viewer, which is being closed."""
        self._timer.stop()
        viewer = self._viewer()
        if viewer is None:
            return
        viewer.layers.events.inserted.disconnect(self._on_inserted)
        viewer.layers.events.removed.disconnect(self._on_removed)
        viewer.layers.selection.events.active.disconnect(self._on_active)

    @property
    def layers(self) -> list[Layer]:
        """The layers of the viewer; none once it is gone."""
        viewer = self._viewer()
        return list(viewer.layers) if viewer is not None else []

    def image_of(self, layer: Layer | None) -> Image | None:
        """The image to which a layer belongs, which may have been removed; None where it belongs to none."""
        if layer is None:
            return None
        return layer if is_case_image(layer) else self._images.get(self._owner(layer))

    def is_open(self, image: Image | None) -> bool:
        """Whether an image is in the viewer."""
        return any(layer is image for layer in self.layers)

    def is_of_case(self, image: Image) -> bool:
        """Whether an image is the case, or another channel of it."""
        return self.image is not None and self.is_same_case(image, self.image)

    def is_same_case(self, first: Image, second: Image) -> bool:
        """Whether two images are one, or channels of one."""
        return self._group_of(str(first.unique_id)) == self._group_of(str(second.unique_id))

    def may_be_of_case(self, mask: Layer) -> bool:
        """Whether a mask is of the case, of no image, or of another image and shown with this one."""
        image = self.image_of(mask)
        return mask.visible or image is None or self.is_of_case(image)

    @property
    def count(self) -> int:
        """How many images are in the viewer; the channels of one file are one."""
        return len({self._group_of(str(layer.unique_id)) for layer in self.layers if is_case_image(layer)})

    @property
    def show_all(self) -> bool:
        """Whether the layers of the other cases are shown, too."""
        return self._show_all

    @show_all.setter
    def show_all(self, on: bool) -> None:
        self._show_all = on
        self.update_layers()

    def set_image(self, image: Image | None) -> None:
        """Make an image the case."""
        if image is self.image:
            return
        self.image = image
        self._assign_masks()
        self.image_changed.emit(image)
        self.update_layers()
        self._select_in_case()

    def hide_runs(self, runs: Iterable[int]) -> None:
        """Hide the layers of some runs on the image of the case, and show those of the others.

        A hidden layer does not stay selected: keys and brush would act on what nobody sees.
        """
        self._hidden_runs = frozenset(runs)
        self.update_layers()
        self._select_in_case()

    def update_layers(self) -> None:
        """Hide the layers of other cases and runs; the others get the visibility back that they had."""
        self.layers_changing.emit()
        case = self._group_of(str(self.image.unique_id)) if self.image is not None else ""
        by_hand = self._shown_by_hand.get(case, set())
        with self._own_update():
            for layer in self.layers:
                owner, layer_id = self._owner(layer), str(layer.unique_id)
                if not owner:
                    continue
                is_of_case = self._group_of(owner) == case and self._run(layer) not in self._hidden_runs
                if self._show_all or not case or is_of_case or layer_id in by_hand:
                    was_visible = self._own_visibility.pop(layer_id, None)
                    if was_visible is not None and layer.visible != was_visible:
                        layer.visible = was_visible
                elif layer_id not in self._own_visibility:
                    self._own_visibility[layer_id] = bool(layer.visible)
                    if layer.visible:
                        layer.visible = False

    @contextmanager
    def unfollowed(self) -> Iterator[None]:
        """Show and hide layers for a while, without that being taken for what the person wants shown."""
        with self._own_update():
            yield

    @contextmanager
    def _own_update(self) -> Iterator[None]:
        was_updating, self._is_updating = self._is_updating, True
        try:
            yield
        finally:
            self._is_updating = was_updating

    def _owner(self, layer: Layer) -> str:
        """The id of the image to which a layer belongs; empty where it belongs to none."""
        if is_case_image(layer):
            return str(layer.unique_id)
        if role_of(layer):
            return str(layer.metadata[METADATA_KEY].get("image", ""))
        return self._owners.get(str(layer.unique_id), "")

    def _group_of(self, image_id: str) -> str:
        return self._group.get(image_id, image_id)

    @staticmethod
    def _run(layer: Layer) -> int:
        return int(layer.metadata[METADATA_KEY].get("run") or 0) if role_of(layer) else 0

    def _adopt(self, layer: Layer) -> None:
        layer.events.visible.connect(self._on_visible)
        if not is_case_image(layer):
            return
        image_id = str(layer.unique_id)
        self._images[image_id], self._names[image_id] = layer, layer.name
        layer.events.name.connect(self._on_name)
        layer.events.data.connect(self._on_data)
        channels = _channels_of(layer)
        for other in self.layers:
            if other is layer or not is_case_image(other):
                continue
            is_overlay = other is self.image and _is_overlay(layer, other)
            if is_overlay or (channels and _channels_of(other) == channels):
                self._group[image_id] = self._group_of(str(other.unique_id))
                return

    def _assign_interleaved_masks(self) -> None:
        """Masks that were there before, each above its image and below the next, belong to theirs."""
        groups: list[tuple[Image, list[Labels]]] = []
        for layer in self.layers:
            if is_case_image(layer):
                groups.append((layer, []))
            elif groups and _is_free_mask(layer) and _shape(layer) == _shape(groups[-1][0]):
                groups[-1][1].append(layer)
        if not any(masks for _, masks in groups[:-1]):
            return
        for image, masks in groups:
            for mask in masks:
                self._owners[str(mask.unique_id)] = str(image.unique_id)
                place_on(mask, image)

    def _assign_masks(self) -> None:
        """Masks of the person that fit the image of the case belong to it from now on."""
        if self.image is None or not self.is_open(self.image):
            return
        shape = _shape(self.image)
        for layer in self.layers:
            if _is_free_mask(layer) and str(layer.unique_id) not in self._owners and _shape(layer) == shape:
                self._owners[str(layer.unique_id)] = str(self.image.unique_id)
                place_on(layer, self.image)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        self._adopt(layer)
        if is_case_image(layer):
            group = self._group_of(str(layer.unique_id))
            if self.image is None or group != self._group_of(str(self.image.unique_id)):
                self.set_image(layer)
            else:
                self._new_channel = layer
                self._timer.start()
        else:
            self._assign_masks()
            self.update_layers()

    def _on_active(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None or self._is_updating or self._is_removing:
            return
        active = viewer.layers.selection.active
        if is_case_image(active):
            if active is not self._new_channel:
                self._followed = weakref.ref(active)
                self.set_image(active)
        elif active is not None:  # a layer that is being added is selected for a moment
            self._timer.start()

    def _follow_selection(self) -> None:
        """Make the image of the selected layer the case; after a removal the case stays.

        A layer that was selected before, and is again after our own layers were added, is not a new choice.
        """
        viewer = self._viewer()
        if viewer is None:
            return
        if self._is_removing:
            self._is_removing = False
            self._select_in_case()
            return
        active = viewer.layers.selection.active
        new_channel, self._new_channel = self._new_channel, None
        if active is None:
            return
        if active is new_channel and self.image is not None:
            viewer.layers.selection.active = self.image
            return
        image = self.image_of(active)
        is_new_choice = self._followed is None or self._followed() is not active
        self._followed = weakref.ref(active)
        if image is None or not is_new_choice:
            return
        self.set_image(image)
        if not is_case_image(active):
            self.layer_chosen.emit(active)

    def _select_in_case(self) -> None:
        """Select the image of the case where the selected layer is of another case, or of a hidden run."""
        viewer = self._viewer()
        if viewer is None or self.image is None or not self.is_open(self.image):
            return
        active = viewer.layers.selection.active
        owner = self._owner(active) if active is not None else ""
        if active is None or not owner:
            return
        is_of_case = self._group_of(owner) == self._group_of(str(self.image.unique_id))
        if not is_of_case or self._run(active) in self._hidden_runs:
            with self._own_update():
                viewer.layers.selection.active = self.image
            self._followed = weakref.ref(self.image)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        layer_id = str(layer.unique_id)
        layer.events.visible.disconnect(self._on_visible)
        self._own_visibility.pop(layer_id, None)
        if is_case_image(layer):
            layer.events.name.disconnect(self._on_name)
            layer.events.data.disconnect(self._on_data)
            self.image_removed.emit(layer)
        # napari selects the layer below the removed one, whichever case that is of
        self._is_removing = True
        self._timer.start()
        if self.image is None or self.is_open(self.image):
            return
        images = [other for other in self.layers if is_case_image(other)]
        has_layers = any(self._owner(other) == str(self.image.unique_id) for other in self.layers)
        if images or not has_layers:
            self.set_image(images[-1] if images else None)

    def _on_visible(self, event: Any) -> None:
        """Remember what the person shows and hides with the eye of a layer."""
        layer_id = str(event.source.unique_id)
        if self._is_updating or self._show_all or self.image is None:
            return
        case = self._group_of(str(self.image.unique_id))
        owner = self._owner(event.source)
        if not owner or (self._group_of(owner) == case and self._run(event.source) not in self._hidden_runs):
            return
        if event.source.visible:
            self._own_visibility.pop(layer_id, None)
            self._shown_by_hand.setdefault(case, set()).add(layer_id)
        else:
            self._own_visibility[layer_id] = True
            self._shown_by_hand.get(case, set()).discard(layer_id)

    def _on_name(self, event: Any) -> None:
        """Give the layers of a renamed image its new name, unless they were renamed themselves."""
        image = event.source
        image_id = str(image.unique_id)
        before, self._names[image_id] = self._names[image_id], image.name
        for layer in self.layers:
            if not role_of(layer) or is_case_image(layer) or self._owner(layer) != image_id:
                continue
            for shorten in (_short_name, str):
                if layer.name.startswith(shorten(before)):
                    layer.name = shorten(image.name) + layer.name[len(shorten(before)) :]
                    break
        self.image_renamed.emit(image)

    def _on_data(self, event: Any) -> None:
        self.data_replaced.emit(event.source)


def _short_name(name: str) -> str:
    """The name of an image in the names of its layers."""
    return elide_middle(name, MAX_IMAGE_NAME)


def _channels_of(image: Image) -> str:
    metadata = image.metadata.get(METADATA_KEY)
    return str(metadata.get(CHANNELS_KEY, "")) if isinstance(metadata, dict) else ""


def _is_overlay(image: Image, below: Image) -> bool:
    """Whether an image is blended into another one of the same grid, such as a channel."""
    return (
        str(image.blending) in _OVERLAY_BLENDINGS
        and _shape(image) == _shape(below)
        and bool(np.allclose(exact_matrix(image), exact_matrix(below)))
    )


def _is_free_mask(layer: Layer) -> TypeGuard[Labels]:
    """Whether a layer is a mask that no result, copy or file of ours says to be of an image."""
    return isinstance(layer, Labels) and not role_of(layer)


def _shape(layer: Image | Labels) -> tuple[int, ...]:
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim])
