"""The chosen model is loaded before the first click, and compiled in a process of its own."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from qtpy.QtCore import Qt
from vispy.visuals.line import dash_atlas

from napari_latentseg import api
from napari_latentseg.widgets._shared.model_preparation import preparation_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"
PATIENCE = 120_000  # ms; a child process imports torch on a machine under load


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def loads(monkeypatch):
    """The names of the models that are loaded from now on."""
    names, load_model = [], api.load_model

    def load(located):
        names.append(located.card.name)
        return load_model(located)

    monkeypatch.setattr(api, "load_model", load)
    return names


def open_segment(viewer):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    widget.form.model.value = MODEL
    return widget


def prepare(viewer, qtbot):
    qtbot.waitUntil(lambda: not preparation_of(viewer).is_busy, timeout=PATIENCE)


def add_image(viewer):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8)
    return viewer.add_image(pixels, name="image")


def run(widget, qtbot):
    count = len(widget.session.results)
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(widget.session.results) > count and not widget.busy, timeout=PATIENCE)
    return widget.finished_result.segmentation.record


def test_the_chosen_model_is_loaded_once_for_check_and_runs(viewer, qtbot, loads):
    widget = open_segment(viewer)
    prepare(viewer, qtbot)
    assert loads == [MODEL]  # and none of those that were listed before it
    add_image(viewer)
    qtbot.waitUntil(lambda: not widget.form.fit_line.is_checking, timeout=PATIENCE)
    run(widget, qtbot)
    run(widget, qtbot)
    assert loads == [MODEL]


def test_the_patterns_of_the_first_labels_layer_are_computed_before_it(viewer, qtbot):
    """vispy computes them in Python, which would hold the window."""
    dash_atlas._make_pattern.cache_clear()
    open_segment(viewer)
    prepare(viewer, qtbot)
    before = dash_atlas._make_pattern.cache_info().misses
    viewer.add_labels(np.zeros((20, 30), np.uint8))
    assert dash_atlas._make_pattern.cache_info().misses == before > 0


def test_a_model_that_cannot_be_loaded_is_reported_by_the_run(viewer, qtbot, own_home):
    widget = open_segment(viewer)
    (own_home / "models" / MODEL / "weights.safetensors").write_bytes(b"broken")
    prepare(viewer, qtbot)
    add_image(viewer)
    qtbot.waitUntil(lambda: not widget.form.fit_line.is_checking, timeout=PATIENCE)
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.busy, timeout=PATIENCE)
    assert "weights.safetensors" in widget.status.text()


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_a_model_is_compiled_in_a_process_and_the_next_run_uses_it(viewer, qtbot, monkeypatch, loads):
    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    widget = open_segment(viewer)
    add_image(viewer)
    assert api.needs_compiling(MODEL)
    run(widget, qtbot)  # computed by torch, without waiting for it
    prepare(viewer, qtbot)
    assert not api.needs_compiling(MODEL)
    loads.clear()
    record = run(widget, qtbot)
    assert record.complete
    assert loads == []
    assert api.load_compiled(MODEL)
