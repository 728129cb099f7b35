"""Clicks that change a mask near them."""

import numpy as np

from napari_latentseg.core.click_edit import changed_near, steps_of_click


def boxes():
    """Two objects; the click is about the second."""
    region = np.zeros((40, 60), bool)
    region[5:15, 5:15] = region[20:31, 30:51] = True
    return region


def test_the_model_is_asked_with_a_point_deep_in_the_object_that_is_clicked_on():
    pointed = steps_of_click(boxes(), (26.2, 53.0), inside=True)
    assert pointed.places("inside") == [(25.0, pointed.places("inside")[0][1]), (26.2, 53.0)]
    assert 35 <= pointed.places("inside")[0][1] <= 45
    pointed = steps_of_click(boxes(), (10, 10), inside=False)
    (deep,) = pointed.places("inside")
    assert boxes()[tuple(map(int, deep))]
    assert deep[0] < 16
    assert deep != (10, 10)
    assert pointed.places("outside") == [(10, 10)]
    assert pointed.prompts() is not None


def test_without_an_object_a_click_inside_is_all_and_one_outside_is_nothing():
    empty = np.zeros((20, 20), bool)
    assert steps_of_click(empty, (3, 4), inside=True).places("inside") == [(3, 4)]
    assert steps_of_click(empty, (3, 4), inside=False) is None
    empty[3, 4] = True
    assert steps_of_click(empty, (3, 4), inside=False) is None


def test_nothing_beyond_the_neighbourhood_changes():
    region = boxes()
    answer = np.roll(region, 6, axis=1)
    click = (25, 52)
    added = changed_near(region, answer, click, 4.0, (1.0, 0.5), inside=True)
    rows, columns = np.nonzero(added != region)
    assert len(rows)
    assert (np.hypot(rows - 25, (columns - 52) * 0.5) <= 4.0).all()
    assert (added >= region).all()
    taken = changed_near(region, answer, (25, 30), 4.0, (1.0, 0.5), inside=False)
    rows, columns = np.nonzero(taken != region)
    assert len(rows)
    assert (np.hypot(rows - 25, (columns - 30) * 0.5) <= 4.0).all()
    assert (taken <= region).all()
