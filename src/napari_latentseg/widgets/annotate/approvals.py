"""Approve planes of corrections and revoke approvals, in the annotation stores.

The stores are written in a worker. A plane counts as approved, and is locked, only when its approval is on
disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.widgets._shared.blind_reading import blind_reader
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception

if TYPE_CHECKING:
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.widgets.annotate.autosave import Autosaver
    from napari_latentseg.widgets.annotate.correction import Correction
    from napari_latentseg.widgets.annotate.open_stores import OpenStores

__all__ = ["Approvals"]


class Approvals(QObject):
    """The approved planes of the corrections of one viewer.

    Parameters
    ----------
    corrections
        All corrections of the viewer; the list is shared with its owner, which adds and removes entries.
    open_stores
        The annotation stores of the viewer.
    autosaver
        Saves what is left of a draft after planes of it were approved.
    parent
        Qt parent.

    Signals
    -------
    changed
        Planes were approved or unlocked, or a write has started or ended.
    count_changed
        `counts` was read again.

    Attributes
    ----------
    counts
        Numbers of approved slices and cases, by model family.
    summaries
        The same in words: images, and slices of volumes.
    writes_in_progress
        Number of approvals and revocations that are not on disk yet.
    """

    changed = Signal()
    count_changed = Signal()

    def __init__(
        self, corrections: list[Correction], open_stores: OpenStores, autosaver: Autosaver, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._corrections = corrections
        self._open_stores = open_stores
        self._autosaver = autosaver
        self.counts: dict[str, tuple[int, int]] = {}
        self.summaries: dict[str, str] = {}
        self.writes_in_progress = 0

    def load(self, correction: Correction) -> None:
        """Read which planes of an image are approved already, and which classes the store has."""

        def read() -> tuple[dict[int, NDArray[np.uint8]], tuple[ClassInfo, ...]]:
            from napari_latentseg.annotations import list_stores

            if correction.family not in list_stores():
                return {}, ()
            store = self._open_stores.store(correction.family)
            case = store.annotated_case(correction.scan, blind_reader(correction.image))
            if case is None:
                return {}, store.classes
            mask = case.read_mask()
            return {n: mask[n] for n in case.annotated_slices or ()}, store.classes

        def show(stored: tuple[dict[int, NDArray[np.uint8]], tuple[ClassInfo, ...]]) -> None:
            approved, classes = stored
            labels = {c.label for c in correction.classes}
            correction.extend_classes([c for c in classes if c.label not in labels])
            if approved:
                new_planes = {n: plane for n, plane in approved.items() if n not in correction.approved}
                self._lock_planes(correction, new_planes)
            self.changed.emit()

        run_in_thread(read, show, owner=self)
        self.count(correction.family)

    def count(self, family: str) -> None:
        """Count the approved slices and cases of a model family again; emits `count_changed`."""

        def read() -> tuple[tuple[int, int], str]:
            return self._open_stores.count_approved(family), self._open_stores.approved_in_words(family)

        def show(approved: tuple[tuple[int, int], str]) -> None:
            self.counts[family], self.summaries[family] = approved
            self.count_changed.emit()

        run_in_thread(read, show, owner=self)

    def approve(self, correction: Correction, numbers: Iterable[int] | None) -> ThreadWorker:
        """Approve planes of a mask as they are now; planes that are approved already are skipped.

        Parameters
        ----------
        correction
            The correction that the mask belongs to.
        numbers
            Plane numbers, from 0; None for all planes.

        Returns
        -------
        ThreadWorker
            Writes the approval.

        Raises
        ------
        BadInput
            If the mask is gone, none of the planes is left to approve, or the values of the image were
            replaced since the run.
        """
        correction.check_data()
        mask, classes = correction.current_mask(), correction.classes
        plane_numbers = correction.unapproved_planes(numbers, mask)
        # copies: later strokes are not part of the approval
        plane_copies = {n: np.array(correction.plane_of(mask, n)) for n in plane_numbers}

        def write() -> None:
            planes = np.zeros((correction.plane_count, *correction.scan.spatial_shape[-2:]), dtype=np.uint8)
            for n, plane in plane_copies.items():
                planes[n] = plane
            self._open_stores.store(correction.family).approve(
                correction.scan,
                planes.reshape(correction.scan.spatial_shape),
                classes=classes,
                planes=plane_numbers,
                model=correction.model,
                edited=correction.has_changes(mask, plane_numbers),
            )

        def on_written() -> None:
            self._lock_planes(correction, plane_copies)
            correction.is_dirty = True  # so that a draft without unapproved edits is deleted
            self._autosaver.save(correction)

        return self._run_write(correction, write, on_written)

    def unlock(self, correction: Correction, numbers: Iterable[int] | None = None) -> ThreadWorker | None:
        """Revoke the approval of planes, so that they can be edited again; no file is deleted.

        Parameters
        ----------
        correction
            The correction that the planes belong to.
        numbers
            Plane numbers; None for all approved planes.

        Returns
        -------
        ThreadWorker
            Writes the revocation; None where none of the planes is approved.
        """
        plane_numbers = set(correction.approved if numbers is None else numbers) & set(correction.approved)
        if not plane_numbers:
            return None

        def on_written() -> None:
            for related in self._same_image(correction):
                for n in plane_numbers:
                    related.approved.pop(n, None)
                if related.plane_lock is not None:
                    related.plane_lock.unlock(plane_numbers)
            correction.is_dirty = True

        return self._run_write(correction, lambda: self._revoke(correction, plane_numbers), on_written)

    def _revoke(self, correction: Correction, plane_numbers: set[int]) -> None:
        """Revoke all approvals that contain some of the planes, and approve their other planes again."""
        store = self._open_stores.store(correction.family)
        case = store.annotated_case(correction.scan)
        if case is None:
            return
        old_entries = [
            entry
            for entry in store.approvals()
            if entry.case == case.name and plane_numbers & set(entry.planes)
        ]
        still_approved = sorted({n for entry in old_entries for n in entry.planes} - plane_numbers)
        if still_approved:  # before revoking: a crash in between must not lose an approval
            store.approve(
                correction.scan,
                case.read_mask().reshape(correction.scan.spatial_shape),
                classes=store.classes,
                planes=still_approved,
                model=old_entries[-1].model,
                edited=any(entry.edited for entry in old_entries),
            )
        for entry in old_entries:
            store.revoke(entry)

    def _run_write(
        self, correction: Correction, write: Callable[[], None], on_written: Callable[[], None]
    ) -> ThreadWorker:
        """Write in a worker, then update the viewer; errors are shown."""
        self.writes_in_progress += 1
        # later, so that the copy of the planes and the redraw do not add up to one long block
        QTimer.singleShot(0, self.changed.emit)

        def on_finished(_: None) -> None:
            self.writes_in_progress -= 1
            on_written()
            self.count(correction.family)
            self.changed.emit()

        def fail(error: BaseException) -> None:
            self.writes_in_progress -= 1
            self.changed.emit()
            show_exception(error)

        return run_in_thread(write, on_finished, fail)

    def _same_image(self, correction: Correction) -> list[Correction]:
        """All corrections of an image for a model family: they share their approvals."""
        return [
            related
            for related in self._corrections
            if related is correction or related.is_same_target(correction)
        ]

    def _lock_planes(self, correction: Correction, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        for related in self._same_image(correction):
            related.approved.update(planes)
            if related.plane_lock is not None:
                related.plane_lock.lock(planes)
