"""The annotation stores that a viewer has open; calls may wait for the disk, so they belong in a worker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.annotations import AnnotationStore, Draft

__all__ = ["Shelves"]


class Shelves:
    """One `AnnotationStore` a family of models, opened when it is first asked for."""

    def __init__(self) -> None:
        self._open: dict[str, AnnotationStore] = {}
        self._guard = threading.Lock()

    def store(self, family: str) -> AnnotationStore:
        """The store of a family; nothing is made on the disk before the first write.

        Raises
        ------
        BadInput
            Where it cannot be read.
        """
        from napari_latentseg.annotations import AnnotationStore

        with self._guard:
            if family not in self._open:
                self._open[family] = AnnotationStore.for_model(family)
            return self._open[family]

    def counts(self, family: str) -> tuple[int, int]:
        """How many planes are approved, of how many scans."""
        from napari_latentseg.annotations import stores

        return self.store(family).counts() if family in stores() else (0, 0)

    def left(self, ours: frozenset[str], made: frozenset[str]) -> list[tuple[str, Draft]]:
        """Work that nobody is at, by family, the newest first.

        Parameters
        ----------
        ours
            Drafts that a layer of this viewer is kept in.
        made
            All that this viewer has kept, also of layers that are gone.
        """
        from napari_latentseg.annotations import stores

        found = []
        for family in stores():
            try:
                drafts = self.store(family).drafts()
            except BadInput:  # one store that cannot be read does not hide the others
                continue
            found += [(family, d) for d in drafts if d.id not in ours and (not d.in_use or d.id in made)]
        return sorted(found, key=lambda one: one[1].time, reverse=True)

    def close(self) -> None:
        """Let go of all of them, so that others may go on with what is left."""
        with self._guard:
            for store in self._open.values():
                store.close()
            self._open.clear()
