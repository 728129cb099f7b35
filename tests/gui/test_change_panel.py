"""Compare with an earlier result in Review: the table, the earlier outline, Cancel, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QStyle
from tests.helpers.shared_viewer import process_events
from tests.helpers.two_cases import two_cases

from napari_latentseg import write_result
from napari_latentseg.change import registration
from napari_latentseg.errors import Cancelled
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets._shared.text import keep_units
from napari_latentseg.widgets.dates.change_panel import ROLE
from napari_latentseg.widgets.review.widget import ReviewWidget

FRAME_MARGIN = QStyle.PixelMetric.PM_FocusFrameHMargin  # on both sides of a cell's text


@pytest.fixture
def dates(viewer, qtbot):
    """Two images with a result each, of which the later one is the case, and Review."""
    cases = two_cases(viewer)
    for result in (cases.first_result, cases.second_result):
        found = result.segmentation
        inputs = found.record.input.replace(sha256=result.job.scan.content_sha256)
        result.segmentation = replace(found, record=found.record.replace(input=inputs))
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    qtbot.waitUntil(lambda: len(widget.queue.findings) > 0, timeout=60_000)
    widget.change_box.expand(animate=False)
    cases.panel = widget.change_panel
    return cases


def compare(qtbot, panel):
    qtbot.mouseClick(panel.compare_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not panel.is_busy, timeout=60_000)
    process_events()


def earlier_layers(viewer):
    return [layer for layer in viewer.layers if role_of(layer) == ROLE]


def test_an_open_result_of_another_image_is_compared(dates, qtbot):
    panel, viewer = dates.panel, dates.viewer
    entries = [panel.earlier.itemText(row) for row in range(panel.earlier.count())]
    assert entries == [dates.first_result.title, "Choose a saved result…"]
    active, data = viewer.layers.selection.active, np.array(dates.second_result.layers.mask.data)
    compare(qtbot, panel)
    texts = [panel.table.item(0, column).text() for column in range(4)]
    assert texts[0] == dates.second_result.card.classes[0].name
    assert texts[3] == "within the measurement uncertainty"  # both are the same ball
    assert "not calibrated" in panel.text.text()
    assert "do not lie in the same place" in panel.text.text()  # no position in the patient is known
    assert earlier_layers(viewer) == []
    assert viewer.layers.selection.active is active
    np.testing.assert_array_equal(dates.second_result.layers.mask.data, data)


def test_a_saved_result_shows_its_outline_over_the_image_once(dates, qtbot, tmp_path, monkeypatch):
    panel, viewer, result = dates.panel, dates.viewer, dates.second_result
    frame = replace(result.segmentation.geometry, frame="LPS")
    smaller = np.array(result.segmentation.mask)
    smaller[:3] = 0
    for one, mask in ((dates.first_result, smaller), (result, result.segmentation.mask)):
        one.segmentation = replace(one.segmentation, geometry=frame, mask=mask)
    write_result(dates.first_result.segmentation, tmp_path, case="first")
    panel.choose_saved(tmp_path / "first_run.json")
    assert panel.image_button.isVisibleTo(panel)
    assert not panel.register.isEnabled()  # there is no image yet
    compare(qtbot, panel)
    (layer,) = earlier_layers(viewer)
    np.testing.assert_array_equal(layer.data, smaller)
    assert (layer.visible, layer.editable) == (True, False)
    assert panel.table.item(0, 2).text().startswith("+")
    assert "The earlier outline is over the image" in panel.text.text()
    compare(qtbot, panel)
    assert earlier_layers(viewer) == [layer]
    saved_row = panel.earlier.currentIndex()
    choose(panel, 0)  # the other image's result, which was not compared
    assert not layer.visible
    choose(panel, saved_row)
    assert layer.visible
    dates.session.set_image(dates.first)
    process_events()
    assert not layer.visible  # it belongs to the image over which it lies
    assert not panel.table.isVisibleTo(panel)
    dates.session.set_image(dates.second)
    process_events()
    assert (layer.visible, panel.table.isVisibleTo(panel)) == (False, False)  # neither without the other


def choose(panel, row):
    """Choose an entry, as a person does."""
    panel.earlier.setCurrentIndex(row)
    panel.earlier.activated.emit(row)


def test_a_file_dialog_that_is_cancelled_leaves_the_choice(dates, tmp_path, monkeypatch):
    panel = dates.panel
    panel.choose_saved(tmp_path / "another_run.json")
    chosen = panel.earlier.currentIndex()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *arguments: ("", ""))
    choose(panel, panel.earlier.count() - 1)
    assert panel.earlier.currentIndex() == chosen == 1


def test_the_figures_go_with_the_earlier_result_that_they_are_of(dates, qtbot, tmp_path):
    panel = dates.panel
    compare(qtbot, panel)
    assert panel.table.isVisibleTo(panel)
    panel.choose_saved(tmp_path / "another_run.json")
    assert not panel.table.isVisibleTo(panel)
    assert not panel.text.isVisibleTo(panel)
    panel.earlier.setCurrentIndex(0)
    panel.earlier.activated.emit(0)
    assert panel.table.isVisibleTo(panel)
    assert panel.text.isVisibleTo(panel)


def test_a_change_with_its_interval_is_not_cut(dates, qtbot):
    panel = dates.panel
    compare(qtbot, panel)
    panel.table.item(0, 2).setText(keep_units("-16.2 mm², -8.7 % (90 %: -118 to +84.6 mm²)"))
    longest = panel.table.fontMetrics().horizontalAdvance("+84.6 mm²)")
    assert panel.table.columnWidth(2) >= longest + 2 * (panel.table.style().pixelMetric(FRAME_MARGIN) + 1)
    assert sum(panel.table.columnWidth(i) for i in range(4)) <= panel.table.viewport().width() + 1


def test_what_is_refused_is_one_line(dates, qtbot, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("napari_latentseg.widgets.dates.change_panel.show_exception", told.append)
    write_result(dates.second_result.segmentation, tmp_path, case="same")
    dates.panel.choose_saved(tmp_path / "same_run.json")
    compare(qtbot, dates.panel)
    assert [str(error) for error in told] == [
        "results: both are of the same image; give results of two dates"
    ]
    assert not dates.panel.table.isVisibleTo(dates.panel)


def test_cancel_gives_up_while_the_images_are_registered(dates, qtbot, monkeypatch):
    asked = []

    def endless(first, second, *, progress, should_stop):
        while True:
            progress(0.5)
            asked.append(should_stop())
            if asked[-1]:
                raise Cancelled

    monkeypatch.setattr(registration, "register_rigidly", endless)
    panel = dates.panel
    panel.register.setChecked(True)
    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 60_000))
    qtbot.mouseClick(panel.compare_button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(panel.cancel_button, Qt.MouseButton.LeftButton)  # the second click on Compare
    assert panel.is_busy
    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 0))
    qtbot.waitUntil(lambda: panel.progress.value() >= 40, timeout=30_000)
    assert panel.progress.isVisibleTo(panel)
    assert "in progress" in panel.compare_button.toolTip()
    assert panel.cancel_button.isVisibleTo(panel)
    qtbot.mouseClick(panel.cancel_button, Qt.MouseButton.LeftButton)
    assert not panel.is_busy
    qtbot.waitUntil(lambda: True in asked, timeout=30_000)  # the thread is told, too
    assert not panel.table.isVisibleTo(panel)
    assert panel.compare_button.isEnabled()
    assert not panel.cancel_button.isVisibleTo(panel)
