"""A row of a case list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.caselist.decisions import CaseState, Reading
from napari_latentseg.measure import Measurement

__all__ = ["ListedCase", "doubt_of_sizes", "worth_order"]

_FIT_ORDER = {"foreign": 0, "unusual": 1}
_STATE_ORDER: dict[CaseState, int] = {
    "second reading": 0, "in review": 0, "segmented": 0, "new": 1, "rejected": 2, "approved": 2,
}  # fmt: skip


@dataclass(frozen=True)
class ListedCase:
    """A case of a list.

    Attributes
    ----------
    name
        Of the case; no other case of the list has it.
    path, series
        Its image, and which of several in it; the path is empty where a de-identified batch does not tell.
    state
        See `napari_latentseg.caselist.decisions.CaseState`.
    readers
        Who has worked on it, in order; the last is the one who decided or has it open.
    fit
        ``"fits"``, ``"unusual"`` or ``"foreign"``: whether the model was made for the image; empty where that
        is not known.
    sizes
        Area or volume of each class of the model's mask, with intervals of 90 %.
    doubt
        In [0, 1], see `napari_latentseg.caselist.listed_case.doubt_of_sizes`: one minus the Dice to expect of
        the class with the lowest, where the model was calibrated for the run; else how wide the interval of
        the size is, of the class with the widest. None where neither is known.
    doubtful_slice
        The slice with the highest uncertainty, counted from 1; empty where that is not known.
    seconds
        Time that readers have spent, in s.
    rating
        1 (unusable) to 4 (no change needed); None without one.
    comment
        Of the last reader who wrote one.
    result, mask
        The record of its result, or a mask without one; empty without.
    problem
        Why it cannot be opened, or is not what was read; mostly empty.
    is_blind
        Of a second reading: whether the mask of the first reader is not to be shown.
    readings
        The masks of its readers, oldest first.

    Examples
    --------
    >>> from pathlib import Path
    >>> from napari_latentseg import ListedCase
    >>> ListedCase("case-7", Path("case-7.png"), doubt=0.25).describe_doubt()
    '0.25'
    """

    name: str
    path: Path | None = None
    series: int | str | None = None
    state: CaseState = "new"
    readers: tuple[str, ...] = ()
    fit: str = ""
    sizes: tuple[Measurement, ...] = ()
    doubt: float | None = None
    doubtful_slice: str = ""
    seconds: float = 0.0
    rating: int | None = None
    comment: str = ""
    result: Path | None = None
    mask: Path | None = None
    problem: str = ""
    is_blind: bool = False
    readings: tuple[Reading, ...] = ()

    @property
    def is_decided(self) -> bool:
        """Whether a reader has approved or rejected it, and no second reading is asked for."""
        return self.state in ("approved", "rejected")

    @property
    def reader(self) -> str:
        """Who worked on it last; empty where nobody has."""
        return self.readers[-1] if self.readers else ""

    @property
    def first_reader(self) -> str:
        """Whose mask is the first; empty where nobody has approved one."""
        return self.readings[0].reader if self.readings else ""

    def describe_doubt(self) -> str:
        """The doubt as text; empty where it is not known."""
        return "" if self.doubt is None else f"{self.doubt:.2f}"

    def describe_sizes(self) -> str:
        """Sizes with their intervals: ``lesion 703 pixels (650 to 760)``."""
        return ", ".join(
            f"{size.name} {size.size_text}" + (f" ({size.range_text})" if size.range_text else "")
            for size in self.sizes
        )


def doubt_of_sizes(sizes: tuple[Measurement, ...], expected_dice: float | None) -> float | None:
    """The doubt about a mask, in [0, 1], from what a table says of it.

    Parameters
    ----------
    sizes
        Of its classes, with intervals.
    expected_dice
        The Dice to expect of the class with the lowest; None where the model was not calibrated for the run.

    Returns
    -------
    float or None
        ``1 - expected_dice``; without one, ``(high - low) / (high + low)`` of the class with the widest
        interval: 0 where all samples have one size, 1 where the class may be absent. None where no size has
        an interval.

    Examples
    --------
    >>> round(doubt_of_sizes((), 0.8), 2)
    0.2
    >>> lesion = Measurement("lesion", 1, 0, None, 20.0, "mm3", "", low=10.0, high=30.0)
    >>> doubt_of_sizes((lesion,), None)
    0.5
    """
    if expected_dice is not None:
        return min(1.0, max(0.0, 1 - expected_dice))
    widths = [
        (size.high - size.low) / (size.high + size.low)
        for size in sizes
        if size.low is not None and size.high is not None and size.high > 0
    ]
    known = [size for size in sizes if size.low is not None and size.high is not None]
    if not known:
        return None
    return max((min(1.0, max(0.0, width)) for width in widths if math.isfinite(width)), default=0.0)


def worth_order(case: ListedCase) -> tuple[int, int, float, str]:
    """The key by which cases are sorted: those where looking is worth most come first.

    Cases with a mask that nobody has decided on, then those without a mask, then those that are decided.
    Among each, images that the model was not made for come first, since its doubt says little of them, then
    unusual ones; then those with the highest doubt; cases of unknown doubt come last.
    """
    doubt = -1.0 if case.doubt is None else case.doubt
    return _STATE_ORDER[case.state], _FIT_ORDER.get(case.fit, 2), -doubt, case.name
