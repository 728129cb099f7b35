"""Installed models whose cards are broken, or hold markup: every widget opens, and shows it as text."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QLabel,
    QTextBrowser,
    QTreeWidget,
    QTreeWidgetItemIterator,
    QWidget,
)
from tests.helpers.hostile_models import change_card, with_overflowing_weights
from tests.helpers.segmenting import layers_by_role, run

from napari_latentseg import api
from napari_latentseg.widgets._shared.plain_text import plain_text, show_info
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget
from napari_latentseg.widgets.train.widget import TrainWidget

MARKUP = '<h2>FDA cleared</h2><img src="/tmp/canary.png">&lt;b>'
DEEP_JSON = "[" * 100_000


@pytest.fixture
def home(own_home):
    """A home with hostile models beside the tiny one; `aaa` comes first in every list."""
    models = own_home / "models"

    def copy(name: str, **fields: object) -> None:
        shutil.copytree(models / "tiny-taught", models / name)
        change_card(models / name, lambda card: card.update(name=name, **fields))

    figures = {"data": MARKUP, "images": 3, "samples": 4, "source": "augment", "values": {"iou": 0.5}}
    copy(
        "aaa", title=MARKUP, modality=MARKUP, licence=MARKUP, intended_use=MARKUP, limits=MARKUP,
        metrics=[figures], default_samples=10**18, threshold=0.999,
        classes=[{"label": 1, "name": MARKUP, "color": "#ffb000"}],
    )  # fmt: skip
    copy("deep")
    for name in ("comparison.json", "split.json"):
        (models / "deep" / name).write_text(DEEP_JSON)
    copy("no-json")
    (models / "no-json" / "card.json").write_text(DEEP_JSON)
    copy("no-text")
    (models / "no-text" / "card.json").write_bytes(b"\xff\xfe")
    with_overflowing_weights(models / "tiny-taught", models / "huge")
    change_card(models / "huge", lambda card: card.update(name="huge"))
    copy("kept", title=json.loads((models / "tiny-taught" / "card.json").read_text())["title"])
    return own_home


def open_widget(viewer, kind):
    widget = kind(viewer)
    viewer.window.add_dock_widget(widget, name=kind.__name__, area="right")
    return widget


def texts_that_qt_would_take_for_html(root: QWidget) -> list[str]:
    """Of every label, tooltip, item and browser below a widget."""
    rich = []
    for widget in [root, *root.findChildren(QWidget)]:
        if Qt.mightBeRichText(widget.toolTip()):
            rich.append(f"tooltip of {type(widget).__name__}: {widget.toolTip()}")
        if isinstance(widget, QLabel) and widget.textFormat() != Qt.TextFormat.PlainText:
            text = QLabel.text(widget)
            if Qt.mightBeRichText(text) and "For research" not in text:
                rich.append(f"label: {text}")
        if isinstance(widget, QTextBrowser) and "<img" in widget.toHtml():
            rich.append(f"browser: {widget.toPlainText()}")
        if isinstance(widget, QTreeWidget):
            items = QTreeWidgetItemIterator(widget)
            while (item := items.value()) is not None:
                rich += [item.toolTip(c) for c in range(3) if Qt.mightBeRichText(item.toolTip(c))]
                items += 1
    return rich


def test_markup_of_a_card_is_text_in_every_widget(home, viewer, qtbot):
    viewer.add_image(np.random.default_rng(0).random((48, 64)).astype("f4"), name=MARKUP)
    segment = open_widget(viewer, SegmentWidget)
    models = open_widget(viewer, ModelsWidget)
    others = [open_widget(viewer, kind) for kind in (ReviewWidget, AnnotateWidget, TrainWidget)]
    qtbot.waitUntil(lambda: models.tree.topLevelItemCount() > 0, timeout=60_000)
    segment.form.model.value = "aaa"
    assert segment.form.model_summary.text().startswith(MARKUP)
    models.tree.setCurrentItem(models.tree.topLevelItem(0))
    run(segment, qtbot, source="none")
    qtbot.wait(50)
    segment.form.show_card()
    seen = [
        widget.text()
        for widget in viewer.window._qt_window.findChildren(QWidget)
        if isinstance(widget, QLabel | QAbstractButton) and MARKUP in widget.text()
    ]
    assert len(seen) > 2  # the summary and the class's row at least, so that there is something to be seen
    for widget in (segment, models, *others):
        assert texts_that_qt_would_take_for_html(widget) == []


def test_models_that_are_broken_keep_no_widget_from_opening(home, viewer, qtbot):
    segment = open_widget(viewer, SegmentWidget)
    assert segment.form.samples.value == segment.form.samples.max
    models = open_widget(viewer, ModelsWidget)
    qtbot.waitUntil(lambda: models.tree.topLevelItemCount() > 0, timeout=60_000)
    names = [models.tree.topLevelItem(row).toolTip(0) for row in range(models.tree.topLevelItemCount())]
    assert {"aaa", "deep", "tiny-taught"} <= set(names)
    open_widget(viewer, TrainWidget)
    for name in ("no-json", "no-text", "deep", "aaa"):
        api.remove_model(name)
        assert not (home / "models" / name).exists()


def test_two_models_of_one_title_are_two_choices(home, viewer, qtbot):
    form = open_widget(viewer, SegmentWidget).form
    for name in ("kept", "tiny-taught"):
        form.model.value = name
        assert form.card.name == name
        assert form.model.native.currentText().endswith(f" ({name})")
    form.model.value = "breast-ultrasound"
    assert "(" not in form.model.native.currentText()


def test_a_network_that_overflows_is_told_and_leaves_no_mask(home, viewer, qtbot):
    notification_manager.records.clear()
    viewer.add_image(np.random.default_rng(0).random((48, 64)).astype("f4"), name="noise")
    segment = open_widget(viewer, SegmentWidget)
    run(segment, qtbot, model="huge", source="none")
    assert any("not finite" in record.message for record in notification_manager.records)
    notification_manager.records.clear()
    assert "mask" not in layers_by_role(viewer)


def test_a_notification_shows_markup_as_text(viewer):
    notification_manager.records.clear()
    show_info(f"{MARKUP} was installed")
    (record,) = notification_manager.records
    notification_manager.records.clear()
    assert not Qt.mightBeRichText(record.message)
    assert record.message.replace("\u200b", "") == f"{MARKUP} was installed"
    for text in ("Dice < 0.5 & > 0.1", "a <- b"):
        assert plain_text(text) == text
