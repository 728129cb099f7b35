"""Under the model stands whether it was made for the image, and a fitting model is offered."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.helpers.shared_viewer import process_events
from tests.helpers.two_cases import click_layer

from napari_latentseg import api, sample_data
from napari_latentseg.core.fit import Fit
from napari_latentseg.widgets.segment.samples import layer_data_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

LIKE = Fit(state="fits")
UNLIKE = Fit(state="unusual", reasons=("it looks unlike the training images (distance 2.00, limit 1.30)",))


@pytest.fixture
def pixels(monkeypatch):
    """The verdict on the pixels by the name of the model; `"fits"` where none is given."""
    verdicts = {}
    threads = []

    def check_fit(scan, model, *, plane="acquired"):
        threads.append(threading.current_thread())
        return verdicts.get(model.card.name, LIKE)

    monkeypatch.setattr(api, "check_fit", check_fit)
    verdicts["threads"] = threads
    return verdicts


@pytest.fixture
def segment(viewer):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


def add_photo(viewer, name="photo"):
    pixels = np.zeros((960, 990, 3), np.uint8)
    pixels[..., 0] = np.random.default_rng(0).integers(100, 255, pixels.shape[:2])
    return viewer.add_image(pixels, rgb=True, name=name)


def add_ultrasound(viewer, seed=0):
    data, arguments, _ = layer_data_of(sample_data.ultrasound_phantom(seed))
    return viewer.add_image(data, **arguments)


def wait_for(qtbot, segment):
    qtbot.waitUntil(lambda: not segment.form.fit_line.is_checking, timeout=20_000)


def choose_model(segment, title):
    """By the keyboard, as a person does."""
    combo = segment.form.model.native
    combo.setFocus()
    QTest.keyClick(combo, Qt.Key.Key_Home)
    while combo.currentText() != title:
        QTest.keyClick(combo, Qt.Key.Key_Down)


def test_a_model_whose_header_fits_is_offered(viewer, segment, pixels):
    add_photo(viewer)
    assert segment.form.model.value == "retina-vessels"
    add_ultrasound(viewer)
    assert segment.form.model.value == "breast-ultrasound"
    viewer.add_image(np.random.default_rng(0).random((35, 50, 36)), scale=(1, 1, 1), units=("mm",) * 3)
    assert segment.form.model.value == "hippocampus-mr"


def test_the_window_opens_with_a_fitting_model(viewer, pixels):
    add_photo(viewer)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    assert widget.form.model.value == "retina-vessels"


def test_a_model_that_the_person_chose_stays(viewer, segment, pixels):
    add_ultrasound(viewer)
    choose_model(segment, "Hippocampus MR")
    add_photo(viewer)
    assert segment.form.model.value == "hippocampus-mr"
    again = SegmentWidget(viewer)
    viewer.window.add_dock_widget(again, name="Segment again", area="right")
    assert again.form.model.value == "hippocampus-mr"


def test_the_header_is_told_at_once_and_the_run_is_not_blocked(viewer, segment, pixels):
    add_ultrasound(viewer)
    choose_model(segment, "Hippocampus MR")
    line = segment.form.fit_line
    assert line.isVisible()
    assert line.text().startswith("Not made for this image: the image is US, not MR")
    assert segment.run_button.text() == "Segment anyway"
    assert segment.run_button.isEnabled()
    choose_model(segment, "Breast ultrasound lesions")
    assert segment.run_button.text() == "Segment"


def test_the_pixels_are_compared_off_the_gui_thread(viewer, segment, pixels, qtbot):
    pixels["breast-ultrasound"] = UNLIKE
    add_ultrasound(viewer)
    assert segment.run_button.text() == "Segment"
    assert segment.form.fit_line.text() == "The header fits; the pixels are not compared yet"
    wait_for(qtbot, segment)
    assert segment.form.fit_line.text() == UNLIKE.describe()
    assert segment.run_button.text() == "Segment anyway"
    assert pixels["threads"]
    assert threading.main_thread() not in pixels["threads"]
    # a program that ends waits for them: their engine has threads of its own, which abort it otherwise
    assert not any(thread.daemon for thread in pixels["threads"])


def test_of_two_choices_the_last_is_shown(viewer, segment, pixels, qtbot):
    pixels["breast-ultrasound"] = UNLIKE
    first, _ = add_ultrasound(viewer), add_photo(viewer)
    wait_for(qtbot, segment)
    assert segment.form.fit_line.text() == "Fits this image"
    click_layer(viewer, first)
    process_events()
    assert segment.form.model.value == "breast-ultrasound"
    wait_for(qtbot, segment)
    assert segment.form.fit_line.text() == UNLIKE.describe()


def test_without_an_image_nothing_is_said(viewer, segment, pixels, qtbot):
    image = add_ultrasound(viewer)
    wait_for(qtbot, segment)
    assert segment.form.fit_line.isVisible()
    viewer.layers.remove(image)
    assert not segment.form.fit_line.isVisible()
    assert segment.run_button.text() == "Segment"


def test_a_black_image_is_told_by_the_real_check(viewer, segment, qtbot):
    viewer.add_image(np.zeros((200, 240), np.uint8))
    wait_for(qtbot, segment)
    assert "every pixel has the same value" in segment.form.fit_line.text()


def test_a_widget_that_is_closed_while_it_checks_leaves_nothing(viewer, monkeypatch, qtbot):
    running, go_on = threading.Event(), threading.Event()

    def slow(scan, model, *, plane="acquired"):
        running.set()
        go_on.wait(20)
        return LIKE

    monkeypatch.setattr(api, "check_fit", slow)
    widget = SegmentWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Segment", area="right")
    add_ultrasound(viewer)
    qtbot.waitUntil(running.is_set, timeout=20_000)
    viewer.window.remove_dock_widget(dock)
    widget.deleteLater()
    process_events()
    go_on.set()
