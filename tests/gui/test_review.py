"""The review of a result, in a real viewer."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPointF, Qt
from tests.helpers.shared_viewer import process_events, running_work

from napari_latentseg.review import MEASURES
from napari_latentseg.widgets._shared.layers import (
    index_on_screen,
    layer_matrix,
    role_of,
    spatial_arguments,
)
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.review import measures
from napari_latentseg.widgets.review.objects_table import ObjectsTable
from napari_latentseg.widgets.review.widget import ReviewWidget


@pytest.fixture
def review(shown_volume, qtbot):
    widget = ReviewWidget(shown_volume.viewer)
    shown_volume.viewer.window.add_dock_widget(widget, name="Review", area="right")
    qtbot.waitUntil(lambda: len(widget.queue.findings) > 0, timeout=60_000)
    return widget


def slice_on_screen(shown) -> int:
    return index_on_screen(shown.viewer, shown.image)[0]


def test_nothing_to_review_says_what_to_do(viewer):
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    assert widget.is_empty
    assert "segment an image first" in widget.empty_label.text()
    assert not widget.content.isVisibleTo(widget)


def test_no_region_is_called_certain_before_they_are_ranked(shown_volume, monkeypatch):
    monkeypatch.setattr("napari_latentseg.widgets.review.ranking.run_in_thread", lambda *_, **__: None)
    widget = ReviewWidget(shown_volume.viewer)
    shown_volume.viewer.window.add_dock_widget(widget, name="Review", area="right")
    widget.session.mask_changed.emit(widget.result)
    assert widget.counter.text() == "Ranking…"
    assert not widget.next_button.isEnabled()


def test_the_least_sure_slice_comes_first(shown_volume, review):
    review.next()
    assert review.queue.row == 0
    assert review.queue.findings[0].index == (5,)
    assert slice_on_screen(shown_volume) == 5
    assert "1 of" in review.counter.text()


def test_approve_without_a_selected_region_says_so(review, qtbot):
    qtbot.mouseClick(review.approve_button, Qt.MouseButton.LeftButton)
    assert any("No region is selected" in record.message for record in notification_manager.records)
    assert "approved" not in review.counter.text()


def test_a_double_click_on_approve_approves_one_slice(own_home, shown_volume, review, qtbot):
    """Its second click would approve the slice that the first has just shown."""
    review.next()
    corrections = corrections_of(shown_volume.viewer)
    qtbot.mouseClick(review.approve_button, Qt.MouseButton.LeftButton)
    qtbot.mouseDClick(review.approve_button, Qt.MouseButton.LeftButton)
    assert slice_on_screen(shown_volume) == review.queue.findings[1].index[0]
    qtbot.waitUntil(lambda: not corrections.approvals.writes_in_progress, timeout=20_000)
    approved = corrections.correction_of(shown_volume.result).approved
    assert list(approved) == list(review.queue.findings[0].index)


def test_next_and_previous_walk_the_queue(shown_volume, review):
    seen = []
    for _ in review.queue.findings:
        review.next()
        seen.append(slice_on_screen(shown_volume))
    assert seen == [finding.index[0] for finding in review.queue.findings]
    assert review.counter.text().startswith(f"{len(seen)} of {len(seen)} seen")
    review.previous()
    assert slice_on_screen(shown_volume) == seen[-2]
    review.next()
    review.next()  # all are seen: it begins again
    assert slice_on_screen(shown_volume) == seen[0]


def test_a_result_without_uncertainty_says_why_nothing_is_listed(shown_volume, review, qtbot):
    result = shown_volume.result
    found = result.segmentation
    result.segmentation = replace(
        found, mean=np.zeros_like(found.mean), variance=None, sample_maps=None,
        record=found.record.replace(samples=2),
    )  # fmt: skip
    notification_manager.records.clear()
    review.session.results_changed.emit()
    qtbot.waitUntil(lambda: "too few for a variance" in review.counter.text(), timeout=60_000)
    assert "draw three samples or more" in review.counter.text()
    assert not review.queue.findings
    assert not notification_manager.records  # it is no error
    assert review.approve_button.toolTip() == review.next_button.toolTip() == "No region is listed"
    assert review.basis_label.text().startswith("The mean probabilities")


def test_a_map_that_two_samples_cannot_give_says_so(shown_volume, review):
    result = shown_volume.result
    shown_volume.viewer.layers.remove(result.layers.layers_of("variance")[0])
    found = result.segmentation
    result.segmentation = replace(found, variance=None, record=found.record.replace(samples=2))
    review.session.results_changed.emit()
    assert review.display_buttons.map_buttons["variance"].toolTip() == (
        "A variance needs 3 samples or more: this run has 2 samples"
    )


def test_the_class_of_a_region_has_its_colour(shown_volume, review):
    column = 3
    cell = review.queue.model().index(0, column)
    color = review.queue.model().data(cell, Qt.ItemDataRole.DecorationRole)
    assert color.name() == shown_volume.result.card.classes[0].color.lower()


def test_approving_a_2d_image_is_said_to_be_of_all_of_it(shown_volume, review):
    assert "this slice" in review.approve_button.toolTip()
    found = shown_volume.result.segmentation
    review.ranking.offer(replace(found, mask=found.mask[0]))
    review._update_marks()
    assert "whole image" in review.approve_button.toolTip()


@pytest.mark.parametrize("key", list(MEASURES))
def test_every_measure_ranks(shown_volume, review, qtbot, key):
    at = review.ranking.measure_box.findData(key)
    assert at >= 0
    review.queue.fill(())
    review.ranking.measure_box.setCurrentIndex(at)
    review.rank()
    qtbot.waitUntil(lambda: len(review.queue.findings) > 0, timeout=60_000)
    assert {finding.measure for finding in review.queue.findings} == {key}


def test_objects_can_be_listed(shown_volume, review, qtbot):
    review.ranking.unit_box.setCurrentIndex(review.ranking.unit_box.findData("objects"))
    review.rank()
    qtbot.waitUntil(lambda: {finding.kind for finding in review.queue.findings} == {"object"}, timeout=60_000)
    review.next()
    assert review.queue.findings[0].name == shown_volume.result.card.classes[0].name
    shown_volume.session.results_changed.emit()  # as when more samples have come
    assert review.ranking.unit_box.currentData() == "objects"


def test_a_click_on_the_profile_goes_there(shown_volume, review, qtbot):
    review.profile.plane_chosen.emit(9)
    assert slice_on_screen(shown_volume) == 9
    assert review.profile._line.value() == 10  # counted from 1


def test_the_mouse_on_the_profile_shows_the_slice_below_it(shown_volume, review, qtbot):
    qtbot.waitUntil(lambda: review.profile._plot is not None, timeout=60_000)
    process_events()
    plot = review.profile._plot
    bar = plot.getPlotItem().getViewBox().mapViewToScene(QPointF(10, 0))  # counted from 1
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.mapFromScene(bar))
    qtbot.waitUntil(lambda: slice_on_screen(shown_volume) == 9, timeout=60_000)


def test_the_variance_is_shown_and_hidden(shown_volume, review):
    (layer,) = shown_volume.result.layers.layers_of("variance")
    assert not layer.visible
    review.display_buttons.map_buttons["variance"].click()
    assert layer.visible
    review.display_buttons.map_buttons["variance"].click()
    assert not layer.visible


def test_the_doubt_is_shown_in_place_of_the_variance(shown_volume, review, qtbot):
    (doubt,) = shown_volume.result.layers.layers_of("doubt")
    (variance,) = shown_volume.result.layers.layers_of("variance")
    qtbot.mouseClick(review.display_buttons.map_buttons["variance"], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(review.display_buttons.map_buttons["doubt"], Qt.MouseButton.LeftButton)
    assert (doubt.visible, variance.visible) == (True, False)
    assert [button.isChecked() for button in review.display_buttons.map_buttons.values()] == [False, True]
    assert "min(p, 1 - p)" in review.display_buttons.map_buttons["doubt"].toolTip()


def test_the_variance_button_follows_what_is_shown_from_elsewhere(shown_volume, review):
    layers = shown_volume.result.layers
    (variance,), (mean,) = layers.layers_of("variance"), layers.layers_of("mean")
    mean.visible = True
    variance.visible = True
    assert review.display_buttons.map_buttons["variance"].isChecked()
    variance.visible = False
    assert not review.display_buttons.map_buttons["variance"].isChecked()
    review.display_buttons.map_buttons["variance"].click()
    assert (variance.visible, mean.visible) == (True, False)  # two maps mix to colours without a meaning


def test_labels_changed_in_place_are_measured_after_a_refresh(shown_volume, review, qtbot):
    qtbot.waitUntil(lambda: bool(review.measures.size_text.text()), timeout=60_000)
    mask = shown_volume.result.layers.mask
    mask.data[5] = 0
    mask.refresh()
    qtbot.waitUntil(lambda: "yours" in review.measures.size_text.text(), timeout=10_000)
    qtbot.waitUntil(lambda: shown_volume.result.latest_mask.comparison.edited_slices == (5,), timeout=10_000)


def test_outlines_follow_the_slice_on_screen(shown_volume, review, qtbot):
    def drawn():
        layer = review.display_buttons.outlines.layer
        return set() if layer is None else {int(z) for z in layer.data[:, 0, 0]}

    review.next()
    review.display_buttons.outlines_button.click()
    qtbot.waitUntil(lambda: drawn() == {5}, timeout=60_000)
    layer = review.display_buttons.outlines.layer
    np.testing.assert_allclose(layer_matrix(layer), layer_matrix(shown_volume.image))
    colours = {tuple(c) for c in np.round(layer.edge_color, 3)}
    assert len(colours) == 5  # one a sample
    # the widest of the five outlines reaches as far as the largest sample does
    rows = layer.data[:, 0, 1]
    assert rows.min() == pytest.approx(25 - 20, abs=1)
    shown_volume.viewer.dims.set_point(0, shown_volume.image.data_to_world((7, 0, 0))[0])
    qtbot.waitUntil(lambda: drawn() == {7}, timeout=60_000)
    review.display_buttons.outlines_button.click()
    assert not layer.visible


def test_sizes_have_an_interval_and_a_unit(shown_volume, review, qtbot):
    qtbot.waitUntil(lambda: bool(review.measures.size_text.text()), timeout=60_000)
    assert "mm³" in review.measures.size_text.text() or "ml" in review.measures.size_text.text()
    assert "interval" in review.measures.interval_note.text()


def test_comparison_with_a_reference(shown_volume, review, qtbot):
    viewer, image = shown_volume.viewer, shown_volume.image
    same = viewer.add_labels(
        np.array(shown_volume.result.layers.mask.data), name="reader", scale=image.scale,
        translate=image.translate, units=image.units, axis_labels=image.axis_labels,
    )  # fmt: skip
    review.measures.reference.value = same
    qtbot.waitUntil(lambda: "1.00" in review.measures.comparison.text(), timeout=60_000)
    moved = viewer.add_labels(
        np.array(same.data), name="elsewhere", scale=(3, 0.5, 0.7), units=image.units,
        axis_labels=image.axis_labels,
    )  # fmt: skip
    review.measures.reference.value = moved
    qtbot.waitUntil(lambda: "Dice" not in review.measures.comparison.text(), timeout=60_000)
    assert review.measures.comparison.text()  # says that it lies elsewhere, rather than a figure


def test_a_comparison_that_ends_late_does_not_replace_that_of_a_later_reference(
    shown_volume, review, qtbot, monkeypatch
):
    qtbot.waitUntil(lambda: bool(review.measures.size_text.text()), timeout=60_000)
    begun = []
    monkeypatch.setattr(measures, "run_in_thread", lambda *given: begun.append(given))
    same = np.array(shown_volume.result.layers.mask.data)
    place = spatial_arguments(shown_volume.image)
    other, reader = (
        shown_volume.viewer.add_labels(data, name=name, **place)
        for name, data in (("other", np.roll(same, 5, axis=-1)), ("reader", same))
    )
    begun.clear()
    review.measures.reference.value = other
    review.measures.reference.value = reader
    (early, show_early, fail_early, _), (late, show_late, _, _) = begun
    show_late(late())
    text = review.measures.comparison.text()
    assert "1.00" in text
    show_early(early())
    assert review.measures.comparison.text() == text
    fail_early(ValueError("of the earlier reference"))
    assert review.measures.comparison.text() == text


def test_the_table_of_objects(shown_volume, review, qtbot):
    viewer, mask = shown_volume.viewer, shown_volume.result.layers.mask
    viewer.layers.selection.active = mask
    qtbot.mouseClick(review.measures.objects_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(review.findChildren(ObjectsTable)) == 1, timeout=60_000)
    (dialog,) = review.findChildren(ObjectsTable)
    assert dialog.isVisible()
    assert dialog.table.rowCount() == 1
    assert dialog.table.horizontalHeaderItem(1).text() == "class"
    assert dialog.table.item(0, 1).text() == mask_class(shown_volume)
    (layer,) = [layer for layer in viewer.layers if role_of(layer) == "objects"]
    assert isinstance(layer, Labels)
    assert layer.contour == 1
    assert mask.visible
    assert viewer.layers.selection.active is mask
    assert list(layer.features["index"]) == [1]
    np.testing.assert_array_equal(layer.data > 0, mask.data > 0)
    np.testing.assert_allclose(layer_matrix(layer), layer_matrix(shown_volume.image))
    shown_volume.viewer.dims.set_point(0, shown_volume.image.data_to_world((0, 0, 0))[0])
    cell = dialog.table.visualItemRect(dialog.table.item(0, 1)).center()
    qtbot.mouseClick(dialog.table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    assert slice_on_screen(shown_volume) == 5  # the middle of the object
    review.measures.objects_button.click()  # again: the earlier layer is replaced
    qtbot.waitUntil(lambda: review.measures.objects_button.isEnabled(), timeout=60_000)
    assert sum(role_of(layer) == "objects" for layer in viewer.layers) == 1
    process_events()
    assert len(review.findChildren(ObjectsTable)) == 1  # and the earlier table, whose numbers were of that


def mask_class(shown) -> str:
    return shown.result.card.classes[0].name


def test_an_empty_mask_has_no_objects_and_says_so(shown_volume, review, qtbot):
    shown_volume.session.apply_threshold(1.0)
    qtbot.waitUntil(lambda: not shown_volume.result.segmentation.mask.any(), timeout=60_000)
    qtbot.mouseClick(review.measures.objects_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(review.findChildren(ObjectsTable)) == 1, timeout=60_000)
    assert "no object" in review.findChildren(ObjectsTable)[0].note.text()


def test_keys_work_from_the_canvas_and_from_the_table(shown_volume, review, qtbot):
    window = shown_volume.viewer.window._qt_window
    window.activateWindow()
    review.queue.setFocus()
    qtbot.keyClick(review.queue, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: review.queue.row == 0, timeout=60_000)
    canvas = shown_volume.viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: review.queue.row == 1, timeout=60_000)
    qtbot.keyClick(canvas, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: review.queue.row == 0, timeout=60_000)


def test_marks_outlive_the_widget(shown_volume, review, qtbot):
    review.next()
    viewer = shown_volume.viewer
    viewer.window.remove_dock_widget(review)
    review.deleteLater()
    qtbot.wait(50)
    again = ReviewWidget(viewer)
    viewer.window.add_dock_widget(again, name="Review", area="right")
    qtbot.waitUntil(lambda: len(again.queue.findings) > 0, timeout=60_000)
    assert again.counter.text().startswith("1 of")


def rank_and_close(viewer, qtbot):
    """Open a widget, use it, and close it while it ranks; weak references to its parts."""
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    qtbot.waitUntil(lambda: len(widget.queue.findings) > 0, timeout=60_000)
    widget.display_buttons.outlines_button.click()
    qtbot.waitUntil(lambda: widget.display_buttons.outlines.layer is not None, timeout=60_000)
    qtbot.waitUntil(lambda: bool(widget.measures.size_text.text()), timeout=60_000)
    widget.rank()
    parts = {"widget": widget, "measures": widget.measures}
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    return {name: weakref.ref(part) for name, part in parts.items()}


def test_a_closed_widget_is_freed_while_the_window_is_open(shown_volume, qtbot):
    """napari lists all workers as long as the window is open; these must not keep the widget alive."""
    viewer = shown_volume.viewer
    references = rank_and_close(viewer, qtbot)
    qtbot.waitUntil(lambda: not running_work(viewer), timeout=60_000)
    process_events()
    gc.collect()
    assert [name for name, reference in references.items() if reference() is not None] == []
    assert viewer.window._task_status_manager._tasks  # of the workers above


def test_the_mask_removed_leaves_nothing_to_review(shown_volume, review):
    shown_volume.viewer.layers.remove(shown_volume.result.layers.mask)
    assert review.is_empty
    assert not review.content.isVisibleTo(review)


def test_fits_a_laptop(shown_volume, review):
    assert review.minimumSizeHint().width() <= 380
    assert review.minimumSizeHint().height() <= 700
