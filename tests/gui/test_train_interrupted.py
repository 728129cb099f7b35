"""A training that was ended by closing napari is offered in Train, to resume or discard."""

from __future__ import annotations

import shutil

import pytest
from qtpy.QtCore import Qt

from napari_latentseg.finetuning.interrupted import ResumeRequest, list_interrupted
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.models.candidates import list_candidates
from napari_latentseg.models.store import find_model
from napari_latentseg.training.events import FineTuneCheckpoint
from napari_latentseg.utils.scratch import make_scratch_folder
from napari_latentseg.widgets._shared.closing import CloseGuard
from napari_latentseg.widgets.train.process import FineTuneRequest, training_of
from napari_latentseg.widgets.train.widget import TrainWidget

MODEL = "tiny-taught"


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def images(tmp_path, write_ellipses):
    return write_ellipses(tmp_path / "images")


def open_train(viewer):
    train = TrainWidget(viewer)
    viewer.window.add_dock_widget(train, name="Train", area="right")
    return train


def interrupt(images):
    """Fine-tune the model, and end it after a few steps as a process ends that is killed."""
    request = ResumeRequest.of(
        MODEL,
        [images],
        0.05,
        device="cpu",
        labels=None,
        reader=None,
        structure=None,
        long_side=None,
        codec=None,
    )

    def end(event):
        if isinstance(event, FineTuneCheckpoint) and event.seconds > 0.2:
            raise KeyboardInterrupt

    job = FineTuneJob(
        find_model(MODEL), images, minutes=0.05, device="cpu", checkpoint_every=0, request=request,
        on_progress=end,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        list(job)


def click(qtbot, button):
    assert button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_it_is_resumed(viewer, qtbot, images):
    interrupt(images)
    train = open_train(viewer)
    panel = train.interrupted
    qtbot.waitUntil(panel.isVisible, timeout=60_000)
    assert f"training of {MODEL}-tuned was interrupted after 0:00 of 0.05 min" in panel.text.text()
    assert train.form.isVisible()  # another training can be started as well
    states = set()
    train.training.changed.connect(lambda: states.add(train.training.state))
    click(qtbot, panel.resume_button)
    assert train.training.busy
    assert not panel.isVisible()
    qtbot.waitUntil(lambda: not train.training.busy, timeout=120_000)
    assert train.training.state == "done", train.training.error + train.training.details
    assert "running" in states
    assert train.comparison.isVisible()
    assert not panel.isVisible()
    assert list(list_candidates()) == [f"{MODEL}-tuned"]
    assert list_interrupted() == []
    click(qtbot, train.comparison.discard_button)
    qtbot.waitUntil(lambda: train.training.state == "idle", timeout=60_000)


def test_without_its_images_it_can_only_be_discarded(viewer, qtbot, images):
    interrupt(images)
    shutil.rmtree(images)
    panel = open_train(viewer).interrupted
    qtbot.waitUntil(panel.isVisible, timeout=60_000)
    assert "Its images in images are not there" in panel.text.text()
    assert not panel.resume_button.isEnabled()
    click(qtbot, panel.discard_button)
    qtbot.waitUntil(lambda: not panel.isVisible(), timeout=60_000)
    assert list_interrupted() == []


def test_closing_napari_says_what_is_kept_and_keeps_it(viewer, qtbot, images):
    train = open_train(viewer)
    training = training_of(viewer)
    layers = make_scratch_folder("training-data-")
    shutil.copytree(images, layers, dirs_exist_ok=True)
    training.start(FineTuneRequest(MODEL, (layers,), 5, "mine", device="cpu", temporary_data=layers))
    guard = viewer.window._qt_window.findChild(CloseGuard)
    (work,) = guard.work_in_progress()
    assert "has saved nothing yet" in work.kept
    qtbot.waitUntil(lambda: training.checkpoint is not None, timeout=120_000)
    (work,) = guard.work_in_progress()
    assert "Train can resume it" in work.kept
    assert "Stop and keep best" in work.kept
    assert "Stop and keep best" in train.progress.stop_button.text()
    guard.closing.emit()
    viewer.window._task_status_manager.cancel_all()  # what napari does when its window is closed all the same
    assert not training.busy
    assert not layers.exists()
    if list_candidates():  # a fast machine has compared and written it in the two seconds that it is given
        return
    (entry,) = list_interrupted()
    assert not entry.missing_data
    qtbot.waitUntil(train.interrupted.isVisible, timeout=60_000)
    click(qtbot, train.interrupted.resume_button)
    qtbot.waitUntil(lambda: training.state == "running", timeout=120_000)
    click(qtbot, train.progress.stop_button)
    qtbot.waitUntil(lambda: not training.busy, timeout=120_000)
    assert list(list_candidates()) == ["mine"]
