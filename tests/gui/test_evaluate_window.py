"""A model is evaluated in a real viewer; the evaluation is a real process on a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QDialog, QFileDialog
from tests.helpers.explained import unexplained
from tests.helpers.pointing import make_prompted_model

from napari_latentseg.evaluation.click_report import read_click_report
from napari_latentseg.evaluation.report_file import read_evaluation
from napari_latentseg.io.registry import read_scan
from napari_latentseg.widgets._shared import child_process
from napari_latentseg.widgets.evaluate.dialog import EvaluationDialog
from napari_latentseg.widgets.evaluate.process import evaluation_of
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.review.widget import ReviewWidget

MODEL, OTHER, POINTED_AT = "tiny-taught", "tiny-second", "tiny-prompted"
PATIENCE = 120_000  # ms; the child process imports torch on a machine under load


@pytest.fixture
def home(own_home, make_tiny_model):
    """A home with three models: the second is the first under another name, the third is pointed at."""
    shutil.copytree(make_prompted_model(make_tiny_model, POINTED_AT), own_home / "models" / POINTED_AT)
    folder = own_home / "models" / OTHER
    shutil.copytree(own_home / "models" / MODEL, folder)
    card = json.loads((folder / "card.json").read_text("utf-8"))
    card |= {"name": OTHER, "title": "Second"}
    (folder / "card.json").write_text(json.dumps(card), "utf-8")
    return own_home


@pytest.fixture
def viewer(home, viewer):
    """The viewer, with a home of the test's own."""
    yield viewer
    evaluation_of(viewer).child.end()
    for dialog in viewer.window._qt_window.findChildren(QDialog):
        dialog.close()


@pytest.fixture
def data(tmp_path, write_ellipses):
    """Six images of three patients, with the masks of two readers, and one image that cannot be read."""
    folder = write_ellipses(tmp_path / "data", 6)
    for part in ("images", "masks"):
        for path in sorted((folder / part).iterdir()):
            number = int(path.stem.split("_")[1])
            path.rename(path.with_name(f"patient{number // 2}_{number}.png"))
    for reader in ("masks_r1", "masks_r2"):
        shutil.copytree(folder / "masks", folder / reader)
    (folder / "images" / "patient2_5.png").write_bytes(b"broken")
    return folder


@pytest.fixture
def dialog(viewer, qtbot):
    """The window, opened by the button of the Models widget."""
    _, models = viewer.window.add_plugin_dock_widget("napari-latentseg", "Models")
    assert isinstance(models, ModelsWidget)
    qtbot.waitUntil(lambda: models.tree.current_entry is not None)
    qtbot.keyClicks(models.search, MODEL)
    qtbot.waitUntil(lambda: models.tree.current_entry is not None and models.tree.current_entry.name == MODEL)
    click(qtbot, models.evaluate_button)
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(EvaluationDialog) is not None)
    dialog = viewer.window._qt_window.findChild(EvaluationDialog)
    qtbot.waitUntil(lambda: dialog.fields.card is not None)
    assert dialog.fields.card.name == MODEL
    return dialog


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose_folder(qtbot, dialog, folder):
    dialog.fields.data.clear()
    qtbot.keyClicks(dialog.fields.data, str(folder))
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=PATIENCE)


def choose(combo, text):
    index = next(i for i in range(combo.count()) if text in combo.itemText(i))
    combo.setCurrentIndex(index)


def run_to_the_end(qtbot, dialog):
    click(qtbot, dialog.start_button)
    assert dialog.process.busy
    qtbot.waitUntil(lambda: not dialog.process.busy, timeout=PATIENCE)


def cells(table):
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


def messages():
    return [str(n.message) for n in notification_manager.records]


