"""What the reference masks of an evaluation hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.errors import BadInput

__all__ = ["MaskContent"]


class MaskContent:
    """Whether there is a class and background in any mask, and the hash of each.

    Attributes
    ----------
    hashes
        Of each mask, in the order in which they were added.
    """

    def __init__(self) -> None:
        self.hashes: list[str] = []
        self._first: Case | None = None
        self._has_class = self._has_background = False

    def add(self, case: Case, reference: NDArray[np.uint8], sha256: str) -> None:
        """Add the mask of an image, in class numbers."""
        self._first = self._first or case
        self.hashes.append(sha256)
        self._has_background = self._has_background or bool((reference == 0).any())
        if not self._has_class:
            self._has_class = bool(((reference > 0) & (reference != UNKNOWN_CLASS)).any())

    def check(self) -> None:
        """Refuse masks that cannot score a model: all of them empty, or all of them full.

        Raises
        ------
        BadInput
            If none holds a class of the model, or none holds background; it names the first.
        """
        if self._first is None or (self._has_class and self._has_background):
            return
        count = len(self.hashes)
        if self._has_class:
            why = "is of one class from edge to edge" + (f", as are all {count} masks" if count > 1 else "")
            remedy = "give masks that tell the classes of the model from what is around them"
        else:
            others = f", as do all {count} masks" if count > 1 else ""
            why = f"holds no class of the model{others}, so there is nothing to score"
            remedy = "give images whose masks hold a class of the model"
        raise BadInput(self._first.mask_source, why, remedy)
