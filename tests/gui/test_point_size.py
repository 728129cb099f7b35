"""Choosing the size of the structure that is pointed at, in the Segment widget."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.helpers.pointing import RADIUS, disc_answer, make_prompted_model
from tests.helpers.pointing_person import MODEL, PointingPerson
from tests.helpers.shared_viewer import process_events

from napari_latentseg import segment as segment_scan
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.measure.measurement import format_value
from napari_latentseg.models.store import data_home
from napari_latentseg.widgets._shared.view import camera_of
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def asked(monkeypatch):
    """What sessions were asked, with the answer before."""
    questions = []

    def answer(session, prompts, samples=1, previous=None):
        questions.append((prompts, previous is not None))
        return disc_answer(session, prompts, samples, previous)

    monkeypatch.setattr(PromptSession, "answer", answer)
    return questions


@pytest.fixture
def person(asked, viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """A person before the Segment widget, with a model that answers with discs of the size asked."""
    shutil.copytree(data_home() / "codecs", tmp_path / "codecs")
    shutil.copytree(make_prompted_model(make_tiny_model), tmp_path / "models" / MODEL)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return PointingPerson(widget, viewer, qtbot)


def side_of(person):
    """The longer side of the answer, in voxels."""
    return max(person.pointing.pending.answered.answer.mask.values.shape)


def test_smaller_and_larger_answer_the_same_clicks_again(person, asked):
    image = person.open((96, 128))
    size = person.panel.structure_size
    assert size.text.text() == "Structure size: automatic"
    assert not size.smaller_button.isEnabled()
    assert "Nothing was clicked" in size.smaller_button.toolTip()
    person.click(40, 50)
    found = person.answer_size
    side = side_of(person)
    assert abs(side - 2 * RADIUS) <= 1
    assert size.text.text() == f"Structure size: automatic, about {side} pixels"
    assert "finds the size itself" in size.automatic_button.toolTip()
    person.press(size.larger_button)
    larger = person.answer_size
    assert larger > 1.5 * found
    assert asked[-1] == (Prompts(positive=asked[-1][0].positive, size=1.5 * side), False)
    assert size.text.text() == f"Structure size: about {round(1.5 * side)} pixels"
    result = segment_scan(image.data, MODEL, prompts=asked[-1][0], samples=person.pointing.samples)
    np.testing.assert_array_equal(result.mask > 0, person.layer("answer preview").data > 0)
    person.key(Qt.Key.Key_S)
    person.key(Qt.Key.Key_S)
    assert person.answer_size < found
    person.key(Qt.Key.Key_L)
    assert person.pointing.pending.pointed.size == pytest.approx(side)
    for _ in range(3):
        person.key(Qt.Key.Key_Z)
    assert person.answer_size == larger
    person.press(size.automatic_button)
    assert person.answer_size == found
    assert asked[-1] == (Prompts(positive=asked[-1][0].positive), False)


def test_a_click_after_the_choice_corrects_the_answer_of_that_size(person, asked):
    person.open((96, 128))
    person.click(40, 50)
    side = side_of(person)
    person.press(person.panel.structure_size.larger_button)
    person.click(40, 80)
    prompts, had_previous = asked[-1]
    assert (len(prompts.positive), prompts.size, had_previous) == (2, 1.5 * side, False)
    person.key(Qt.Key.Key_Return)
    person.click(70, 100)
    assert asked[-1][0].size is None  # the next object
    assert "automatic" in person.panel.structure_size.text.text()


def test_where_there_is_no_other_size_the_buttons_say_why(person):
    person.open((40, 44))
    size = person.panel.structure_size
    person.click(20, 20)
    for _ in range(3):
        person.press(size.larger_button)
    assert person.pointing.pending.pointed.size == 44
    assert not size.larger_button.isEnabled()
    assert "would not fit" in size.larger_button.toolTip()
    for _ in range(5):
        person.press(size.smaller_button)
    assert person.pointing.pending.pointed.size == 6
    assert not size.smaller_button.isEnabled()
    assert "too few pixels" in size.smaller_button.toolTip()
    person.press(person.panel.mode_buttons["box"])
    person.drag((10, 10), (30, 30))
    assert not size.larger_button.isEnabled()
    assert "The box says" in size.larger_button.toolTip()
    assert "as the box" in size.text.text()
    person.press(person.panel.clear_button)
    assert "Nothing was clicked" in size.larger_button.toolTip()


def test_each_slice_of_a_volume_has_its_own_size(person, asked):
    image = person.open((6, 80, 90), scale=(3, 0.5, 0.5), units=("mm", "mm", "mm"))
    person.look_at(2)
    person.click(2, 40, 50)
    chosen = 1.5 * side_of(person)
    person.press(person.panel.structure_size.larger_button)
    assert person.panel.structure_size.text.text() == f"Structure size: about {format_value(chosen / 2)} mm"
    shown = person.answer_size
    prompts = Prompts(positive=[(2, *asked[-1][0].positive[0])], size=chosen)
    mask = segment_scan(image.data, MODEL, prompts=prompts, samples=person.pointing.samples).mask
    assert (mask[2] > 0).sum() == shown
    person.look_at(3)
    person.click(3, 40, 50)
    assert asked[-1][0].size is None
    person.look_at(2)
    assert person.answer_size == shown
    assert person.pointing.pending.pointed.size == chosen


def test_a_part_of_a_large_image_is_asked_in_its_own_pixels(person, viewer, asked):
    person.open((5200, 4800))
    camera_of(viewer).zoom = 0.15
    camera_of(viewer).center = (0, 2600, 2400)
    process_events()
    person.wait(lambda: person.pointing._prepared is not None and person.pointing._prepared.step > 1)
    person.settle()
    person.click(2600, 2400)
    part = person.pointing.pending.part
    person.press(person.panel.structure_size.larger_button)
    chosen = person.pointing.pending.pointed.size
    assert asked[-1][0].size == pytest.approx(chosen / part.step)
    mask = person.pointing.pending.answered.answer.mask
    assert max(mask.values.shape) == pytest.approx(chosen, rel=0.15)
