"""Before and after: one key shows two states of an image in turn, and what was shown comes back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.helpers.shared_viewer import process_events
from tests.helpers.two_cases import add_result, two_cases

from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets.dates.flip import _overlay as flip_overlay
from napari_latentseg.widgets.dates.flip import flip_of
from napari_latentseg.widgets.review.widget import ReviewWidget


@pytest.fixture
def review(shown_volume, qtbot):
    widget = ReviewWidget(shown_volume.viewer)
    shown_volume.viewer.window.add_dock_widget(widget, name="Review", area="right")
    qtbot.waitUntil(lambda: len(widget.queue.findings) > 0, timeout=60_000)
    return widget


def press(qtbot, viewer, key=Qt.Key.Key_W):
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, key)
    process_events()


def choose(box, row):
    box.setCurrentIndex(row)
    box.activated.emit(row)


def shown(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def states(viewer):
    return {layer.name: layer.visible for layer in viewer.layers}


def test_the_key_shows_mask_and_correction_in_turn_and_end_restores_all(shown_volume, review, qtbot):
    viewer, image = shown_volume.viewer, shown_volume.image
    review.edit()
    process_events()
    mask = shown_volume.result.layers.mask
    panel = review.flip_panel
    correction = panel._layer_of(panel.second)
    assert panel._layer_of(panel.first) is mask
    assert correction is not None
    assert correction is not mask
    (variance,) = shown_volume.result.layers.layers_of("variance")
    variance.visible = True
    before, values = states(viewer), [np.array(layer.data) for layer in (mask, correction)]
    active = viewer.layers.selection.active
    for expected in (mask, correction, mask):
        press(qtbot, viewer)
        assert shown(viewer) == [image.name, expected.name]
        assert flip_overlay(viewer).visible
        assert flip_overlay(viewer).text.endswith(expected.name)
    assert panel.button.text() == "A is shown (W)"
    qtbot.mouseClick(panel.end_button, Qt.MouseButton.LeftButton)
    assert states(viewer) == before
    assert not flip_overlay(viewer).visible
    assert viewer.layers.selection.active is active
    for layer, data in zip((mask, correction), values, strict=True):
        np.testing.assert_array_equal(layer.data, data)


def test_the_image_alone_and_another_readers_mask_can_be_chosen(shown_volume, review, qtbot):
    viewer, image = shown_volume.viewer, shown_volume.image
    other = viewer.add_labels(
        np.roll(shown_volume.result.layers.mask.data, 3, -1), name="Ben", **spatial_arguments(image)
    )
    process_events()
    panel = review.flip_panel
    names = [panel.first.itemText(row) for row in range(panel.first.count())]
    assert names[0] == "image alone"
    assert "Ben" in names
    before = states(viewer)
    choose(panel.first, 0)
    choose(panel.second, names.index("Ben"))
    press(qtbot, viewer)
    assert shown(viewer) == [image.name]
    press(qtbot, viewer)
    assert shown(viewer) == [image.name, other.name]
    flip_of(viewer).stop()
    assert states(viewer) == before
    choose(panel.first, panel.second.currentIndex())
    assert not panel.button.isEnabled()
    press(qtbot, viewer)
    assert states(viewer) == before


def test_another_run_is_shown_for_a_moment_and_hidden_again(viewer, qtbot):
    cases = two_cases(viewer)
    first = cases.second_result
    second = add_result(viewer, cases.second)
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    process_events()
    panel = widget.flip_panel
    assert not first.layers.mask.visible  # a later run of the image hides the earlier one
    names = [panel.first.itemText(row) for row in range(panel.first.count())]
    assert cases.first_result.layers.mask.name not in names  # of another image
    choose(panel.first, names.index(first.layers.mask.name))
    choose(panel.second, names.index(second.layers.mask.name))
    before = states(viewer)
    press(qtbot, viewer)
    assert shown(viewer) == [cases.second.name, first.layers.mask.name]
    press(qtbot, viewer)
    assert shown(viewer) == [cases.second.name, second.layers.mask.name]
    press(qtbot, viewer)
    cases.session.set_image(cases.first)  # another case ends it
    assert not flip_of(viewer).is_on
    assert cases.first_result.layers.mask.visible
    cases.session.set_image(cases.second)
    process_events()
    assert states(viewer) == before


def test_a_layer_that_is_removed_ends_it(shown_volume, review, qtbot):
    viewer = shown_volume.viewer
    other = viewer.add_labels(np.zeros_like(shown_volume.result.layers.mask.data), name="Ben")
    process_events()
    before = states(viewer)
    press(qtbot, viewer)
    other.visible = False
    viewer.layers.remove(other)
    process_events()
    assert not flip_of(viewer).is_on
    del before["Ben"]
    assert states(viewer) == before


def test_closing_review_ends_it_and_frees_the_key(shown_volume, review, qtbot):
    viewer = shown_volume.viewer
    before = states(viewer)
    press(qtbot, viewer)
    assert flip_of(viewer).is_on
    viewer.window.remove_dock_widget(review)
    review.deleteLater()
    process_events()
    assert states(viewer) == before
    press(qtbot, viewer)
    assert states(viewer) == before
