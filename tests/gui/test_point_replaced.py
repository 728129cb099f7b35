"""Objects that were accepted are kept when their layer goes, or their image gets other values."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from tests.helpers.pointing import disc_answer, make_prompted_model
from tests.helpers.pointing_person import MODEL, PointingPerson

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.models.store import data_home
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def person(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """Somebody with a model that takes prompts, which answers with discs."""
    shutil.copytree(data_home() / "codecs", tmp_path / "codecs")
    shutil.copytree(make_prompted_model(make_tiny_model), tmp_path / "models" / MODEL)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
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
