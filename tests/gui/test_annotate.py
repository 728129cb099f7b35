"""Correcting and approving in a real viewer, with the store on a real disk."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from tests.helpers.canvas import drag_on_canvas
from tests.helpers.shown import show_ball_in

from napari_latentseg.annotations import AnnotationStore, list_stores
from napari_latentseg.widgets._shared.layers import METADATA_KEY, layer_matrix, role_of
from napari_latentseg.widgets._shared.text import format_numbers
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def segment(viewer, qtbot):
    """Segments an image with the tiny model, and gives the result."""
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")

    def run(data, **arguments):
        widget.form.image.value = viewer.add_image(data, **arguments)
        widget.form.model.value = MODEL
        widget.form.samples.value = 2
        widget.run_button.click()
        qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
        return widget.session.current

    return run


@pytest.fixture
def widget(viewer, segment):
    annotate = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(annotate, name="Annotate", area="right")
    return annotate


def volume(planes=5, shape=(48, 56)):
    rng = np.random.default_rng(3)
    return rng.random((planes, *shape)).astype(np.float32)


def settle(qtbot, viewer):
    corrections = corrections_of(viewer)
    qtbot.waitUntil(lambda: corrections.approvals.writes_in_progress == 0, timeout=60_000)


def entries():
    return AnnotationStore.for_model(MODEL).approvals()


def messages():
    return [str(n.message) for n in notification_manager.records]


def test_empty_state_says_what_to_do(widget):
    assert widget.is_empty
    assert "segment" in widget.empty_label.text()
    assert not widget.editor.isVisible()
    widget.approve_shown()
    widget.edit()
    assert not corrections_of(widget.viewer).corrections


def test_edit_makes_a_copy(viewer, widget, segment, qtbot):
    image = segment(
        volume(), name="scan", scale=(2, 0.5, 0.6), translate=(1, 2, 3), affine=np.diag([1, 1.1, 1, 1])
    ).layers.image
    result = widget.session.current
    before = result.layers.mask.data.copy()
    widget.edit_button.click()
    (copy,) = [layer for layer in viewer.layers if role_of(layer) == "corrected"]
    assert copy.name == "scan corrected"
    assert viewer.layers.selection.active is copy
    assert viewer.layers[-1] is copy
    assert result.layers.mask.contour == 1  # a contour below the copy
    np.testing.assert_allclose(layer_matrix(copy), layer_matrix(image), atol=1e-12)
    assert copy.units == image.units
    assert str(copy.mode) == "paint"
    assert copy.selected_label == 1
    assert list(copy.features["class"]) == ["background", "target"]
    np.testing.assert_allclose(copy.colormap.map(1)[..., :3], [1, 176 / 255, 0], atol=0.01)
    metadata = copy.metadata[METADATA_KEY]
    assert metadata["image"] == str(image.unique_id)
    assert metadata["model"][:2] == [MODEL, "1"]
    np.testing.assert_array_equal(copy.data, before)
    copy.paint((2, 5, 5), 1)
    copy.paint((2, 30, 30), 0)
    np.testing.assert_array_equal(result.layers.mask.data, before)  # the prediction is unchanged
    np.testing.assert_array_equal(result.segmentation.mask, before)
    copy.undo()
    copy.undo()
    np.testing.assert_array_equal(copy.data, before)
    copy.redo()
    assert copy.data[2, 5, 5] == 1
    assert corrections_of(viewer).edit(result) is copy  # a second time, the same
    assert not widget.edit_button.isEnabled()  # that is what goes on
    viewer.layers.selection.active = image
    assert widget.edit_button.text() == "Resume editing"
    assert widget.edit_button.isEnabled()
    widget.edit_button.click()
    assert viewer.layers.selection.active is copy
    assert not widget.edit_button.isEnabled()
    copy.visible = False
    viewer.layers.selection.active = image
    assert widget.edit_button.isEnabled()


def test_approve_a_slice_a_range_and_all(viewer, widget, segment, qtbot):
    result = segment(volume(), name="scan")
    viewer.dims.set_point(0, 3)
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    copy.paint((3, 5, 5), 1)
    kept = copy.data.copy()
    assert "Slice 4 of 5 (slider 3): not approved" in widget.slice_status.text()
    widget.approve_button.click()
    settle(qtbot, viewer)
    assert "Slice 4 of 5 (slider 3): approved" in widget.slice_status.text()
    (entry,) = entries()
    assert entry.planes == (3,)
    assert entry.edited
    assert entry.model[:2] == (MODEL, "1")
    assert len(entry.model.sha256) == 64
    widget.first_slice.setValue(1)
    widget.last_slice.setValue(2)
    widget.approve_range_button.click()
    settle(qtbot, viewer)
    assert entries()[-1].planes == (0, 1)
    assert not entries()[-1].edited
    assert widget.approved_summary.text() == "Approved slices: 1, 2, 4."
    widget.approve_all_button.click()
    settle(qtbot, viewer)
    assert entries()[-1].planes == (2, 4)
    case = AnnotationStore.for_model(MODEL).annotated_case(result.job.scan)
    np.testing.assert_array_equal(case.read_mask(), kept)
    qtbot.waitUntil(lambda: "5 slices of 1 volume" in widget.totals.text(), timeout=60_000)
    assert not widget.approve_all_button.isEnabled()
    assert "already" in widget.approve_all_button.toolTip()


def test_approving_the_prediction_needs_no_copy(viewer, widget, segment, qtbot):
    result = segment(volume(), name="scan")
    corrections = corrections_of(viewer)
    assert corrections.approve(result, (2,)) is not None
    settle(qtbot, viewer)
    (entry,) = entries()
    assert (entry.planes, entry.edited) == ((2,), False)
    assert corrections.approve(result, (2,)) is None  # nothing is written twice
    corrections.approve(result, "all")
    settle(qtbot, viewer)
    assert entries()[-1].planes == (0, 1, 3, 4)
    assert not [layer for layer in viewer.layers if role_of(layer) == "corrected"]


def test_a_single_plane(viewer, widget, segment, qtbot):
    result = segment(volume()[0], name="photo")
    assert widget.approve_button.text() == "This mask"
    assert not widget.approve_all_button.isVisible()
    corrections_of(viewer).approve(result, ())
    settle(qtbot, viewer)
    assert entries()[0].planes == (0,)
    assert widget.slice_status.text() == "This image: approved, locked."


def test_grey_is_approved_after_colour(viewer, widget, segment, qtbot):
    grey = (volume()[0] * 200).astype(np.uint8)
    alpha = np.full_like(grey, 255)
    images = {
        "rgb": np.dstack([grey + 1, grey, grey + 2]),
        "grey": grey,
        "rgba": np.dstack([grey + 5, grey, grey, alpha]),
    }
    notification_manager.records.clear()
    for number, (name, data) in enumerate(images.items(), start=1):
        segment(data, name=name, rgb=data.ndim == 3)
        qtbot.mouseClick(widget.approve_button, Qt.MouseButton.LeftButton)
        settle(qtbot, viewer)
        assert len(entries()) == number
        assert widget.slice_status.text() == "This image: approved, locked."
    assert messages() == []


def test_an_approved_slice_is_locked(viewer, widget, segment, qtbot):
    segment(volume(), name="scan")
    viewer.dims.set_point(0, 1)
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    copy.paint((1, 5, 5), 1)
    widget.approve_button.click()
    settle(qtbot, viewer)
    kept = copy.data[1].copy()
    assert str(copy.mode) == "pan_zoom"  # no brush
    assert copy.bounding_box.visible
    notification_manager.records.clear()
    copy.mode = "paint"
    qtbot.waitUntil(lambda: str(copy.mode) == "pan_zoom", timeout=60_000)
    assert any("Slice 2 of 5 (slider 1) is approved" in text for text in messages())
    copy.data_setitem((np.array([1]), np.array([20]), np.array([20])), 1 - kept[20, 20])
    qtbot.waitUntil(lambda: np.array_equal(copy.data[1], kept), timeout=60_000)
    viewer.dims.set_point(0, 2)
    assert str(copy.mode) == "paint"  # the brush is back on an unlocked slice
    assert not copy.bounding_box.visible
    copy.n_edit_dimensions = 3
    copy.brush_size = 12
    free = copy.data.copy()
    copy.paint((2, 30, 30), 1 - int(free[2, 30, 30]))
    qtbot.waitUntil(lambda: np.array_equal(copy.data[1], kept), timeout=60_000)
    assert not np.array_equal(copy.data[2], free[2])  # the rest of that stroke stays
    copy.undo()
    np.testing.assert_array_equal(copy.data[2], free[2])
    copy.redo()
    qtbot.waitUntil(lambda: np.array_equal(copy.data[1], kept), timeout=60_000)
    viewer.dims.set_point(0, 1)
    for _ in range(5):
        copy.undo()
    qtbot.waitUntil(lambda: np.array_equal(copy.data[1], kept), timeout=60_000)


def test_unlock_revokes_one_slice_of_many(viewer, widget, segment, qtbot):
    result = segment(volume(), name="scan")
    corrections_of(viewer).approve(result, "all")
    settle(qtbot, viewer)
    viewer.dims.set_point(0, 2)
    assert widget.unlock_button.isVisible()
    widget.unlock_button.click()
    settle(qtbot, viewer)
    store = AnnotationStore.for_model(MODEL)
    assert store.approved_planes(result.job.scan) == (0, 1, 3, 4)
    np.testing.assert_array_equal(
        store.annotated_case(result.job.scan).read_mask()[3], result.segmentation.mask[3]
    )
    assert "not approved" in widget.slice_status.text()
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    copy.paint((2, 5, 5), 1 - int(copy.data[2, 5, 5]))
    qtbot.wait(600)
    assert copy.data[2, 5, 5] != result.segmentation.mask[2, 5, 5]  # editable again


def test_a_class_can_be_added(viewer, widget, segment, qtbot):
    segment(volume(), name="scan")
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    widget.classes.add_button.click()
    widget.classes.name_field.setText("  lymph  node ")
    widget.classes.confirm_button.click()
    assert list(copy.features["class"]) == ["background", "target", "lymph node"]
    assert copy.selected_label == 2
    assert set(widget.classes.buttons) == {0, 1, 2}
    widget.classes.add_button.click()
    widget.classes.name_field.setText("Target")
    widget.classes.confirm_button.click()
    warning = widget.classes.warning
    assert warning.text() == "There is already a class named Target: choose another name."
    assert all(part.isVisibleTo(widget) for part in (warning, widget.classes.name_field))
    assert widget.classes.name_field.text() == "Target"  # nothing that was typed is lost
    assert len(corrections_of(viewer).active.classes) == 2
    widget.classes.name_field.clear()
    widget.classes.confirm_button.click()  # given up
    widget.classes.buttons[1].click()
    assert copy.selected_label == 1
    copy.selected_label = 2
    assert widget.classes.buttons[2].isChecked()
    copy.paint((0, 5, 5), 2)
    widget.approve_button.click()
    settle(qtbot, viewer)
    assert [c.name for c in AnnotationStore.for_model(MODEL).classes] == ["target", "lymph node"]
    again = segment(volume(), name="another day")
    correction = corrections_of(viewer).correction_of(again)
    qtbot.waitUntil(lambda: len(correction.classes) == 2, timeout=60_000)  # read from the store


def test_painting_after_all_layers_were_removed(viewer, widget, segment, qtbot):
    """napari 0.9 draws a box behind the brush circle, and the process ends when it is drawn a second time."""
    overlay = viewer.canvas.overlays._brush_circle
    viewer.mouse_over_canvas = True
    for _ in range(3):
        segment(volume(), name="scan")
        widget.edit_button.click()
        copy = viewer.layers.selection.active
        copy.paint((0, 5, 5), 1)
        qtbot.wait(50)
        assert overlay.visible
        assert not overlay.box
        viewer.layers.clear()
        qtbot.wait(50)


def test_a_new_run_on_the_same_image_keeps_its_approved_slices(viewer, widget, segment, qtbot):
    result = segment(volume(), name="scan")
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    copy.paint((0, 5, 5), 1)
    viewer.dims.set_point(0, 0)
    widget.approve_button.click()
    settle(qtbot, viewer)
    kept = copy.data[0].copy()
    viewer.layers.clear()
    again = segment(volume(), name="the same, opened again")
    assert again is not result
    layer = corrections_of(viewer).edit(again)
    qtbot.waitUntil(lambda: np.array_equal(layer.data[0], kept), timeout=60_000)
    assert corrections_of(viewer).correction_of(again).approved.keys() == {0}


def test_autosaving_writes_once_for_a_burst_of_strokes(viewer, widget, segment, qtbot, monkeypatch):
    writes = []
    save_draft = AnnotationStore.save_draft

    def counting(self, *args, **kwargs):
        writes.append(1)
        return save_draft(self, *args, **kwargs)

    monkeypatch.setattr(AnnotationStore, "save_draft", counting)
    segment(volume(), name="scan")
    widget.edit_button.click()
    autosaver = corrections_of(viewer).autosaver
    copy = viewer.layers.selection.active
    for burst in (1, 2):
        for column in range(5, 30, 5):
            copy.paint((0, 5 * burst, column), 1 - int(copy.data[0, 5 * burst, column]))
        for _ in range(3):  # the second comes while it is being written
            autosaver.save_all()
        qtbot.waitUntil(lambda: not autosaver._saving, timeout=60_000)
        autosaver.save_all()  # nothing has changed since
        qtbot.waitUntil(lambda: not autosaver._saving, timeout=60_000)
        assert len(writes) == burst


def test_edits_are_saved_and_resumed_in_another_window(viewer, widget, segment, qtbot, make_napari_viewer):
    segment(volume(), name="scan")
    widget.edit_button.click()
    corrections = corrections_of(viewer)
    copy = viewer.layers.selection.active
    copy.paint((0, 5, 5), 1)
    copy.paint((0, 9, 9), 1)
    painted = copy.data.copy()
    corrections.autosaver.save_all()
    qtbot.waitUntil(lambda: corrections.corrections[0].draft is not None, timeout=60_000)
    corrections.open_stores.close()  # as when the program ends
    other = make_napari_viewer(show=True)
    theirs = AnnotateWidget(other)
    other.window.add_dock_widget(theirs, name="Annotate", area="right")
    qtbot.waitUntil(lambda: len(theirs.drafts_panel.resume_buttons) == 1, timeout=60_000)
    assert theirs.drafts_panel.isVisible()
    theirs.drafts_panel.resume_buttons[0].click()
    qtbot.waitUntil(lambda: len(other.layers) == 2, timeout=60_000)
    image, mask = other.layers
    np.testing.assert_array_equal(mask.data, painted)
    np.testing.assert_array_equal(np.asarray(image.data), volume())
    qtbot.waitUntil(lambda: not theirs.drafts_panel.isVisible(), timeout=60_000)
    other.dims.set_point(0, 0)
    theirs.approve_button.click()
    settle(qtbot, other)
    np.testing.assert_array_equal(
        AnnotationStore.for_model(MODEL).annotated_case(corrections.corrections[0].scan).read_mask()[0],
        painted[0],
    )
    correction = corrections_of(other).corrections[0]
    autosaver = theirs.corrections.autosaver
    qtbot.waitUntil(lambda: not autosaver._saving, timeout=60_000)
    assert correction.draft is not None  # the other planes are not approved yet


def test_strokes_just_before_the_window_closes_are_kept(own_home, make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    shown = show_ball_in(viewer, (6, 40, 50))
    copy = corrections_of(viewer).edit(shown.result)
    drag_on_canvas(viewer, copy, (viewer.dims.current_step[0], 4, 4), (viewer.dims.current_step[0], 4, 20))
    painted = copy.data.copy()
    viewer.close()  # within the seconds between two autosaves
    store = AnnotationStore.for_model(shown.result.card.name)
    (draft,) = store.drafts()
    corrections_of(viewer).open_stores.close()
    np.testing.assert_array_equal(AnnotationStore(store.folder).resume_draft(draft)[1], painted)


def test_a_draft_is_deleted_when_all_of_it_is_approved(viewer, widget, segment, qtbot):
    segment(volume(), name="scan")
    widget.edit_button.click()
    corrections = corrections_of(viewer)
    copy = viewer.layers.selection.active
    viewer.dims.set_point(0, 2)
    copy.paint((2, 5, 5), 1 - int(copy.data[2, 5, 5]))
    corrections.autosaver.save_all()
    qtbot.waitUntil(lambda: corrections.corrections[0].draft is not None, timeout=60_000)
    assert len(AnnotationStore.for_model(MODEL).drafts()) == 1
    widget.approve_button.click()  # the only plane that was changed
    settle(qtbot, viewer)
    qtbot.waitUntil(lambda: not AnnotationStore.for_model(MODEL).drafts(), timeout=60_000)


def test_a_removed_copy_can_be_resumed(viewer, widget, segment, qtbot):
    segment(volume(), name="scan")
    widget.edit_button.click()
    copy = viewer.layers.selection.active
    copy.paint((0, 5, 5), 1 - int(copy.data[0, 5, 5]))
    painted = copy.data.copy()
    notification_manager.records.clear()
    viewer.layers.remove(copy)
    qtbot.waitUntil(lambda: len(widget.drafts_panel.resume_buttons) == 1, timeout=60_000)
    assert any("What was painted is kept" in text for text in messages())
    widget.drafts_panel.resume_buttons[0].click()
    qtbot.waitUntil(lambda: any(role_of(layer) == "corrected" for layer in viewer.layers), timeout=60_000)
    (again,) = [layer for layer in viewer.layers if role_of(layer) == "corrected"]
    np.testing.assert_array_equal(again.data, painted)
    assert sum(layer.name == "scan" for layer in viewer.layers) == 1  # on the image that is open
    viewer.layers.remove(again)
    qtbot.waitUntil(lambda: len(widget.drafts_panel.discard_buttons) == 1, timeout=60_000)
    widget.drafts_panel.discard_buttons[0].click()
    qtbot.waitUntil(lambda: not AnnotationStore.for_model(MODEL).drafts(), timeout=60_000)
    qtbot.waitUntil(lambda: not widget.drafts_panel.isVisible(), timeout=60_000)


def test_a_copy_that_was_moved_is_refused(viewer, widget, segment, qtbot):
    segment(volume(), name="scan")
    widget.edit_button.click()
    viewer.layers.selection.active.translate = (0, 4, 0)
    notification_manager.records.clear()
    widget.approve_button.click()
    assert any("another geometry" in text for text in messages())
    assert MODEL not in list_stores()


def test_format_numbers():
    assert format_numbers([7, 3, 8, 9, 12]) == "3, 7 to 9, 12"
    assert format_numbers([0, 1]) == "0, 1"
    assert format_numbers([]) == ""


def test_fits_a_laptop(viewer, widget, segment, qtbot):
    segment(volume(), name="scan")
    widget.edit_button.click()
    assert widget.minimumSizeHint().width() <= 380
    assert widget.sizeHint().height() <= 700
