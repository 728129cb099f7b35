"""The steps with which a person points at one structure."""

from __future__ import annotations

import pytest

from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.errors import BadInput


def test_steps_become_prompts_in_voxels_of_a_part() -> None:
    pointed = PointedObject()
    pointed.add_points([(110, 220), (114, 224)], is_inside=True)
    pointed.add_points([(130, 240)], is_inside=False)
    pointed.add_box((150, 260), (100, 210))
    prompts = pointed.prompts(origin=(100.5, 200.5), step=2)
    assert prompts is not None
    assert prompts.positive == ((4.75, 9.75), (6.75, 11.75))
    assert prompts.negative == ((14.75, 19.75),)
    assert prompts.boxes == ((-0.25, 4.75, 24.75, 29.75),)


def test_a_scribble_is_taken_back_at_once() -> None:
    pointed = PointedObject()
    pointed.add_points([(1, 1)], is_inside=True)
    pointed.add_points([(5, number) for number in range(9)], is_inside=True)
    assert pointed.take_back()
    assert pointed.places("inside") == [(1, 1)]
    assert pointed.take_back()
    assert not pointed.take_back()


def test_nothing_inside_gives_no_prompts() -> None:
    pointed = PointedObject()
    assert pointed.prompts() is None
    pointed.add_points([(1, 1)], is_inside=False)
    assert pointed.prompts() is None


def test_what_is_not_possible_is_refused_and_not_added() -> None:
    pointed = PointedObject()
    pointed.add_points([(4, 4)], is_inside=True)
    with pytest.raises(BadInput, match="both inside and outside"):
        pointed.add_points([(4.2, 3.9)], is_inside=False)
    with pytest.raises(BadInput, match="a box has no size"):
        pointed.add_box((10, 10), (10, 40))
    assert len(pointed.steps) == 1


def test_the_size_is_a_step_that_is_taken_back() -> None:
    pointed = PointedObject()
    pointed.add_points([(40, 40)], is_inside=True)
    pointed.choose_size(24)
    pointed.choose_size(16)
    prompts = pointed.prompts(step=2)
    assert prompts is not None
    assert (prompts.size, pointed.size, pointed.size_steps) == (8, 16, 3)
    assert pointed.take_back()
    assert pointed.size == 24
    pointed.choose_size(None)
    assert (pointed.size, pointed.size_steps) == (None, 3)
    with pytest.raises(BadInput, match="choose 1 or more"):
        pointed.choose_size(0.5)
    assert len(pointed.steps) == 3


def test_a_box_says_the_size_in_place_of_a_choice() -> None:
    pointed = PointedObject()
    pointed.add_points([(40, 40)], is_inside=True)
    pointed.choose_size(24)
    pointed.add_box((10, 10), (60, 60))
    prompts = pointed.prompts()
    assert prompts is not None
    assert (prompts.size, pointed.size) == (None, None)
    pointed.take_back()
    assert pointed.size == 24