def test_from_the_models_over_the_scores_to_the_worst_image(
    viewer, qtbot, dialog, data, tmp_path, monkeypatch
):
    fields = dialog.fields
    assert "Choose a folder" in dialog.message.text()
    assert not dialog.start_button.isEnabled()
    assert not dialog.report_button.isEnabled()
    choose_folder(qtbot, dialog, data)
    assert fields.facts_label.text() == "6 annotated images, masks of 2 readers"
    qtbot.keyClicks(fields.patients, "^(patient[0-9])")
    qtbot.waitUntil(lambda: "of 3 patients" in fields.facts_label.text())
    qtbot.mouseClick(fields.readers, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert fields.readers.isChecked()
    qtbot.mouseClick(fields.objects, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    choose(fields.against, "Second")
    qtbot.waitUntil(dialog.start_button.isEnabled)
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error
    report = read_evaluation(dialog.process.folder / "scores.json", with_statistics=True)
    status = dialog.status.text()
    assert "5 images of 3 patients" in status
    assert "1 image left out: " in status
    assert "patient2_5.png: is not a PNG" in status
    rows = {row[0]: row for row in cells(dialog.scores)}
    assert rows["Dice"][1] == f"{report.mean.dsc:.4f}"
    low, high = report.intervals.mean.dsc
    assert rows["Dice"][2] == f"{low:.4f} to {high:.4f}"
    assert rows["Dice"][3:5] == [f"{report.mean.dsc:.4f}", "+0.0000 (+0.0000 to +0.0000)"]
    assert rows["Missed (Dice < 0.1)"][1].startswith(f"{report.missed_count} of 5 (")
    assert rows["Calibration error (ECE)"][1] == f"{report.calibration.reliability.ece:.4f}"
    assert "GED² (2 readers)" in rows
    ((name, objects),) = report.objects.items()
    assert rows[f"Objects of {name}: AP"][1] == f"{objects.average_precision:.4f}"

    dialog.tabs.setCurrentWidget(dialog.worst_images)
    images = cells(dialog.worst_images)
    assert [row[0] for row in images] == [i.name for i in sorted(report.images, key=lambda i: i.dsc)]
    dialog.worst_images.setFocus()
    qtbot.keyClick(dialog.worst_images, Qt.Key.Key_Down)
    click(qtbot, dialog.open_button)
    name = images[1][0]
    qtbot.waitUntil(
        lambda: any(layer.name == f"{name} reference" for layer in viewer.layers), timeout=PATIENCE
    )
    qtbot.waitUntil(lambda: dialog._opening is None, timeout=PATIENCE)
    reference = viewer.layers[f"{name} reference"]
    mask = np.asarray(read_scan(data / "masks" / f"{name}.png").array)
    np.testing.assert_array_equal(reference.data > 0, mask > 0)
    assert reference.contour > 0
    assert any(layer.name == f"{name} run 1 mask" for layer in viewer.layers)
    review = viewer.window._qt_window.findChild(ReviewWidget)
    assert review is not None
    assert review.isVisible()
    count = 6  # image, mean, variance, doubt, mask and reference; the maps come after the mask
    qtbot.waitUntil(lambda: len(viewer.layers) == count, timeout=PATIENCE)
    click(qtbot, dialog.open_button)  # again: nothing is added twice
    qtbot.waitUntil(lambda: dialog._opening is None, timeout=PATIENCE)
    assert len(viewer.layers) == count

    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(Path(url.toLocalFile())))
    click(qtbot, dialog.report_button)
    assert opened == [dialog.process.page]
    kept = tmp_path / "kept.html"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(kept), ""))
    click(qtbot, dialog.save_button)
    qtbot.waitUntil(kept.exists)
    qtbot.waitUntil(lambda: any("Written to kept.html" in text for text in messages()))
    assert kept.read_bytes() == dialog.process.page.read_bytes()


def test_training_images_are_told(viewer, qtbot, dialog, data, home):
    hashes = [read_scan(data / "images" / f"patient0_{i}.png").content_sha256 for i in (0, 1)]
    split = {"format": 2, "train": hashes, "validation": []}
    split_file = home / "models" / MODEL / "split.json"
    split_file.write_text(json.dumps(split), "utf-8")
    card_file = split_file.with_name("card.json")
    card = json.loads(card_file.read_text("utf-8"))
    card["files"].pop("split.json", None)
    card_file.write_text(json.dumps(card), "utf-8")
    choose_folder(qtbot, dialog, data)
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error
    assert dialog.warning.isVisible()
    assert "trained on 2 of these 5 images: the scores are too high" in dialog.warning.text()


