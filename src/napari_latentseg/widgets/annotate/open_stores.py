"""The annotation stores that a viewer has open; calls read and write files, so use a worker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.preferences import preferences

if TYPE_CHECKING:
    from napari_latentseg.annotations import AnnotationStore, Draft

__all__ = ["OpenStores"]


class OpenStores:
    """One `AnnotationStore` per model family, opened when it is first asked for."""

    def __init__(self) -> None:
        self._stores: dict[str, AnnotationStore] = {}
        self._lock = threading.Lock()

    def store(self, family: str) -> AnnotationStore:
        """The store of a model family; nothing is created on disk before the first write.

        Raises
        ------
        BadInput
            If the store cannot be read.
        """
        from napari_latentseg.annotations import AnnotationStore

        with self._lock:
            if family not in self._stores:
                self._stores[family] = AnnotationStore.for_model(family)
            self._stores[family].reader = preferences().reader
            return self._stores[family]

    def count_approved(self, family: str) -> tuple[int, int]:
        """Number of approved slices, and of the cases that have some."""
        from napari_latentseg.annotations import list_stores

        return self.store(family).count_approved() if family in list_stores() else (0, 0)

    def approved_in_words(self, family: str) -> str:
        """What is approved for a model family, in words; empty for nothing."""
        from napari_latentseg.annotations import list_stores

        return self.store(family).approved_in_words() if family in list_stores() else ""

    def remove_class(self, family: str, label: int) -> None:
        """Remove a class from the annotations of a model family, if it is there.

        Raises
        ------
        BadInput
            If something approved uses it.
        """
        from napari_latentseg.annotations import list_stores

        if family in list_stores() and label in {c.label for c in self.store(family).classes}:
            self.store(family).remove_class(label)

    def unfinished_drafts(
        self, open_draft_ids: frozenset[str], own_draft_ids: frozenset[str]
    ) -> list[tuple[str, Draft]]:
        """Drafts that no window edits, each with its model family, newest first.

        Parameters
        ----------
        open_draft_ids
            Drafts of the layers of this viewer; they are left out.
        own_draft_ids
            All drafts that this viewer has saved, also of removed layers: they count as in use, but can be
            resumed here.
        """
        from napari_latentseg.annotations import list_stores

        unfinished = []
        for family in list_stores():
            try:
                drafts = self.store(family).drafts()
            except BadInput:  # an unreadable store must not hide the drafts of the others
                continue
            unfinished += [
                (family, d)
                for d in drafts
                if d.id not in open_draft_ids and (not d.in_use or d.id in own_draft_ids)
            ]
        return sorted(unfinished, key=lambda entry: entry[1].time, reverse=True)

    def close(self) -> None:
        """Close all stores, so that other processes may resume their drafts."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
