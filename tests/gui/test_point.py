"""Pointing at structures with the mouse, in the Segment widget."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from tests.helpers.pointing import RADIUS, disc_answer
from tests.helpers.pointing_person import MODEL, PointingPerson, widget_that_takes_clicks
from tests.helpers.shared_viewer import process_events

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.widgets._shared.layers import role_of, scan_from_layer
from napari_latentseg.widgets._shared.view import camera_of
from napari_latentseg.widgets.annotate.corrections import corrections_of


@pytest.fixture
def segment(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """The Segment widget in a home with a model that takes prompts, which answers with discs."""
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    return widget_that_takes_clicks(viewer, make_tiny_model, monkeypatch, tmp_path)


@pytest.fixture
def person(segment, viewer, qtbot):
    return PointingPerson(segment, viewer, qtbot)


def disc(shape, y, x, radius=RADIUS):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def test_a_model_that_takes_prompts_has_its_own_controls(person, viewer):
    widget, panel = person.widget, person.panel
    assert panel.isHidden()
    person.open((96, 128))
    assert not panel.isHidden()
    hidden = (widget.run_button, widget.folder_button, widget.form.source.native, widget.form.advanced)
    assert all(part.isHidden() for part in hidden)
    assert not panel.accept_button.isEnabled()
    assert "Click inside a structure first" in panel.accept_button.toolTip()
    assert "Click inside a structure" in panel.hint.text()
    widget.form.model.value = "retina-vessels"
    assert panel.isHidden()
    assert not any(part.isHidden() for part in hidden)
    assert not person.layer("clicks").visible


def test_layers_are_there_before_the_first_click_and_added_one_at_a_time(person, viewer, qtbot):
    """napari takes long to add a layer: several at once, or the first at a click, would hold the window."""
    iterations, added = [0], []
    timer = QTimer(interval=0)
    timer.timeout.connect(lambda: iterations.append(iterations[-1] + 1))
    timer.start()
    viewer.layers.events.inserted.connect(lambda event: added.append((role_of(event.value), iterations[-1])))
    person.open((96, 128))
    assert [role for role, _ in added] == ["", "boxes", "clicks", "answer preview"]
    assert not person.layer("answer preview").data.any()
    person.click(40, 50)
    assert person.answer_size > 0
    assert len(added) == 4
    for box in person.panel.map_boxes.values():
        box.setChecked(True)
    person.settle()
    assert [role for role, _ in added[4:]] == ["answer mean", "answer variance", "answer outlines"]
    assert all(person.layer(role).visible for role, _ in added[4:])
    assert len({iteration for _, iteration in added}) == len(added)


def test_clicks_before_the_model_is_loaded_are_answered_once_it_is(person, viewer, monkeypatch):
    may_load = threading.Event()
    load = person.pointing.engine._load_model
    monkeypatch.setattr(
        person.pointing.engine, "_load_model", lambda name: (may_load.wait(60), load(name))[1]
    )
    viewer.add_image(np.random.default_rng(0).random((96, 128)).astype("f4"), name="scan")
    person.widget.form.model.value = MODEL
    person.wait(lambda: person.pointing.drawing.is_shown and not person.pointing.drawing.turns.is_busy)
    person.panel.map_boxes["mean"].setChecked(True)
    person.click(40, 50, settle=False)
    assert "answer is being computed" in person.panel.hint.text()
    assert person.layer("answer preview") is None
    may_load.set()
    person.settle()
    assert person.answer_size > 0
    assert person.layer("answer mean").data.max() > 0
    assert viewer.layers.selection.active is person.layer("clicks")


def test_a_layer_of_clicks_that_was_removed_comes_back_with_its_clicks(person, viewer):
    person.open((96, 128))
    person.click(40, 50)
    viewer.layers.remove(person.layer("clicks"))
    person.settle()
    assert "Choose what the mouse does" in person.panel.hint.text()
    person.press(person.panel.mode_buttons["inside"])
    assert [role_of(layer) for layer in viewer.layers].count("boxes") == 1
    assert len(person.layer("clicks").data) == 1
    person.click(70, 90)
    assert len(person.layer("clicks").data) == 2


def test_the_layers_of_clicks_and_answers_go_with_their_image(person, viewer):
    image = person.open((96, 128))
    person.click(40, 50)
    person.panel.map_boxes["mean"].setChecked(True)
    person.settle()
    assert person.layer("answer mean") is not None
    viewer.layers.remove(image)
    person.wait(lambda: not len(viewer.layers))


def test_hidden_layers_of_answers_go_too_and_another_image_is_answered(person, viewer):
    image = person.open((96, 128))
    person.click(40, 50)
    person.pointing.clear()
    person.settle()
    person.qtbot.wait(300)  # drawn without the answer
    viewer.layers.remove(image)
    person.wait(lambda: not len(viewer.layers))
    person.open((80, 90))
    person.click(40, 50)
    assert person.answer_size > 0


def test_an_object_is_accepted_on_the_slice_where_enter_was_pressed(person, viewer):
    """The layer of objects is added first; the next key may come before the object is in it."""
    person.open((4, 80, 90))
    person.look_at(1)
    person.click(1, 40, 50)
    person.look_at(2)
    person.click(2, 30, 30)
    person.pointing.accept()
    viewer.dims.set_current_step(0, 1)
    person.settle()
    assert set(np.flatnonzero(person.objects.any(axis=(1, 2)))) == {2}
    assert person.answer_size > 0  # that of slice 1 is not accepted yet


def test_click_correct_take_back_and_accept(person, viewer):
    person.open((96, 128))
    person.click(40, 50)
    answer = person.layer("answer preview")
    assert abs(int(np.argwhere(answer.data).mean(0)[0]) - 40) <= 1
    whole = person.answer_size
    assert abs(whole - disc((96, 128), 40, 50).sum()) < 30
    assert person.layer("answer mean") is None  # what nobody looks at costs no time
    person.press(person.panel.map_boxes["variance"])
    assert person.layer("answer variance").data.max() > 0
    assert person.layer("answer variance").visible
    person.press(person.panel.map_boxes["outlines"])
    assert len(person.layer("answer outlines").data) > 10
    person.press(person.panel.map_boxes["variance"])
    assert not person.layer("answer variance").visible
    person.press(person.panel.mode_buttons["outside"])
    person.click(44, 50)
    assert 0 < person.answer_size < whole
    person.key(Qt.Key.Key_Z)
    assert person.answer_size == whole
    assert len(person.layer("clicks").data) == 1
    person.key(Qt.Key.Key_Return)
    assert person.answer_size == 0
    assert (person.objects == 1).sum() == whole
    assert len(person.layer("clicks").data) == 0
    assert "object 1" in person.panel.accepted.text()
    assert person.panel.number.value() == 2


def test_an_accepted_object_is_never_overwritten(person, viewer):
    person.open((96, 128))
    person.panel.class_name.setText("lesion")
    person.click(40, 50)
    person.press(person.panel.accept_button)
    first = person.objects == 1
    person.click(40, 58)
    person.press(person.panel.accept_button)
    np.testing.assert_array_equal(person.objects == 1, first)
    assert (person.objects == 2).any()
    person.click(70, 100)
    assert [role_of(layer) for layer in viewer.layers[-2:]] == ["boxes", "clicks"]  # never hidden
    assert viewer.layers.selection.active is person.layer("clicks")
    person.press(person.panel.clear_button)
    correction = corrections_of(viewer).corrections[0]
    assert [info.name for info in correction.classes] == ["lesion 1", "lesion 2"]
    person.click(40, 50)
    person.press(person.panel.accept_button)
    np.testing.assert_array_equal(person.objects == 1, first)
    person.viewer.layers.selection.active = correction.layer
    correction.layer.undo()
    assert (person.objects == 1).sum() == first.sum()


def test_accepted_objects_are_a_draft_of_the_store(person, viewer):
    person.open((96, 128))
    person.click(40, 50)
    person.press(person.panel.accept_button)
    correction = corrections_of(viewer).corrections[0]
    person.wait(lambda: correction.draft is not None)
    drafts = AnnotationStore.for_model(MODEL).drafts()
    assert [(draft.shape, [info.name for info in draft.classes]) for draft in drafts] == [
        ((96, 128), ["object 1"])
    ]


def test_labels_are_those_of_the_store_and_numbers_those_of_the_image(person, viewer):
    """Objects of earlier sessions on other images take their labels, and approved slices stay locked."""
    shape = (3, 80, 90)
    earlier = np.random.default_rng(9).random(shape).astype("f4")
    image = person.open(shape)
    classes = [ClassInfo(label=n, name=f"polyp {n}", color="#112233") for n in (1, 2)]
    mask = np.zeros(shape, np.uint8)
    mask[:, 10:20, 10:20] = 1
    with AnnotationStore.for_model(MODEL) as store:
        store.approve(Scan(earlier, "zyx", Geometry.from_spacing("zyx")), mask, classes=classes)
        store.approve(scan_from_layer(image), mask, classes=classes, planes=[2])
    person.restart_pointing()
    person.panel.class_name.setText("lesion")
    assert person.panel.number.value() == 1
    person.look_at(1)
    person.click(1, 40, 50)
    person.press(person.panel.accept_button)
    assert np.unique(person.objects[1]).tolist() == [0, 3]  # 1 and 2 are polyps
    assert "Accepted: lesion 1." in person.panel.accepted.text()
    correction = corrections_of(viewer).corrections[0]
    person.wait(lambda: correction.draft is not None)
    person.look_at(2)
    person.click(2, 40, 50)
    before = person.objects.copy()
    person.press(person.panel.accept_button)
    np.testing.assert_array_equal(person.objects, before)
    corrections_of(viewer).approvals.approve(correction, [1])
    person.wait(lambda: 1 in correction.approved)


def test_a_box_and_a_scribble(person, viewer):
    person.open((96, 128))
    person.press(person.panel.mode_buttons["box"])
    person.drag((20, 30), (50, 80))
    assert abs(person.answer_size - 31 * 51) < 100
    assert len(person.layer("boxes").data) == 4
    person.press(person.panel.clear_button)
    assert person.answer_size == 0
    assert len(person.layer("boxes").data) == 0
    person.press(person.panel.mode_buttons["scribble"])
    person.drag((60, 30), (60, 90))
    assert len(person.layer("clicks").data) > 3
    person.key(Qt.Key.Key_Z)
    assert len(person.layer("clicks").data) == 0


def test_shift_gives_the_other_kind_of_click(person, viewer):
    person.open((96, 128))
    person.click(40, 50)
    whole = person.answer_size
    person.click(44, 50, modifier=Qt.KeyboardModifier.ShiftModifier)
    assert person.answer_size < whole


def test_a_drag_moves_the_image_and_clicks_nothing(person, viewer):
    person.open((96, 128))
    before = tuple(camera_of(viewer).center)
    person.drag((40, 50), (60, 70))
    assert tuple(camera_of(viewer).center) != before
    assert len(person.layer("clicks").data) == 0


def test_each_slice_of_a_volume_has_its_own_object(person, viewer):
    person.open((6, 80, 90), scale=(3, 0.5, 0.5))
    viewer.dims.set_current_step(0, 2)
    person.settle()
    person.click(2, 40, 50)
    first = person.answer_size
    assert first > 0
    viewer.dims.set_current_step(0, 3)
    person.settle()
    assert person.answer_size == 0
    assert "slice 3" in person.panel.hint.text()
    person.click(3, 30, 30)
    person.press(person.panel.accept_button)
    assert set(np.flatnonzero(person.objects.any(axis=(1, 2)))) == {3}
    viewer.dims.set_current_step(0, 2)
    person.settle()
    assert person.answer_size == first
    person.panel.number.setValue(1)
    person.press(person.panel.accept_button)
    assert set(np.flatnonzero((person.objects == 1).any(axis=(1, 2)))) == {2, 3}
    assert (person.objects[2] > 0).sum() == first


def test_what_is_wrong_with_a_click_is_said_in_the_panel(person, viewer):
    person.open((96, 128))
    person.click(-20, 50)
    assert "is outside the image" in person.panel.hint.text()
    person.click(40, 50)
    assert "outside" not in person.panel.hint.text()
    person.press(person.panel.mode_buttons["outside"])
    person.click(40, 50)
    assert "both inside and outside" in person.panel.hint.text()
    assert len(person.layer("clicks").data) == 1
    person.press(person.panel.mode_buttons["box"])
    person.click(40, 50)
    assert "a box has no size" in person.panel.hint.text()
    assert len(person.layer("boxes").data) == 0


def test_only_clicks_outside_have_no_answer(person, viewer):
    person.open((96, 128))
    person.press(person.panel.mode_buttons["outside"])
    person.click(40, 50)
    assert person.answer_size == 0
    assert "Click inside the structure, too" in person.panel.hint.text()
    assert not person.panel.accept_button.isEnabled()


def test_clicks_count_while_their_layer_is_selected(person, viewer):
    image = person.open((96, 128))
    viewer.layers.selection.active = image
    process_events()
    assert "to go on pointing" in person.panel.hint.text()
    person.click(40, 50)
    assert len(person.layer("clicks").data) == 0
    person.press(person.panel.mode_buttons["inside"])
    person.click(40, 50)
    assert len(person.layer("clicks").data) == 1


def test_a_time_series_is_refused(person, viewer):
    viewer.add_image(np.zeros((3, 4, 40, 50), "f4"), name="cine")
    person.widget.form.model.value = MODEL
    process_events()
    assert "time series" in person.panel.hint.text()
    assert person.layer("clicks") is None


def test_an_answer_lies_on_a_turned_image(person, viewer):
    image = person.open((96, 128), scale=(0.5, 0.7), translate=(3, 4), rotate=20, shear=[0.1])
    person.click(40, 50)
    preview = person.layer("answer preview")
    for index in ((0, 0), (95, 127)):
        np.testing.assert_allclose(preview.data_to_world(index), image.data_to_world(index))
    assert preview.data[40, 50]


def test_a_large_image_is_answered_in_the_part_on_screen(person, viewer):
    person.open((2600, 2400))
    camera_of(viewer).zoom = 3
    camera_of(viewer).center = (0, 1300, 1200)
    process_events()
    person.wait(lambda: person.pointing._prepared.box != (0, 0, 2600, 2400))
    person.settle()
    person.click(1300, 1200)
    preview = person.layer("answer preview")
    assert max(preview.data.shape) < 1000
    person.press(person.panel.accept_button)
    rows, columns = np.nonzero(person.objects)
    assert abs(rows.mean() - 1300) < 1.5
    assert abs(columns.mean() - 1200) < 1.5


def test_clicks_stay_while_another_model_is_chosen(person, viewer):
    person.open((96, 128))
    person.click(40, 50)
    whole = person.answer_size
    person.widget.form.model.value = "retina-vessels"
    process_events()
    assert not person.layer("clicks").visible
    assert person.answer_size == 0
    person.widget.form.model.value = MODEL
    person.wait(lambda: person.answer_size == whole)
    assert len(person.layer("clicks").data) == 1
