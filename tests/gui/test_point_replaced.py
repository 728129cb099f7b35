"""Objects that were accepted are kept when their layer goes, or their image gets other values."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from tests.helpers.pointing import disc_answer
from tests.helpers.pointing_person import MODEL, PointingPerson, widget_that_takes_clicks

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.annotate import replaced_images
from napari_latentseg.widgets.annotate.corrections import corrections_of


@pytest.fixture
def person(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """Somebody with a model that takes prompts, which answers with discs."""
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    widget = widget_that_takes_clicks(viewer, make_tiny_model, monkeypatch, tmp_path)
    return PointingPerson(widget, viewer, qtbot)


def accept(person, *index):
    person.click(*index)
    person.press(person.panel.accept_button)
    person.wait(lambda: not corrections_of(person.viewer).autosaver._saving)


def drafts():
    return AnnotationStore.for_model(MODEL).drafts()


def messages():
    return "\n".join(record.message for record in notification_manager.records)


def resume(person, draft):
    corrections_of(person.viewer).autosaver.resume_draft(MODEL, draft)


def test_objects_whose_layer_was_removed_outlive_those_accepted_afterwards(person, viewer):
    person.open((96, 128))
    accept(person, 40, 50)
    first = person.objects.copy()
    viewer.layers.remove(person.layer("corrected"))
    autosaver = corrections_of(viewer).autosaver
    person.wait(lambda: len(autosaver.drafts) == 1)
    (_, removed), *_ = autosaver.drafts
    accept(person, 70, 90)
    assert not person.objects[40, 50]
    assert len(drafts()) == 2
    resume(person, removed)
    person.wait(lambda: "being edited here already; finish that first" in messages())
    viewer.layers.remove(person.layer("corrected"))
    person.wait(lambda: len(autosaver.drafts) == 2)
    resume(person, removed)
    person.wait(lambda: person.objects is not None)
    np.testing.assert_array_equal(person.objects, first)
    accept(person, 20, 100)
    assert len(drafts()) == 2  # the one that was resumed is gone on with


def random_values(*shape, seed=5):
    return np.random.default_rng(seed).random(shape).astype("f4")


def keys_of_drafts():
    return {draft.key for draft in drafts()}


def test_objects_on_other_values_are_saved_with_these(person, viewer):
    """The objects of the earlier values are put away as a draft, and offered again with these."""
    image = person.open((96, 128))
    before = image.data
    accept(person, 40, 50)
    first, (first_key,) = person.objects.copy(), keys_of_drafts()
    person.click(70, 90)
    image.data = random_values(96, 128)
    person.settle()
    person.wait(lambda: person.objects is None)
    assert "scan has changed: the clicks on it were removed." in messages()
    person.wait(lambda: "scan has changed, so that “scan objects” was removed" in messages())
    assert person.answer_size == 0
    assert person.panel.number.value() == 1
    person.wait(lambda: person.pointing.objects.is_looked_up(image))
    accept(person, 70, 90)
    assert not person.objects[40, 50]
    assert len(keys_of_drafts()) == 2
    image.data = before
    person.wait(lambda: person.objects is None)
    person.settle()
    autosaver = corrections_of(viewer).autosaver
    person.wait(lambda: {draft.key for _, draft in autosaver.drafts} == keys_of_drafts())
    resume(person, next(draft for _, draft in autosaver.drafts if draft.key == first_key))
    person.wait(lambda: person.objects is not None)
    np.testing.assert_array_equal(person.objects, first)
    assert corrections_of(viewer).corrections[-1].image is image


def test_equal_values_keep_the_objects(person, viewer):
    image = person.open((96, 128))
    accept(person, 40, 50)
    objects = person.layer("corrected")
    image.data = image.data.copy()
    person.settle()
    person.wait(lambda: person.pointing.objects.is_looked_up(image))
    assert person.layer("corrected") is objects
    accept(person, 70, 90)
    assert objects.data[40, 50]
    assert objects.data[70, 90]


def test_nothing_is_accepted_or_approved_while_values_are_compared(person, viewer, monkeypatch):
    may_compare = threading.Event()
    compare = replaced_images._is_of
    monkeypatch.setattr(replaced_images, "_is_of", lambda *given: (may_compare.wait(60), compare(*given))[1])
    image = person.open((96, 128))
    accept(person, 40, 50)
    image.data = random_values(96, 128)
    person.settle()
    person.click(70, 90)
    assert not person.panel.accept_button.isEnabled()
    assert "being looked up" in person.panel.accept_button.toolTip()
    corrections = corrections_of(viewer)
    with pytest.raises(BadInput, match="the values of its image have changed since"):
        corrections.approve_planes(corrections.corrections[0], None)
    may_compare.set()
    person.wait(lambda: person.panel.accept_button.isEnabled())
    person.press(person.panel.accept_button)
    assert person.objects[70, 90]
    assert not person.objects[40, 50]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((96, 128), (5, 60, 70)),
        ((5, 60, 70), (7, 80, 90)),
        ((60, 70), (80, 90)),
        ((5, 60, 70), (80, 90)),
    ],
)
def test_an_image_that_gets_other_axes_or_another_size_is_pointed_at_anew(person, viewer, before, after):
    image = person.open(before)
    person.look_at(2)
    accept(person, *image.data.shape[:-2] and (2,), 30, 30)
    person.click(*image.data.shape[:-2] and (2,), 30, 50)
    image.data = random_values(*after)
    person.settle()
    person.wait(lambda: person.pointing.objects.is_looked_up(image))
    assert len(person.pointing.layers.points.data) == 0
    assert person.pointing.layers.is_selected
    visible = [role_of(layer) for layer in viewer.layers if layer.visible]
    assert visible.count("clicks") == visible.count("boxes") == 1
    plane = (3,) * (len(after) - 2)
    if plane:
        person.look_at(3)
    accept(person, *plane, 40, 40)
    objects = corrections_of(viewer).objects_of(image, person.pointing.card).layer.data
    assert objects.shape == after
    assert objects[*plane, 40, 40]
