"""A fine-tuned model beside its base on the same cases: `comparison.json` of a candidate's folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = [
    "MIN_DSC_CHANGE",
    "CaseComparison",
    "Comparison",
    "ComparisonScores",
    "ReplayComparison",
    "ValidationComparison",
    "Verdict",
    "VersionName",
]

Verdict = Literal["better", "same", "worse", "unknown"]

MIN_DSC_CHANGE = 0.005
"""A smaller change of Dice counts as none: two people who draw the same outline differ by more."""


class VersionName(FrozenModel):
    """Which version of which model."""

    name: str
    version: str


class ComparisonScores(FrozenModel):
    """The scores of one model.

    Attributes
    ----------
    dsc, ece
        Dice and expected calibration error, in [0, 1].
    hd95
        In the unit of the comparison; None where it has no meaning: of patches, or where units differ.
    """

    dsc: float
    hd95: float | None
    ece: float


class ValidationComparison(FrozenModel):
    """Means over the cases kept for validation.

    Attributes
    ----------
    cases
        How many there are.
    unit
        Of HD95, ``"mm"`` or ``"pixel"``.
    """

    cases: int
    before: ComparisonScores
    after: ComparisonScores
    unit: str


class ReplayComparison(FrozenModel):
    """Means over images of the model's own first training.

    Attributes
    ----------
    what
        Which, in words.
    items
        How many patches.
    """

    what: str
    items: int
    before: ComparisonScores
    after: ComparisonScores


class CaseComparison(FrozenModel):
    """One validation case; `case` is its number from 1, `change` that of the Dice."""

    case: int
    before: ComparisonScores
    after: ComparisonScores
    change: float


class Comparison(FrozenModel):
    """Both models on the same cases.

    Attributes
    ----------
    line, verdict
        What a person reads first, and its first word for programs.
    base, new
        The two models.
    share
        How much of the way from the base's weights to the new ones is kept, in [0, 1].
    held_out
        On the validation cases; None where there are none.
    own
        On the model's own images; None where none came with it.
    cases
        Each validation case.
    notes
        What a person should know of the scores.
    """

    format: Literal[1] = 1
    line: str
    verdict: Verdict
    base: VersionName
    new: VersionName
    share: Annotated[float, Field(ge=0, le=1)]
    held_out: ValidationComparison | None
    own: ReplayComparison | None
    cases: tuple[CaseComparison, ...]
    notes: tuple[str, ...]
