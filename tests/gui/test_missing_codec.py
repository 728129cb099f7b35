"""A model whose codec is not on this machine: the window asks for it, keeps it, and goes on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from tests.helpers.autoencoders import write_tiny
from tests.helpers.segmenting import layers_by_role

from napari_latentseg import api
from napari_latentseg.codecs.store import list_codecs
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.sample_data import write_annotated_phantoms
from napari_latentseg.widgets._shared.missing_codec import MissingCodecDialog
from napari_latentseg.widgets.batch.dialog import BatchDialog
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget
from napari_latentseg.widgets.train.widget import TrainWidget

MODEL = "tiny-taught"


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def codec(own_home, tmp_path):
    """The codec of the model, out of the user's folder."""
    from napari_latentseg.models.codec_lookup import _load_cached

    _load_cached.cache_clear()
    folder = tmp_path / "elsewhere" / "tiny-codec"
    folder.parent.mkdir()
    return shutil.move(own_home / "codecs" / "tiny-codec", folder)


@pytest.fixture
def choose(monkeypatch):
    """What the dialog of the system would return."""

    def set_choice(path):
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(path))
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (str(path), ""))

    return set_choice


def dock(viewer, widget):
    viewer.window.add_dock_widget(widget, name=type(widget).__name__, area="right")
    return widget


def dialog_of(widget, qtbot) -> MissingCodecDialog:
    qtbot.waitUntil(lambda: widget.codec_question.dialog is not None, timeout=60_000)
    dialog = widget.codec_question.dialog
    assert dialog.isVisible()
    return dialog


def press(button, qtbot):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def segment(viewer, codec, qtbot):
    """The Segment widget, whose run was just asked for."""
    widget = dock(viewer, SegmentWidget(viewer))
    qtbot.waitUntil(lambda: MODEL in widget.form.cards, timeout=60_000)
    viewer.add_image(np.random.default_rng(0).random((64, 80)), name="phantom")
    widget.form.model.value = MODEL
    widget.form.samples.value = 3
    press(widget.run_button, qtbot)
    return widget


def test_the_folder_is_chosen_kept_and_the_image_is_segmented(viewer, segment, codec, choose, qtbot):
    dialog = dialog_of(segment, qtbot)
    sha256 = read_card(api.locate_model(MODEL).folder).codec.sha256
    assert sha256[:12] in dialog.text.text()
    assert "tiny-codec" in dialog.text.text()
    assert not dialog.download_button.isVisible()  # it is no repository of the hub
    choose(codec)
    press(dialog.folder_button, qtbot)
    qtbot.waitUntil(lambda: "mask" in layers_by_role(viewer) and not segment.busy, timeout=120_000)
    (kept,) = list_codecs()
    assert (kept.name, kept.sha256, kept.storage) == ("tiny-codec", sha256, "copy")
    assert segment.codec_question.dialog is None


def test_another_codec_is_refused_and_another_folder_may_be_chosen(
    viewer, segment, codec, choose, qtbot, tmp_path
):
    dialog = dialog_of(segment, qtbot)
    choose(write_tiny(tmp_path / "other"))
    press(dialog.folder_button, qtbot)
    assert not dialog.folder_button.isEnabled()
    qtbot.waitUntil(dialog.folder_button.isEnabled, timeout=60_000)
    assert "is another codec (SHA-256 " in dialog.status.text()
    qtbot.waitUntil(lambda: dialog.status.height() >= dialog.status.heightForWidth(dialog.status.width()))
    assert list_codecs() == []
    choose(codec)
    press(dialog.folder_button, qtbot)
    qtbot.waitUntil(lambda: "mask" in layers_by_role(viewer) and not segment.busy, timeout=120_000)


def test_cancel_keeps_nothing(segment, qtbot):
    dialog = dialog_of(segment, qtbot)
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: segment.codec_question.dialog is None, timeout=10_000)
    assert list_codecs() == []
    assert "is not on this machine" in segment.status.text()


def test_a_codec_of_the_hub_can_be_downloaded(viewer, own_home, codec, qtbot, monkeypatch):
    from napari_latentseg.models import hub

    asked = []

    def download(repository, revision=None):
        asked.append((repository, revision))
        return codec

    monkeypatch.setattr(hub, "download_codec", download)
    path = own_home / "models" / MODEL / CARD
    card = read_card(path.parent)
    card.replace(codec=card.codec.replace(name="lab/tiny", revision="v1")).write(path)
    widget = dock(viewer, SegmentWidget(viewer))
    qtbot.waitUntil(lambda: MODEL in widget.form.cards, timeout=60_000)
    viewer.add_image(np.random.default_rng(0).random((64, 80)), name="phantom")
    widget.form.model.value = MODEL
    press(widget.run_button, qtbot)
    dialog = dialog_of(widget, qtbot)
    assert dialog.download_button.isVisible()
    press(dialog.download_button, qtbot)
    qtbot.waitUntil(lambda: "mask" in layers_by_role(viewer) and not widget.busy, timeout=120_000)
    assert asked == [("lab/tiny", "v1")]
    assert [kept.sha256 for kept in list_codecs()] == [card.codec.sha256]


def test_installing_asks_for_the_codec_and_goes_on(viewer, codec, choose, qtbot, tmp_path):
    models = dock(viewer, ModelsWidget(viewer))
    qtbot.waitUntil(lambda: models.tree.topLevelItemCount() > 0, timeout=60_000)
    archive = api.export_model(MODEL, tmp_path / "model.zip")
    api.remove_model(MODEL)
    models.install(archive)
    dialog = dialog_of(models, qtbot)
    choose(codec)
    press(dialog.folder_button, qtbot)
    qtbot.waitUntil(lambda: MODEL in api.list_models() and models._running_jobs == 0, timeout=60_000)
    api.check_codec(MODEL)


def test_a_batch_asks_for_the_codec_and_begins_again(viewer, codec, choose, qtbot, tmp_path):
    data = write_annotated_phantoms(tmp_path / "data", 1, shape=(64, 80))
    dialog = BatchDialog(viewer)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.images.setText(str(data / "images"))
    dialog.out.setText(str(tmp_path / "out"))
    dialog.model.setCurrentIndex(dialog.model.findData(MODEL))
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=60_000)
    press(dialog.start_button, qtbot)
    question = dialog_of(dialog, qtbot)
    assert "is not on this machine" in dialog.status.text()
    choose(codec)
    press(question.folder_button, qtbot)
    qtbot.waitUntil(lambda: dialog.process.state == "done", timeout=180_000)
    assert [row.state for row in dialog.process.rows.values()] == ["done"]


def test_a_training_asks_for_the_codec_of_its_base(viewer, codec, choose, qtbot, tmp_path):
    data = write_annotated_phantoms(tmp_path / "data", 2, shape=(64, 80))
    train = dock(viewer, TrainWidget(viewer))
    qtbot.waitUntil(lambda: train.form.model.findData(MODEL) >= 0, timeout=60_000)
    train.form.model.setCurrentIndex(train.form.model.findData(MODEL))
    train.form.data_source.select_source("folder")
    train.form.data_source.folder_path.setText(str(data))
    qtbot.waitUntil(train.train_button.isEnabled, timeout=60_000)
    press(train.train_button, qtbot)
    question = dialog_of(train, qtbot)
    assert "is not on this machine" in train.progress.status.text()
    choose(codec)
    press(question.folder_button, qtbot)
    qtbot.waitUntil(lambda: train.codec_question.dialog is None, timeout=60_000)
    api.check_codec(MODEL)
    assert train.training.state == "idle"
