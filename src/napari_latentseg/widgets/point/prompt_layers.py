"""The layers of clicks and boxes, and the mouse on the image."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points, Vectors
from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.widgets._shared.keys import LAYER_ACTIONS, bind_layer_keys
from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets._shared.view import camera_of
from napari_latentseg.widgets.point.image_layers import ImageLayers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["MODES", "PromptLayers"]

MODES = ("inside", "outside", "box", "scribble")
"""What the mouse does on the image."""

# distinguishable with red-green colour blindness (Okabe and Ito 2008); the sign says it, too
INSIDE_COLOR, OUTSIDE_COLOR = "#009e73", "#d55e00"
_POINT_PIXELS = 16  # on screen, at any zoom
_DRAG_PIXELS = 5  # on screen: a hand that trembles still clicks
_MAX_SCRIBBLE = 24  # points of a scribble; more say nothing new

Place = tuple[float, float]


class PromptLayers(QObject):
    """Clicks and boxes on one image: a Points layer with two colours, and a Vectors layer.

    They are pictures of what the mouse did while the Points layer is selected: a click is a point, holding
    Shift one of the other kind; a drag moves the image as always, or draws a box or a scribble
    in those modes.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The layer that is pointed at.
    parent
        Qt parent.

    Signals
    -------
    pointed
        Points ``(y, x)`` in voxels of the slice on screen, and whether they are inside.
    boxed
        Two opposite corners of a box.
    key_pressed
        One of `LAYER_ACTIONS`, whose key was pressed while the layer of clicks is selected.

    Attributes
    ----------
    mode
        One of `MODES`.
    """

    pointed = Signal(object, bool)
    boxed = Signal(object, object)
    key_pressed = Signal(str)

    def __init__(self, viewer: ViewerModel, image: Image, parent: QObject) -> None:
        super().__init__(parent)
        self.image = image
        self._layers = ImageLayers(viewer, image)
        self.mode = "inside"
        self._shown: tuple[PointedObject, tuple[int, ...]] | None = None
        self._drawn: dict[str, Any] = {}  # what is in a layer, which costs time to be set again
        self.boxes, self.points = self._new_boxes(), self._new_points()

    def _new_boxes(self) -> Vectors:
        # Not Shapes: a layer of lines and markers is the likeliest to end the program, see `ImageLayers`
        return Vectors(
            np.zeros((0, 2, self.image.ndim)),
            vector_style="line",
            edge_color=INSIDE_COLOR,
            **self._layers.arguments("boxes", "boxes"),
            **spatial_arguments(self.image),
        )

    def _new_points(self) -> Points:
        points = Points(
            ndim=self.image.ndim,
            size=1,
            canvas_size_limits=(_POINT_PIXELS, _POINT_PIXELS),
            border_width=0,  # of a size in voxels, a border would hide the colour
            **self._layers.arguments("clicks", "clicks"),
            **spatial_arguments(self.image),
        )
        points.mouse_drag_callbacks.append(self._on_mouse)
        bind_layer_keys(points, {name: partial(self.key_pressed.emit, name) for name in LAYER_ACTIONS})
        return points

    def missing(self) -> list[str]:
        """The roles of the layers that are not in the viewer: not added yet, or removed by somebody."""
        return [role for role in ("boxes", "clicks") if self._layers.get(role) is None]

    def add(self, role: str) -> None:
        """Add one of the layers that are missing; one that was removed is made anew."""
        if role not in self.missing():
            return
        if self._layers.was_added(role):
            if role == "boxes":
                self.boxes = self._new_boxes()
            else:
                self.points = self._new_points()
        layer: Vectors | Points = self.boxes if role == "boxes" else self.points
        self._drawn = {}
        self._layers.add(role, layer)
        layer.editable = False  # napari's own tools would change what was answered
        self.set_mode(self.mode)

    @property
    def is_in_viewer(self) -> bool:
        """Whether both layers are in the viewer."""
        return not self.missing()

    @property
    def is_selected(self) -> bool:
        """Whether clicks on the image count."""
        viewer = self._layers.viewer
        return viewer is not None and viewer.layers.selection.active is self.points

    def select(self) -> None:
        """Let clicks on the image count."""
        viewer = self._layers.viewer
        if viewer is not None and self.points in viewer.layers:
            self.points.visible = self.boxes.visible = True
            viewer.layers.selection.active = self.points

    def hide(self) -> None:
        """Hide both layers."""
        self._layers.hide()

    def remove(self) -> None:
        """Remove both layers."""
        self._layers.remove()

    def set_mode(self, mode: str) -> None:
        """Choose what the mouse does, one of `MODES`."""
        self.mode = mode
        self.points.mouse_pan = mode in ("inside", "outside")

    def show(self, pointed: PointedObject, index: tuple[int, ...]) -> None:
        """Draw the steps on a slice.

        Parameters
        ----------
        pointed
            The steps.
        index
            Of the slice, along the axes before rows and columns.
        """
        self._shown = pointed, index
        inside, outside = pointed.places("inside"), pointed.places("outside")
        if self._is_new("clicks", (index, inside, outside)):
            self._draw_points(inside, outside, index)
        self._draw_boxes([])

    def _is_new(self, role: str, content: Any) -> bool:
        """Whether a layer holds something else so far."""
        is_new: bool = self._drawn.get(role) != content
        self._drawn[role] = content
        return is_new

    def _draw_points(self, inside: list[Place], outside: list[Place], index: tuple[int, ...]) -> None:
        places = [(*index, *place) for place in (*inside, *outside)]
        self.points.data = np.array(places, dtype=float).reshape(-1, self.image.ndim)
        if places:
            self.points.size = 1
            colors = [INSIDE_COLOR] * len(inside) + [OUTSIDE_COLOR] * len(outside)
            # napari (0.9) fills markers this small with the colour of their border, whatever its width
            self.points.face_color = self.points.border_color = colors
            self.points.symbol = ["cross"] * len(inside) + ["hbar"] * len(outside)
            self.points.selected_data = set()

    def _draw_boxes(self, further: list[tuple[float, float, float, float]]) -> None:
        if self._shown is None:
            return
        pointed, index = self._shown
        boxes = [*pointed.boxes(), *further]
        viewer = self._layers.viewer
        zoom = camera_of(viewer).zoom if viewer is not None else 1.0
        if not self._is_new("boxes", (index, boxes, zoom) if boxes else None):
            return
        sides = np.zeros((4 * len(boxes), 2, self.image.ndim))
        sides[:, 0, : len(index)] = index
        for number, (y0, x0, y1, x1) in enumerate(boxes):
            height, width = y1 - y0, x1 - x0
            corners = [(y0, x0), (y0, x1), (y1, x1), (y1, x0)]
            directions = [(0, width), (height, 0), (0, -width), (-height, 0)]
            sides[4 * number : 4 * number + 4, :, -2:] = np.stack([corners, directions], axis=1)
        self.boxes.data = sides
        self.boxes.edge_width = max(2 / (zoom * float(np.mean(np.abs(self.boxes.scale[-2:])))), 1e-3)

    def _on_mouse(self, layer: Points, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or len(event.dims_displayed) != 2:
            return
        is_other = "Shift" in event.modifiers
        start_pixel, start = np.array(event.pos, dtype=float), self._place(event)
        trail = [start]
        has_moved = False
        yield
        while event.type == "mouse_move":
            distance = float(np.linalg.norm(np.asarray(event.pos) - start_pixel))
            has_moved = has_moved or distance >= _DRAG_PIXELS
            if not has_moved or self.mode in ("box", "scribble"):
                event.handled = True  # the image stays where it is
            if has_moved:
                trail.append(self._place(event))
                if self.mode == "box":
                    self._draw_boxes([(*start, *trail[-1])])
            yield
        if self.mode == "box":
            self.boxed.emit(start, self._place(event) if has_moved else start)
        elif self.mode == "scribble":
            kept = np.unique(np.linspace(0, len(trail) - 1, min(len(trail), _MAX_SCRIBBLE)).round())
            self.pointed.emit([trail[int(k)] for k in kept], not is_other)
        elif not has_moved:
            self.pointed.emit([start], (self.mode == "inside") != is_other)

    def _place(self, event: Any) -> Place:
        y, x = self.points.world_to_data(event.position)[-2:]
        return float(y), float(x)
