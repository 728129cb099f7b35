"""Contours that enclose the true edge in nine of ten images."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import CaseFigures
from napari_latentseg.evaluation.conformal import conformal_bound, leave_one_out
from napari_latentseg.evaluation.contour_band import ClassBand, ContourBand, needed_factors

CONDITIONS = {"samples": 5, "source": "augment", "threshold": 0.4, "data": "40 drawn images"}


def drawn_figures(count: int, seed: int = 0) -> list[CaseFigures]:
    """Masks whose error grows with their size and their uncertainty."""
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(count):
        size, soft = rng.uniform(10, 50), rng.uniform(0.6, 0.98)
        outward, inward = np.abs(rng.normal(0, size * (1 - soft), 2))
        figures.append(CaseFigures(soft, soft, size, outward, inward, size / 2, True))
    return figures


def test_the_promise_holds_in_new_images() -> None:
    level = 0.9
    held = []
    for seed in range(200):
        needed = needed_factors(drawn_figures(80, seed))
        held.append((needed[40:] <= conformal_bound(needed[:40], level)).mean())
    assert 0.88 < np.mean(held) < 0.94


def test_the_card_says_how_often_and_how_wide() -> None:
    figures = drawn_figures(40)
    band = ContourBand.fit(["lesion"], [[f] for f in figures], **CONDITIONS).classes["lesion"]
    assert band.cases == 40
    assert 0.85 <= band.coverage <= 1
    assert 0 < band.typical_inward <= band.typical_outward
    needed = needed_factors(figures)
    assert (needed <= band.factor).mean() >= 0.9
    assert band.reach(20, 0.9) == pytest.approx(band.factor * 20 * 0.11)


def test_fewer_than_twenty_images_give_no_contours() -> None:
    figures = [[f] for f in drawn_figures(19)]
    with pytest.raises(BadInput, match="19 with a class; contours need 20"):
        ContourBand.fit(["lesion"], figures, **CONDITIONS)
    assert ContourBand.fit(["lesion"], [*figures, figures[0]], **CONDITIONS).classes


def test_a_class_with_too_few_images_is_left_out() -> None:
    rows: list[list[CaseFigures | None]] = [[f, None] for f in drawn_figures(30)]
    rows[0][1] = rows[1][0]
    band = ContourBand.fit(["lesion", "cyst"], rows, **CONDITIONS)
    assert list(band.classes) == ["lesion"]


def test_masks_that_are_empty_too_often_give_no_contours() -> None:
    empty = CaseFigures(0, 0, 0, np.inf, np.inf, 0, True)
    rows = [[f] for f in [*drawn_figures(30), *[empty] * 10]]
    with pytest.raises(BadInput, match="wrong too often"):
        ContourBand.fit(["lesion"], rows, **CONDITIONS)


def test_one_image_in_two_files_is_left_out_together() -> None:
    left_out = [sorted(index.tolist()) for _, index in leave_one_out(["a", "b", "a"])]
    assert left_out == [[0, 2], [1]]
    # each pair alone sets the bound of the other, so copies must not judge each other
    figures = drawn_figures(20)
    rows = [[f] for f in figures for _ in range(2)]
    keys = [i for i in range(20) for _ in range(2)]
    apart = ContourBand.fit(["lesion"], rows, keys, **CONDITIONS).classes["lesion"].coverage
    together = ContourBand.fit(["lesion"], rows, **CONDITIONS).classes["lesion"].coverage
    assert apart <= together


def test_a_card_with_an_endless_distance_is_refused() -> None:
    with pytest.raises(ValidationError):
        ClassBand(factor=float("inf"), cases=20, coverage=0.9, typical_outward=0.1, typical_inward=0.1)


def test_the_promise_is_in_words() -> None:
    band = ContourBand.fit(["lesion"], [[f] for f in drawn_figures(30)], **CONDITIONS)
    assert band.promise.startswith("In 90 % of images like these the true edge lies between the contours")
