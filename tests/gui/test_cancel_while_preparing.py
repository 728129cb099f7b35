"""Before the first sample is there: what goes on is said, the bar moves, and Cancel answers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_latentseg import api
from napari_latentseg.core import scan as scan_module
from napari_latentseg.engines.torch_engine import TorchEngine
from napari_latentseg.inference import job_source
from napari_latentseg.widgets._shared import runner
from napari_latentseg.widgets._shared.model_preparation import preparation_of
from napari_latentseg.widgets.batch.process import batch_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

CANCELLED = "Cancelled before the first sample was complete."


class Step:
    """A step of a run that blocks, as a call into C does, until the test lets it go on."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.may_go_on = threading.Event()

    def block(self) -> None:
        self.is_reached.set()
        self.may_go_on.wait(60)


@pytest.fixture
def step() -> Iterator[Step]:
    step = Step()
    yield step
    step.may_go_on.set()


@pytest.fixture
def widget(viewer, qtbot, step, no_encodings) -> Iterator[SegmentWidget]:
    values = np.random.default_rng(0).integers(0, 256, (96, 112, 3), dtype=np.uint8)
    viewer.add_image(values, name="large", rgb=True)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    widget.form.model.value = "breast-ultrasound"
    widget.form.samples.value = 1
    qtbot.waitUntil(widget.run_button.isEnabled, timeout=30_000)
    qtbot.waitUntil(lambda: not preparation_of(viewer).is_busy, timeout=60_000)
    qtbot.waitUntil(lambda: not widget.form.fit_line.is_checking, timeout=60_000)
    widget.session.runner._loaded_model = None  # as if the click had come before the model was loaded
    yield widget
    step.may_go_on.set()
    computing = widget.session.runner._computing
    assert computing.acquire(timeout=60)  # the thread of a cancelled run has ended
    computing.release()


def blocking_load(step: Step, monkeypatch: Any) -> None:
    load_model = api.load_model

    def load(model: Any) -> Any:
        step.block()
        return load_model(model)

    monkeypatch.setattr(api, "load_model", load)


def blocking_hash(step: Step, monkeypatch: Any) -> None:
    def parts(array: Any, name: str) -> Iterator[Any]:
        yield array[:48]
        step.block()
        yield array[48:]

    monkeypatch.setattr(scan_module, "_parts_in_order", parts)


def blocking_read(step: Step, monkeypatch: Any) -> None:
    open_plane = job_source.open_plane

    def opened(*arguments: Any) -> Any:
        yield 0.3
        step.block()
        return (yield from open_plane(*arguments))

    monkeypatch.setattr(job_source, "open_plane", opened)


def blocking_encoder(step: Step, monkeypatch: Any) -> None:
    encode_images = TorchEngine.encode

    def encode(*arguments: Any) -> Any:
        step.block()
        return encode_images(*arguments)

    monkeypatch.setattr(TorchEngine, "encode", encode)


PHASES = {
    "loading the model": (blocking_load, None),
    "computing the checksum of the image, 50%": (blocking_hash, 500),
    "reading the pixels of the image, 30%": (blocking_read, 300),
    "sample 1 of 1": (blocking_encoder, 0),
}


@pytest.mark.parametrize("text", PHASES)
def test_cancel_answers_within_a_second(widget, qtbot, monkeypatch, step, text):
    block, bar = PHASES[text]
    block(step, monkeypatch)
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: step.is_reached.is_set() and widget.status.text() == text, timeout=30_000)
    assert widget.progress_bar.isVisible()
    if bar is None:
        assert widget.progress_bar.maximum() == 0  # it runs back and forth: nobody knows how long it takes
    else:
        assert widget.progress_bar.value() == bar
    begin = time.perf_counter()
    qtbot.mouseClick(widget.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.busy, timeout=30_000)
    seconds = time.perf_counter() - begin
    assert not step.may_go_on.is_set()
    assert seconds < 1
    assert widget.status.text() == CANCELLED
    assert widget.run_button.isEnabled()
    assert not widget.progress_bar.isVisible()
    step.may_go_on.set()
    qtbot.wait(300)
    assert widget.status.text() == CANCELLED  # what the thread still sends is dropped
    assert len(widget.viewer.layers) == 1
    assert widget.finished_result is None


def test_a_new_run_waits_for_the_cancelled_one(widget, qtbot, monkeypatch, step):
    blocking_load(step, monkeypatch)
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(step.is_reached.is_set, timeout=30_000)
    qtbot.mouseClick(widget.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.busy, timeout=30_000)
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    waiting = "waiting for the cancelled run to stop"
    qtbot.waitUntil(lambda: widget.status.text() == waiting, timeout=30_000)
    step.may_go_on.set()
    qtbot.waitUntil(lambda: widget.finished_result is not None and not widget.busy, timeout=120_000)
    assert widget.finished_result.segmentation.record.samples == 1


def test_a_complete_sample_is_kept_however_long_the_next_one_takes(widget, qtbot, monkeypatch, step):
    encode_images, calls = TorchEngine.encode, []

    def encode(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            step.block()
        return encode_images(*arguments)

    monkeypatch.setattr(TorchEngine, "encode", encode)
    widget.form.samples.value = 3
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(step.is_reached.is_set, timeout=60_000)
    qtbot.mouseClick(widget.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.wait(runner._CANCEL_GRACE_MS + 200)
    assert widget.busy
    step.may_go_on.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert widget.status.text().startswith("Cancelled. ")
    assert widget.finished_result.segmentation.record.samples >= 1


def test_a_run_that_fails_takes_the_mask_that_was_shown_with_it(widget, qtbot, monkeypatch, step):
    """A sample may have been added in part: nothing of the run is left that looks like a result."""
    encode_images, calls = TorchEngine.encode, []

    def encode(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            step.block()
            raise OSError("the file has gone")
        return encode_images(*arguments)

    monkeypatch.setattr(TorchEngine, "encode", encode)
    widget.form.samples.value = 3
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(step.is_reached.is_set, timeout=60_000)
    qtbot.waitUntil(lambda: len(widget.viewer.layers) == 2, timeout=60_000)
    step.may_go_on.set()
    qtbot.waitUntil(lambda: not widget.busy and len(widget.viewer.layers) == 1, timeout=60_000)
    assert "The run failed (OSError)" in widget.status.text()
    assert "The mask that was shown until then was removed" in widget.status.text()
    assert widget.run_button.isEnabled()
    monkeypatch.undo()
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)  # a new run at once
    qtbot.waitUntil(lambda: widget.finished_result is not None and not widget.busy, timeout=120_000)
    assert widget.finished_result.layers.mask.visible


def test_cancel_before_the_cases_are_counted_counts_none(viewer, monkeypatch):
    batch = batch_of(viewer)
    monkeypatch.setattr(batch, "state", "stopping")
    assert batch.progress_text() == "stopping"
