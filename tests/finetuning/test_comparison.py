"""What is said of a fine-tuned model, by its scores."""

from __future__ import annotations

import pytest

from napari_latentseg.finetuning.comparison import CaseScores, MeanScores, mean_scores, verdict


def scores(dsc: float) -> MeanScores:
    return MeanScores(dsc, 3.0, 0.01)


def change(before: float, after: float) -> tuple[MeanScores, MeanScores]:
    return scores(before), scores(after)


CASES = {
    "better": (change(0.7, 0.75), None, 3, "better", "Better: Dice 0.700 to 0.750 on 3 validation cases"),
    "better, one case": (
        change(0.7, 0.8), None, 1, "unknown",
        "Perhaps better: Dice 0.700 to 0.800 on 1 validation case; too few cases to be sure",
    ),
    "better, and it forgets a little": (
        change(0.7, 0.75), change(0.8, 0.791), 3, "better",
        "Better: Dice 0.700 to 0.750 on 3 validation cases;"
        " on images of its first training, Dice 0.800 to 0.791",
    ),
    "less than half a point": (change(0.7, 0.704), None, 2, "same", "No clear change: Dice"),
    "half a point less": (change(0.7, 0.69), None, 2, "worse", "Worse: Dice 0.700 to 0.690"),
    "it forgets": (change(0.7, 0.75), change(0.8, 0.78), 2, "worse", "Worse on images of its first"),
    "no validation case": (
        None, None, 0, "unknown", "Not known whether it is better: there was no validation case"
    ),
    "no validation case, and it forgets": (
        None, change(0.8, 0.78), 0, "worse", "Worse: on images of its first training, Dice 0.800 to 0.780;"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("validation", "replay", "cases", "word", "line"), CASES.values(), ids=CASES.keys())
def test_the_verdict_and_its_first_line(
    validation: tuple[MeanScores, MeanScores] | None,
    replay: tuple[MeanScores, MeanScores] | None,
    cases: int,
    word: str,
    line: str,
) -> None:
    given_word, given_line = verdict(validation, replay, cases)
    assert given_word == word
    assert given_line.startswith(line)
    # the window and the command line show the first word alone where there is little room
    assert given_line.split(":")[0].split()[0] in ("Better", "Perhaps", "No", "Worse", "Not")


def test_distances_in_mm_and_in_pixels_have_no_mean() -> None:
    in_mm, in_pixels = CaseScores(0.8, 2.0, 0.01, "mm"), CaseScores(0.6, 4.0, 0.03, "pixel")
    assert mean_scores([in_mm, in_mm]) == MeanScores(0.8, 2.0, 0.01)
    mixed = mean_scores([in_mm, in_pixels])
    assert mixed.hd95 is None
    assert mixed.dsc == pytest.approx(0.7)
    assert mixed.rounded().model_dump() == {"dsc": 0.7, "hd95": None, "ece": 0.02}
