"""The base of the dock widgets, and the objects of which each viewer has one."""

from __future__ import annotations

import gc
import weakref

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QLabel
from tests.helpers.shared_viewer import process_events

from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.per_viewer import objects_of, per_viewer, release


class StepCounter(DockWidget):
    """Counts the steps of the slider, and offers something to do while there is nothing to show."""

    def __init__(self, viewer):
        super().__init__(viewer)
        self.steps = 0
        self.clicks = 0
        self.body.addWidget(QLabel("content"))
        self.set_empty_state("Open an image first.", "Open a sample", self.count_click)
        self.connect_event(viewer.dims.events.current_step, self.count_step)

    def count_step(self, event=None):
        self.steps += 1

    def count_click(self):
        self.clicks += 1


@pytest.fixture
def widget(viewer):
    counter = StepCounter(viewer)
    viewer.window.add_dock_widget(counter, name="Counter", area="right")
    return counter


def test_the_empty_state_takes_the_place_of_the_content(widget):
    widget.show_empty_state(True)
    assert widget.is_empty
    assert widget.empty_label.isVisibleTo(widget)
    assert not widget.content.isVisibleTo(widget)
    widget.empty_button.click()
    assert widget.clicks == 1
    widget.show_empty_state(True, keep_content=True)
    assert widget.content.isVisibleTo(widget)
    widget.show_empty_state(False)
    assert not widget.empty_button.isVisibleTo(widget)
    assert widget.content.isVisibleTo(widget)


def test_the_empty_state_tells_of_a_run(shown_volume, widget, monkeypatch):
    widget.set_empty_state("Segment an image first.", running_text="It is being segmented.")
    assert widget.empty_label.text() == "Segment an image first."
    monkeypatch.setattr(widget.session, "_running_result", shown_volume.result)
    widget.session.started.emit(None)
    assert widget.empty_label.text() == "It is being segmented."
    monkeypatch.setattr(widget.session, "_running_result", None)
    widget.session.finished.emit(None)
    assert widget.empty_label.text() == "Segment an image first."


def test_no_widget_is_wider_than_a_laptop_allows(widget):
    for row in range(40):
        widget.body.addWidget(QLabel(f"row {row}"))
    process_events()
    assert widget.width() <= 380
    assert widget.minimumSizeHint().height() < 300  # the rows scroll


def test_events_of_napari_end_with_the_widget(viewer, widget):
    viewer.dims.events.current_step()
    assert widget.steps == 1
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    process_events()
    assert not widget.is_open
    viewer.dims.events.current_step()
    assert widget.steps == 1


def test_each_viewer_has_one_object_which_is_released_with_it():
    @per_viewer
    def helper_of(viewer):
        return QObject()

    first, second = ViewerModel(), ViewerModel()
    helper = weakref.ref(helper_of(first))
    assert helper_of(first) is helper()
    assert helper_of(second) is not helper()
    assert objects_of(first) == [helper()]
    del first
    gc.collect()
    assert helper() is None
    assert len(release(second)) == 1
    assert objects_of(second) == []


def test_a_deleted_object_is_made_anew():
    @per_viewer
    def helper_of(viewer):
        return QObject()

    viewer = ViewerModel()
    deleted = helper_of(viewer)
    deleted.deleteLater()
    process_events()
    assert helper_of(viewer) is not deleted
