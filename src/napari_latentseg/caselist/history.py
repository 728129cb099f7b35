"""What the lines of a journal say of each case, in the order of the lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_latentseg.annotations.journal import JournalLine
from napari_latentseg.caselist.decisions import CaseState, Decision, Reading
from napari_latentseg.caselist.listed_case import ListedCase

__all__ = ["CaseHistory", "add_lines", "file_state"]


@dataclass
class CaseHistory:
    """What was decided of one case.

    Attributes
    ----------
    state
        None while nobody has opened it, or after its decision was taken back.
    readers
        In the order in which they first opened or decided it; the last is the one who did so most recently.
    seconds
        Spent by all readers.
    rating, comment
        As in `ListedCase`.
    readings
        Their masks.
    is_blind
        Of the second reading that is asked for.
    image_state
        Size and time of change of the image's file when it was last opened or decided; None where not known.
    image_sha256
        Of the image that was opened last.
    """

    state: CaseState | None = None
    readers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rating: int | None = None
    comment: str = ""
    readings: list[Reading] = field(default_factory=list)
    is_blind: bool = False
    image_state: tuple[int, int] | None = None
    image_sha256: str = ""

    def add(self, decision: Decision) -> None:
        """Follow one line."""
        self.seconds += decision.seconds
        if decision.rating is not None:
            self.rating = decision.rating or None
        if decision.comment is not None:
            self.comment = decision.comment
        if decision.image_size is not None and decision.image_mtime_ns is not None:
            self.image_state = decision.image_size, decision.image_mtime_ns
        self.image_sha256 = decision.image_sha256 or self.image_sha256
        if decision.reading:
            reading = Reading(
                reader=decision.reader,
                file=decision.reading,
                sha256=decision.reading_sha256,
                time=decision.time,
            )
            # the last mask of a reader counts, in the place of the first
            others = [known.reader for known in self.readings]
            if decision.reader in others:
                self.readings[others.index(decision.reader)] = reading
            else:
                self.readings.append(reading)
        self._follow_state(decision)

    def _follow_state(self, decision: Decision) -> None:
        match decision.action:
            case "open":
                if self.state not in ("second reading", "approved", "rejected"):
                    self.state = "in review"
            case "approve":
                self.state = "approved"
            case "reject":
                self.state = "rejected"
            case "second reading":
                self.state, self.is_blind = "second reading", decision.blind
            case "reopen":
                self.state = "in review"
            case _:  # closing and notes change no state
                return
        if decision.reader in self.readers:
            self.readers.remove(decision.reader)
        self.readers.append(decision.reader)

    def apply(self, case: ListedCase) -> ListedCase:
        """A case with what was decided of it."""
        return replace(
            case,
            state=self.state or case.state,
            readers=tuple(self.readers),
            seconds=self.seconds,
            rating=self.rating,
            comment=self.comment,
            readings=tuple(self.readings),
            is_blind=self.state == "second reading" and self.is_blind,
            problem=case.problem or self._image_problem(case.path),
        )

    def _image_problem(self, path: Path | None) -> str:
        """Whether the image is another file than the one that was read."""
        if path is None or self.image_state is None:
            return ""
        state = file_state(path)
        if state is None:
            return "its image is gone: put it back, or take the case out of the list"
        if state != self.image_state and self.state in ("approved", "rejected", "second reading"):
            return "its image has changed since it was read: open it to see whether the values have"
        return ""


def file_state(path: Path | None) -> tuple[int, int] | None:
    """Size and time of change of a file or folder; None where there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def add_lines(histories: dict[str, CaseHistory], lines: Iterable[JournalLine[Decision]]) -> None:
    """Follow further lines of the journal."""
    for line in lines:
        histories.setdefault(line.record.case, CaseHistory()).add(line.record)
