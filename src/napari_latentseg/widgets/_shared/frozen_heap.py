"""Garbage collections that look only at what came since, while the layers of many cases come and go.

napari 0.9 collects all garbage of the program at each layer that is removed, which holds the window for some
tenths of a second, and on a busy machine for more than one: it was 60 % of what the main thread did from one
case to the next (bench/cases.py). What was there before the first case is set apart meanwhile.
"""

from __future__ import annotations

import gc

__all__ = ["FrozenHeap"]

_TIMES = (
    2  # with the second case goes what the first has brought: other widgets, libraries that are loaded late
)


class FrozenHeap:
    """What is there when it is set apart; nothing of it is collected until it is released."""

    def __init__(self) -> None:
        self._is_ours, self._times = False, 0

    def set_apart(self) -> None:
        """Leave all objects that there are out of collections, unless other code has done so with its own."""
        if self._is_ours or not gc.get_freeze_count():
            self._is_ours = True
            self._times += 1
            if self._times <= _TIMES:
                gc.freeze()

    def release(self) -> None:
        """Collect them again."""
        if self._is_ours:
            self._is_ours, self._times = False, 0
            gc.unfreeze()
