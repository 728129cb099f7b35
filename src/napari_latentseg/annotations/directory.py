"""The folder of a store: its files, its lock, its journal and its images."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.case_files import NIFTI_SUFFIX, new_case_record, read_scan, write_case
from napari_latentseg.annotations.drafts import DRAFT_SUFFIX, DraftHeader, read_header
from napari_latentseg.annotations.durable_io import commit, os_errors_as_bad_input, store_lock
from napari_latentseg.annotations.journal import Journal
from napari_latentseg.annotations.mask_files import MergedMask, merge_approvals, merge_timepoints
from napari_latentseg.annotations.nnunet_dataset import IMAGES_FOLDER, LABELS_FOLDER, NnunetCase
from napari_latentseg.annotations.nnunet_sync import NnunetSync
from napari_latentseg.annotations.records import CaseRecord, Record, as_ranges
from napari_latentseg.annotations.session_lock import SessionLock, remove_dead_sessions
from napari_latentseg.annotations.store_index import StoreIndex, is_record_of
from napari_latentseg.annotations.types import Approval
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti
from napari_latentseg.utils.atomic import make_private_folder
from napari_latentseg.utils.weights import file_sha256

__all__ = ["DRAFTS_FOLDER", "StoreDirectory", "is_store"]

JOURNAL_FILE, OBJECTS_FOLDER, PENDING_FOLDER, DRAFTS_FOLDER, LOCK_FILE = (
    "journal.jsonl",
    "objects",
    "waiting",
    "drafts",
    ".lock",
)


def is_store(folder: Path) -> bool:
    """Whether a folder is a store with approvals, also where its journal is missing."""
    return (folder / JOURNAL_FILE).is_file() or (
        (folder / OBJECTS_FOLDER).is_dir() and (folder / LABELS_FOLDER).is_dir()
    )


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Hold Python's search for cycles while many records are made, which would take half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class StoreDirectory:
    """What approvals and drafts share: the lock, the records and the paths of the files.

    Parameters
    ----------
    folder
        Of the store; made at the first write.

    Raises
    ------
    BadInput
        If the folder cannot be read, or is a newer version's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: tuple[str, ...] = ()
        self.reader = ""
        self.journal: Journal[Record] = Journal(folder / JOURNAL_FILE)
        self.index = StoreIndex(self.journal)
        self._nnunet = NnunetSync(folder, folder / PENDING_FOLDER)
        self.session = SessionLock(folder / DRAFTS_FOLDER)
        self.thread_lock = RLock()
        self._merge_cache: dict[str, MergedMask] = {}
        if folder.exists() and not folder.is_dir():
            raise BadInput(folder, "is not a folder", "give a folder for the annotations")
        with _without_garbage_collection():
            self.refresh()
            if self.is_journal_missing():
                self.add_note(
                    f"{JOURNAL_FILE} is missing, and nothing counts as approved: put it back from a backup"
                )
            if self.journal.path.exists() or (folder / PENDING_FOLDER).is_dir():
                with (
                    suppress(BadInput),
                    self.write_lock(timeout_s=0.2),
                ):  # a store that may only be read is not cleaned up
                    self._clean_up()

    def refresh(self) -> None:
        """Read new lines of the journal; does not wait for a write of this process."""
        self.index.update()
        if damaged_lines := self.journal.damaged_lines:
            ranges = as_ranges(damaged_lines)
            lines = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges)
            self.add_note(f"the journal is damaged in line {lines}: annotations verify says what that means")

    def append(self, records: Sequence[Record]) -> int:
        """Append lines to the journal in the name of the reader; returns the number of the last one."""
        return self.journal.append([record.replace(reader=self.reader) for record in records])

    def is_journal_missing(self) -> bool:
        """Whether there are approved masks, but no journal: it is written before a label file is."""
        return not self.journal.path.exists() and is_store(self.folder)

    def check_journal(self) -> None:
        """Refuse to begin a new journal beside masks that were approved with another.

        Raises
        ------
        BadInput
            If the journal is missing.
        """
        if self.is_journal_missing():
            raise BadInput(
                self.journal.path, "is missing, and the masks that were approved are still there",
                "put it back from a backup, or move the folder away to begin anew",
            )  # fmt: skip

    def add_note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes = (*self.notes, text)

    def records(self) -> tuple[dict[str, CaseRecord], list[Approval]]:
        """The records of the cases by name, and all approvals, oldest first, also those that were revoked."""
        self.refresh()
        return self.index.cases, self.index.approvals(revoked=True)

    def active(self) -> tuple[dict[str, CaseRecord], list[Approval]]:
        """The records of the cases by name, and the approvals that were not revoked, oldest first."""
        self.refresh()
        return self.index.cases, self.index.approvals()

    def case(self, record: CaseRecord, approvals: Iterable[Approval], scan: Scan | None = None) -> Case:
        """The case of a record, with the newest of what was approved of it.

        Parameters
        ----------
        record
            Of the image.
        approvals
            Those of it that were not revoked, oldest first.
        scan
            The image, where it is in memory already.
        """
        case_approvals = list(approvals)

        def read_mask() -> NDArray[np.uint8]:
            return merge_timepoints(record, case_approvals, self.object_path)

        return Case(
            record.name,
            (lambda: self.read_case(record)) if scan is None else (lambda: scan),
            mask_reader=read_mask,
            annotated_slices=tuple(sorted({n for a in case_approvals for n in a.planes})),
            known_hashes={"content": record.pixels},
        )

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the store, in the order in which they were added."""
        self.refresh()
        return self.index.classes

    def count_uses(self, label: int) -> int:
        """In how many images an approval that was not revoked holds a label; reads their masks."""
        _, approvals = self.active()
        used_in: set[str] = set()
        for approval in approvals:
            if approval.case not in used_in and any(
                (np.asarray(nifti.read(self.object_path(block.object)).array) == label).any()
                for block in approval.blocks
            ):
                used_in.add(approval.case)
        return len(used_in)

    def find_case(self, scan: Scan, *, with_pending: bool = False) -> CaseRecord | None:
        """The record of a scan, found by its values and geometry; None where there is none.

        Parameters
        ----------
        scan
            The image.
        with_pending
            Look through the images that only drafts need, too.
        """
        self.refresh()
        return self.index.find(scan, self._pending_records().values() if with_pending else ())

    def image_path(self, name: str) -> Path:
        """The path of an image file; it is moved to `imagesTr` when the first slice of it is approved."""
        visible, pending = self.folder / IMAGES_FOLDER / name, self.folder / PENDING_FOLDER / name
        return next((path for path in (visible, pending) if path.exists()), visible)

    def object_path(self, sha256: str) -> Path:
        """The path of an approved mask."""
        return self.folder / OBJECTS_FOLDER / f"{sha256}{NIFTI_SUFFIX}"

    @contextmanager
    def write_lock(self, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the store's lock; the end of the journal is repaired first."""
        with self.thread_lock, os_errors_as_bad_input(self.folder):
            make_private_folder(self.folder)
            with store_lock(self.folder / LOCK_FILE, self.folder, timeout_s):
                if self.journal.repair_tail() == "removed":  # not where only the line break was missing
                    self.add_note(
                        "the last line of the journal was cut short, and was removed: what it was to record "
                        "had not been reported as done"
                    )
                yield

    @contextmanager
    def temporary_files(self) -> Iterator[Callable[[str], Path]]:
        """Give paths, by suffix, for temporary files that are removed when the block ends."""
        if not self.session.is_claimed:
            with self.write_lock():
                self.session.claim()
        created: list[Path] = []

        def temporary(suffix: str) -> Path:
            created.append(self.session.temporary_path(suffix))
            return created[-1]

        try:
            yield temporary
        finally:
            for path in created:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _clean_up(self) -> None:
        """Remove what a killed process left behind; only under the lock."""
        if removed := remove_dead_sessions(self.folder / DRAFTS_FOLDER, self.session.token):
            self.add_note(f"{removed} unfinished files of a window that ended were removed")
        if self.journal.damaged_lines:  # a damaged line may have named any file, so none is removed as unused
            return
        self.remove_unused_pending()
        if self._sync_nnunet():
            self.add_note("labelsTr was brought up to date")

    def _sync_nnunet(self) -> bool:
        """Bring the files that nnU-Net reads up to date; returns whether any changed; only under the lock."""
        self.refresh()

        def temporary(suffix: str) -> Path:
            self.session.claim()
            return self.session.temporary_path(suffix)

        return bool(self._nnunet.update(self.index, temporary, self._merge_of))

    def sync_nnunet_after(self, case: str = "") -> None:
        """As `_sync_nnunet`, after the journal was written; a failure is only noted.

        The files that nnU-Net reads can be made again from the journal at any time.

        Parameters
        ----------
        case
            A case that the journal has a line for now, so that the record beside its image is not needed.
        """
        try:
            (self.folder / PENDING_FOLDER / f"{case}.json").unlink(missing_ok=True)
            self._sync_nnunet()
        except (BadInput, OSError):
            self.add_note("labelsTr could not be brought up to date, and will be at the next opening")

    def _merge_of(self, case: NnunetCase) -> MergedMask:
        # not in the cache while it is changed: a failure must not leave a half-merged mask there
        previous = self._merge_cache.pop(case.name, None)
        merged = merge_approvals(case.case, case.time, case.approvals, self.object_path, previous)
        self._merge_cache = {case.name: merged}
        return merged

    def _pending_records(self) -> dict[str, CaseRecord]:
        """The records of images that only drafts need: nothing of them is approved."""
        records = {}
        folder = self.folder / PENDING_FOLDER
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            with suppress(OSError, ValueError):
                record = CaseRecord.model_validate_json(path.read_text("utf-8"))
                records[record.name] = record
        return records

    def draft_headers(self) -> dict[Path, DraftHeader]:
        """The headers of the drafts of all processes, by path."""
        root = self.folder / DRAFTS_FOLDER
        headers_by_path = {}
        for path in sorted(root.glob(f"*/*{DRAFT_SUFFIX}")) if root.is_dir() else []:
            header = read_header(path)
            if header is None:
                if path.exists():
                    self.add_note(f"a draft ({path.name}) is damaged, and is ignored")
                continue
            headers_by_path[path] = header
        return headers_by_path

    def stage_case(self, scan: Scan, temporary: Callable[[str], Path]) -> tuple[CaseRecord, dict[str, Path]]:
        """The record of a scan, and its temporary files where it is not in the store yet."""
        existing = self.find_case(scan, with_pending=True)
        if existing is not None:
            return existing, {}
        names = self.index.cases.keys() | self._pending_records().keys()
        record = new_case_record(scan, lambda name: name in names)
        return record, write_case(scan, record, temporary)

    def commit_case(
        self,
        scan: Scan,
        record: CaseRecord,
        files: dict[str, Path],
        temporary: Callable[[str], Path],
    ) -> tuple[CaseRecord, bool]:
        """Under the lock: move the files of a scan into the store.

        Returns
        -------
        record
            Of the scan.
        is_new
            Whether the journal has no line for it yet.
        """
        existing = self.find_case(scan)
        if existing is not None:
            return existing, False
        pending = next((r for r in self._pending_records().values() if is_record_of(r, scan)), None)
        if pending is not None and all(self.image_path(name).exists() for name in pending.files):
            return pending, True
        if not files:  # it was in the store when it was staged, and its last draft was discarded since
            files = write_case(scan, record, temporary)
        if record.name in self.index.cases:  # another process has just given this name to another image
            raise BadInput(scan.name, "could not be given a name", "try again")
        complete = record.replace(files={n: file_sha256(p) for n, p in files.items()})
        for name, path in files.items():
            commit(path, self.folder / PENDING_FOLDER / name)
        record_file = temporary(".json")
        record_file.write_text(complete.model_dump_json(indent=2) + "\n", "utf-8")
        commit(record_file, self.folder / PENDING_FOLDER / f"{record.name}.json")
        return complete, True

    def read_case(self, record: CaseRecord) -> Scan:
        """The scan of a case.

        Raises
        ------
        BadInput
            If a file is missing or damaged.
        """
        try:
            return read_scan(record, self.image_path)
        except BadInput as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            return read_scan(record, self.image_path)  # another process has just moved it

    def remove_unused_pending(self) -> None:
        """Remove pending images that neither the journal nor a draft needs; only under the lock."""
        folder = self.folder / PENDING_FOLDER
        if not folder.is_dir():
            return
        self.refresh()
        records = self.index.cases
        needed_names = set(records) | {header.case.name for header in self.draft_headers().values()}
        for path in folder.iterdir():
            name = re.match(r"scan-[0-9a-f]+", path.name)
            is_redundant_record = name is not None and path.suffix == ".json" and name[0] in records
            if name is None or (name[0] in needed_names and not is_redundant_record):
                continue
            with suppress(OSError):
                path.unlink()
