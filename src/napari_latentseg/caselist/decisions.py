"""A line of the journal of a case list, and the states that follow from the lines."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.evaluation.reader_names import RESERVED_NAMES

__all__ = [
    "DECISION_ADAPTER",
    "MAX_RATING",
    "STATES",
    "Action",
    "CaseState",
    "Decision",
    "Reading",
    "case_key",
    "check_action",
    "check_comment",
    "check_rating",
    "check_reader",
]

CaseState = Literal["new", "segmented", "in review", "approved", "rejected", "second reading"]
"""``"new"``: no mask yet; ``"segmented"``: has one that nobody has decided on; ``"in review"``: a reader has
opened it; ``"approved"``, ``"rejected"``; ``"second reading"``: another reader is asked for."""

STATES: tuple[CaseState, ...] = ("new", "segmented", "in review", "approved", "rejected", "second reading")

Action = Literal["open", "close", "approve", "reject", "second reading", "reopen", "note"]

_DECISIONS: tuple[Action, ...] = ("approve", "reject", "second reading", "reopen", "note")

MAX_RATING = 4
_MAX_READER_LENGTH, _MAX_COMMENT_LENGTH = 60, 2000  # characters
_KEY_DIGITS = 16  # of a hash: two of 10,000 names agree in them with odds of 1 to 10^11


class Decision(FrozenModel):
    """What a reader has done with a case, as it is written to disk.

    Attributes
    ----------
    case
        `case_key` of its name, which may be that of a patient.
    action
        ``"note"`` changes rating and comment alone.
    reader
        Who.
    time
        UTC, by the clock of the computer. Lines count in their order, whatever the clock says.
    seconds
        How long the case was open for it, by a clock that never runs backwards.
    rating
        1 to 4; None where this line says nothing of it; 0 takes a rating back.
    comment
        None where this line says nothing of it.
    blind
        Of a second reading: whether the mask of the first reader is not to be shown.
    image_size, image_mtime_ns
        Of the image's file or folder when this was decided; None where it could not be read.
    image_sha256
        `Scan.content_sha256` of the image that was opened.
    reading, reading_sha256
        The file of the reader's mask in the folder of the list, and its hash; empty without one.
    """

    kind: Literal["decision"] = "decision"
    case: str = Field(pattern=r"^[0-9a-f]{16}$")
    action: Action
    reader: str = Field(min_length=1)
    time: str
    seconds: float = Field(0.0, ge=0)
    rating: int | None = Field(None, ge=0, le=MAX_RATING)
    comment: str | None = None
    blind: bool = False
    image_size: int | None = None
    image_mtime_ns: int | None = None
    image_sha256: str = ""
    reading: str = ""
    reading_sha256: str = ""


DECISION_ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotated[Decision, Field()])


class Reading(FrozenModel):
    """The mask of one reader of a case.

    Attributes
    ----------
    reader
        Who.
    file, sha256
        The file in the folder of the list, and its hash.
    time
        When it was approved, UTC.
    """

    reader: str
    file: str
    sha256: str
    time: str


def case_key(name: str) -> str:
    """What a case is called in the journal: no name of a file or of a patient.

    Examples
    --------
    >>> case_key("knee")
    '69ef5a88b0273f58'
    """
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:_KEY_DIGITS]


def check_reader(name: str) -> str:
    """A reader's name without spaces around it.

    Raises
    ------
    BadInput
        If it is empty, too long, holds characters that cannot be seen, or means something else.

    Examples
    --------
    >>> check_reader(" Anna ")
    'Anna'
    """
    text = " ".join(name.split())
    if not text:
        raise BadInput("reader", "is missing", "enter your name or initials (Preferences > LatentSeg)")
    if len(text) > _MAX_READER_LENGTH or not text.isprintable():
        why = f"is longer than {_MAX_READER_LENGTH} characters, or holds some that cannot be seen"
        raise BadInput("reader", why, "enter a name or initials")
    if text in RESERVED_NAMES:  # the masks of such a reader could not be compared with any other
        raise BadInput("reader", f"{text!r} means something else here", "enter a name or initials")
    return text


def check_action(action: str) -> Action:
    """What a reader may decide.

    Raises
    ------
    BadInput
        If it is none of the actions.
    """
    for known in _DECISIONS:
        if action == known:
            return known
    raise BadInput("action", f"{action!r} is not known", choose_from(action, _DECISIONS))


def check_rating(rating: int) -> int:
    """A rating from 1 (unusable) to 4 (no change needed), or 0 for none.

    Raises
    ------
    BadInput
        If it is none of these.
    """
    if rating not in range(MAX_RATING + 1):
        raise BadInput("rating", f"is {rating}", f"give 1 to {MAX_RATING}, or 0 for none")
    return rating


def check_comment(comment: str) -> str:
    """A comment that a line can hold.

    Raises
    ------
    BadInput
        If it is too long.
    """
    if len(comment) > _MAX_COMMENT_LENGTH:
        why = f"has {len(comment)} characters, and {_MAX_COMMENT_LENGTH} are the most"
        raise BadInput("comment", why, "shorten it")
    return comment
