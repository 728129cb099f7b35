"""The layers of a segmentation: the mask and its maps, each added once and then updated."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_latentseg.core.agreement import agreement_counts
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import (
    METADATA_KEY,
    index_on_screen,
    placement_metadata,
    role_of,
    spatial_arguments,
)
from napari_latentseg.widgets._shared.map_style import MAP_ROLES
from napari_latentseg.widgets._shared.mask_look import MaskLook
from napari_latentseg.widgets._shared.result_maps import ResultMaps
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle
from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["DisplayData", "PlaneView", "ResultLayers"]

VoxelIndices = tuple[NDArray[np.intp], ...]

_MAX_UNDO_VOXELS = 400_000  # napari's undo history of more would hold the window for a noticeable time
_MAX_PREVIEW_PIXELS = 8_000_000  # thresholding a larger slice would hold the window for a noticeable time


@dataclass(frozen=True)
class PlaneView:
    """The orientation of the slices of a run in its image.

    Attributes
    ----------
    orientation
        One of `napari_latentseg.core.reorient.WORLD_AXIS_OF_PLANE`.
    order
        Axis i of the slices is axis ``order[i]`` of the image; unchanged where empty.
    crop_slices
        Rows and columns that are segmented; all where None.
    """

    orientation: str = "acquired"
    order: tuple[int, ...] = ()
    crop_slices: tuple[slice, slice] | None = None

    def plane_of(self, data: NDArray[np.uint8], index: tuple[int, ...]) -> NDArray[np.uint8]:
        """The part of a mask that one slice of the run fills, as a view."""
        reoriented = data.transpose(self.order) if self.order else data
        plane_index: tuple[int | slice, ...] = (*index, *(self.crop_slices or (slice(None), slice(None))))
        plane_mask: NDArray[np.uint8] = reoriented[plane_index]
        return plane_mask


@dataclass(frozen=True)
class DisplayData:
    """Data for the display of a result, computed off the GUI thread.

    Attributes
    ----------
    mask
        A copy of the mask, which the user may edit.
    agreement
        See `napari_latentseg.core.agreement.agreement_counts`; None where there is none.
    """

    mask: NDArray[np.uint8]
    agreement: NDArray[Any] | None

    @classmethod
    def from_segmentation(cls, segmentation: Segmentation) -> DisplayData:
        """Compute it from a segmentation."""
        return cls(np.array(segmentation.mask), agreement_counts(segmentation))


class ResultLayers:
    """The layers of one run, at most five: each is added once, then updated.

    They lie one above the other in the layer list. Mask, image and run are in the metadata of each, under
    `METADATA_KEY`: ``"role"``, ``"image"`` (the unique id of the image layer), ``"run"`` and ``"record"``.

    Parameters
    ----------
    viewer
        The viewer of the layers.
    image
        The layer of the image.
    classes
        The classes of the model.

    Attributes
    ----------
    run_number
        The number of the run on this image, from 1.
    is_edited
        Whether the mask was edited by hand.
    look
        How the classes of the mask are drawn.
    maps
        Agreement, mean, variance and doubt.
    """

    def __init__(self, viewer: ViewerModel, image: Image, classes: tuple[ClassInfo, ...]) -> None:
        self._viewer = weakref.ref(unwrapped_viewer(viewer))  # a result must not keep the viewer alive
        self.image = image
        self.classes = classes
        self.is_edited = False
        self.mask: Labels | None = None
        self._is_updating = False
        self._previewed_regions: list[tuple[Any, NDArray[np.uint8]]] = []
        earlier_runs = [
            int(other.metadata[METADATA_KEY].get("run") or 0)
            for other in viewer.layers
            if role_of(other) and other.metadata[METADATA_KEY].get("image") == str(image.unique_id)
        ]
        self.run_number = 1 + max([0, *earlier_runs])
        self._record: dict[str, Any] | None = None
        shape = (image.data[0] if image.multiscale else image.data).shape[: image.ndim]
        self.look = MaskLook(classes, (int(shape[-2]), int(shape[-1])))
        self.maps = ResultMaps(image, classes, self._layer_arguments)

    @property
    def viewer(self) -> ViewerModel:
        """The viewer of the layers."""
        viewer = self._viewer()
        assert viewer is not None  # its layers are gone with it
        return viewer

    def layers_of(self, role: str) -> list[Layer]:
        """The layer with role ``"mask"``, or one of `MAP_ROLES`, if it is in the viewer."""
        layer = self.mask if role == "mask" else self.maps.layers.get(role)
        viewer = self._viewer()  # None when it is gone: a worker may answer after that
        return [layer] if layer is not None and viewer is not None and layer in viewer.layers else []

    @property
    def all_layers(self) -> list[Layer]:
        """All its layers in the viewer, from the lowest to the highest."""
        return [layer for role in (*MAP_ROLES, "mask") for layer in self.layers_of(role)]

    @property
    def is_discarded(self) -> bool:
        """Whether both the image and all layers that were shown of the run have been removed."""
        viewer = self._viewer()
        return (
            self.mask is not None
            and not self.all_layers
            and (viewer is None or self.image not in viewer.layers)
        )

    def _layer_arguments(self, role: str) -> dict[str, Any]:
        """Name and metadata of the layer with a role."""
        metadata = {
            "role": role,
            "image": str(self.image.unique_id),
            "run": self.run_number,
            "record": self._record,
            **placement_metadata(self.image),
        }
        name = f"{elide_middle(self.image.name, MAX_IMAGE_NAME)} run {self.run_number} {role}"
        return {"name": name, "metadata": {METADATA_KEY: metadata}}

    def show_plane(self, index: tuple[int, ...], mask: NDArray[np.uint8], view: PlaneView) -> None:
        """Show one slice of the mask during the run; a mask that was removed stays away until it ends."""
        if self.mask is None:
            image = self.image.data[0] if self.image.multiscale else self.image.data
            data = np.zeros(image.shape[: self.image.ndim], dtype=np.uint8)
            view.plane_of(data, index)[:] = mask
            self._add_mask(data)
            return
        if self.is_edited or self.mask not in self.viewer.layers:
            return
        view.plane_of(np.asarray(self.mask.data), index)[:] = mask
        self.mask.refresh()

    def _add_mask(self, data: NDArray[np.uint8]) -> None:
        self.mask = Labels(
            data,
            opacity=0.0,  # until its look is known
            **self._layer_arguments("mask"),
            **label_style(self.classes),
            **spatial_arguments(self.image),
        )
        self.mask.selected_label = self.classes[0].label
        self.mask.editable = False  # until the run has ended, which would overwrite edits
        self.mask.events.labels_update.connect(
            self._on_paint
        )  # emitted for strokes, fills and undo, not for new data
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(self.mask)
        self.viewer.layers.selection.active = active
        # In an iteration of its own: napari computes the outlines of a slice of a megapixel in 40 ms, and
        # would do so twice for a layer that has some when it is added.
        QTimer.singleShot(0, partial(self.look.add, self.mask))

    def _on_paint(self, event: Any = None) -> None:
        self.is_edited = self.is_edited or not self._is_updating

    def show_map(self, role: str, on: bool) -> None:
        """Show or hide a map; one at a time, because two of them mix to colours without a meaning."""
        for other in MAP_ROLES if on else (role,):
            for layer in self.layers_of(other):
                layer.visible = on and other == role

    @contextmanager
    def _own_update(self) -> Iterator[None]:
        self._is_updating = True
        try:
            yield
        finally:
            self._is_updating = False

    def preview_threshold(self, segmentation: Segmentation, threshold: float) -> None:
        """Threshold the slice on screen at once; `replace_mask` updates the whole mask."""
        mask = self.mask
        if mask is None or mask not in self.viewer.layers or not isinstance(segmentation.mean, np.ndarray):
            return
        screen_index = index_on_screen(self.viewer, mask)
        visible_mask = mask.data[screen_index]
        if visible_mask.ndim > 2 or visible_mask.size > _MAX_PREVIEW_PIXELS:
            return
        if not any(previewed_index == screen_index for previewed_index, _ in self._previewed_regions):
            self._previewed_regions.append((screen_index, visible_mask.copy()))
        mask.data[screen_index] = labels_from_probabilities(
            segmentation.mean[(slice(None), *screen_index)], threshold, self.classes
        )
        mask.refresh()

    @property
    def is_previewing(self) -> bool:
        """Whether a slice on screen already has a threshold that the result has not yet."""
        return bool(self._previewed_regions) and not self.is_edited

    def end_preview(self) -> None:
        """Give the previewed slices their labels back: their threshold could not be applied."""
        previewed, self._previewed_regions = self._previewed_regions, []
        mask = self.mask
        if not previewed or self.is_edited or mask is None or mask not in self.viewer.layers:
            return
        for screen_index, original in previewed:
            mask.data[screen_index] = original
        mask.refresh()

    def changed_voxels(self, new_mask: NDArray[np.uint8]) -> VoxelIndices | None:
        """Indices of the voxels that differ in a new mask, previews aside; None where these are too many.

        Can be called in a worker thread.
        """
        if self.mask is None:
            return None
        differs = np.asarray(self.mask.data != new_mask)
        for screen_index, original in list(self._previewed_regions):
            differs[screen_index] = original != new_mask[screen_index]
        return tuple(np.nonzero(differs)) if np.count_nonzero(differs) <= _MAX_UNDO_VOXELS else None

    def replace_mask(self, new_mask: NDArray[np.uint8], voxels: VoxelIndices | None) -> None:
        """Update the mask in one step of napari's undo history.

        Parameters
        ----------
        new_mask
            The new mask.
        voxels
            From `changed_voxels`; where None, the data are replaced, and the step cannot be undone.
        """
        mask, previewed = self.mask, self._previewed_regions
        self._previewed_regions = []
        if self.is_edited or mask is None or mask not in self.viewer.layers:
            return
        if voxels is None:
            mask.data = new_mask
            return
        for screen_index, original in previewed:
            mask.data[screen_index] = original
        with self._own_update():
            if len(voxels[0]):
                mask.data_setitem(voxels, new_mask[voxels])
        mask.refresh()

    def store_record(self, segmentation: Segmentation) -> None:
        """Take over a result with another threshold: its run record, and the agreement of its samples."""
        self._store_record(segmentation)
        self.maps.follow_samples(segmentation)

    def _store_record(self, segmentation: Segmentation) -> None:
        self._record = segmentation.record.model_dump(mode="json")
        if self.mask is not None:
            self.mask.metadata = self._layer_arguments("mask")["metadata"]

    def set_mask(self, mask: NDArray[np.uint8]) -> None:
        """Replace the mask's data, unless it was edited by hand."""
        self._previewed_regions = []  # of the data before
        if self.is_edited:
            return
        if self.mask is None or self.mask not in self.viewer.layers:
            self._add_mask(mask)
        else:
            assert self.mask is not None
            self.mask.data = mask

    def show_all(self, segmentation: Segmentation, display: DisplayData | None = None) -> Iterator[None]:
        """Add or update all layers, one at each step, so that the window can draw in between.

        The maps are hidden at first; see `ResultMaps`.

        Parameters
        ----------
        segmentation
            The result.
        display
            Computed here where not given.
        """
        display = display or DisplayData.from_segmentation(segmentation)
        self.set_mask(display.mask)
        assert self.mask is not None
        self._store_record(segmentation)
        self.mask.editable = True
        yield
        yield from self.maps.show(self.viewer, self.mask, segmentation, display.agreement)
