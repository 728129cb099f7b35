"""The part of a slice that a model looks at to answer prompts."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.inference.prompt_view import (
    View,
    closer_view,
    first_view,
    is_well_seen,
    only_pointed_at,
    prompt_maps,
    views_at_scales,
    whole_view,
)
from napari_latentseg.methods.simulated_prompts import CLICK_RADIUS

SHAPE = (100, 160)


def test_the_whole_slice_is_a_square_around_it() -> None:
    assert whole_view(SHAPE) == View(-30, 0, 160)
    assert whole_view((160, 100)) == View(0, -30, 160)


def test_what_is_cropped_is_pasted_where_it_was() -> None:
    plane = np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)
    for view in (View(-30, 0, 160), View(20, 40, 32), View(-5, 130, 60)):
        crop = view.crop(plane, view.side)
        pasted = view.paste(crop[0], SHAPE)
        rows, columns = slice(max(0, view.top), view.top + view.side), slice(view.left, view.left + view.side)
        np.testing.assert_array_equal(pasted[rows, columns], plane[0, rows, columns])
        outside = np.ones(SHAPE, dtype=bool)
        outside[rows, columns] = False
        assert not pasted[outside].any()


def test_beyond_the_slice_its_edge_goes_on() -> None:
    plane = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    assert View(-1, -1, 4).crop(plane, 4)[0].tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]


def test_a_click_alone_shows_the_whole_slice() -> None:
    assert first_view(Prompts(positive=[(10, 10)]), SHAPE) == whole_view(SHAPE)


def test_a_box_or_a_mask_before_is_looked_at() -> None:
    box = first_view(Prompts(boxes=[(40, 50, 60, 80)]), SHAPE)
    assert box == View(20, 35, 60)  # twice as wide as the box, around its centre
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10:20, 100:120] = True
    assert first_view(Prompts(positive=[(15, 110)]), SHAPE, mask) == View(0, 85, 50)


def test_no_prompt_is_out_of_view() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10:20, 100:120] = True
    prompts = Prompts(positive=[(15, 110)], negative=[(90, 20)])
    view = first_view(prompts, SHAPE, mask)
    assert all(view.holds(point) for point in (*prompts.positive, *prompts.negative))


def test_a_small_structure_is_looked_at_more_closely() -> None:
    prompts = Prompts(positive=[(50, 80)])
    view, answer = whole_view(SHAPE), np.zeros((64, 64), dtype=bool)
    answer[30:34, 30:34] = True  # 10 of 160 pixels
    closer = closer_view(view, prompts, SHAPE, answer)
    assert closer is not None
    assert closer.side < 40
    assert closer.holds((50, 80))
    answer[10:54, 10:54] = True
    assert closer_view(view, prompts, SHAPE, answer) is None
    assert closer_view(view, prompts, SHAPE, np.zeros((64, 64), dtype=bool)) is None


def test_the_scales_go_from_the_whole_slice_to_what_is_around_the_points() -> None:
    shape = (300, 500)
    views = views_at_scales(Prompts(positive=[(50, 480)]), shape)
    assert views[0] == whole_view(shape)
    assert [view.side for view in views] == [500, 223, 99, 44]  # the next would have less than 24 pixels
    assert all(view.holds((50, 480)) and view.left + view.side <= 500 for view in views)
    apart = Prompts(positive=[(50, 480)], negative=[(50, 430)])
    assert [view.side for view in views_at_scales(apart, shape)] == [500, 223]
    assert all(view.holds(p) for view in views_at_scales(apart, shape) for p in ((50, 480), (50, 430)))


def test_an_object_is_well_seen_that_neither_vanishes_in_the_view_nor_fills_it() -> None:
    prompts, view = Prompts(positive=[(50, 80)]), whole_view(SHAPE)
    answer = np.zeros((64, 64), dtype=bool)
    assert not is_well_seen(view, prompts, answer)
    answer[30:34, 30:34] = True
    answer[60:, :] = True  # nothing points at it
    assert not is_well_seen(view, prompts, answer)
    answer[25:40, 25:40] = True
    assert is_well_seen(view, prompts, answer)
    answer[2:62] = True
    assert not is_well_seen(view, prompts, answer)


def test_another_object_does_not_widen_the_view() -> None:
    prompts = Prompts(positive=[(50, 80)])
    answer = np.zeros((64, 64), dtype=bool)
    answer[30:34, 30:34] = answer[60:, :4] = True
    closer = closer_view(whole_view(SHAPE), prompts, SHAPE, answer)
    assert closer is not None
    assert closer.side < 40


@pytest.mark.parametrize("view", [View(-30, 0, 160), View(20, 40, 80)])
def test_the_maps_have_prompts_where_they_are(view: View) -> None:
    prompts = Prompts(positive=[(50, 80)], negative=[(70, 100)], boxes=[(40, 60, 80, 110)])
    previous = np.zeros(SHAPE, dtype=np.float32)
    previous[45:55, 75:85] = 0.75
    positive, negative, box, before = prompt_maps(view, prompts, 80, previous)
    scale = 80 / view.side
    for channel, (y, x) in ((positive, (50, 80)), (negative, (70, 100))):
        rows, columns = np.nonzero(channel)
        assert rows.mean() == pytest.approx((y + 0.5 - view.top) * scale - 0.5, abs=0.6)
        assert columns.mean() == pytest.approx((x + 0.5 - view.left) * scale - 0.5, abs=0.6)
        assert np.ptp(rows) == 2 * CLICK_RADIUS
    assert box.sum() == pytest.approx(40 * 50 * scale**2, rel=0.1)
    assert before.max() == pytest.approx(0.75, abs=0.01)
    assert not (before[positive == 0] > 0.76).any()


def test_only_the_objects_that_are_pointed_at_are_answered() -> None:
    view = View(0, 0, 64)
    probability = np.zeros((64, 64), dtype=np.float32)
    probability[5:15, 5:15] = probability[30:40, 30:40] = probability[50:60, 5:15] = 0.9
    probability[20:22, 60:62] = 0.3  # below the threshold: what is unsure stays so

    def answered(**prompts: list[tuple[float, ...]]) -> list[bool]:
        kept = only_pointed_at(probability, view, Prompts.model_validate(prompts), 0.5)
        assert kept[20, 60] == np.float32(0.3)
        return [bool(kept[y, x] > 0.5) for y, x in ((10, 10), (35, 35), (55, 10))]

    assert answered(positive=[(10, 10)]) == [True, False, False]
    assert answered(positive=[(10, 10), (55, 10)]) == [True, False, True]
    assert answered(boxes=[(45, 0, 62, 20)]) == [False, False, True]
    assert answered(positive=[(45, 45)]) == [True, True, True]  # it points at none of them
