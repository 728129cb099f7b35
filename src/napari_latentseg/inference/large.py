"""Planes that are too large to hold at working size: seen, drawn and laid a row of tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.inference.variation import Variation, mirror_index

__all__ = ["LargeCanvas", "LargeView", "Moved"]

Part = Callable[[slice, slice], Tensor]


@dataclass(frozen=True)
class Moved:
    """How the elements of one plane lie in another: flips, quarter turns, shifts, all as indices.

    Element `(i, j)` is element ``(rows[i], columns[j])`` of the other, or ``(rows[j], columns[i])`` where
    it is `turned`.
    """

    rows: Tensor
    columns: Tensor
    turned: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        found = (len(self.rows), len(self.columns))
        return found[::-1] if self.turned else found

    def quarter(self) -> Moved:
        """Turned once more, as `torch.rot90` does."""
        if self.turned:
            return Moved(self.rows.flip(0), self.columns, False)
        return Moved(self.rows, self.columns.flip(0), True)

    def of(self, down: Tensor, across: Tensor) -> Moved:
        """Its own rows `down` and columns `across`."""
        first, second = (across, down) if self.turned else (down, across)
        return Moved(self.rows[first], self.columns[second], self.turned)

    def taken(self, part: Part) -> Tensor:
        """The whole of it, `(C, H, W)`, from what `part` gives of the other plane."""
        low_row, low_column = int(self.rows.min()), int(self.columns.min())
        found = part(slice(low_row, int(self.rows.max()) + 1), slice(low_column, int(self.columns.max()) + 1))
        found = found[:, self.rows - low_row][:, :, self.columns - low_column]
        return found.transpose(1, 2) if self.turned else found

    @classmethod
    def view(cls, variation: Variation, height: int, width: int) -> Moved:
        """What `Variation.apply` does to the places of a plane."""
        moved = cls(torch.arange(height), torch.arange(width))
        for _ in range(variation.turns % 4):
            moved = moved.quarter()
        down, across = (torch.arange(n) for n in moved.shape)
        if variation.vertical:
            down = down.flip(0)
        if variation.horizontal:
            across = across.flip(0)
        if variation.pad:
            down, across = (
                n[mirror_index(len(n), s, variation.pad)]
                for n, s in zip((down, across), variation.shift, strict=True)
            )
        return moved.of(down, across)

    @classmethod
    def back(cls, variation: Variation, height: int, width: int) -> Moved:
        """What `Variation.undo` does to the places of what was found in a view of this height and width."""
        top, left = variation.shift if variation.pad else (0, 0)
        moved = cls(
            torch.arange(top, top + height - variation.pad), torch.arange(left, left + width - variation.pad)
        )
        down, across = (torch.arange(n) for n in moved.shape)
        if variation.vertical:
            down = down.flip(0)
        if variation.horizontal:
            across = across.flip(0)
        moved = moved.of(down, across)
        for _ in range(-variation.turns % 4):
            moved = moved.quarter()
        return moved


class LargeView:
    """A varied plane of which only parts are ever made; takes the place of a tensor in `Tiling.cut`.

    Parameters
    ----------
    part
        Gives rows and columns of the plane, `(3, h, w)` in [0, 1].
    shape
        Its height and width.
    variation
        What is done to it.
    middle
        The mean of the plane, which contrast is taken about.
    """

    def __init__(self, part: Part, shape: tuple[int, int], variation: Variation, middle: float) -> None:
        self._part = part
        self._moved = Moved.view(variation, *shape)
        self._variation = variation
        self._middle = middle
        self.shape = (3, *self._moved.shape)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> Tensor:
        _, down, across = index
        _, height, width = self.shape
        moved = self._moved.of(torch.arange(height)[down], torch.arange(width)[across])
        found = moved.taken(self._part)
        v = self._variation
        if v.brightness != 1 or v.contrast != 1:
            found = (((found - self._middle) * v.contrast + self._middle) * v.brightness).clamp(0, 1)
        return found


class LargeCanvas:
    """As `Canvas`, with only the rows in memory that tiles still come to; the others are in `store`.

    Parameters
    ----------
    tiling
        Whose tiles come row by row, from the top.
    classes
        K.
    store
        `(K, height, width)`, where rows go when they are complete.
    """

    def __init__(self, tiling: Tiling, classes: int, store: Any) -> None:
        self.tiling = tiling
        self.store = store
        self._classes = classes
        self._top = 0
        self._strip = self._fresh()

    def _fresh(self) -> Canvas:
        tiling = self.tiling
        height = min(tiling.size, tiling.height - self._top)
        return Canvas(Tiling(height, tiling.width, tiling.size, tiling.overlap), self._classes)

    def lay(self, tiles: Tensor, corners: Sequence[tuple[int, int]]) -> None:
        """Lay tiles `(B, K, size, size)` at their corners.

        Raises
        ------
        ValueError
            Where a corner lies above rows that are complete.
        """
        for tile, (top, left) in zip(tiles, corners, strict=True):
            if top < self._top:
                raise ValueError(f"row {top} is complete")
            if top > self._top:
                self._advance(top)
            self._strip.add(tile, (0, left))

    def _advance(self, top: int) -> None:
        """Put the rows above `top` away, and make room for those below."""
        done = top - self._top
        old, height = self._strip, self._strip.tiling.height
        self._put(min(done, height))
        self._top = top
        self._strip = self._fresh()
        shared = max(0, height - done)
        self._strip.total[:, :shared] = old.total[:, done:]
        self._strip.weight[:, :shared] = old.weight[:, done:]

    def _put(self, rows: int) -> None:
        size = (self._strip.tiling.height, self.tiling.width)
        whole = self._strip.plane(size)
        self.store[:, self._top : self._top + rows] = whole[:, :rows].numpy()

    def finish(self) -> None:
        """Put away what is left."""
        self._put(self._strip.tiling.height)
