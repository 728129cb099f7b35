"""Slices that were not segmented are not empty ones: a run that is cancelled, and approvals after it."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QLabel, QMessageBox
from tests.helpers.two_cases import add_result, click_layer

from napari_latentseg.annotations import AnnotationStore, list_stores
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def segment(viewer):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


@pytest.fixture
def widget(viewer, segment):
    annotate = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(annotate, name="Annotate", area="right")
    return annotate


def volume(planes=5, shape=(48, 56)):
    return np.random.default_rng(3).random((planes, *shape)).astype(np.float32)


def settle(qtbot, viewer):
    corrections = corrections_of(viewer)
    qtbot.waitUntil(lambda: corrections.approvals.writes_in_progress == 0, timeout=60_000)


def entries():
    return AnnotationStore.for_model(MODEL).approvals()


def messages():
    return [str(n.message) for n in notification_manager.records]


def test_a_run_that_was_cancelled_says_so_and_has_no_interval(viewer, segment, qtbot):
    segment.form.image.value = viewer.add_image(volume(40, (96, 96)), name="scan")
    segment.form.model.value = MODEL
    segment.form.samples.value = 5
    qtbot.mouseClick(segment.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) > 1, timeout=120_000)  # a slice is shown
    qtbot.mouseClick(segment.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not segment.busy, timeout=60_000)
    result = segment.session.current
    done = result.segmentation.record.planes_done
    assert 0 < done < 40
    assert result.title.endswith(", cancelled")
    assert segment.status.text() == f"Cancelled. {done} of 40 slices are kept, with 5 samples each."
    panel = segment.result_panel
    sizes = " ".join(label.text() for label in panel.legend.findChildren(QLabel))
    assert f" in {done} of 40 slices" in sizes
    assert "90 %" not in sizes
    assert "the run was cancelled" in panel.interval_note.text()
    assert f"{40 - done} of 40 slices" in panel.interval_note.text()
    assert panel.run_note.text().startswith("Cancelled: ")
    texts = (label.text() for label in segment.findChildren(QLabel))
    assert sum("not segmented" in text for text in texts) == 1  # said once
    assert panel.interval_note.text().count("not segmented") == 1


def test_slices_that_were_not_segmented_are_not_approved_as_empty(viewer, segment, widget, qtbot):
    data = volume()
    layer = viewer.add_image(data, name="scan")
    segment.form.image.value = layer
    segment.form.model.value = MODEL
    segment.form.roi_fields.slices.value = "shown"
    segment.run_button.click()
    qtbot.waitUntil(lambda: not segment.busy, timeout=60_000)
    segmented = segment.form.settings().first_plane

    def refused(press):
        notification_manager.records.clear()
        press()
        (text,) = messages()
        assert MODEL not in list_stores() or not entries()
        return text

    others = [n for n in range(5) if n != segmented]
    assert "were not segmented, and nothing is painted in them" in refused(widget.approve_all)
    widget.first_slice.setValue(others[0] + 1)
    widget.last_slice.setValue(others[0] + 1)
    text = refused(lambda: qtbot.mouseClick(widget.approve_range_button, Qt.MouseButton.LeftButton))
    assert text.startswith(f"slice {others[0] + 1}: was not segmented, and nothing is painted in it")
    viewer.dims.set_point(0, others[1])
    assert f"slice {others[1] + 1}: was not segmented" in refused(
        lambda: qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_A)
    )
    # what a person has painted there may be approved
    qtbot.mouseClick(widget.edit_button, Qt.MouseButton.LeftButton)
    viewer.layers.selection.active.paint((others[1], 5, 5), 1)
    qtbot.waitUntil(widget.approve_button.isEnabled, timeout=10_000)
    qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
    settle(qtbot, viewer)
    (entry,) = entries()
    assert entry.planes == (others[1],)
    viewer.dims.set_point(0, segmented)
    qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
    settle(qtbot, viewer)
    assert entries()[-1].planes == (segmented,)
    case = AnnotationStore.for_model(MODEL).annotated_case(segment.session.current.job.scan)
    assert sorted(case.annotated_slices) == sorted([segmented, others[1]])  # no other slice is taught


def test_buttons_tell_which_slices_were_not_segmented(viewer, segment, widget, qtbot):
    segment_one_slice(viewer, segment, qtbot, volume(3))
    segmented = segment.form.settings().first_plane
    others = [n for n in range(3) if n != segmented]
    viewer.dims.set_point(0, others[0])
    assert widget.slice_status.text() == f"Slice {others[0] + 1} of 3 (slider {others[0]}): not segmented."
    assert not widget.approve_button.isEnabled()
    assert "was not segmented" in widget.approve_button.toolTip()
    assert not widget.approve_all_button.isEnabled()
    assert "2 of 3 slices were not segmented" in widget.approve_all_button.toolTip()
    assert widget.approve_range_button.isEnabled()
    qtbot.mouseClick(widget.edit_button, Qt.MouseButton.LeftButton)
    copy = viewer.layers.selection.active
    copy.paint((others[0], 5, 5), 1)
    qtbot.waitUntil(widget.approve_button.isEnabled, timeout=10_000)
    assert "not approved yet" in widget.slice_status.text()
    copy.paint((others[1], 5, 5), 1)
    qtbot.waitUntil(widget.approve_all_button.isEnabled, timeout=10_000)
    viewer.dims.set_point(0, others[0])
    copy.undo()
    copy.undo()
    qtbot.waitUntil(lambda: not widget.approve_all_button.isEnabled(), timeout=10_000)
    qtbot.waitUntil(lambda: not widget.approve_button.isEnabled(), timeout=10_000)
    viewer.dims.set_point(0, segmented)
    assert "not approved yet" in widget.slice_status.text()
    assert widget.approve_button.isEnabled()


def segment_one_slice(viewer, segment, qtbot, data):
    layer = viewer.add_image(data, name="scan")
    segment.form.image.value = layer
    segment.form.model.value = MODEL
    segment.form.roi_fields.slices.value = "shown"
    segment.run_button.click()
    qtbot.waitUntil(lambda: not segment.busy, timeout=60_000)
    return layer


def test_a_resumed_draft_knows_which_slices_were_segmented(viewer, segment, widget, qtbot):
    layer = segment_one_slice(viewer, segment, qtbot, volume())
    segmented = segment.form.settings().first_plane
    others = [n for n in range(5) if n != segmented]
    widget.edit()
    viewer.layers.selection.active.paint((segmented, 5, 5), 1)
    autosaver = widget.corrections.autosaver
    viewer.layers.clear()
    qtbot.waitUntil(lambda: len(autosaver.drafts) == 1, timeout=60_000)
    assert layer not in viewer.layers
    ((family, draft),) = autosaver.drafts
    autosaver.resume_draft(family, draft)
    qtbot.waitUntil(lambda: widget.correction is not None, timeout=60_000)
    viewer.dims.set_point(0, others[0])
    notification_manager.records.clear()
    assert not widget.approve_button.isEnabled()
    widget.approve_shown()
    (text,) = messages()
    assert text.startswith(f"slice {others[0] + 1}: was not segmented, and nothing is painted in it")
    assert not entries()
    viewer.layers.selection.active.paint((others[0], 5, 5), 1)
    qtbot.waitUntil(widget.approve_button.isEnabled, timeout=10_000)
    viewer.dims.set_point(0, segmented)
    qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
    settle(qtbot, viewer)
    assert entries()[-1].planes == (segmented,)


def test_a_resumed_draft_is_that_of_a_later_run_of_its_image(viewer, segment, widget, qtbot):
    segment_one_slice(viewer, segment, qtbot, volume(3))
    segmented = segment.form.settings().first_plane
    widget.edit()
    viewer.layers.selection.active.paint((segmented, 5, 5), 1)
    autosaver = widget.corrections.autosaver
    viewer.layers.clear()
    qtbot.waitUntil(lambda: len(autosaver.drafts) == 1, timeout=60_000)
    qtbot.mouseClick(widget.drafts_panel.resume_buttons[0], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.correction is not None, timeout=60_000)
    correction = widget.correction
    assert correction.result is None
    segment.run_button.click()
    qtbot.waitUntil(lambda: not segment.busy, timeout=60_000)
    result = segment.session.current
    assert correction.result is result
    assert result.shown_mask().layer is correction.layer
    qtbot.waitUntil(lambda: result.latest_mask is not None and result.latest_mask.is_edited, timeout=10_000)
    assert widget.correction_list.count() == 1


def test_a_copy_keeps_the_slices_that_it_was_made_of(viewer, segment, widget, qtbot):
    """Another run, or more samples, may segment further slices; the copy does not get them."""
    segment_one_slice(viewer, segment, qtbot, volume())
    segmented = segment.form.settings().first_plane
    widget.edit()
    result = segment.session.current
    record = result.segmentation.record
    whole = record.replace(planes_done=record.planes, slices=None, segmented_slices=None)
    object.__setattr__(result.segmentation, "record", whole)
    assert result.segmentation.segmented_region.is_whole
    assert widget.correction.segmented_region.segmented_count == 1
    assert segmented in widget.correction.segmented_region


def answer(button):
    """Answer the next question; its text is appended to the list that is returned."""
    questions = []

    def click():
        box = QApplication.activeModalWidget()
        questions.append(box.text())
        box.button(button).click()

    QTimer.singleShot(300, click)
    return questions


def test_a_slice_of_which_a_box_was_segmented_is_approved_only_if_a_person_says_so(
    viewer, segment, widget, qtbot
):
    buttons = QMessageBox.StandardButton
    viewer.add_shapes([np.array([[8, 8], [8, 40], [40, 40], [40, 8]])], name="box")
    layer = viewer.add_image(volume()[0], name="scan")
    segment.form.image.value = layer
    segment.form.model.value = MODEL
    segment.form.roi_fields.area.value = viewer.layers["box"]
    segment.run_button.click()
    qtbot.waitUntil(lambda: not segment.busy, timeout=60_000)
    assert segment.session.current.segmentation.record.box is not None
    questions = answer(buttons.No)
    notification_manager.records.clear()
    qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
    assert questions == ["Only a box of this image was segmented. Is there none of the structure outside it?"]
    (text,) = messages()
    assert text.startswith("this image: only a box was segmented; paint what is outside")
    assert MODEL not in list_stores() or not entries()
    answer(buttons.Yes)
    qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
    settle(qtbot, viewer)
    assert len(entries()) == 1
    widget.unlock_shown()
    settle(qtbot, viewer)
    widget.edit()  # what was painted was looked at: no question
    viewer.layers.selection.active.paint((2, 2), 1)
    qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
    settle(qtbot, viewer)
    assert len(entries()) == 1
    assert entries()[0].edited


def test_what_is_not_on_screen_is_not_approved(viewer, segment, widget, qtbot):
    first = segment_one_slice(viewer, segment, qtbot, volume())
    result = segment.session.current
    second = viewer.add_image(volume(), name="another")
    assert segment.session.image is second
    notification_manager.records.clear()
    widget.corrections.approve(result, (segment.form.settings().first_plane,))
    (text,) = messages()
    assert "is not on screen; select its layer first" in text
    assert MODEL not in list_stores() or not entries()
    click_layer(viewer, first)
    later = add_result(viewer, first)
    assert segment.session.current is later
    notification_manager.records.clear()
    widget.corrections.approve(result, (segment.form.settings().first_plane,))
    assert "is not on screen" in messages()[0]


def test_a_comparison_leaves_out_what_was_not_segmented(viewer, segment, qtbot):
    segment_one_slice(viewer, segment, qtbot, volume())
    segmented = segment.form.settings().first_plane
    mask = np.array(segment.session.current.layers.mask.data)
    reference = np.full_like(mask, 1)
    reference[segmented] = mask[segmented]
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Review", area="right")
    qtbot.waitUntil(lambda: len(review.queue.findings) == 1, timeout=60_000)  # of the one slice
    review.measures.reference.value = viewer.add_labels(reference, name="reader")
    qtbot.waitUntil(lambda: "Dice 1.000" in review.measures.comparison.text(), timeout=60_000)
    assert " in 1 of 5 slices: Dice 1.000" in review.measures.comparison.text()
