"""The fields that say which slices and which part of an image are worked on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.layers import Image, Shapes
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QSpinBox, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.views import PLANES, seen_along
from napari_latentseg.widgets.layers import place_on_screen, scan_from_layer
from napari_latentseg.widgets.region import Box, box_in_view, box_of_shapes, shape_of
from napari_latentseg.widgets.result_layers import View

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Where", "WhereFields"]

_PLANE_NAMES = {name: name if name != "acquired" else "as acquired" for name in PLANES}


@dataclass(frozen=True)
class Where:
    """What is worked on.

    Attributes
    ----------
    view
        How the planes lie in the image.
    slices, box
        As `napari_latentseg.inference.request.Request` has them.
    first_plane
        The one on screen.
    """

    view: View
    slices: tuple[int, int] | None
    box: Box | None
    first_plane: int


class WhereFields(QObject):
    """Planes, slices and area of an image; each is there only where there is something to choose.

    Signals
    -------
    changed
        Any of them was changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._image: Image | None = None
        self._order: tuple[int, ...] = ()
        self.slices = ComboBox(
            choices=[("all", "all"), ("the one on screen", "shown"), ("from … to …", "range")],
            value="all",
            tooltip="Which slices of a volume to work on; it begins with the one on screen",
        )
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setToolTip("The first slice, counted from 0 as napari's slider does")
        self.last.setToolTip("The last slice, which is worked on too")
        self.span = QWidget()
        row = QHBoxLayout(self.span)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.first, 1)
        row.addWidget(QLabel("to"))
        row.addWidget(self.last, 1)
        self.area = ComboBox(
            choices=self._areas,
            tooltip="Which part of each slice to work on: draw a rectangle in a Shapes layer, or zoom in."
            " A model that sees the whole slice then sees that part enlarged",
        )
        self.plane = ComboBox(
            choices=[(_PLANE_NAMES[name], name) for name in PLANES],
            value="acquired",
            tooltip="How a volume is cut into the planes that the model sees; the result lies as it does",
        )
        for field in (self.slices, self.area, self.plane):
            field.changed.connect(self._on_changed)
        for box in (self.first, self.last):
            box.valueChanged.connect(self._on_changed)

    def add_to(self, form: QFormLayout, more: QFormLayout) -> None:
        """Put the fields into the form and its lower part."""
        self._form, self._more = form, more
        form.addRow("Slices", self.slices.native)
        form.addRow("", self.span)
        form.addRow("Area", self.area.native)
        more.addRow("Planes", self.plane.native)
        self.show_for(None)

    def _areas(self, *_: Any) -> list[tuple[str, Any]]:
        drawn = [layer for layer in self.viewer.layers if isinstance(layer, Shapes)]
        boxes = [(f"the box in “{layer.name}”", layer) for layer in reversed(drawn)]
        return [("all of it", "all"), ("what is in view", "view"), *boxes]

    def reset_choices(self) -> None:
        """Look at the viewer's layers again."""
        before = self.area.value
        self.area.reset_choices()
        self.area.value = before if before in [value for _, value in self._areas()] else "all"

    def show_for(self, image: Image | None) -> None:
        """Show the fields that this image has something to choose for."""
        self._image = image
        is_stack = image is not None and image.ndim > 2
        can_turn = False
        if image is not None and 3 <= image.ndim <= 4:
            can_turn = scan_from_layer(image).geometry.frame == "LPS"
        if not can_turn:
            self.plane.value = "acquired"
        self._more.setRowVisible(self.plane.native, can_turn)
        self._form.setRowVisible(self.slices.native, is_stack)
        self._on_changed()

    def _on_changed(self, *_: Any) -> None:
        image = self._image
        with_span = image is not None and image.ndim > 2 and self.slices.value == "range"
        self._form.setRowVisible(self.span, with_span)
        if image is not None and 2 <= image.ndim <= 4:
            self._order = seen_along(scan_from_layer(image), str(self.plane.value))[1]
            most = math.prod(self._leading(image)) - 1
            for box in (self.first, self.last):
                box.blockSignals(True)
                fresh = box.maximum() != most
                box.setMaximum(most)
                if fresh and box is self.last:
                    box.setValue(most)
                box.blockSignals(False)
        self.changed.emit()

    def _leading(self, image: Image) -> tuple[int, ...]:
        shape = shape_of(image)
        return tuple(shape[axis] for axis in self._order[:-2])

    def chosen(self) -> Where:
        """What is chosen.

        Raises
        ------
        BadInput
            Where it is no part of the image.
        """
        image = self._image
        if image is None:
            return Where(View(), None, None, 0)
        shown = self._on_screen(image)
        slices = None
        if image.ndim > 2 and self.slices.value == "shown":
            if shown is None:
                of = _PLANE_NAMES[str(self.plane.value)]
                raise BadInput("slices", f"no slice {of} is on screen", "turn the view, or take all")
            slices = (shown, shown)
        elif image.ndim > 2 and self.slices.value == "range":
            if self.first.value() > self.last.value():
                raise BadInput("slices", "end before they begin", "exchange the two numbers")
            slices = (self.first.value(), self.last.value())
        box = None
        if self.area.value == "view":
            box = box_in_view(self.viewer, image, self._order)
        elif isinstance(self.area.value, Shapes):
            box = box_of_shapes(self.area.value, image, self._order)
        part = None if box is None else (slice(box[0], box[2]), slice(box[1], box[3]))
        is_turned = self._order != tuple(range(image.ndim))
        view = View(str(self.plane.value), self._order if is_turned else (), part)
        count = math.prod(self._leading(image))
        return Where(view, slices, box, count // 2 if shown is None else shown)

    def _on_screen(self, image: Image) -> int | None:
        """The number of the plane that is on screen; None where another cut of the volume is."""
        if image.ndim < 3:
            return 0
        place = place_on_screen(self.viewer, image)
        number = 0
        for axis in self._order[:-2]:
            at = place[axis]
            if isinstance(at, slice):
                return None
            number = number * shape_of(image)[axis] + at
        return number
