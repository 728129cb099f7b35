"""R, L, A, P, S and I at the edges of the view, where it is known how the image lies in the patient."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.components.overlays import TextOverlay
from napari.utils.theme import get_theme
from qtpy.QtCore import QObject

from napari_latentseg.core.orientation import EdgeLetters, edge_letters
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import axis_directions, scan_from_layer
from napari_latentseg.widgets._shared.view import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.cases import Cases

__all__ = ["OrientationLetters"]

_POSITIONS = {"top": "top_center", "bottom": "bottom_center", "left": "middle_left", "right": "middle_right"}
_FONT_SIZE = 14  # points: read from a metre away
_COLOR = "#ffd75e"  # seen on black and on white tissue
# for the canvas of a light theme: contrast 4.6 on white and on black, where the other has 1.4 on white
_COLOR_ON_WHITE = "#b45f00"


class OrientationLetters(QObject):
    """Shows the side of the patient at each edge of a viewer, for the image that is worked on.

    The view runs along two axes of the viewer. Where the file says so (frame LPS) these are axes of the
    patient, or for a tilted scan, which is drawn in its own planes, directions in it. Without that, as of a
    photograph, and in 3D there are no letters.

    Parameters
    ----------
    viewer
        The viewer.
    cases
        Tells which image is worked on; becomes the parent.
    """

    def __init__(self, viewer: ViewerModel, cases: Cases) -> None:
        super().__init__(cases)
        self._viewer = weakref.ref(viewer)
        self._cases = cases
        overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
        if overlays is None:  # before napari 0.9 a viewer has one text only
            return
        self.overlays: dict[str, TextOverlay] = {}
        for edge, position in _POSITIONS.items():
            name = f"latentseg_{edge}"
            if name not in overlays:
                # without a box: napari 0.9 can crash in OpenGL when it draws one after a layer was removed
                overlays[name] = TextOverlay(position=position, color=_COLOR, font_size=_FONT_SIZE, box=False)
            self.overlays[edge] = overlays[name]
        dims, camera = viewer.dims.events, camera_of(viewer).events
        for emitter in (dims.order, dims.ndisplay, dims.ndim, camera.orientation, viewer.events.theme):
            emitter.connect(self.refresh)
        cases.image_changed.connect(self.refresh)
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Show the letters of the view, or none."""
        letters = self._letters()
        viewer = self._viewer()
        color = _COLOR_ON_WHITE if viewer is not None and _is_light(viewer.theme) else _COLOR
        for edge, overlay in self.overlays.items():
            text = "" if letters is None else str(getattr(letters, edge))
            overlay.text = text
            overlay.color = color
            overlay.visible = bool(text)

    def _letters(self) -> EdgeLetters | None:
        viewer, image = self._viewer(), self._cases.image
        if viewer is None or image is None or viewer.dims.ndisplay != 2:
            return None
        geometry = None
        with suppress(BadInput):  # a layer that is no scan, such as one with five dimensions
            geometry = scan_from_layer(image).geometry
        if geometry is None or geometry.frame != "LPS":
            return None
        first_axis = viewer.dims.ndim - geometry.ndim  # layers with more dimensions add axes in front
        row, column = (axis - first_axis for axis in viewer.dims.displayed)
        if min(row, column) < 0:
            return None
        vertical, horizontal = (str(part) for part in camera_of(viewer).orientation2d)
        directions = axis_directions(image)
        down, right = (
            {label: v for label, v in zip(geometry.axis_labels, directions[:, axis], strict=True) if v}
            for axis in (row, column)
        )
        return edge_letters(
            down,
            right,
            rows_go_down=vertical == "down",
            columns_go_right=horizontal == "right",
        )


def _is_light(theme: str) -> bool:
    """Whether the canvas of a theme is bright."""
    return sum(get_theme(theme).canvas.as_rgb_tuple(alpha=False)) > 3 * 127