def test_what_cannot_be_evaluated_is_said_before_and_after(viewer, qtbot, dialog, data, tmp_path):
    fields = dialog.fields
    qtbot.keyClicks(fields.data, str(tmp_path / "nowhere"))
    qtbot.waitUntil(lambda: "nowhere" in dialog.message.text())
    assert not dialog.start_button.isEnabled()
    choose_folder(qtbot, dialog, data)
    qtbot.keyClicks(fields.patients, "^(case[0-9]")
    qtbot.waitUntil(lambda: "patients" in dialog.message.text())
    fields.patients.clear()
    choose(fields.against, fields.model.currentText())
    qtbot.waitUntil(lambda: "another one" in dialog.message.text())
    choose(fields.against, "no other model")
    choose(fields.subset, "Test images of a list")
    assert "Choose the list" in dialog.message.text()
    assert fields.list_row.isVisible()
    choose(fields.subset, "Validation images of the model")
    qtbot.waitUntil(dialog.start_button.isEnabled)
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "failed"
    assert "holds none of the validation images" in dialog.status.text()
    assert "\n" not in dialog.status.text()
    choose(fields.subset, "All images")
    assert not dialog.status.isVisible()  # the error is not of what is asked for now
    assert not dialog.tabs.isVisible()


def test_a_list_chooses_the_images(viewer, qtbot, dialog, data, tmp_path):
    lists = tmp_path / "test.txt"
    lists.write_text("patient0_0.png\npatient1_2.png\n", "utf-8")
    choose_folder(qtbot, dialog, data)
    choose(dialog.fields.subset, "Test images of a list")
    qtbot.keyClicks(dialog.fields.lists, str(lists))
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error
    assert {row[0] for row in cells(dialog.worst_images)} == {"patient0_0", "patient1_2"}
    assert dialog.scores.columnCount() == 3


def test_cancel_keeps_nothing_and_a_closed_window_comes_back(viewer, qtbot, dialog, tmp_path, write_ellipses):
    choose_folder(qtbot, dialog, write_ellipses(tmp_path / "many", 60))
    choose(dialog.fields.source, "test-time augmentation")
    dialog.fields.samples.setValue(50)
    click(qtbot, dialog.start_button)
    process = dialog.process
    qtbot.waitUntil(lambda: process.state == "running" and process.done > 0, timeout=PATIENCE)
    click(qtbot, dialog.close_button)
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(EvaluationDialog) is None)
    assert process.busy
    models = viewer.window._qt_window.findChild(ModelsWidget)
    click(qtbot, models.evaluate_button)
    dialog = viewer.window._qt_window.findChild(EvaluationDialog)
    assert dialog.fields.data.text() == str(tmp_path / "many")
    assert not dialog.fields.isEnabled()
    assert unexplained(dialog) == []
    click(qtbot, dialog.cancel_button)
    assert not dialog.cancel_button.isEnabled()
    qtbot.waitUntil(lambda: not process.busy, timeout=PATIENCE)
    assert process.state == "stopped"
    assert "no figures were kept" in dialog.status.text()
    assert not list(process.folder.iterdir())


def test_cancel_ends_an_evaluation_that_is_still_loading(
    viewer, qtbot, dialog, tmp_path, write_ellipses, monkeypatch
):
    """A program that neither reads its input nor minds SIGTERM, as one in a long call into C."""
    stubborn = tmp_path / "python"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n")
    stubborn.chmod(0o755)
    choose_folder(qtbot, dialog, write_ellipses(tmp_path / "few", 3))
    monkeypatch.setattr(child_process.sys, "executable", str(stubborn))
    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 60_000))
    click(qtbot, dialog.start_button)
    process = dialog.process
    qtbot.mouseClick(dialog.cancel_button, Qt.MouseButton.LeftButton)  # the second click on Evaluate
    assert dialog.cancel_button.isEnabled()
    qtbot.waitUntil(lambda: process.child.process_id > 0, timeout=PATIENCE)
    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 0))
    click(qtbot, dialog.cancel_button)
    assert not dialog.cancel_button.isEnabled()
    qtbot.waitUntil(lambda: not process.busy, timeout=10_000)
    assert process.state == "stopped"
    assert "no figures were kept" in dialog.status.text()
    assert dialog.start_button.isEnabled()


