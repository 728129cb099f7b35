"""The fields for the slices, the region of interest and the orientation to segment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.layers import Image, Shapes
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QSpinBox, QWidget

from napari_latentseg.core.reorient import WORLD_AXIS_OF_PLANE, reorient
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import index_on_screen, role_of, scan_from_layer
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.region import CropBox, crop_box_in_view, crop_box_of_shapes, image_shape
from napari_latentseg.widgets._shared.result_layers import PlaneView
from napari_latentseg.widgets._shared.text import SLICE_NUMBER_NOTE

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["RegionOfInterest", "RoiFields"]

_PLANE_NAMES = {name: name if name != "acquired" else "as acquired" for name in WORLD_AXIS_OF_PLANE}


@dataclass(frozen=True)
class RegionOfInterest:
    """The part of an image to segment.

    Attributes
    ----------
    plane_view
        The orientation of the slices in the image.
    slices, crop_box
        As in `napari_latentseg.inference.settings.InferenceSettings`.
    first_plane
        The current slice, which is segmented first.
    """

    plane_view: PlaneView
    slices: tuple[int, int] | None
    crop_box: CropBox | None
    first_plane: int


class RoiFields(QObject):
    """Orientation, slices and ROI of an image; a field without a choice for the image is hidden.

    Signals
    -------
    changed
        A field was changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._image: Image | None = None
        self._is_shown = True
        self._order: tuple[int, ...] = ()
        self._watched_shapes: Shapes | None = None
        self.slices = ComboBox(
            choices=[("all", "all"), ("current slice", "shown"), ("range", "range")],
            value="all",
            tooltip="Slices of the volume to segment; starts with the current slice",
        )
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setToolTip(f"The first slice. {SLICE_NUMBER_NOTE}")
        self.last.setToolTip(f"The last slice (inclusive). {SLICE_NUMBER_NOTE}")
        for box in (self.first, self.last):
            box.setMinimum(1)
        self.range_row = QWidget()
        range_layout = QHBoxLayout(self.range_row)
        range_layout.setContentsMargins(0, 0, 0, 0)
        range_layout.addWidget(self.first, 1)
        range_layout.addWidget(PlainLabel("to"))
        range_layout.addWidget(self.last, 1)
        self.area = ComboBox(
            choices=self._area_choices,
            tooltip="Region of interest in each slice: draw a rectangle in a Shapes layer, or zoom in."
            " A model that takes the whole slice then gets the ROI at a higher resolution",
        )
        self.plane = ComboBox(
            choices=[(_PLANE_NAMES[name], name) for name in WORLD_AXIS_OF_PLANE],
            value="acquired",
            tooltip="Slice orientation given to the model; the result keeps the geometry of the image",
        )
        for field in (self.slices, self.area, self.plane):
            field.changed.connect(self._on_changed)
        for box in (self.first, self.last):
            box.valueChanged.connect(self._on_changed)

    def add_rows(self, form: QFormLayout, advanced_form: QFormLayout) -> None:
        """Add the fields to the form and to its advanced part."""
        self._form, self._advanced_form = form, advanced_form
        form.addRow("Slices", self.slices.native)
        form.addRow("", self.range_row)
        form.addRow("ROI", self.area.native)
        advanced_form.addRow("Orientation", self.plane.native)
        self.show_for_image(None)

    def set_shown(self, on: bool) -> None:
        """Show the fields of the form, or hide them all."""
        self._is_shown = on
        self._form.setRowVisible(self.area.native, on)
        self.show_for_image(self._image)

    def _area_choices(self, *_: Any) -> list[tuple[str, Any]]:
        shapes_layers = [
            layer for layer in self.viewer.layers if isinstance(layer, Shapes) and role_of(layer) != "ruler"
        ]
        box_choices = [(f"shape in “{layer.name}”", layer) for layer in reversed(shapes_layers)]
        return [("whole image", "all"), ("current view", "view"), *box_choices]

    def reset_choices(self) -> None:
        """List the viewer's Shapes layers again."""
        previous = self.area.value
        self.area.reset_choices()
        self.area.value = previous if previous in [value for _, value in self._area_choices()] else "all"

    def _watch_shapes(self) -> None:
        """Follow the shapes of the chosen layer: a rectangle may be drawn after it was chosen."""
        chosen = self.area.value if isinstance(self.area.value, Shapes) else None
        if chosen is self._watched_shapes:
            return
        for layer, change in ((self._watched_shapes, "disconnect"), (chosen, "connect")):
            if layer is not None:
                getattr(layer.events.data, change)(self._on_shapes)
        self._watched_shapes = chosen

    def _on_shapes(self, event: Any = None) -> None:
        self.changed.emit()

    def show_for_image(self, image: Image | None) -> None:
        """Show the fields that apply to this image."""
        self._image = image
        is_stack = image is not None and image.ndim > 2
        can_reorient = False
        if image is not None and 3 <= image.ndim <= 4:
            can_reorient = scan_from_layer(image).geometry.frame == "LPS"
        if not can_reorient:
            self.plane.value = "acquired"
        self._advanced_form.setRowVisible(self.plane.native, can_reorient)
        self._form.setRowVisible(self.slices.native, is_stack and self._is_shown)
        self._on_changed()

    def _on_changed(self, *_: Any) -> None:
        self._watch_shapes()
        image = self._image
        is_range = image is not None and image.ndim > 2 and self.slices.value == "range"
        self._form.setRowVisible(self.range_row, is_range and self._is_shown)
        if image is not None and 2 <= image.ndim <= 4:
            self._order = reorient(scan_from_layer(image), str(self.plane.value))[1]
            slice_count = math.prod(self._leading(image))
            for box in (self.first, self.last):
                box.blockSignals(True)
                is_new_maximum = box.maximum() != slice_count
                box.setMaximum(slice_count)
                if is_new_maximum and box is self.last:
                    box.setValue(slice_count)
                box.blockSignals(False)
        self.changed.emit()

    def _leading(self, image: Image) -> tuple[int, ...]:
        shape = image_shape(image)
        return tuple(shape[axis] for axis in self._order[:-2])

    def region(self) -> RegionOfInterest:
        """The part of the image that is selected.

        Raises
        ------
        BadInput
            If it is not inside the image.
        """
        image = self._image
        if image is None:
            return RegionOfInterest(PlaneView(), None, None, 0)
        plane_on_screen = self._plane_on_screen(image)
        slices = None
        if image.ndim > 2 and self.slices.value == "shown":
            if plane_on_screen is None:
                orientation = _PLANE_NAMES[str(self.plane.value)]
                raise BadInput(
                    "slices",
                    f"the view does not show the {orientation} orientation",
                    "change the orientation of the view, or segment all slices",
                )
            slices = (plane_on_screen, plane_on_screen)
        elif image.ndim > 2 and self.slices.value == "range":
            if self.first.value() > self.last.value():
                raise BadInput("slices", "the first is after the last", "swap the two numbers")
            slices = (self.first.value() - 1, self.last.value() - 1)
        crop_box = None
        if self.area.value == "view":
            crop_box = crop_box_in_view(self.viewer, image, self._order)
        elif isinstance(self.area.value, Shapes):
            crop_box = crop_box_of_shapes(self.area.value, image, self._order)
        crop_slices = (
            None if crop_box is None else (slice(crop_box[0], crop_box[2]), slice(crop_box[1], crop_box[3]))
        )
        is_reoriented = self._order != tuple(range(image.ndim))
        plane_view = PlaneView(str(self.plane.value), self._order if is_reoriented else (), crop_slices)
        count = math.prod(self._leading(image))
        return RegionOfInterest(
            plane_view, slices, crop_box, count // 2 if plane_on_screen is None else plane_on_screen
        )

    def _plane_on_screen(self, image: Image) -> int | None:
        """The number of the slice on screen; None where the view shows another orientation."""
        if image.ndim < 3:
            return 0
        screen_index = index_on_screen(self.viewer, image)
        number = 0
        for axis in self._order[:-2]:
            axis_index = screen_index[axis]
            if isinstance(axis_index, slice):
                return None
            number = number * image_shape(image)[axis] + axis_index
        return number
