"""The prompts of an imagined person, for training."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.methods.simulated_prompts import (
    CLICK_RADIUS,
    PromptMaps,
    choose_object,
    deepest_point,
    view_around,
)
from napari_latentseg.networks.prompt_encoder import PROMPT_CHANNELS

POSITIVE, NEGATIVE, BOX, PREVIOUS = range(4)


def two_objects() -> np.ndarray:
    mask = np.zeros((64, 64), dtype=bool)
    mask[4:16, 4:16] = mask[40:60, 30:50] = True
    return mask


def test_the_channels_are_those_of_the_network() -> None:
    assert PROMPT_CHANNELS == ("positive", "negative", "box", "previous")


def test_a_class_or_one_of_its_objects_is_meant() -> None:
    mask = two_objects()
    chosen = [choose_object(mask[None], np.random.default_rng(seed)) for seed in range(40)]
    sizes = {int(c.sum()) for c in chosen}
    assert sizes == {144, 400, 544}
    assert all((c <= mask).all() for c in chosen)


def test_a_class_that_is_there_is_meant() -> None:
    masks = np.stack([np.zeros((64, 64), dtype=bool), two_objects()])
    assert all(choose_object(masks, np.random.default_rng(seed)).any() for seed in range(10))
    assert not choose_object(masks[:1], np.random.default_rng(0)).any()


@pytest.mark.parametrize("seed", range(30))
def test_the_object_is_in_view(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((96, 96), dtype=bool)
    top, left = rng.integers(0, 70, 2)
    mask[top : top + rng.integers(3, 26), left : left + rng.integers(3, 26)] = True
    view = view_around(mask, rng)
    rows, columns = np.nonzero(mask)
    assert view.top - 1e-6 <= rows.min()
    assert rows.max() + 1 <= view.top + view.side + 1e-6
    assert view.left - 1e-6 <= columns.min()
    assert columns.max() + 1 <= view.left + view.side + 1e-6
    assert 12 <= view.side <= 96


def test_the_deepest_point_is_far_from_every_edge() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[0:21, 5:26] = True  # the border of the image is an edge too
    assert deepest_point(mask) == (10, 15)


def test_a_correction_is_where_the_answer_is_most_wrong() -> None:
    mask = two_objects()
    answer = np.zeros((64, 64), dtype=np.float32)
    answer[4:16, 4:16] = 0.9  # the large object is missed
    answer[0:3, 60:64] = 0.8  # and a little is too much
    prompt = PromptMaps((64, 64))
    prompt.correct(mask, answer, np.random.default_rng(0))
    rows, columns = np.nonzero(prompt.maps[POSITIVE])
    assert mask[int(rows.mean()), int(columns.mean())]
    assert rows.mean() > 35
    assert not prompt.maps[NEGATIVE].any()
    np.testing.assert_array_equal(prompt.maps[PREVIOUS], answer)
    prompt.correct(mask, np.ones((64, 64), dtype=np.float32), np.random.default_rng(0))
    assert prompt.maps[NEGATIVE].any()


def test_a_perfect_answer_gets_no_click() -> None:
    mask = two_objects()
    prompt = PromptMaps((64, 64))
    prompt.correct(mask, mask.astype(np.float32), np.random.default_rng(0))
    assert not prompt.maps[[POSITIVE, NEGATIVE]].any()


def test_the_later_of_two_clicks_counts() -> None:
    prompt = PromptMaps((32, 32))
    prompt.add_click((10, 10), is_positive=True)
    prompt.add_click((10, 10 + CLICK_RADIUS), is_positive=False)
    assert not (prompt.maps[POSITIVE] * prompt.maps[NEGATIVE]).any()
    assert prompt.maps[NEGATIVE, 10, 10 + CLICK_RADIUS] == 1


def test_it_begins_with_a_click_inside_or_a_box_around() -> None:
    mask = two_objects()
    mask[40:60] = False
    kinds = set()
    for seed in range(40):
        prompt = PromptMaps((64, 64))
        prompt.begin(mask, np.random.default_rng(seed))
        if prompt.maps[BOX].any():
            kinds.add("box")
            assert (prompt.maps[BOX][mask]).mean() > 0.8
        else:
            kinds.add("click")
            rows, columns = np.nonzero(prompt.maps[POSITIVE])
            assert mask[round(rows.mean()), round(columns.mean())]
    assert kinds == {"box", "click"}
