"""A plane at the size a model works at: in memory where it fits, else part by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from napari_latentseg.inference.bands import bands_of, resized_bands
from napari_latentseg.inference.large import LargeCanvas, LargeView, Moved
from napari_latentseg.inference.room import zeros
from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.inference.variation import Variation
from napari_latentseg.planes import Planes

__all__ = ["Seen", "look_at_plane"]

Rows = Callable[[slice], Tensor]


class Seen(Protocol):
    """What a run needs of a plane.

    Attributes
    ----------
    may_keep
        Whether what was computed of its tiles may be kept for the next sample.
    """

    may_keep: bool

    def varied(self, variation: Variation) -> Tensor | LargeView:
        """The plane, varied: `(3, H, W)` in [0, 1]."""
        ...

    def canvas(self, tiling: Tiling) -> Canvas | LargeCanvas:
        """An empty canvas for the tiles of a view."""
        ...

    def undone(self, canvas: Canvas | LargeCanvas, variation: Variation) -> Rows:
        """Gives rows of what lies on a canvas, back in the place of the plane: `(K, rows, W)`."""
        ...


def look_at_plane(planes: Planes, number: int, size: tuple[int, int], classes: int, limit: int) -> Seen:
    """Plane `number` at working size.

    Parameters
    ----------
    planes
        Of the scan.
    size
        Height and width that the model works at.
    classes
        K.
    limit
        Bytes of memory that a plane, a view of it and a canvas may take.
    """

    def rows(band: slice) -> Tensor:
        return torch.from_numpy(planes.part(number, band, slice(None)).copy()).permute(2, 0, 1)

    if 4 * (2 * 3 + classes + 1) * size[0] * size[1] <= limit:
        bands = resized_bands(rows, planes.plane_shape, size, 3)
        return _Whole(torch.cat([band for _, band in bands], dim=1).clamp(0, 1), classes)
    if size == planes.plane_shape:

        def part(down: slice, across: slice) -> Tensor:
            return torch.from_numpy(planes.part(number, down, across).copy()).permute(2, 0, 1)

        return _InParts(part, size, classes)
    store = zeros((3, *size), 0)
    for place, band in resized_bands(rows, planes.plane_shape, size, 3):
        store[:, place] = band.clamp(0, 1).numpy()
    return _InParts(lambda down, across: torch.from_numpy(store[:, down, across]), size, classes)


class _Whole:
    may_keep = True

    def __init__(self, plane: Tensor, classes: int) -> None:
        self._plane = plane
        self._classes = classes

    def varied(self, variation: Variation) -> Tensor:
        return variation.apply(self._plane)

    def canvas(self, tiling: Tiling) -> Canvas:
        return Canvas(tiling, self._classes)

    def undone(self, canvas: Canvas | LargeCanvas, variation: Variation) -> Rows:
        laid = cast(Canvas, canvas)
        found = variation.undo(laid.plane((laid.tiling.height, laid.tiling.width)))
        return lambda band: found[:, band]


class _InParts:
    may_keep = False  # there may be more of it than of the plane itself

    def __init__(self, part: Callable[[slice, slice], Tensor], size: tuple[int, int], classes: int) -> None:
        self._part = part
        self._size = size
        self._classes = classes
        self._middle: float | None = None

    def _mean(self) -> float:
        if self._middle is None:
            height, width = self._size
            bands = bands_of(height, 3 * width)
            total = sum(float(self._part(band, slice(0, width)).double().sum()) for band in bands)
            self._middle = total / (3 * height * width)
        return self._middle

    def varied(self, variation: Variation) -> LargeView:
        return LargeView(self._part, self._size, variation, self._mean() if variation.contrast != 1 else 0.0)

    def canvas(self, tiling: Tiling) -> LargeCanvas:
        store: Any = zeros((self._classes, tiling.height, tiling.width), 0)
        return LargeCanvas(tiling, self._classes, store)

    def undone(self, canvas: Canvas | LargeCanvas, variation: Variation) -> Rows:
        laid = cast(LargeCanvas, canvas)
        laid.finish()
        moved = Moved.back(variation, laid.tiling.height, laid.tiling.width)
        across = torch.arange(self._size[1])

        def part(down: slice, sideways: slice) -> Tensor:
            return torch.from_numpy(laid.store[:, down, sideways])

        return lambda band: moved.of(torch.arange(self._size[0])[band], across).taken(part)
