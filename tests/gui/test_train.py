"""Fine-tuning in a real viewer; the training is a real process on a tiny model."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QScrollArea

from napari_latentseg.errors import BadInput
from napari_latentseg.models.candidates import list_candidates
from napari_latentseg.models.comparison import Comparison
from napari_latentseg.models.install import install_folder
from napari_latentseg.models.versions import list_versions
from napari_latentseg.training.events import FineTuneData, PreviewCase
from napari_latentseg.widgets._shared import child_process
from napari_latentseg.widgets._shared.closing import CloseGuard
from napari_latentseg.widgets.train.comparison import ComparisonPanel, metric_rows
from napari_latentseg.widgets.train.data_source import write_layer_pairs
from napari_latentseg.widgets.train.messages import planned_validation_text, validation_text
from napari_latentseg.widgets.train.process import FineTuneRequest, training_of
from napari_latentseg.widgets.train.widget import TrainWidget

MODEL = "tiny-taught"
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
COMPARISON = Comparison.model_validate({
    "line": "Worse: Dice 0.710 to 0.650 on 2 validation cases",
    "verdict": "worse",
    "share": 1.0,
    "base": {"name": MODEL, "version": "1"},
    "new": {"name": f"{MODEL}-tuned", "version": "2"},
    "held_out": {
        "cases": 2, "unit": "mm",
        "before": {"dsc": 0.71, "hd95": 4.25, "ece": 0.01}, "after": {"dsc": 0.65, "hd95": 5.0, "ece": 0.02},
    },
    "own": {
        "what": "12 patches", "items": 12,
        "before": {"dsc": 0.8, "hd95": None, "ece": 0.03}, "after": {"dsc": 0.79, "hd95": None, "ece": 0.03},
    },
    "cases": [
        {
            "case": 1, "change": 0.1,
            "before": {"dsc": 0.6, "hd95": 1.0, "ece": 0.0}, "after": {"dsc": 0.7, "hd95": 1.0, "ece": 0.0},
        },
        {
            "case": 2, "change": -0.2,
            "before": {"dsc": 0.8, "hd95": 1.0, "ece": 0.0}, "after": {"dsc": 0.6, "hd95": 1.0, "ece": 0.0},
        },
    ],
    "notes": ["the weights were selected on the validation cases"],
})  # fmt: skip


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def widget(viewer):
    train = TrainWidget(viewer)
    viewer.window.add_dock_widget(train, name="Train", area="right")
    train.form.model.setCurrentIndex(train.form.model.findData(MODEL))
    train._on_model()
    train.form.device.setCurrentIndex(train.form.device.findData("cpu"))
    return train


@pytest.fixture
def images(tmp_path, write_ellipses):
    return write_ellipses(tmp_path / "images")


def from_folder(widget, folder, minutes=0.1):
    widget.form.data_source.select_source("folder")
    widget.form.data_source.folder_path.setText(str(folder))
    widget.form.minutes.setValue(minutes)


def finish(widget, qtbot, timeout=120_000):
    qtbot.waitUntil(lambda: not widget.training.busy, timeout=timeout)


def messages():
    return [str(n.message) for n in notification_manager.records]


def test_the_hint_says_what_is_missing(viewer, widget, tmp_path):
    assert not widget.train_button.isEnabled()
    assert "Nothing is approved" in widget.hint.text()
    widget.form.data_source.select_source("layers")
    assert "No Labels layer matches" in widget.hint.text()
    viewer.add_image(np.zeros((20, 30)), name="image", scale=(2, 2))
    viewer.add_labels(np.ones((20, 30), dtype=np.uint8), name="elsewhere")
    assert "No Labels layer matches" in widget.hint.text()
    viewer.add_labels(np.ones((20, 30), dtype=np.uint8), name="mask", scale=(2, 2))
    assert widget.form.data_source.pair_list.count() == 1
    assert "Check the masks" in widget.hint.text()
    widget.form.data_source.select_source("folder")
    assert "Choose a folder" in widget.hint.text()
    widget.form.data_source.folder_path.setText(str(tmp_path))
    assert widget.train_button.isEnabled()
    assert not widget.hint.isVisible()


def test_labels_of_a_folder_are_typed_and_a_broken_image_is_named(viewer, widget, qtbot, images):
    for path in (images / "masks").iterdir():  # masks of single objects
        mask = np.asarray(Image.open(path)) > 0
        Image.fromarray((mask * (1 + np.arange(mask.shape[1]) // 20)).astype(np.uint8)).save(path)
    (images / "images" / "case_1.png").write_bytes(b"broken")
    from_folder(widget, images, minutes=0.02)
    qtbot.keyClicks(widget.form.data_source.folder_labels, "any=target")
    qtbot.mouseClick(widget.train_button, Qt.MouseButton.LeftButton)
    finish(widget, qtbot)
    assert widget.training.state == "done", widget.training.error + widget.training.details
    assert widget.training.data.cases == 5
    assert "left out: " in validation_text(widget.training.data)
    assert "case_1.png" in validation_text(widget.training.data)


def test_from_a_folder_to_a_decision(viewer, widget, qtbot, images):
    from_folder(widget, images)
    events = []
    widget.training.event_received.connect(events.append)
    widget.train_button.click()
    assert widget.training.busy
    assert not widget.train_button.isEnabled()
    assert widget.progress.bar.isVisible()
    with pytest.raises(BadInput, match="in progress"):
        widget.training.start(FineTuneRequest(MODEL, (images,), 1, "other"))
    qtbot.waitUntil(lambda: widget.training.state == "running", timeout=120_000)
    assert "left" in widget.progress.status.text()
    qtbot.waitUntil(lambda: "images/s" in widget.progress.status.text(), timeout=120_000)
    assert re.search(r"\nstep \d+.*, loss [\d.e+-]+, [\d.e+]+ images/s$", widget.progress.status.text())
    finish(widget, qtbot)
    assert widget.training.state == "done", widget.training.error + widget.training.details
    assert {e.event for e in events} >= {"data", "progress", "epoch", "judging", "judged", "saved"}
    assert widget.comparison.isVisible()
    assert widget.comparison.verdict.text() == widget.training.judged.line
    scroll = widget.findChild(QScrollArea)
    for button in (widget.comparison.use_button, widget.comparison.discard_button):
        assert button.isVisible()
        assert not scroll.isAncestorOf(button)  # in view whatever the height of the window
    assert widget.validation_note.text().startswith("Validation: ")
    assert widget.curves._plots
    assert not widget.train_button.isEnabled()  # first a decision
    assert list(list_candidates()) == [f"{MODEL}-tuned"]
    widget.comparison.discard_button.click()
    qtbot.waitUntil(lambda: widget.training.state == "idle", timeout=60_000)
    assert not list_candidates()
    assert widget.train_button.isEnabled()
    assert [v.version for v in list_versions(MODEL)] == ["1"]


def test_a_new_structure_becomes_a_model_of_its_own(viewer, widget, qtbot, images, tiny_prompted_folder):
    install_folder(tiny_prompted_folder)
    assert not widget.form.structure.isVisible()
    widget.reload_models()
    widget.form.model.setCurrentIndex(widget.form.model.findData("tiny-prompted"))
    widget._on_choice()
    assert widget.form.structure.isVisible()
    from_folder(widget, images, minutes=0.05)
    assert not widget.train_button.isEnabled()
    assert "Name the new structure" in widget.hint.text()
    qtbot.keyClicks(widget.form.structure, "Left cyst")
    assert widget.train_button.isEnabled()
    qtbot.mouseClick(widget.train_button, Qt.MouseButton.LeftButton)
    finish(widget, qtbot)
    assert widget.training.state == "done", widget.training.error + widget.training.details
    assert widget.comparison.use_button.text() == "Use"
    assert not widget.comparison.keep_both_button.isVisible()
    qtbot.mouseClick(widget.comparison.use_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.training.state == "idle", timeout=60_000)
    assert widget.session.choices["model"] == "left-cyst"
    assert [v.version for v in list_versions("left-cyst")] == ["1"]
    assert [v.version for v in list_versions("tiny-prompted")] == ["1"]


def test_stop_ends_a_training_that_is_still_loading(viewer, widget, qtbot, images, tmp_path, monkeypatch):
    """A program that neither reads its input nor minds SIGTERM, as one in a long call into C."""
    stubborn = tmp_path / "python"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n")
    stubborn.chmod(0o755)
    monkeypatch.setattr(child_process.sys, "executable", str(stubborn))
    from_folder(widget, images, 0.5)
    widget.train_button.click()
    qtbot.waitUntil(lambda: widget.training.child.process_id > 0, timeout=60_000)
    widget.progress.stop_button.click()
    assert not widget.progress.stop_button.isEnabled()
    qtbot.waitUntil(lambda: not widget.training.busy, timeout=10_000)
    assert widget.training.error == "Stopped before the first training step. Nothing was changed."
    assert widget.train_button.isVisibleTo(widget)
    assert widget.train_button.isEnabled()


def test_the_training_continues_when_the_widget_is_closed(viewer, widget, qtbot, images):
    from_folder(widget, images, 0.5)
    widget.train_button.click()
    qtbot.waitUntil(lambda: bool(widget.training.epochs), timeout=120_000)
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.wait(100)
    training = training_of(viewer)
    assert training.busy
    again = TrainWidget(viewer)
    viewer.window.add_dock_widget(again, name="Train", area="right")
    assert again.progress.bar.isVisibleTo(again)
    assert again.progress.stop_button.isEnabled()
    again.progress.stop_button.click()  # keeps the best
    assert again.progress.stop_button.toolTip() == "The training is being stopped"
    finish(again, qtbot)
    assert training.state == "done", training.error + training.details
    assert training.saved.stopped
    assert again.comparison.isVisibleTo(again)
    assert again.progress.resume_button.isVisibleTo(again)
    before = len(training.epochs)
    again.form.minutes.setValue(0.05)
    again.progress.resume_button.click()
    finish(again, qtbot)
    assert training.state == "done", training.error + training.details
    assert len(training.epochs) >= before
    assert not training.saved.stopped
    again.comparison.keep_both_button.click()
    qtbot.waitUntil(lambda: training.state == "idle", timeout=60_000)
    assert again.form.model.findData(f"{MODEL}-tuned") >= 0
    assert again.session.choices["model"] == f"{MODEL}-tuned"


def test_from_layers(viewer, widget, qtbot):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :56]
    for number in range(3):
        mask = ((rows - 24) ** 2 + (columns - 20 - 5 * number) ** 2 < 120).astype(np.uint8)
        image = (60 + 120 * mask + rng.normal(0, 12, mask.shape)).clip(0, 255).astype(np.uint8)
        where = {"translate": (0, 60 * number)}
        viewer.add_image(image, name=f"image {number}", **where)
        viewer.add_labels(mask, name=f"mask {number}", **where)
    widget.form.data_source.select_source("layers")
    for row in range(3):
        item = widget.form.data_source.pair_list.item(row)
        item.setCheckState(type(item.checkState()).Checked)
    assert len(widget.form.data_source.chosen_pairs()) == 3
    widget.form.minutes.setValue(0.05)
    widget.train_button.click()
    qtbot.waitUntil(lambda: widget.training.busy, timeout=60_000)
    folder = widget.training.request.temporary_data
    assert folder.is_dir()
    finish(widget, qtbot)
    assert widget.training.state == "done", widget.training.error + widget.training.details
    assert widget.training.data.cases == 3
    widget.comparison.discard_button.click()
    qtbot.waitUntil(lambda: widget.training.state == "idle", timeout=60_000)
    assert not folder.exists()


def test_a_widget_closed_while_layers_are_written(viewer, widget, qtbot, monkeypatch):
    viewer.add_image(np.arange(600.0).reshape(20, 30), name="image")
    viewer.add_labels(np.ones((20, 30), dtype=np.uint8), name="mask")
    widget.form.data_source.select_source("layers")
    item = widget.form.data_source.pair_list.item(0)
    item.setCheckState(type(item.checkState()).Checked)
    widget.form.minutes.setValue(3)
    is_closed = threading.Event()

    def write_once_closed(*args):
        is_closed.wait(60)
        return write_layer_pairs(*args)

    monkeypatch.setattr("napari_latentseg.widgets.train.widget.write_layer_pairs", write_once_closed)
    requests = []
    monkeypatch.setattr(widget.training, "start", requests.append)
    widget.train_button.click()
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.waitUntil(lambda: not widget.is_open, timeout=60_000)
    is_closed.set()
    qtbot.waitUntil(lambda: bool(requests), timeout=60_000)
    (request,) = requests
    assert (request.base, request.minutes) == (MODEL, 3)
    assert request.data == (request.temporary_data,)
    assert any(request.temporary_data.iterdir())
    shutil.rmtree(request.temporary_data)


def test_an_empty_mask_is_refused(viewer, widget, qtbot):
    viewer.add_image(np.zeros((20, 30)), name="image")
    viewer.add_labels(np.zeros((20, 30), dtype=np.uint8), name="nothing")
    widget.form.data_source.select_source("layers")
    item = widget.form.data_source.pair_list.item(0)
    item.setCheckState(type(item.checkState()).Checked)
    notification_manager.records.clear()
    widget.train_button.click()
    qtbot.waitUntil(lambda: any("nothing: is empty" in text for text in messages()), timeout=60_000)
    assert widget.training.state == "idle"
    assert widget.train_button.isEnabled()


def test_bad_input_is_one_line(viewer, widget, qtbot, tmp_path):
    empty = tmp_path / "nothing here"
    empty.mkdir()
    from_folder(widget, empty)
    widget.train_button.click()
    finish(widget, qtbot)
    assert widget.training.state == "failed"
    assert "nothing here: holds no annotated images" in widget.progress.status.text()
    assert "\n" not in widget.progress.status.text()
    assert "Traceback" not in widget.progress.status.text()
    assert widget.train_button.isEnabled()  # something else can be tried at once
    assert not list_candidates()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_the_training_process_imports_nothing_from_the_current_folder(viewer, qtbot, tmp_path, monkeypatch):
    (tmp_path / "typer.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    training = training_of(viewer)
    training.start(FineTuneRequest("no-such-model", (tmp_path,), 1, ""))
    qtbot.waitUntil(lambda: not training.busy, timeout=120_000)
    assert training.state == "failed"
    assert "no model 'no-such-model'" in training.error
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["typer.py"]


def test_a_killed_training_is_reported(viewer, widget, qtbot, images):
    from_folder(widget, images, 0.5)
    widget.train_button.click()
    qtbot.waitUntil(lambda: bool(widget.training.epochs), timeout=120_000)
    os.kill(widget.training.child.process_id, signal.SIGKILL)
    finish(widget, qtbot)
    assert widget.training.state == "failed"
    assert "ended unexpectedly" in widget.progress.status.text()
    assert "unchanged" in widget.progress.status.text()
    assert widget.train_button.isEnabled()
    assert not list_candidates()
    widget.training.details = "what was said"
    widget._refresh()
    widget.progress.details_button.click()
    assert "what was said" in QApplication.clipboard().text()


def test_napari_asks_and_ends_the_training(viewer, widget, qtbot, images):
    from_folder(widget, images, 0.5)
    widget.train_button.click()
    qtbot.waitUntil(lambda: bool(widget.training.epochs), timeout=120_000)
    number = widget.training.child.process_id
    manager = viewer.window._task_status_manager
    assert any("being trained" in line for line in manager.get_status())
    (work,) = viewer.window._qt_window.findChild(CloseGuard).work_in_progress()
    assert work.what == "A model is being trained."
    assert "is kept" in work.kept or "are kept" in work.kept
    manager.cancel_all()  # what napari does when its window is closed all the same
    assert not widget.training.busy
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert not any("being trained" in line for line in manager.get_status())


def test_a_candidate_of_an_earlier_session_is_shown(viewer, widget, qtbot, images, make_napari_viewer):
    from_folder(widget, images, 0.05)
    widget.train_button.click()
    finish(widget, qtbot)
    other = make_napari_viewer(show=True)
    theirs = TrainWidget(other)
    other.window.add_dock_widget(theirs, name="Train", area="right")
    qtbot.waitUntil(lambda: theirs.comparison.isVisible(), timeout=60_000)
    assert theirs.comparison.verdict.text() == widget.comparison.verdict.text()
    assert not theirs.progress.resume_button.isVisible()
    theirs.comparison.use_button.click()
    qtbot.waitUntil(lambda: theirs.training.state == "idle", timeout=60_000)
    assert [v.version for v in list_versions(MODEL) if v.is_current] == ["2"]


def test_a_worse_model_is_shown_as_worse(qtbot):
    panel = ComparisonPanel()
    qtbot.addWidget(panel)
    cases = [PreviewCase(case=n, before=PICTURE, now=PICTURE, yours=PICTURE) for n in (1, 2)]
    panel.show_comparison(COMPARISON, cases)
    panel.show()
    assert panel.verdict.text().startswith("Worse:")
    assert metric_rows(COMPARISON) == [
        ("Dice, validation", "0.710", "0.650"),
        ("HD95 (mm), validation", "4.2", "5.0"),
        ("Calibration error, validation", "0.010", "0.020"),
        ("Dice, first training", "0.800", "0.790"),
        ("Calibration error, first training", "0.030", "0.030"),
    ]
    assert panel.use_button.text() == "Use v2"
    assert [c.text() for c in panel.pictures.captions] == [
        "case 2, worse: Dice 0.80 to 0.60", "case 1, better: Dice 0.60 to 0.70",
    ]  # fmt: skip
    assert len(panel.pictures.pictures) == 6
    assert not panel.pictures.pictures[0].pixmap().isNull()
    assert "1 improved and 1 became worse" in panel.notes.text()
    panel.show_comparison(COMPARISON.replace(held_out=None, own=None, cases=()), [])
    assert not panel.table.isVisible()
    assert not panel.pictures.isVisible()


def test_validation_texts():
    assert "only one case" in planned_validation_text(1)
    assert "20 % of the 5 cases" in planned_validation_text(5)
    assert "20 % of the cases" in planned_validation_text(None)
    data = FineTuneData(cases=4, planes=9, train=3, apart=1, replay=0, note="few")
    assert validation_text(data) == "Validation: 1 case; training: 3 cases. Few."
    assert validation_text(data.replace(apart=0, note="no case for validation")) == "No case for validation."
    assert validation_text(data.replace(apart=0, note="")) == "Validation: none."


def test_fits_a_laptop(viewer, widget):
    widget.form.advanced.expand(animate=False)
    assert widget.minimumSizeHint().width() <= 380
    assert widget.minimumSizeHint().height() <= 700
    assert widget.minimumWidth() <= 380