@pytest.fixture
def pointed_at(qtbot, dialog):
    """The window with the model that is pointed at."""
    qtbot.waitUntil(lambda: dialog.fields.model.count() >= 3)
    choose(dialog.fields.model, f"Any structure ({POINTED_AT}) v1")
    assert dialog.fields.is_by_clicks
    return dialog


def test_a_model_that_is_pointed_at_is_scored_by_clicks(
    viewer, qtbot, pointed_at, data, tmp_path, monkeypatch
):
    dialog, fields = pointed_at, pointed_at.fields
    assert "Dice after each click" in fields.clicks_label.text()
    shown = {name: getattr(fields, name).isVisible() for name in ("against", "readers", "objects", "clicks")}
    assert shown == {"against": False, "readers": False, "objects": False, "clicks": True}
    choose_folder(qtbot, dialog, data)
    choose(fields.subset, "Test images of a list")
    assert "on all images, or on its validation images" in dialog.message.text()
    choose(fields.subset, "All images")
    fields.clicks.selectAll()
    qtbot.keyClicks(fields.clicks, "3")
    fields.samples.setValue(1)
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error
    report = read_click_report(dialog.process.folder / "scores.json")
    assert (report.image_count, report.samples, len(report.dsc)) == (5, 1, 3)
    assert f"{report.object_count} objects of 5 images, 3 clicks each" in dialog.status.text()
    assert "1 image left out: " in dialog.status.text()
    rows = {row[0]: row for row in cells(dialog.scores)}
    for number, dsc in enumerate(report.dsc):
        name = f"Dice after {number + 1} click" + "s" * (number > 0)
        assert rows[name][1] == f"{dsc:.4f}"
    low, high = report.intervals[0]
    assert rows["Dice after 1 click"][2] == f"{low:.4f} to {high:.4f}"

    names = [dialog.tabs.tabText(i) for i in range(dialog.tabs.count()) if dialog.tabs.isTabVisible(i)]
    assert names == ["Scores", "Objects"]
    bar = dialog.tabs.tabBar()
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(bar.count() - 1).center())
    assert dialog.objects.isVisible()
    worst_first = sorted(report.objects, key=lambda scored: scored.dsc[-1])
    assert [row[0] for row in cells(dialog.objects)] == [scored.image for scored in worst_first]
    assert not dialog.open_button.isVisible()
    kept = tmp_path / "kept.html"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(kept), ""))
    click(qtbot, dialog.save_button)
    qtbot.waitUntil(kept.exists)
    assert "evaluation by clicks" in kept.read_text("utf-8")

    choose(fields.model, "A tiny model")
    assert fields.against.isVisible()
    assert not fields.clicks.isVisible()
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error
    names = [dialog.tabs.tabText(i) for i in range(dialog.tabs.count()) if dialog.tabs.isTabVisible(i)]
    assert names == ["Scores", "Worst images"]


def test_clicks_are_cancelled_and_come_back(viewer, qtbot, pointed_at, tmp_path, write_ellipses):
    dialog = pointed_at
    choose_folder(qtbot, dialog, write_ellipses(tmp_path / "many", 60))
    dialog.fields.clicks.setValue(50)
    dialog.fields.images.setValue(40)
    click(qtbot, dialog.start_button)
    process = dialog.process
    qtbot.waitUntil(lambda: process.state == "running", timeout=PATIENCE)
    click(qtbot, dialog.close_button)
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(EvaluationDialog) is None)
    models = viewer.window._qt_window.findChild(ModelsWidget)
    click(qtbot, models.evaluate_button)
    dialog = viewer.window._qt_window.findChild(EvaluationDialog)
    qtbot.waitUntil(lambda: dialog.fields.is_by_clicks)
    assert (dialog.fields.clicks.value(), dialog.fields.images.value()) == (50, 40)
    click(qtbot, dialog.cancel_button)
    qtbot.waitUntil(lambda: not process.busy, timeout=PATIENCE)
    assert process.state == "stopped"
    assert not list(process.folder.iterdir())
