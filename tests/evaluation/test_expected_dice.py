"""The Dice to expect of a mask, and what reviewing the worst fifth finds."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.dice_estimate import DiceEstimate
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import CaseFigures
from napari_latentseg.evaluation.expected_dice import ExpectedDice

CONDITIONS = {"samples": 5, "source": "augment", "threshold": 0.4, "data": "drawn images"}


def figures(soft: float, dice: float, size: float = 10) -> CaseFigures:
    return CaseFigures(dice, soft, size, 0, 0, 1, True)


def drawn(count: int, seed: int = 0) -> list[list[CaseFigures | None]]:
    """Masks that are too sure of themselves: the Dice is below the soft Dice."""
    rng = np.random.default_rng(seed)
    soft = rng.uniform(0.5, 0.98, count)
    dice = np.clip(soft - 0.1 + rng.normal(0, 0.04, count), 0, 1)
    return [[figures(s, d)] for s, d in zip(soft, dice, strict=True)]


def test_the_expected_dice_follows_the_true_one() -> None:
    fitted = ExpectedDice.fit(["lesion"], drawn(80), **CONDITIONS)
    fit = fitted.classes["lesion"]
    assert fit.correlation is not None
    assert fit.correlation > 0.9
    assert fit.mean_error < 0.05
    estimates = [fitted.estimate("lesion", soft) for soft in (0.6, 0.8, 0.95)]
    assert all(e is not None for e in estimates)
    for estimate, true in zip(estimates, (0.5, 0.7, 0.85), strict=True):
        assert estimate.expected == pytest.approx(true, abs=0.06)
        assert estimate.lower < estimate.expected


def test_the_lower_bound_holds_in_nine_of_ten_new_images() -> None:
    held = []
    for seed in range(12):
        rows = drawn(120, seed)
        fitted = ExpectedDice.fit(["lesion"], rows[:40], **CONDITIONS)
        for row in rows[40:]:
            case = row[0]
            assert case is not None
            estimate = fitted.estimate("lesion", case.soft_dice)
            assert estimate is not None
            held.append(case.dice >= estimate.lower)
    assert 0.87 < np.mean(held) < 0.96


def test_an_empty_mask_and_an_unknown_class_have_no_estimate() -> None:
    fitted = ExpectedDice.fit(["lesion"], drawn(30), **CONDITIONS)
    assert fitted.estimate("lesion", 0.0) is None
    assert fitted.estimate("cyst", 0.9) is None


def test_fewer_than_twenty_images_give_no_estimate() -> None:
    with pytest.raises(BadInput, match="19 with a class; an expected Dice needs 20"):
        ExpectedDice.fit(["lesion"], drawn(19), **CONDITIONS)


def test_images_without_a_spread_of_agreement_still_give_a_finite_fit() -> None:
    rows: list[list[CaseFigures | None]] = [[figures(0.9, 0.8)] for _ in range(20)]
    fit = ExpectedDice.fit(["lesion"], rows, **CONDITIONS).classes["lesion"]
    assert fit.correlation is None
    assert fit.slope == pytest.approx(1, abs=0.1)


def test_the_worst_fifth_finds_missed_classes_where_the_samples_disagree() -> None:
    rows = drawn(60)
    for i in range(6):
        rows[i] = [figures(0.3, 0.02)]
    rows[6] = [figures(0.0, 0.0, size=0)]  # an empty mask ranks first
    worst = ExpectedDice.fit(["lesion"], rows, **CONDITIONS).worst_fifth
    assert worst is not None
    assert (worst.images, worst.missed) == (60, 7)
    assert worst.missed_share is not None
    assert worst.missed_share > 0.9
    assert worst.error_share > 0.35
    assert "finds" in worst.describe()
    assert "Dice below 0.1; 7 of 60" in worst.describe()


def test_without_missed_classes_the_text_does_not_speak_of_them() -> None:
    worst = ExpectedDice.fit(["lesion"], drawn(40), **CONDITIONS).worst_fifth
    assert worst is not None
    assert worst.missed_share is None
    assert "missed" not in worst.describe()


@pytest.mark.parametrize(
    ("level", "words"), [(0.9, "9 of 10 images"), (0.95, "95 % of images"), (0.8, "8 of 10 images")]
)
def test_the_level_is_said_as_people_read_it(level: float, words: str) -> None:
    assert words in DiceEstimate(expected=0.8, lower=0.6, level=level).describe()
