"""Passing a fine-tuned model on, adding a class it does not know, layers as teachers, with real events."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.models.archive import export_model
from napari_latentseg.models.candidates import adopt, candidate_folder
from napari_latentseg.models.card import Ancestor, MetricRecord, read_card
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
from napari_latentseg.models.store import find_model, load_model
from napari_latentseg.models.versions import list_versions
from napari_latentseg.training.events import PreviewCase
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget
from napari_latentseg.widgets.train.comparison import CaseThumbnails
from napari_latentseg.widgets.train.data_source import layer_pairs
from napari_latentseg.widgets.train.widget import TrainWidget

MODEL = "tiny-taught"
LONG = "a very long name of an ultrasound image of the left breast of 2024"


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    viewer.window._qt_window.resize(1366, 768)
    return viewer


def docked(viewer, widget, name):
    viewer.window.add_dock_widget(widget, name=name, area="right")
    return widget


@pytest.fixture
def models(viewer, qtbot):
    widget = docked(viewer, ModelsWidget(viewer), "Models")
    qtbot.waitUntil(lambda: widget.tree.topLevelItemCount() > 0, timeout=60_000)
    return widget


@pytest.fixture
def train(viewer):
    widget = docked(viewer, TrainWidget(viewer), "Train")
    widget.form.model.setCurrentIndex(widget.form.model.findData(MODEL))
    widget._on_model()
    return widget


def click(qtbot, button):
    qtbot.waitUntil(button.isVisible, timeout=5_000)
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def settle(qtbot, widget):
    qtbot.waitUntil(lambda: widget._running_jobs == 0, timeout=60_000)


def messages():
    return [str(n.message) for n in notification_manager.records]


def fine_tune(by=0.01):
    """Adopt a next version of the model, whose weights have moved a little."""
    model = load_model(MODEL)
    with torch.no_grad():
        for weight in model.method.trainable_modules.parameters():
            weight.add_(by)
    card = model.card
    metric = MetricRecord(
        data="two cases", images=2, samples=1, source="none", values={"dsc": 0.81}, base_values={"dsc": 0.78}
    )
    parent = Ancestor(name=card.name, version=card.version, sha256=card.files[WEIGHTS_FILE])
    card = card.replace(
        name=f"{MODEL}-tuned", lineage=(*card.lineage, parent), parent=f"{MODEL} {card.version}",
        metrics=(metric,),
    )  # fmt: skip
    folder = candidate_folder(card.name)
    line = json.dumps({"line": "Better: Dice 0.780 to 0.810 on 2 validation cases"}).encode()
    save_model_folder(folder, model.method, card, {COMPARISON_FILE: line})
    return adopt(folder)


def versions():
    return [(v.version, v.is_current) for v in list_versions(MODEL)]


def row_of(tree, name):
    rows = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount())]
    return next(item for item in rows if item.toolTip(0) == name)


def test_a_taught_model_is_exported_and_used_on_another_machine(
    viewer, own_home, models, qtbot, tmp_path, monkeypatch
):
    fine_tune()
    models.reload()
    qtbot.waitUntil(lambda: row_of(models.tree, MODEL).childCount() == 2, timeout=60_000)
    models.tree.setCurrentItem(row_of(models.tree, MODEL))
    path = tmp_path / "taught.zip"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    click(qtbot, models.export_button)
    settle(qtbot, models)
    shutil.rmtree(own_home / "versions")  # another machine: it has the first version alone
    models.reload()
    qtbot.waitUntil(lambda: row_of(models.tree, MODEL).childCount() == 0, timeout=60_000)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    models.install_file_action.trigger()  # the first click; the second chooses the file
    qtbot.waitUntil(lambda: models.install_dialog is not None, timeout=60_000)
    dialog = models.install_dialog
    assert dialog.version_option.text() == f"As version 2 of {MODEL}"
    assert dialog.version_option.isChecked()
    click(qtbot, dialog.install_button)  # the third
    settle(qtbot, models)
    assert versions() == [("1", False), ("2", True)]
    segment = docked(viewer, SegmentWidget(viewer), "Segment")
    assert segment.form.model.value == MODEL
    assert load_model(MODEL).card.version == "2"


def test_a_taken_name_can_be_another_or_replaced(viewer, own_home, models, qtbot, tmp_path):
    path = export_model(MODEL, tmp_path / "same.zip")
    models.install(path)
    qtbot.waitUntil(lambda: models.install_dialog is not None, timeout=60_000)
    dialog = models.install_dialog
    assert not dialog.version_option.isVisible()
    assert dialog.name.text() == f"{MODEL}-2"
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, MODEL)
    assert not dialog.install_button.isEnabled()
    assert "already" in dialog.hint.text()
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "Not A Name")
    assert not dialog.install_button.isEnabled()
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "from-the-ward")
    click(qtbot, dialog.install_button)
    settle(qtbot, models)
    assert read_card(find_model("from-the-ward")).name == "from-the-ward"
    models.install(path)
    qtbot.waitUntil(lambda: models.install_dialog is not None, timeout=60_000)
    click(qtbot, models.install_dialog.replace_option)
    click(qtbot, models.install_dialog.install_button)
    settle(qtbot, models)
    assert versions() == [("1", True)]
    models.install(path)
    qtbot.waitUntil(lambda: models.install_dialog is not None, timeout=60_000)
    cancel = next(b for b in models.install_dialog.findChildren(QPushButton) if "Cancel" in b.text())
    click(qtbot, cancel)
    qtbot.waitUntil(lambda: models.install_dialog is None, timeout=60_000)


def test_a_file_that_is_no_model_says_so_and_nothing_of_a_codec(viewer, models, qtbot, tmp_path):
    path = tmp_path / "notes.py"
    path.write_text("print()")
    models.install(path)
    settle(qtbot, models)
    (message,) = messages()
    assert "notes.py: is not a model: it is neither a .zip nor a .pth file" in message
    assert "codec" not in message


def test_versions_are_listed_with_the_base_on_the_same_cases_and_removed_one_by_one(viewer, models, qtbot):
    fine_tune(0.01)
    fine_tune(0.02)
    models.reload()
    qtbot.waitUntil(lambda: row_of(models.tree, MODEL).childCount() == 3, timeout=60_000)
    row = row_of(models.tree, MODEL)
    assert row.child(0).text(0) == "v3 (fine-tuned), current\nDice 0.81, base 0.78, on the same 2 cases"
    assert row.child(2).text(0) == "v1 (installed)\nnot measured"
    assert models.tree.visualItemRect(row.child(0)).height() > models.tree.visualItemRect(row).height()
    centre = models.tree.visualItemRect(row.child(1)).center()
    qtbot.mouseClick(models.tree.viewport(), Qt.MouseButton.LeftButton, pos=centre)
    click(qtbot, models.remove_button)
    assert f"v2 ({MODEL})" in models.remove_dialog.text()
    assert models.remove_dialog.informativeText().startswith("v1, v3 are kept.")
    cancel = models.remove_dialog.button(QMessageBox.StandardButton.Cancel)
    assert {b.text() for b in models.remove_dialog.buttons() if b is not cancel} == {
        "Remove v2", "Remove v1, v2, v3",
    }  # fmt: skip
    click(qtbot, next(b for b in models.remove_dialog.buttons() if b.text() == "Remove v2"))
    qtbot.waitUntil(lambda: versions() == [("1", False), ("3", True)], timeout=60_000)
    settle(qtbot, models)


def test_segment_says_on_how_many_cases_a_figure_stands(viewer, qtbot):
    fine_tune()
    segment = docked(viewer, SegmentWidget(viewer), "Segment")
    segment.form.model.value = MODEL
    labels = [label.text() for label in segment.findChildren(type(segment.empty_label))]
    assert any("Dice 0.81, base 0.78, on the same 2 cases" in text for text in labels)


@pytest.fixture
def corrected(viewer, show_ball, qtbot):
    """A result whose copy is open in Annotate: `annotate`, `layer`, `shown`."""
    shown = show_ball((12, 60, 70))
    annotate = docked(viewer, AnnotateWidget(viewer), "Annotate")
    click(qtbot, annotate.edit_button)
    layer = viewer.layers.selection.active
    return annotate, layer, shown


def add_class(qtbot, annotate, name):
    click(qtbot, annotate.classes.add_button)
    assert annotate.classes.warning.isVisible()
    assert "cannot learn it" in annotate.classes.warning.text()
    assert "left out of training" in annotate.classes.warning.text()
    qtbot.keyClicks(annotate.classes.name_field, name)
    click(qtbot, annotate.classes.confirm_button)


def test_a_class_that_the_model_does_not_know_warns_and_can_be_removed(viewer, corrected, qtbot):
    annotate, layer, _ = corrected
    assert not annotate.classes.remove_button.isVisible()
    add_class(qtbot, annotate, "vessel")
    assert not annotate.classes.warning.isVisible()
    assert set(annotate.classes.buttons) == {0, 1, 2}
    layer.paint((5, 8, 8), 2)
    assert (layer.data == 2).any()
    click(qtbot, annotate.classes.buttons[1])
    assert not annotate.classes.remove_button.isEnabled()
    assert "those of the model stay" in annotate.classes.remove_button.toolTip()
    click(qtbot, annotate.classes.buttons[2])
    click(qtbot, annotate.classes.remove_button)
    qtbot.waitUntil(lambda: set(annotate.classes.buttons) == {0, 1}, timeout=60_000)
    assert not (layer.data == 2).any()
    assert [c.name for c in annotate.correction.classes] == ["lesion"]


def test_an_approved_class_stays_until_nothing_approved_uses_it(viewer, corrected, qtbot):
    annotate, layer, _ = corrected
    approvals = corrections_of(viewer).approvals

    def written():
        qtbot.waitUntil(lambda: approvals.writes_in_progress == 0, timeout=60_000)
        qtbot.wait(50)

    add_class(qtbot, annotate, "vessel")
    viewer.dims.set_point(0, 25)  # slice 5: it begins at 10 mm, 3 mm apart
    layer.paint((5, 8, 8), 2)
    click(qtbot, annotate.approve_button)
    written()
    notification_manager.records.clear()
    click(qtbot, annotate.classes.buttons[2])
    click(qtbot, annotate.classes.remove_button)
    qtbot.waitUntil(lambda: bool(messages()), timeout=60_000)
    assert "class 'vessel': is used in 1 approved image; unlock what holds it first" in messages()[-1]
    click(qtbot, annotate.unlock_button)
    written()
    click(qtbot, annotate.classes.remove_button)
    qtbot.waitUntil(lambda: set(annotate.classes.buttons) == {0, 1}, timeout=60_000)
    with AnnotationStore.for_model("breast-ultrasound") as store:
        assert [c.name for c in store.classes] == ["lesion"]
        assert store.verify() == []


def test_grey_and_colour_images_are_approved_and_taught_in_one_go(viewer, train, qtbot):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 200, (40, 50)).astype(np.uint8)
    images = {
        "rgb": np.stack([grey + 1, grey, grey + 2], axis=-1),
        "grey": grey,
        "rgba": np.dstack([grey + 5] * 3 + [np.full_like(grey, 255)]),
    }
    mask = np.zeros(grey.shape, np.uint8)
    mask[8:20, 10:30] = 1
    for i, (name, data) in enumerate(images.items()):
        viewer.add_image(data, name=name, rgb=data.ndim == 3, translate=(0, 60 * i))
        viewer.add_labels(mask, name=f"{name} mask", translate=(0, 60 * i))
        with AnnotationStore.for_model(MODEL) as store:
            store.approve(scan_from_layer(viewer.layers[name]), mask, classes=train.form.card.classes)
    click(qtbot, train.form.data_source.layers_option)
    for row in range(3):
        train.form.data_source.pair_list.item(row).setCheckState(Qt.CheckState.Checked)
    requests = []
    train.training.start = requests.append
    click(qtbot, train.train_button)
    qtbot.waitUntil(lambda: bool(requests), timeout=60_000)
    with AnnotationStore(requests[0].temporary_data) as store:
        assert len(store.annotated_cases()) == 3
    shutil.rmtree(requests[0].temporary_data)
    assert requests[0].name == ""  # so that the training takes the next free one


def test_the_models_own_masks_do_not_teach_until_they_are_corrected(viewer, train, corrected, qtbot):
    _, layer, shown = corrected
    click(qtbot, train.form.data_source.layers_option)
    pairs = train.form.data_source.pair_list
    assert [pairs.item(row).toolTip() for row in range(pairs.count())] == [f"{layer.name} on scan"]
    shown.result.layers.mask.paint((5, 40, 40), 1)
    train.form.data_source.list_layers()
    assert pairs.count() == 2
    for row in range(2):
        pairs.item(row).setCheckState(Qt.CheckState.Checked)
    assert not train.train_button.isEnabled()
    assert "“scan” has two checked masks" in train.hint.text()


@pytest.mark.parametrize("images_first", [False, True])
def test_a_drawn_mask_is_learnt_with_the_image_on_which_it_was_drawn(viewer, train, qtbot, images_first):
    """Photographs of one camera have one shape: each mask was paired with the topmost of them."""
    names = ("first", "second", "third")
    if images_first:
        images = [viewer.add_image(np.zeros((30, 40), np.uint8), name=name) for name in names]
    for number, name in enumerate(names):
        if images_first:
            viewer.layers.selection = {images[number]}
        else:
            viewer.add_image(np.zeros((30, 40), np.uint8), name=name)
        viewer.add_labels(np.ones((30, 40), np.uint8), name=f"on {name}")
    click(qtbot, train.form.data_source.layers_option)
    pairs = [train.form.data_source.pair_list.item(row).toolTip() for row in range(3)]
    assert sorted(pairs) == sorted(f"on {name} on {name}" for name in names)


def test_layers_that_were_there_before_belong_to_the_image_below_them():
    viewer = ViewerModel()
    for name in ("first", "second"):
        viewer.add_image(np.zeros((30, 40), np.uint8), name=name)
        viewer.add_labels(np.ones((30, 40), np.uint8), name=f"on {name}")
    assert [(i.name, m.name) for i, m in layer_pairs(viewer)] == [
        ("second", "on second"),
        ("first", "on first"),
    ]


def test_long_names_of_layers_can_be_told_apart(viewer, train, qtbot):
    for i, side in enumerate(("left", "right")):
        where = {"translate": (0, 60 * i)}
        viewer.add_image(np.zeros((30, 40), np.uint8), name=f"{LONG}, {side}", **where)
        viewer.add_labels(np.ones((30, 40), np.uint8), name=f"{LONG}, {side}, by reader 2", **where)
    click(qtbot, train.form.data_source.layers_option)
    pairs = train.form.data_source.pair_list
    assert pairs.count() == 2
    for row, side in ((0, "right"), (1, "left")):
        item = pairs.item(row)
        mask_line, image_line = item.text().split("\n")
        assert mask_line.endswith(f"{side}, by reader 2")
        assert image_line.endswith(side)
        assert item.toolTip() == f"{LONG}, {side}, by reader 2 on {LONG}, {side}"
        assert pairs.visualItemRect(item).height() > 2 * pairs.fontMetrics().height() - 2


def test_a_folder_that_does_not_exist_says_so_before_the_training(viewer, train, qtbot, tmp_path):
    click(qtbot, train.form.data_source.folder_option)
    qtbot.keyClicks(train.form.data_source.folder_path, str(tmp_path / "gone"))
    assert not train.train_button.isEnabled()
    assert train.hint.text() == train.train_button.toolTip() == "There is no such folder."
    train.form.data_source.folder_path.selectAll()
    qtbot.keyClicks(train.form.data_source.folder_path, str(tmp_path))
    assert train.train_button.isEnabled()


def test_the_error_of_one_model_goes_when_another_is_chosen(viewer, train, qtbot, tmp_path):
    click(qtbot, train.form.data_source.folder_option)
    qtbot.keyClicks(train.form.data_source.folder_path, str(tmp_path))
    click(qtbot, train.train_button)
    qtbot.waitUntil(lambda: train.training.state == "failed", timeout=120_000)
    assert "holds no annotated images" in train.progress.status.text()
    train.form.model.setFocus()
    qtbot.keyClick(train.form.model, Qt.Key.Key_Down)
    assert train.form.card.name != MODEL
    qtbot.waitUntil(lambda: not train.progress.status.isVisible(), timeout=5_000)
    assert train.training.state == "idle"


def test_images_are_images_and_slices_are_of_volumes(viewer, train, qtbot):
    with AnnotationStore.for_model(MODEL) as store:
        for seed in range(3):
            data = np.random.default_rng(seed).integers(0, 255, (20, 24)).astype(np.uint8)
            scan = scan_from_layer(viewer.add_image(data, name=f"photo {seed}"))
            store.approve(scan, np.ones((20, 24), np.uint8), classes=train.form.card.classes)
    train._on_model()
    qtbot.waitUntil(
        lambda: train.form.data_source.approved_option.text() == "Approved: 3 images", timeout=60_000
    )
    with AnnotationStore.for_model(MODEL) as store:
        volume = np.random.default_rng(9).integers(0, 255, (5, 20, 24)).astype(np.uint8)
        scan = scan_from_layer(viewer.add_image(volume, name="volume"))
        store.approve(scan, np.ones((5, 20, 24), np.uint8), classes=train.form.card.classes, planes=[1, 2])
    train._on_model()
    expected = "Approved: 3 images, 2 slices of 1 volume"
    qtbot.waitUntil(lambda: train.form.data_source.approved_option.text() == expected, timeout=60_000)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0.7149, 0.7051, "case 1, worse: Dice 0.715 to 0.705"),
        (0.71, 0.65, "case 1, worse: Dice 0.71 to 0.65"),
        (0.714, 0.716, "case 1, the same: Dice 0.714 to 0.716"),
        (0.712, 0.713, "case 1, the same: Dice 0.71 to 0.71"),
    ],
)
def test_the_words_of_a_case_agree_with_its_figures(qtbot, before, after, text):
    thumbnails = CaseThumbnails()
    qtbot.addWidget(thumbnails)
    picture = PreviewCase(case=1, before="", now="", yours="")
    thumbnails.show_cases([picture], {1: (before, after)})
    assert [caption.text() for caption in thumbnails.captions] == [text]


def test_train_and_models_scroll_and_cut_nothing_on_a_laptop(viewer, train, models, qtbot):
    for widget in (train, models):
        widget.parentWidget().raise_()
        assert widget.minimumSizeHint().width() <= 380
        assert widget.width() <= 380
        for button in widget.findChildren(QPushButton):
            if button.isVisible():
                assert button.width() >= button.sizeHint().width() - 2, button.text()
                right = button.mapTo(widget, QPoint(button.width(), 0)).x()
                assert right <= widget.width(), button.text()
