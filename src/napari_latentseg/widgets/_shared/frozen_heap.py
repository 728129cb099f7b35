"""Garbage collections that look only at new objects, while the layers of many cases come and go.

napari 0.9 collects all garbage of the program at each layer that is removed, which holds the window for some
tenths of a second, and on a busy machine for more than one: it was 60 % of what the main thread did from one
case to the next (bench/cases.py). What was there before the first case is set apart meanwhile.
"""

from __future__ import annotations

import gc

__all__ = ["FrozenHeap"]

# the second freeze takes what the first case has brought: other widgets, libraries that are loaded late
_TIMES = 2


class FrozenHeap:
    """The objects that exist when `set_apart` is called; they are not collected until `release`."""

    def __init__(self) -> None:
        self._is_ours, self._times = False, 0

    def set_apart(self) -> None:
        """Exclude all present objects from collections, unless other code has done so with its own."""
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
