"""The folder of a store: its files, the lock, the journal, and the images that are in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

from napari_latentseg.annotations.dataset import IMAGES, Target, targets
from napari_latentseg.annotations.drafts import SUFFIX, DraftHeader, read_header
from napari_latentseg.annotations.durable import locked, settle, told
from napari_latentseg.annotations.images import ENDING, case_of, read_scan, write_case
from napari_latentseg.annotations.journal import Journal
from napari_latentseg.annotations.labels import Merged, merge
from napari_latentseg.annotations.records import Approval, CaseRecord, Classes, Revocation
from napari_latentseg.annotations.sessions import Session, clear_dead
from napari_latentseg.annotations.view import mend_view
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.scan import Scan
from napari_latentseg.weights import sha256_of

__all__ = ["DRAFTS", "JOURNAL", "Room"]

JOURNAL, OBJECTS, WAITING, DRAFTS, LOCK = "journal.jsonl", "objects", "waiting", "drafts", ".lock"


class Room:
    """What approvals and drafts share: who may write, what is there, where it lies.

    Parameters
    ----------
    folder
        Made at the first write.

    Raises
    ------
    BadInput
        Where the folder cannot be read, or is a newer version's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: tuple[str, ...] = ()
        self.journal = Journal(folder / JOURNAL)
        self.session = Session(folder / DRAFTS)
        self.guard = RLock()
        self._merged: dict[str, Merged] = {}
        if folder.exists() and not folder.is_dir():
            raise BadInput(folder, "is no folder", "give a folder for the annotations")
        self.refresh()
        if self.journal.path.exists() or (folder / WAITING).is_dir():
            with suppress(BadInput), self.writing(patience=0.2):  # where it may only be read, that is enough
                self._tidy()

    def refresh(self) -> None:
        """Read what has come to the journal; waits for no write that goes on in this process."""
        self.journal.refresh()
        if self.journal.damaged:
            lines = ", ".join(map(str, self.journal.damaged))
            self.note(f"the journal is damaged in line {lines}: annotations verify says what that means")

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes = (*self.notes, text)

    def records(self) -> tuple[dict[str, CaseRecord], list[tuple[int, Approval]], set[int]]:
        """Cases by name, all approvals with their numbers, and the numbers that were revoked."""
        self.refresh()
        cases: dict[str, CaseRecord] = {}
        approvals: list[tuple[int, Approval]] = []
        revoked: set[int] = set()
        for line in list(self.journal):
            match line.record:
                case CaseRecord() as case:
                    cases[case.name] = case
                case Approval() as approval:
                    approvals.append((line.number, approval))
                case Revocation() as revocation:
                    revoked.add(revocation.approval)
        known = [(n, a) for n, a in approvals if a.case in cases]  # its image's line may be damaged
        return cases, known, revoked

    def counting(self) -> tuple[dict[str, CaseRecord], list[tuple[int, Approval]]]:
        """Cases by name, and the approvals that were not revoked, oldest first."""
        cases, approvals, revoked = self.records()
        return cases, [(n, a) for n, a in approvals if n not in revoked]

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Those of the store, in the order in which they came."""
        self.refresh()
        return tuple(
            c for line in self.journal if isinstance(line.record, Classes) for c in line.record.classes
        )

    def known(self, scan: Scan, records: Iterable[CaseRecord]) -> CaseRecord | None:
        """The case that a scan is, by values and place."""
        alike = [
            r for r in records
            if (r.axes, r.shape, r.dtype) == (scan.axes, tuple(scan.array.shape), scan.array.dtype.str)
            and r.place.geometry.agrees_with(scan.geometry, scan.spatial_shape)
        ]  # fmt: skip
        return next((r for r in alike if r.pixels == scan.content_sha256), None)

    def image(self, name: str) -> Path:
        """Where an image file lies: it waits until something of it is approved, and is moved then."""
        shown, waiting = self.folder / IMAGES / name, self.folder / WAITING / name
        return next((path for path in (shown, waiting) if path.exists()), shown)

    def object_of(self, sha256: str) -> Path:
        """Where an approved mask lies."""
        return self.folder / OBJECTS / f"{sha256}{ENDING}"

    @contextmanager
    def writing(self, patience: float | None = None) -> Iterator[None]:
        """The store's lock, over a journal in order."""
        with self.guard, told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK, self.folder, patience):
                if self.journal.mend():
                    self.note(
                        "the last line of the journal was cut short, and was taken off: what it was to say "
                        "had not been reported as done"
                    )
                yield

    @contextmanager
    def temporaries(self) -> Iterator[Callable[[str], Path]]:
        """Gives names, with the ending that is asked for, for files that are gone when the block ends."""
        if not self.session.begun:
            with self.writing():
                self.session.begin()
        made: list[Path] = []

        def temporary(suffix: str) -> Path:
            made.append(self.session.temporary(suffix))
            return made[-1]

        try:
            yield temporary
        finally:
            for path in made:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Clear away what a process that was killed left behind; only under the lock."""
        if removed := clear_dead(self.folder / DRAFTS, self.session.token):
            self.note(f"{removed} unfinished files of a window that ended were removed")
        if self.journal.damaged:  # what its lines said is not known, so nothing is taken for left over
            return
        self.sweep_waiting()
        if self._show():
            self.note("labelsTr was brought up to date")

    def _show(self) -> bool:
        """Bring what nnU-Net reads up to date; says whether anything was to be done; only under the lock."""
        records, approvals = self.counting()
        if not records:
            return False
        found, hidden = targets(records.values(), approvals)

        def temporary(suffix: str) -> Path:
            self.session.begin()
            return self.session.temporary(suffix)

        waiting = self.folder / WAITING
        return bool(mend_view(self.folder, found, hidden, self.classes, waiting, temporary, self._merge_of))

    def show_after(self, case: str = "") -> None:
        """As `_show`, once something is kept: what nnU-Net reads can be made again at any time.

        Parameters
        ----------
        case
            One that the journal tells of now, and that need not be told of beside its image any more.
        """
        try:
            (self.folder / WAITING / f"{case}.json").unlink(missing_ok=True)
            self._show()
        except (BadInput, OSError):
            self.note("labelsTr could not be brought up to date, and will be at the next opening")

    def _merge_of(self, target: Target) -> Merged:
        # while it is being made it is nobody's: a failure in the middle must not leave a half
        begun = self._merged.pop(target.name, None)
        merged = merge(target.case, target.time, target.approvals, self.object_of, begun)
        self._merged = {target.name: merged}
        return merged

    def _waiting_records(self) -> dict[str, CaseRecord]:
        """Images that drafts need, and of which nothing has been approved."""
        found = {}
        folder = self.folder / WAITING
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            with suppress(OSError, ValueError):
                record = CaseRecord.model_validate_json(path.read_text("utf-8"))
                found[record.name] = record
        return found

    def headers(self) -> dict[Path, DraftHeader]:
        """The drafts of all processes, with where they lie."""
        root = self.folder / DRAFTS
        found = {}
        for path in sorted(root.glob(f"*/*{SUFFIX}")) if root.is_dir() else []:
            header = read_header(path)
            if header is None:
                if path.exists():
                    self.note(f"a draft ({path.name}) is damaged, and is passed over")
                continue
            found[path] = header
        return found

    def prepared(self, scan: Scan, temporary: Callable[[str], Path]) -> tuple[CaseRecord, dict[str, Path]]:
        """The record of a scan, and its files in the making where it is not in the store yet."""
        records, _ = self.counting()
        waiting = self._waiting_records()
        known = self.known(scan, [*records.values(), *waiting.values()])
        if known is not None:
            return known, {}
        names = set(records) | set(waiting)
        record = case_of(scan, lambda name: name in names)
        return record, write_case(scan, record, temporary)

    def stored(
        self,
        scan: Scan,
        record: CaseRecord,
        files: dict[str, Path],
        temporary: Callable[[str], Path],
    ) -> tuple[CaseRecord, bool]:
        """Under the lock: the case of a scan, its files in the store; and whether the journal lacks it."""
        records, _ = self.counting()
        known = self.known(scan, records.values())
        if known is not None:
            return known, False
        waiting = self.known(scan, self._waiting_records().values())
        if waiting is not None and all(self.image(name).exists() for name in waiting.files):
            return waiting, True
        if not files:  # it was there a moment ago, and a draft of it was discarded since
            files = write_case(scan, record, temporary)
        if record.name in records:  # another image came by this name a moment ago
            raise BadInput(scan.name, "could not be given a name", "try again")
        complete = record.replace(files={n: sha256_of(p) for n, p in files.items()})
        for name, path in files.items():
            settle(path, self.folder / WAITING / name)
        about = temporary(".json")
        about.write_text(complete.model_dump_json(indent=2) + "\n", "utf-8")
        settle(about, self.folder / WAITING / f"{record.name}.json")
        return complete, True

    def read(self, record: CaseRecord) -> Scan:
        """The scan of a case.

        Raises
        ------
        BadInput
            Where a file is missing or damaged.
        """
        try:
            return read_scan(record, self.image)
        except BadInput as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            return read_scan(record, self.image)  # another process has just moved it

    def sweep_waiting(self) -> None:
        """Remove waiting images that neither the journal nor a draft needs; only under the lock."""
        folder = self.folder / WAITING
        if not folder.is_dir():
            return
        records, _ = self.counting()
        needed = set(records) | {header.case.name for header in self.headers().values()}
        for path in folder.iterdir():
            name = re.match(r"scan-[0-9a-f]+", path.name)
            told_twice = name is not None and path.suffix == ".json" and name[0] in records
            if name is None or (name[0] in needed and not told_twice):
                continue
            with suppress(OSError):
                path.unlink()
