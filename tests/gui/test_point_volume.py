"""Following an object through a volume, in the panel "Point at it"."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from tests.helpers.pointed import answer_bright_regions
from tests.helpers.pointing import make_prompted_model
from tests.helpers.pointing_person import MODEL, PointingPerson

from napari_latentseg import Prompts, segment
from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.cli import main
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.models.store import data_home
from napari_latentseg.widgets._shared.closing import CloseGuard
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

RADII = (0, 9, 10, 11, 12, 11, 10, 9, 0, 9)  # of the disc on each slice


@pytest.fixture
def person(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """Somebody with a volume of bright discs, and a model that answers with the disc that is pointed at."""
    shutil.copytree(data_home() / "codecs", tmp_path / "codecs")
    shutil.copytree(make_prompted_model(make_tiny_model), tmp_path / "models" / MODEL)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    answer_bright_regions(monkeypatch)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return PointingPerson(widget, viewer, qtbot)


def discs(radii=RADII, shape=(70, 90), centre=(30, 40)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return np.stack([np.where(distance < radius, 1.0, 0.1) for radius in radii]).astype("f4")


def open_and_click(person, plane=4, radii=RADII):
    person.open(None, discs(radii), scale=(3, 0.5, 0.5))
    person.look_at(plane)
    person.click(plane, 30, 40)


def test_a_single_image_has_no_buttons_for_volumes(person):
    person.open((70, 90))
    assert person.panel.volume.isHidden()


def test_what_cannot_be_followed_is_said_on_the_buttons(person):
    person.open(None, discs())
    volume = person.panel.volume
    assert not volume.isHidden()
    assert not volume.through_button.isEnabled()
    assert "Point at the object on a slice first" in volume.through_button.toolTip()
    person.look_at(4)
    person.click(4, 30, 40)
    assert volume.through_button.isEnabled()
    assert not volume.between_button.isEnabled()
    assert "two slices that are not neighbours" in volume.between_button.toolTip()


def test_an_answer_is_followed_until_it_ends_and_accepted_at_once(person):
    open_and_click(person)
    person.follow()
    volume = discs() > 0.5
    expected = {z: int(volume[z].sum()) for z in (1, 2, 3, 5, 6, 7)}
    assert person.proposed == expected  # the answer on slice 4 is shown as an answer
    assert "Stopped at slice 9: the structure ends" in person.panel.volume.text.text()
    assert "Stopped at slice 1: the structure ends" in person.panel.volume.text.text()
    assert person.objects is None
    person.key(Qt.Key.Key_Return)
    assert person.proposed == {}
    np.testing.assert_array_equal(person.objects[:8] == 1, volume[:8])
    assert not person.objects[8:].any()
    assert "object 1" in person.panel.accepted.text()
    assert person.panel.number.value() == 2


def test_an_accepted_slice_is_followed_as_the_same_object(person):
    open_and_click(person)
    person.panel.class_name.setText("lesion")
    person.key(Qt.Key.Key_Return)
    person.look_at(2)
    person.follow()
    assert set(person.proposed) == {1, 2, 3, 5, 6, 7}
    person.press(person.panel.accept_button)
    correction = corrections_of(person.viewer).corrections[0]
    assert [info.name for info in correction.classes] == ["lesion 1"]
    np.testing.assert_array_equal(person.objects[:8] == 1, discs()[:8] > 0.5)
    person.wait(lambda: correction.draft is not None)
    assert len(AnnotationStore.for_model(MODEL).drafts()) == 1


def test_the_whole_object_is_taken_back_with_one_key(person):
    open_and_click(person)
    person.follow()
    person.key(Qt.Key.Key_Return)
    whole = int((person.objects > 0).sum())
    person.look_at(6)
    person.key(Qt.Key.Key_Z)
    assert not person.objects.any()
    assert sum(person.proposed.values()) == whole  # it is a proposal again
    person.key(Qt.Key.Key_Return)
    assert int((person.objects > 0).sum()) == whole
    correction = corrections_of(person.viewer).corrections[0]
    correction.layer.undo()
    assert not person.objects.any()


def test_what_is_accepted_is_not_overwritten(person):
    open_and_click(person, 2)
    person.key(Qt.Key.Key_Return)
    first = person.objects == 1
    person.look_at(6)
    person.click(6, 30, 40)
    person.follow()
    person.key(Qt.Key.Key_Return)
    np.testing.assert_array_equal(person.objects == 1, first)
    assert set(np.flatnonzero((person.objects == 2).any(axis=(1, 2)))) == {1, 3, 4, 5, 6, 7}


def test_a_slice_is_corrected_and_cleared_before_it_is_accepted(person, monkeypatch):
    open_and_click(person)
    person.follow()
    whole = person.proposed[6]
    person.look_at(6)
    assert "click where one is wrong" in person.panel.hint.text()

    answer = PromptSession.answer

    def smaller(session, prompts, samples=1, previous=None):
        found = answer(session, prompts, samples, previous)
        assert previous is not None  # the proposal is what is corrected
        for _, x in prompts.negative:
            found.samples[:, :, round(x) :] = 0
        return found

    monkeypatch.setattr(PromptSession, "answer", smaller)
    person.click(6, 30, 45, modifier=Qt.KeyboardModifier.ShiftModifier)
    corrected = person.answer_size
    assert 0 < corrected < whole
    assert 6 not in person.proposed
    person.look_at(1)
    person.press(person.panel.clear_button)
    assert 1 not in person.proposed
    person.key(Qt.Key.Key_Return)
    sizes = (person.objects == 1).sum(axis=(1, 2))
    assert sizes[6] == corrected
    assert sizes[1] == 0
    assert sizes[2] == (discs()[2] > 0.5).sum()


def test_a_corrected_slice_is_a_start_when_it_is_followed_again(person):
    open_and_click(person, radii=(9, 9, 9, 9, 9, 0, 9, 9))
    person.follow()
    assert set(person.proposed) == {0, 1, 2, 3}
    person.look_at(6)
    person.click(6, 30, 40)
    person.look_at(0)
    person.press(person.panel.clear_button)
    person.follow()
    assert set(person.proposed) == {1, 2, 3, 7} | {5} & set(person.proposed)
    assert 0 not in person.proposed


def test_between_two_slices_it_is_filled(person):
    radii = (0, 6, 8, 10, 12, 14, 14)
    person.open(None, discs(radii), scale=(3, 0.5, 0.5))
    for plane in (1, 5):
        person.look_at(plane)
        person.click(plane, 30, 40)
    assert person.panel.volume.between_button.isEnabled()
    person.follow(person.panel.volume.between_button)
    assert set(person.proposed) == {2, 3, 4}
    volume = discs(radii) > 0.5
    for plane in (2, 3, 4):
        assert abs(person.proposed[plane] - volume[plane].sum()) < 0.1 * volume[plane].sum()
    person.key(Qt.Key.Key_Return)
    assert set(np.flatnonzero((person.objects == 1).any(axis=(1, 2)))) == {1, 2, 3, 4, 5}


def test_it_is_cancelled_and_what_was_computed_can_be_dropped(person, monkeypatch):
    open_and_click(person)
    go_on, answer, count = threading.Event(), PromptSession.answer, []

    def slow(session, *arguments):
        count.append(1)
        if len(count) > 3:  # the start, and two slices
            assert go_on.wait(30)
        return answer(session, *arguments)

    monkeypatch.setattr(PromptSession, "answer", slow)
    person.press(person.panel.volume.through_button)
    person.wait(lambda: len(person.proposed) == 2)
    volume = person.panel.volume
    assert not volume.cancel_button.isHidden()
    assert not person.panel.accept_button.isEnabled()
    assert "cancel that first" in person.panel.accept_button.toolTip()
    guard = person.viewer.window._qt_window.findChild(CloseGuard)
    assert [work.what for work in guard.work_in_progress()] == [
        "A structure is being followed through a volume."
    ]
    person.press(volume.cancel_button)
    assert guard.work_in_progress() == []
    go_on.set()
    person.wait(lambda: not person.pointing.through.engine.is_ending)
    assert volume.cancel_button.isHidden()
    assert len(person.proposed) == 2
    assert "Cancelled" in volume.text.text()
    assert volume.through_button.isEnabled()
    person.press(volume.drop_button)
    assert person.proposed == {}
    assert person.answer_size > 0
    assert len(person.layer("clicks").data) == 1


def test_other_values_of_the_image_remove_the_proposal(person):
    open_and_click(person)
    person.follow()
    radii = (9,) * 12
    person.viewer.layers["scan"].data = discs(radii, (80, 100))
    person.settle()
    assert person.proposed == {}
    assert person.pointing.through.proposal is None
    person.look_at(4)
    person.click(4, 30, 40)
    person.follow()
    assert set(person.proposed) == {*range(len(radii))} - {4}


def test_the_proposal_goes_with_its_image(person):
    open_and_click(person)
    person.follow()
    person.viewer.layers.remove(person.viewer.layers["scan"])
    person.settle()
    person.wait(lambda: person.layer("answer volume") is None)
    assert not len(person.viewer.layers)


def test_the_proposal_is_hidden_with_the_model_and_comes_back(person):
    open_and_click(person)
    person.follow()
    before = person.proposed
    person.widget.form.model.value = "retina-vessels"
    person.settle()
    assert person.proposed == {}
    person.widget.form.model.value = MODEL
    person.wait(lambda: person.pointing.is_ready)
    person.wait(lambda: person.pointing.pending is not None and person.pointing.pending.answered is not None)
    assert person.proposed == before


def tilted_discs():
    """Discs that move and grow from slice to slice, on a noisy ground: neither ends nor edges are exact."""
    rows, columns = np.mgrid[:70, :90]
    noise = np.random.default_rng(5).normal(0, 0.05, (10, 70, 90))
    slices = [
        np.where(np.hypot(rows - 28 - z, columns - 36 - 1.5 * z) < radius, 0.8, 0.2)
        for z, radius in enumerate((0, 9, 10, 12, 11, 12, 13, 10, 7, 0))
    ]
    return np.clip(np.stack(slices) + noise, 0, 1).astype("f4")


def test_window_command_line_and_python_give_the_same_from_clicks_on_several_slices(person, tmp_path):
    volume, spacing = tilted_discs(), (3, 0.5, 0.5)
    places = [(2, 30, 39), (6, 34, 45)]
    person.open(None, volume, scale=spacing)
    for place in places:
        person.look_at(place[0])
        person.click(*place)
    person.follow()
    person.key(Qt.Key.Key_Return)
    in_window = np.asarray(person.objects) == 1
    assert {1, 2, 3, 4, 5, 6, 7} <= set(np.flatnonzero(in_window.any(axis=(1, 2))))

    samples = person.pointing.samples
    from_python = segment(
        volume, MODEL, prompts=Prompts(positive=places), through=True, samples=samples, spacing=spacing
    )
    np.testing.assert_array_equal(from_python.mask > 0, in_window)

    tifffile.imwrite(tmp_path / "volume.tif", volume, metadata={"axes": "ZYX"})
    points = [part for z, y, x in places for part in ("--point", f"{z},{y},{x}")]
    code = main([
        "segment", str(tmp_path / "volume.tif"), "-m", MODEL, "-o", str(tmp_path / "out"), "-n", str(samples),
        "--through", "--spacing", "3,0.5,0.5", "--quiet", *points,
    ])  # fmt: skip
    assert code == 0
    written = tifffile.imread(tmp_path / "out" / "volume_mask.tif")
    np.testing.assert_array_equal(written > 0, in_window)


def crossing_answers(monkeypatch, at):
    """Answers on slices across, one of which blocks: when it is reached, and an event that lets it go on."""
    reached, go_on, asked, answer = threading.Event(), threading.Event(), [], PromptSession.answer

    def slow(session, *arguments):
        is_across = session.shape != (70, 90)
        asked.extend([1] * is_across)
        if is_across and len(asked) == at:
            reached.set()
            assert go_on.wait(30)
        return answer(session, *arguments)

    monkeypatch.setattr(PromptSession, "answer", slow)
    return reached, go_on, asked


def test_cancel_on_slices_across_ends_after_one_answer_and_proposes_nothing(person, monkeypatch):
    person.open(None, discs((0, *(9,) * 20, 0)))  # slices close enough for slices across
    person.look_at(8)
    person.click(8, 30, 40)
    reached, go_on, asked = crossing_answers(monkeypatch, at=3)
    person.press(person.panel.volume.through_button)
    person.wait(reached.is_set)
    volume, through = person.panel.volume, person.pointing.through
    person.press(volume.cancel_button)
    assert volume.cancel_button.isHidden()
    assert "being stopped" in volume.through_button.toolTip()
    assert person.proposed == {}
    assert through.proposal is None
    assert volume.drop_button.isHidden()
    assert person.panel.accept_button.isEnabled()  # the answer on this slice
    go_on.set()
    person.wait(lambda: not through.engine.is_ending)
    assert len(asked) == 3
    assert volume.through_button.isEnabled()
    assert volume.text.isHidden()
    person.follow()
    assert len(person.proposed) > 5
