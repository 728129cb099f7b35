"""What is pointed at: the image, the slice and the part of it that are on screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.slice_part import SlicePart
from napari_latentseg.io.napari_layers import entry_of
from napari_latentseg.widgets._shared.layers import index_on_screen
from napari_latentseg.widgets._shared.region import crop_box_in_view, image_shape

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["LARGEST_SIDE", "check_places", "plane_index", "shown_part"]

# Pixels. A larger image is answered in the part that is on screen, of which no more are read: the model looks
# at some hundred pixels of a structure, and more only cost time.
LARGEST_SIDE = 2048
_LARGEST_PART = 16_384  # pixels of a part; a mask of 256 million would hold the window


_DO = {"click": "click", "box": "draw it"}
_NOT_ON_SCREEN = "is outside the part of the image that is on screen", "stay inside it"
_NOT_ON_SCREEN_FIRST = (
    "is outside the part that was on screen at the first click",
    "accept the object first, or clear it",
)


def shown_part(viewer: ViewerModel, image: Image) -> SlicePart:
    """The part of the slice on screen that is answered: all of it, or of a large image what is visible.

    Raises
    ------
    BadInput
        If nobody can point at the image: it is a time series, has more dimensions, or is seen from another
        side; or the part that is visible is too large.
    """
    shape = image_shape(image)
    axes = str(entry_of(image).get("axes", "")).removesuffix("c")
    if len(shape) > 3 or (axes.startswith("t") and len(axes) == len(shape)):
        raise BadInput(image.name, "is a time series", "point at a single image or a volume")
    if viewer.dims.ndisplay != 2:
        raise BadInput("view", "shows the volume in 3D", "show its slices in 2D")
    index = plane_index(viewer, image)
    if index is None:
        raise BadInput("view", "shows another orientation of the volume", "show the slices as acquired")
    plane = index[0] if index else 0
    height, width = shape[-2:]
    if max(height, width) <= LARGEST_SIDE:
        return SlicePart(plane, (0, 0, height, width))
    top, left, bottom, right = crop_box_in_view(viewer, image, tuple(range(len(shape))))
    longest = max(bottom - top, right - left)
    if longest > _LARGEST_PART:
        raise BadInput(image.name, "shows too many pixels at this zoom", "zoom in on the structure")
    step = -(-longest // LARGEST_SIDE)
    bottom, right = bottom - (bottom - top) % step, right - (right - left) % step
    return SlicePart(plane, (top, left, bottom, right), step)


def check_places(
    what: str,
    places: Sequence[tuple[float, float]],
    shape: tuple[int, ...],
    part: SlicePart,
    *,
    is_first: bool = False,
) -> None:
    """Refuse a click that is outside of the image, or of the part of it that is answered.

    Parameters
    ----------
    what
        ``"click"``, whose points must all be inside; or ``"box"``, of two opposite corners, of which a part
        must be.
    places
        Points ``(y, x)`` in voxels of the slice; none of a choice of size.
    shape
        Rows and columns of the slice.
    part
        The part that is answered.
    is_first
        Whether nothing was clicked on the slice yet.

    Raises
    ------
    BadInput
        If it is outside.
    """
    if not places:
        return
    for (top, left, bottom, right), why, remedy in (
        ((0, 0, *shape), "is outside the image", f"{_DO[what]} inside it"),
        (part.box, *(_NOT_ON_SCREEN if is_first else _NOT_ON_SCREEN_FIRST)),
    ):
        rows, columns = zip(*places, strict=True)
        if what == "box":
            low = max(min(rows), top - 0.5), max(min(columns), left - 0.5)
            high = min(max(rows), bottom - 0.5), min(max(columns), right - 0.5)
            is_inside = min(high[0] - low[0], high[1] - low[1]) > 0 or min(rows) == max(rows)
        else:
            is_inside = (
                top - 0.5 <= min(rows) and max(rows) < bottom - 0.5
                and left - 0.5 <= min(columns) and max(columns) < right - 0.5
            )  # fmt: skip
        if not is_inside:
            raise BadInput(what, why, remedy)


def plane_index(viewer: ViewerModel, image: Image) -> tuple[int, ...] | None:
    """Index of the slice on screen along the axes before rows and columns; None in another orientation."""
    leading = index_on_screen(viewer, image)[:-2]
    numbers = tuple(at for at in leading if not isinstance(at, slice))
    return numbers if len(numbers) == len(leading) else None
