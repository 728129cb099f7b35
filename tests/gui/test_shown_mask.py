"""The mask that counts is the one on screen: painted with the mouse, undone, approved, removed."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.helpers.canvas import drag_on_canvas, press_key

from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.corrections import corrections_of

SLICE = 5


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def changes(shown_volume):
    """The results for which the session said that the mask has changed."""
    emitted = []
    session_of(shown_volume.viewer).mask_changed.connect(emitted.append)
    return emitted


def settled(qtbot, shown, state):
    qtbot.waitUntil(
        lambda: shown.result.latest_mask is not None and shown.result.latest_mask.state == state,
        timeout=60_000,
    )


def go_to(shown, plane):
    shown.viewer.dims.set_point(0, shown.image.data_to_world((plane, 0, 0))[0])


def test_strokes_in_a_copy_are_what_counts_and_undo_gives_the_models_back(shown_volume, qtbot, changes):
    viewer, result = shown_volume.viewer, shown_volume.result
    corrections = corrections_of(viewer)
    settled(qtbot, shown_volume, "model")
    assert result.shown_mask().layer is result.layers.mask
    go_to(shown_volume, SLICE)
    copy = corrections.edit(result)
    qtbot.waitUntil(lambda: result.latest_mask.layer is copy, timeout=60_000)
    assert result.shown_mask().state == "model"  # to begin editing changes nothing yet
    changes.clear()
    before = copy.data.copy()
    drag_on_canvas(viewer, copy, (SLICE, 4, 4), (SLICE, 4, 14))
    settled(qtbot, shown_volume, "corrected")
    assert changes
    assert set(changes) == {result}
    shown = result.shown_mask()
    np.testing.assert_array_equal(shown.data, copy.data)
    assert shown.comparison.edited_slices == (SLICE,)
    assert not np.array_equal(copy.data, before)
    corrected = shown.segmentation
    assert (corrected.record.mask_state, corrected.record.mask_edited) == ("corrected", True)
    np.testing.assert_array_equal(corrected.mask, copy.data)
    np.testing.assert_array_equal(corrected.model_mask, result.segmentation.mask)
    painted = copy.data.copy()
    press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settled(qtbot, shown_volume, "model")
    np.testing.assert_array_equal(copy.data, before)
    press_key(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    settled(qtbot, shown_volume, "corrected")
    np.testing.assert_array_equal(copy.data, painted)
    viewer.layers.remove(copy)  # saved as a draft, and no longer what counts
    settled(qtbot, shown_volume, "model")
    np.testing.assert_array_equal(result.shown_mask().data, before)


def test_strokes_in_the_mask_of_the_run_count_too(shown_volume, qtbot):
    viewer, result = shown_volume.viewer, shown_volume.result
    settled(qtbot, shown_volume, "model")
    go_to(shown_volume, SLICE)
    mask = result.layers.mask
    viewer.layers.selection.active = mask
    mask.mode = "paint"
    mask.selected_label = 1
    drag_on_canvas(viewer, mask, (SLICE, 4, 4), (SLICE, 4, 14))
    settled(qtbot, shown_volume, "corrected")
    np.testing.assert_array_equal(result.shown_mask().segmentation.mask, mask.data)


def test_approved_slices_are_those_that_hold_what_was_approved(shown_volume, qtbot):
    viewer, result = shown_volume.viewer, shown_volume.result
    corrections = corrections_of(viewer)
    corrections.approve(result, (SLICE,))
    qtbot.waitUntil(
        lambda: result.latest_mask is not None and result.latest_mask.comparison.approved_slices == (SLICE,),
        timeout=60_000,
    )
    assert result.shown_mask().state == "model"
    corrections.approve(result, "all")
    settled(qtbot, shown_volume, "approved")
    assert not result.shown_mask().is_edited
    record = result.shown_mask().segmentation.record
    assert (record.mask_state, record.approved_slices) == ("approved", ((0, 11),))
    corrections.approvals.unlock(corrections.correction_of(result), [3])
    settled(qtbot, shown_volume, "model")
    assert 3 not in result.shown_mask().comparison.approved_slices


def test_a_threshold_that_is_only_previewed_is_no_correction(shown_volume, qtbot):
    """The slice on screen follows the slider at once; measures and export wait for the whole mask."""
    result, session = shown_volume.result, shown_volume.session
    settled(qtbot, shown_volume, "model")
    go_to(shown_volume, SLICE)
    session.thresholds._timer.setInterval(1500)  # as if the mask were large
    before, threshold = result.segmentation.mask.copy(), result.segmentation.record.threshold
    session.apply_threshold(0.9)
    assert not np.array_equal(result.layers.mask.data, before)
    qtbot.wait(500)  # longer than changes of the mask are waited for
    assert result.segmentation.record.threshold == threshold
    assert result.latest_mask.state == result.shown_mask().state == "model"
    np.testing.assert_array_equal(result.shown_mask().data, before)
    qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.9, timeout=60_000)
    qtbot.wait(500)
    assert result.latest_mask.state == "model"
    np.testing.assert_array_equal(result.shown_mask().data, result.layers.mask.data)
    assert not np.array_equal(result.layers.mask.data, before)


def test_more_samples_leave_nothing_of_a_preview(shown_volume):
    result = shown_volume.result
    go_to(shown_volume, SLICE)
    result.layers.preview_threshold(result.segmentation, 0.9)
    assert result.layers.is_previewing
    result.layers.set_mask(result.segmentation.mask.copy())
    assert not result.layers.is_previewing
    (slices, *_) = result.layers.changed_voxels(result.segmentation.mask)
    assert not len(slices)


def test_a_preview_whose_threshold_fails_is_taken_back(shown_volume, qtbot, monkeypatch):
    result, session = shown_volume.result, shown_volume.session
    go_to(shown_volume, SLICE)
    before = result.layers.mask.data.copy()
    monkeypatch.setattr(
        type(result.segmentation), "with_threshold", lambda *_: (_ for _ in ()).throw(MemoryError("no room"))
    )
    with qtbot.waitSignal(session.failed, timeout=20_000):
        session.apply_threshold(0.9)
    np.testing.assert_array_equal(result.layers.mask.data, before)
    assert not result.layers.is_previewing
