"""What the journal of a store says, kept in memory: a new line is added to it, and no other is read again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from threading import RLock

from napari_latentseg.annotations.journal import Journal, JournalLine
from napari_latentseg.annotations.records import (
    ApprovalRecord,
    CaseRecord,
    ClassesRecord,
    ClassRemoval,
    Record,
    Revocation,
)
from napari_latentseg.annotations.types import Approval
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.scan import CHANNEL, Scan

__all__ = ["StoreIndex", "is_record_of"]


def is_record_of(record: CaseRecord, scan: Scan) -> bool:
    """Whether a record is that of a scan: by its values, then by its geometry, which takes longer."""
    return (
        (record.axes, record.shape, record.dtype)
        == (scan.axes, tuple(scan.array.shape), scan.array.dtype.str)
        and record.pixels == scan.content_sha256
        and record.place.geometry.agrees_with(scan.geometry, scan.spatial_shape)
    )


class StoreIndex:
    """The images, approvals and classes of a store.

    Reading it takes no lock of the store; several threads may use it.

    Parameters
    ----------
    journal
        Of the store.
    """

    def __init__(self, journal: Journal[Record]) -> None:
        self._journal = journal
        self._lock = RLock()
        self._reset(journal.generation)

    def _reset(self, generation: int) -> None:
        self._generation = generation
        self._line_count = 0
        self._cases: dict[str, CaseRecord] = {}
        self._names_by_pixels: dict[str, list[str]] = {}
        self._shapes: set[tuple[str, tuple[int, ...], str]] = set()
        self._channels: dict[str, int] = {}
        self._approvals: dict[int, Approval] = {}
        self._active: dict[str, dict[int, Approval]] = {}
        self._revoked: set[int] = set()
        self._classes: dict[int, ClassInfo] = {}
        self._changed: set[str] | None = None

    def update(self) -> None:
        """Read the new lines of the journal.

        Raises
        ------
        BadInput
            If it cannot be read, or was written by a newer version of this package.
        """
        with self._lock:
            self._journal.refresh()
            generation, lines = self._journal.lines_after(self._generation, self._line_count)
            if generation != self._generation:
                self._reset(generation)
            for line in lines:
                self._add(line)
            self._line_count += len(lines)

    def _add(self, line: JournalLine[Record]) -> None:
        match line.record:
            case CaseRecord() as case:
                if case.name not in self._cases:
                    self._names_by_pixels.setdefault(case.pixels, []).append(case.name)
                    self._shapes.add((case.axes, case.shape, case.dtype))
                    self._channels[case.name] = case.channels
                self._cases[case.name] = case
                self._note_change(case.name)
            case ApprovalRecord() as record:
                is_revoked = line.number in self._revoked
                approval = self._approvals[line.number] = Approval(line.number, record, is_revoked)
                if not is_revoked:
                    self._active.setdefault(record.case, {})[line.number] = approval
                self._note_change(record.case)
            case Revocation() as revocation:
                self._revoked.add(revocation.approval)
                revoked = self._approvals.get(revocation.approval)
                if revoked is not None:
                    self._approvals[revoked.id] = replace(revoked, revoked=True)
                    self._active.get(revoked.case, {}).pop(revoked.id, None)
                    self._note_change(revoked.case)
            case ClassesRecord() as added:
                self._classes |= {c.label: c for c in added.classes}
            case ClassRemoval() as removal:
                self._classes.pop(removal.label, None)

    def _note_change(self, case: str) -> None:
        if self._changed is not None:
            self._changed.add(case)

    def take_changed_cases(self) -> set[str] | None:
        """The names of the cases that have changed since the last call; None the first time: all may have."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return changed

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes, in the order in which they were added."""
        with self._lock:
            return tuple(self._classes.values())

    @property
    def cases(self) -> dict[str, CaseRecord]:
        """The records of the images by name, oldest first."""
        with self._lock:
            return self._cases.copy()

    @property
    def channel_layouts(self) -> set[tuple[int, int]]:
        """Of the images: the number of channels and of spatial axes."""
        with self._lock:
            return {
                (
                    shape[-1] if len(shape) > len(axes.removesuffix(CHANNEL)) else 1,
                    len(axes.removesuffix(CHANNEL)),
                )
                for axes, shape, _ in self._shapes
            }

    def approved_channels(self) -> set[int]:
        """How many channels the images have of which something is approved."""
        with self._lock:
            return {
                self._channels[name]
                for name, active in self._active.items()
                if active and name in self._channels
            }

    def approvals(self, *, revoked: bool = False) -> list[Approval]:
        """The approvals, oldest first; without those of an image whose line is damaged.

        Parameters
        ----------
        revoked
            Include those that were taken back.
        """
        with self._lock:
            return [
                a for a in self._approvals.values() if (revoked or not a.revoked) and a.case in self._cases
            ]

    def approvals_of(self, case: str) -> list[Approval]:
        """The approvals of an image that were not taken back, oldest first."""
        with self._lock:
            return list(self._active.get(case, {}).values())

    def find(self, scan: Scan, others: Iterable[CaseRecord] = ()) -> CaseRecord | None:
        """The record of a scan, found by its values and geometry; None where there is none.

        Parameters
        ----------
        scan
            Its values are read only where a record has its shape.
        others
            Further records to look through.
        """
        candidates: list[CaseRecord] = []
        with self._lock:
            is_known_shape = (scan.axes, tuple(scan.array.shape), scan.array.dtype.str) in self._shapes
        if is_known_shape:
            pixels = scan.content_sha256  # without the lock: of a large scan it takes a second
            with self._lock:
                candidates = [self._cases[name] for name in self._names_by_pixels.get(pixels, ())]
        return next((r for r in [*candidates, *others] if is_record_of(r, scan)), None)
