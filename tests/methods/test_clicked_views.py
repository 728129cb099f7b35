"""Views of any scale around a click, and how good an answer in them is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_latentseg.methods.clicked_views import clicked_view

SIZE = 128  # of the image; the views have half


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_the_click_lies_in_the_object_and_the_view_shows_it_where_it_is(seed: int) -> None:
    mask = square(70, 20, 40)
    image = torch.from_numpy(mask).float()[None, None].expand(1, 3, -1, -1)
    view = clicked_view(image, mask, np.random.default_rng(seed), detail=2)
    assert view.image.shape == (1, 3, 64, 64)
    assert view.mask[view.point]
    assert view.prompt.maps[0][view.point] == 1
    # the mask is in the image: both show the same part
    assert float((view.image[0, 0].numpy() > 0.5)[view.mask].mean()) > 0.99
    assert not (view.image[0, 0].numpy() > 0.5)[~view.mask].any()


def test_views_of_all_scales_occur() -> None:
    mask, image = square(50, 50, 20), torch.zeros(1, 3, SIZE, SIZE)
    areas = [clicked_view(image, mask, np.random.default_rng(s), 2).object_area for s in range(60)]
    sides = np.sqrt(areas)  # of the object, in pixels of the view
    assert sides.min() < 12  # the whole image: 10
    assert sides.max() > 80  # a 12th of the image: 120


def test_an_answer_is_compared_with_the_whole_object_also_outside_the_view() -> None:
    mask = square(0, 0, 128)
    rng = np.random.default_rng(0)
    view = clicked_view(torch.zeros(1, 3, SIZE, SIZE), mask, rng, detail=2)
    share = 64**2 / view.object_area  # of the object that the view shows
    assert share < 1
    assert view.mask.all()
    assert view.dice(view.mask) == pytest.approx(2 * share / (1 + share))
    assert view.dice(~view.mask) == 0


def test_what_is_not_pointed_at_is_left_out_of_a_reading() -> None:
    mask = square(40, 40, 40)
    view = clicked_view(torch.zeros(1, 3, SIZE, SIZE), mask, np.random.default_rng(3), detail=2)
    row, column = view.point
    here, elsewhere = np.zeros((2, 64, 64), dtype=np.float32)
    here[row, column] = elsewhere[(row + 20) % 64, (column + 20) % 64] = 0.9
    both = here + elsewhere
    kept = view.only_pointed_at(np.stack([both, elsewhere]))
    np.testing.assert_array_equal(kept[0], here)
    np.testing.assert_array_equal(kept[1], elsewhere)  # nothing is at the click, so all of it stays


def test_where_there_is_no_object_nothing_is_clicked_on() -> None:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    view = clicked_view(torch.zeros(1, 3, SIZE, SIZE), mask, np.random.default_rng(0), detail=2)
    assert not view.prompt.maps.any()
    assert view.dice(np.zeros((64, 64), dtype=bool)) == 1
