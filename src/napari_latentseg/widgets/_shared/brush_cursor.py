"""A guard against a crash of napari 0.9 when layers are removed after painting."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["remove_brush_background"]


def remove_brush_background(viewer: ViewerModel) -> None:
    """Draw the brush cursor of a viewer without its background box, which nobody can see.

    napari 0.9 puts a box in the colour of the canvas behind the brush circle. When a Labels layer with the
    brush is removed and the next one is painted in, drawing that box ends the process in OpenGL (segmentation
    fault in glDrawArrays; with Mesa at the second layer). Versions of napari without such an overlay
    are left alone.
    """
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
    brush_circle = getattr(overlays, "_brush_circle", None)
    if brush_circle is not None and hasattr(brush_circle, "box"):
        brush_circle.box = False
