"""The Models widget on models in a home of their own."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLabel, QMessageBox

from napari_latentseg.evaluation.reliability import Reliability
from napari_latentseg.models.card import Ancestor, read_card
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.models.store import list_cards
from napari_latentseg.models.versions import list_versions, revert
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.segment.reliability import ReliabilityPlot
from napari_latentseg.widgets.segment.widget import SegmentWidget
from napari_latentseg.widgets.train.widget import TrainWidget

MODEL = "tiny-taught"


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def second_version(own_home):
    """A second version of the tiny model, as adopting makes it; the first is in use."""
    import json
    import shutil

    first = own_home / "models" / MODEL
    place = own_home / "versions" / MODEL / "2"
    shutil.copytree(first, place)
    card = read_card(first)
    parent = Ancestor(name=MODEL, version="1", sha256=card.files[WEIGHTS_FILE])
    card.model_copy(update={"version": "2", "parent": f"{MODEL} 1", "lineage": (parent,)}).write(
        place / "card.json"
    )
    (place.parent / "current.json").write_text(json.dumps({"format": 1, "version": 2}), "utf-8")
    return place


@pytest.fixture
def widget(viewer, qtbot):
    models = ModelsWidget(viewer)
    viewer.window.add_dock_widget(models, name="Models", area="right")
    qtbot.waitUntil(lambda: models.tree.topLevelItemCount() > 0, timeout=60_000)
    return models


def choose(widget, name):
    for row in range(widget.tree.topLevelItemCount()):
        item = widget.tree.topLevelItem(row)
        if item.toolTip(0) == name:
            widget.tree.setCurrentItem(item)
            return item
    raise AssertionError(f"{name} is not listed")


def settle(widget, qtbot):
    qtbot.waitUntil(lambda: widget._running_jobs == 0, timeout=60_000)


def messages():
    return [str(n.message) for n in notification_manager.records]


def current():
    return next(v.version for v in list_versions(MODEL) if v.is_current)


def test_list_and_card(widget):
    listed = {widget.tree.topLevelItem(r).toolTip(0) for r in range(widget.tree.topLevelItemCount())}
    assert listed == set(list_cards())
    item = choose(widget, "retina-vessels")
    assert "embedded" in item.text(1)
    text = widget.card.text.toPlainText().lower()
    for part in ("retinal vessels", "cc by", "dsc", "not a medical device"):
        assert part in text
    assert (widget.card.reliability is not None) == (list_cards()["retina-vessels"].reliability is not None)
    assert not widget.remove_button.isEnabled()
    assert "Embedded models" in widget.remove_button.toolTip()
    assert not widget.revert_button.isEnabled()


def test_a_reliability_without_uncertain_voxels(qtbot):
    reliability = Reliability(
        predicted=(0.01, None, 0.99), observed=(0.0, None, 1.0), counts=(90, 0, 10),
        ece=0.01, ece_unsure=None, images=4, samples=5, source="noise", data="four phantoms",
    )  # fmt: skip
    plot = ReliabilityPlot(reliability)
    qtbot.addWidget(plot)
    assert plot.toolTip() == ("Expected calibration error 0.010 over all voxels; 4 images, four phantoms")
    assert not plot.grab().isNull()


def test_two_models_of_one_title_are_told_apart(viewer, own_home, widget, qtbot):
    import shutil

    copy = shutil.copytree(own_home / "models" / MODEL, own_home / "models" / "kept-beside")
    card = read_card(copy)
    card.replace(name="kept-beside").write(copy / "card.json")
    widget.session.models_changed.emit()
    train = TrainWidget(viewer)
    viewer.window.add_dock_widget(train, name="Train", area="right")
    expected = {f"{card.title} ({name})" for name in (MODEL, "kept-beside")}
    listed = {train.form.model.itemText(row) for row in range(train.form.model.count())}
    assert {f"{title} v{card.version}" for title in expected} <= listed
    qtbot.waitUntil(
        lambda: (
            expected <= {widget.tree.topLevelItem(n).text(0) for n in range(widget.tree.topLevelItemCount())}
        ),
        timeout=60_000,
    )


def test_search(widget):
    choose(widget, MODEL)
    widget.search.setText("vessel")
    shown = [
        widget.tree.topLevelItem(r).toolTip(0)
        for r in range(widget.tree.topLevelItemCount())
        if not widget.tree.topLevelItem(r).isHidden()
    ]
    assert shown == ["retina-vessels"]
    assert widget.tree.current_entry.name == "retina-vessels"
    widget.search.clear()
    assert not any(widget.tree.topLevelItem(r).isHidden() for r in range(widget.tree.topLevelItemCount()))


def test_use_selects_the_model_in_segment(viewer, widget):
    segment = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment, name="Segment", area="right")
    segment.form.model.value = "breast-ultrasound"
    choose(widget, MODEL)
    widget.use_button.click()
    assert segment.form.model.value == MODEL
    assert widget.session.choices["model"] == MODEL


def test_revert_and_use_a_version(viewer, second_version, widget, qtbot):
    item = choose(widget, MODEL)
    assert item.childCount() == 2
    assert "v2 (fine-tuned)" in item.text(1)
    assert [item.child(i).text(2) for i in range(2)] == ["current", ""]
    assert widget.revert_button.text() == "Revert to v1"
    widget.revert_button.click()
    settle(widget, qtbot)
    assert current() == "1"
    qtbot.waitUntil(lambda: "v1" in choose(widget, MODEL).text(1), timeout=60_000)
    assert not widget.revert_button.isEnabled()  # before the first there is none
    item = choose(widget, MODEL)
    widget.tree.setCurrentItem(item.child(0))  # version 2
    assert "Base model" in widget.card.text.toPlainText()
    widget.use_button.click()
    settle(widget, qtbot)
    assert current() == "2"


def test_a_double_click_on_revert_goes_back_by_one_version(
    viewer, second_version, widget, qtbot, monkeypatch
):
    import json
    import shutil

    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 60_000))
    third = shutil.copytree(second_version, second_version.parent / "3")
    card = read_card(third)
    parent = Ancestor(name=MODEL, version="2", sha256=card.files[WEIGHTS_FILE])
    card.model_copy(
        update={"version": "3", "parent": f"{MODEL} 2", "lineage": (*card.lineage, parent)}
    ).write(third / "card.json")
    (third.parent / "current.json").write_text(json.dumps({"format": 1, "version": 3}), "utf-8")
    widget.session.models_changed.emit()
    qtbot.waitUntil(lambda: "v3" in choose(widget, MODEL).text(1), timeout=60_000)
    assert widget.revert_button.text() == "Revert to v2"
    qtbot.mouseClick(widget.revert_button, Qt.MouseButton.LeftButton)
    settle(widget, qtbot)
    qtbot.waitUntil(lambda: widget.revert_button.text() == "Revert to v1", timeout=60_000)
    qtbot.mouseClick(widget.revert_button, Qt.MouseButton.LeftButton)
    settle(widget, qtbot)
    assert current() == "2"


def test_export_remove_and_install_again(viewer, second_version, widget, qtbot, tmp_path):
    choose(widget, MODEL)
    path = tmp_path / "model.zip"
    widget.export(path)
    settle(widget, qtbot)
    assert path.is_file()
    widget.confirm_remove()
    assert widget.remove_dialog.text().endswith(f" v2 ({MODEL})?")
    assert widget.remove_dialog.informativeText().startswith("v1 is kept.")
    buttons = {b.text(): b for b in widget.remove_dialog.buttons()}
    buttons[widget.remove_dialog.button(QMessageBox.StandardButton.Cancel).text()].click()
    qtbot.wait(100)
    assert MODEL in list_cards()
    widget.confirm_remove()
    next(b for b in widget.remove_dialog.buttons() if b.text() == "Remove v1, v2").click()
    qtbot.waitUntil(lambda: MODEL not in list_cards(), timeout=60_000)
    settle(widget, qtbot)
    widget.install(path)
    settle(widget, qtbot)
    assert list_cards()[MODEL].version == "2"
    # what was installed is selected, so that Use takes it
    qtbot.waitUntil(lambda: widget.tree.current_entry.name == MODEL, timeout=60_000)
    widget.install(path)
    settle(widget, qtbot)
    texts = [label.text() for label in widget.install_dialog.findChildren(QLabel)]
    assert f"This model is installed already, as {MODEL}." in texts
    widget.install_dialog.reject()


def test_a_file_that_is_no_model_is_refused_in_one_line(viewer, widget, qtbot, tmp_path):
    bad = tmp_path / "bad.zip"
    bad.write_bytes(np.random.default_rng(0).bytes(500))
    before = set(list_cards())
    for source in (bad, tmp_path, tmp_path / "gone.pth"):
        notification_manager.records.clear()
        widget.install(source)
        settle(widget, qtbot)
        (message,) = messages()
        assert "\n" not in message
        assert "Traceback" not in message
    assert set(list_cards()) == before
    assert widget.install_button.isEnabled()


def test_a_change_in_another_widget_is_shown(viewer, second_version, widget, qtbot):
    revert(MODEL, "1")
    widget.session.models_changed.emit()
    qtbot.waitUntil(lambda: "v1" in choose(widget, MODEL).text(1), timeout=60_000)


def test_fits_a_laptop(widget):
    assert widget.minimumSizeHint().width() <= 380
    assert widget.minimumSizeHint().height() <= 700
