"""CaseList: cases that one reader at a time holds, and decisions that are on the disk at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import TracebackType

from filelock import Timeout

from napari_latentseg.annotations.durable_io import store_lock
from napari_latentseg.annotations.journal import Journal
from napari_latentseg.annotations.records import utc_now
from napari_latentseg.caselist.decisions import (
    DECISION_ADAPTER,
    Action,
    Decision,
    case_key,
    check_action,
    check_comment,
    check_rating,
    check_reader,
)
from napari_latentseg.caselist.history import CaseHistory, add_lines, file_state
from napari_latentseg.caselist.holds import Holds
from napari_latentseg.caselist.listed_case import ListedCase, worth_order
from napari_latentseg.caselist.readings import check_same_place, reading_path, write_reading
from napari_latentseg.caselist.sources import find_listed_cases
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address

__all__ = ["CaseList", "HeldByAnother"]

_JOURNAL, _LOCK, _HELD = "journal.jsonl", ".lock", "held"


class HeldByAnother(BadInput):
    """Another reader has the case open."""


class CaseList:
    """The cases of a folder, a list, a batch or a data set with masks, and what readers decide on them.

    Decisions are lines of a journal in the folder of the results, or of the images: several readers on
    several computers may work on one list. A decision that was reported is on the disk. A
    case that a reader has open cannot be opened by another, until it is closed or the program
    ends, in whatever way.

    Parameters
    ----------
    source
        A folder of images, a CSV file with the columns case and path, the results of a batch, a folder with
        masks in `masks/`, `labelsTr/` or beside the images, or the address of an archive (``dicomweb://``).
    results
        A folder of results, or of masks with the names of the images; where not given, they are looked for
        among the images. An archive needs one.

    Raises
    ------
    BadInput
        If there is no such folder, it holds no case, or its journal cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from napari_latentseg import CaseList
    >>> from PIL import Image
    >>> for name in ("case-1", "case-2"):
    ...     Path("scans").mkdir(exist_ok=True)
    ...     Image.fromarray(np.zeros((8, 8), np.uint8)).save(f"scans/{name}.png")
    >>> with CaseList("scans") as cases:
    ...     case = cases.hold("case-1", "Anna")
    ...     case = cases.decide("case-1", "Anna", "reject", comment="motion")
    ...     [(case.name, case.state, case.reader) for case in cases.rows()]
    [('case-2', 'new', ''), ('case-1', 'rejected', 'Anna')]
    """

    def __init__(self, source: str | Path, results: str | Path | None = None) -> None:
        self.source, self.results = Path(source), None if results is None else Path(results)
        found = find_listed_cases(self.source, self.results)
        self._home = found.home
        self._cases = {case.name: case for case in found.cases}
        self._keys = {case.name: case_key(case.name) for case in found.cases}
        self._journal: Journal[Decision] = Journal(self._home / _JOURNAL, DECISION_ADAPTER)
        self._holds = Holds(self._home / _HELD)
        self._lock = RLock()
        self._histories: dict[str, CaseHistory] = {}
        self._generation, self._line_count = self._journal.generation, 0
        self._refresh()

    def __enter__(self) -> CaseList:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._cases)

    def close(self) -> None:
        """Let other readers have the cases that are held."""
        with self._lock:
            self._holds.release_all()

    @property
    def damaged_lines(self) -> list[int]:
        """Numbers of the lines of the journal that cannot be read; what they said does not count."""
        return self._journal.damaged_lines

    def rows(self) -> list[ListedCase]:
        """The cases with what all readers have decided until now, those where looking is worth most first.

        Raises
        ------
        BadInput
            If the journal cannot be read.
        """
        with self._lock:
            self._refresh()
            return sorted((self._with_history(case) for case in self._cases.values()), key=worth_order)

    def case(self, name: str) -> ListedCase:
        """One case as it is now.

        Raises
        ------
        BadInput
            If there is no such case, or the journal cannot be read.
        """
        with self._lock:
            if name not in self._cases:
                raise BadInput("case", f"there is none named {name!r}", "see the list")
            self._refresh()
            return self._with_history(self._cases[name])

    def hold(self, name: str, reader: str, *, image_sha256: str = "") -> ListedCase:
        """Open a case: no other reader can until it is released, or this process ends.

        Parameters
        ----------
        name
            Of the case.
        reader
            Who.
        image_sha256
            `Scan.content_sha256` of the image, where it was read already.

        Returns
        -------
        ListedCase
            As it is now: another reader may have decided on it meanwhile.

        Raises
        ------
        HeldByAnother
            If another reader has it open.
        BadInput
            If the reader has no name or read it before and another is asked for, the image is gone, or
            nothing can be written.
        """
        reader = check_reader(reader)
        with self._lock:
            case, key = self.case(name), self._keys[name]
            was_held = key in self._holds
            self._take(name)
            try:
                case = self.case(name)  # what was decided until the other reader let it go
                self._check_may_read(case, reader)
                self._append(name, reader, "open", image_sha256=image_sha256)
            except BaseException:
                if not was_held:
                    self._holds.release(key)
                raise
            return self.case(name)

    def hold_next(self, names: Iterable[str], reader: str) -> ListedCase | None:
        """Open the first of some cases that nobody has decided on or has open.

        Parameters
        ----------
        names
            In the order in which they are tried.
        reader
            Who.

        Returns
        -------
        ListedCase or None
            None where none of them is left.

        Raises
        ------
        BadInput
            As `hold`.
        """
        reader = check_reader(reader)
        for name in names:
            case = self.case(name)
            if case.is_decided or case.problem or not self._may_read(case, reader):
                continue
            try:
                return self.hold(name, reader)
            except HeldByAnother:
                continue
        return None

    def release(self, name: str, reader: str, seconds: float = 0.0) -> None:
        """Close a case without a decision, so that another reader may have it.

        Parameters
        ----------
        name
            Of the case; one that is not held is passed over.
        reader
            Who.
        seconds
            How long it was open.

        Raises
        ------
        BadInput
            If the time cannot be written; the case is released even then.
        """
        with self._lock:
            key = self._keys[name]
            if key not in self._holds:
                return
            try:
                if seconds > 0:
                    self._append(name, check_reader(reader), "close", seconds=seconds)
            finally:
                self._holds.release(key)

    def decide(
        self,
        name: str,
        reader: str,
        action: Action,
        *,
        mask: Scan | None = None,
        seconds: float = 0.0,
        rating: int | None = None,
        comment: str | None = None,
        blind: bool = False,
        image_sha256: str = "",
    ) -> ListedCase:
        """Write a decision; it is on the disk when this returns. A case that is held stays so.

        Parameters
        ----------
        name
            Of the case.
        reader
            Who.
        action
            ``"approve"``, ``"reject"``, ``"second reading"``, which asks for another reader, ``"reopen"``,
            which takes a decision back, or ``"note"``.
        mask
            The mask that is approved, in the geometry of the image; it is kept as that of the reader.
        seconds
            Time spent since it was opened.
        rating, comment
            From 1 (unusable) to 4 (no change needed), 0 to take it back; None to leave them as they are.
        blind
            Of a second reading: do not show the first reader's mask.
        image_sha256
            Of the image that was read.

        Returns
        -------
        ListedCase
            With the decision.

        Raises
        ------
        HeldByAnother
            If another reader has it open.
        BadInput
            If an argument is not possible, or nothing can be written; nothing has changed then.
        """
        reader, action = check_reader(reader), check_action(action)
        rating = None if rating is None else check_rating(rating)
        comment = None if comment is None else check_comment(comment)
        with self._lock:
            case, key = self.case(name), self._keys[name]
            was_held = key in self._holds
            self._take(name)
            try:
                case = self.case(name)
                if action in ("approve", "reject"):
                    self._check_may_read(case, reader, is_deciding=True)
                if action == "second reading" and mask is None and not case.readings:
                    raise BadInput(name, "has no first reading", "approve its mask first")
                reading = reading_sha256 = ""
                if mask is not None:
                    self._check_same_place(case, reader, mask)
                    with self._writing():
                        reading, reading_sha256 = write_reading(self._home, key, mask)
                self._append(
                    name, reader, action, seconds=seconds, rating=rating, comment=comment, blind=blind,
                    image_sha256=image_sha256, reading=reading, reading_sha256=reading_sha256,
                )  # fmt: skip
            finally:
                if not was_held:
                    self._holds.release(key)
            return self.case(name)

    def reading_paths(self, name: str) -> dict[str, Path]:
        """The files of the masks of a case by reader, the first reader's first.

        Raises
        ------
        BadInput
            If there is no such case, or a file is gone or was changed.
        """
        return {reading.reader: reading_path(self._home, reading) for reading in self.case(name).readings}

    def image_sha256(self, name: str) -> str:
        """The hash of the image that was opened last as this case; empty where none was."""
        with self._lock:
            history = self._histories.get(self._keys[name])
            return "" if history is None else history.image_sha256

    def _with_history(self, case: ListedCase) -> ListedCase:
        history = self._histories.get(self._keys[case.name])
        return case if history is None else history.apply(case)

    def _refresh(self) -> None:
        self._journal.refresh()
        generation, lines = self._journal.lines_after(self._generation, self._line_count)
        if generation != self._generation:
            self._histories, self._generation, self._line_count = {}, generation, 0
        add_lines(self._histories, lines)
        self._line_count += len(lines)

    def _take(self, name: str) -> None:
        """Hold a case, or say who does."""
        with self._writing():
            if self._holds.take(self._keys[name]):
                return
        who = self.case(name).reader or "another reader"
        raise HeldByAnother(
            name, f"is being read by {who}", "choose another case, or wait until it is closed"
        )

    def _may_read(self, case: ListedCase, reader: str) -> bool:
        # a name in other letters is no second person
        return case.state != "second reading" or case.first_reader.casefold() != reader.casefold()

    def _check_may_read(self, case: ListedCase, reader: str, *, is_deciding: bool = False) -> None:
        if not self._may_read(case, reader):
            raise BadInput(
                case.name, "waits for a second reader, and you were the first", "choose another case"
            )
        path = None if is_archive_address(case.path) else case.path  # which is asked when it is read
        if path is not None and not is_deciding and not path.exists():
            raise BadInput(case.name, "its image is gone", "put it back, or take the case out of the list")

    def _check_same_place(self, case: ListedCase, reader: str, mask: Scan) -> None:
        first = next((reading for reading in case.readings if reading.reader != reader), None)
        # one that is gone is told when it is read
        if first is not None and (self._home / first.file).is_file():
            check_same_place(mask, self._home / first.file, first.reader)

    def _append(
        self, name: str, reader: str, action: Action, *, seconds: float = 0.0, **fields: object
    ) -> None:
        image = file_state(self._cases[name].path)
        line = Decision.model_validate(
            {
                "case": self._keys[name],
                "action": action,
                "reader": reader,
                "time": utc_now(),
                "seconds": round(seconds, 1) if math.isfinite(seconds) and seconds > 0 else 0.0,
                "image_size": None if image is None else image[0],
                "image_mtime_ns": None if image is None else image[1],
                **fields,
            }
        )
        with self._writing():
            self._home.mkdir(parents=True, exist_ok=True)
            with store_lock(self._home / _LOCK, self._home.parent):
                self._journal.append([line])
        self._refresh()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in one line why nothing can be written."""
        remedy = "free some disk space, or give a folder that you may write to for the results (--results)"
        try:
            yield
        except BadInput as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or isinstance(cause, Timeout):
                raise
            why = f"decisions cannot be written there ({cause.strerror})"
            raise BadInput(self._home.parent, why, remedy) from error
        except OSError as error:
            why = f"decisions cannot be written there ({error.strerror or 'no reason given'})"
            raise BadInput(self._home.parent, why, remedy) from error
