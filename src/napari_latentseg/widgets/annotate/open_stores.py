"""The annotation stores that a viewer has open; calls may wait for the disk, so they belong in a worker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.annotations import AnnotationStore, Draft

__all__ = ["OpenStores"]


class OpenStores:
    """One `AnnotationStore` a family of models, opened when it is first asked for."""

    def __init__(self) -> None:
        self._stores: dict[str, AnnotationStore] = {}
        self._lock = threading.Lock()

    def store(self, family: str) -> AnnotationStore:
        """The store of a family; nothing is made on the disk before the first write.

        Raises
        ------
        BadInput
            Where it cannot be read.
        """
        from napari_latentseg.annotations import AnnotationStore

        with self._lock:
            if family not in self._stores:
                self._stores[family] = AnnotationStore.for_model(family)
            return self._stores[family]

    def count_approved(self, family: str) -> tuple[int, int]:
        """How many planes are approved, of how many scans."""
        from napari_latentseg.annotations import list_stores

        return self.store(family).count_approved() if family in list_stores() else (0, 0)

    def unfinished_drafts(
        self, open_draft_ids: frozenset[str], own_draft_ids: frozenset[str]
    ) -> list[tuple[str, Draft]]:
        """Work that nobody is at, by family, the newest first.

        Parameters
        ----------
        open_draft_ids
            Drafts that a layer of this viewer is kept in.
        own_draft_ids
            All that this viewer has kept, also of layers that are gone.
        """
        from napari_latentseg.annotations import list_stores

        unfinished = []
        for family in list_stores():
            try:
                drafts = self.store(family).drafts()
            except BadInput:  # one store that cannot be read does not hide the others
                continue
            unfinished += [
                (family, d)
                for d in drafts
                if d.id not in open_draft_ids and (not d.in_use or d.id in own_draft_ids)
            ]
        return sorted(unfinished, key=lambda entry: entry[1].time, reverse=True)

    def close(self) -> None:
        """Let go of all of them, so that others may go on with what is left."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
