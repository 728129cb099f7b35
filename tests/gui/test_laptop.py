"""The widgets as tabs in a window of 1366x768, with five classes and a long name."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QTabBar
from tests.helpers.five_classes import CLASSES, show_five_classes_in

from napari_latentseg.widgets._shared.controls import WrappedLabel

_LONG_NAME = "cardiac_cine_short_axis_follow_up_2026_patient_0071_end_diastole"
_WIDGETS = ("Segment", "Review", "Annotate", "Train", "Models", "Cases")


@pytest.fixture
def widgets(viewer, qtbot):
    """The widgets by name, at the size of a small laptop, with a finished result."""
    viewer.window._qt_window.resize(1366, 768)
    viewer.window._qt_window.show()
    show_five_classes_in(viewer, name=_LONG_NAME)
    opened = {
        name: viewer.window.add_plugin_dock_widget("napari-latentseg", name, tabify=True)[1]
        for name in _WIDGETS
    }
    opened["Segment"].open_widget("Segment")
    qtbot.wait(200)
    return opened


def test_the_titles_of_all_tabs_can_be_read(widgets, viewer) -> None:
    window = viewer.window._qt_window
    bar = next(
        bar for bar in window.findChildren(QTabBar) if bar.count() >= len(_WIDGETS) and bar.isVisible()
    )
    texts = [bar.tabText(i) for i in range(bar.count())]
    assert set(_WIDGETS) <= set(texts)
    assert bar.elideMode() == Qt.TextElideMode.ElideNone
    assert bar.sizeHint().width() <= bar.width()  # else the row scrolls
    for i, text in enumerate(texts):
        assert bar.fontMetrics().horizontalAdvance(text) < bar.tabRect(i).width()
        assert bar.tabRect(i).right() <= bar.width()


@pytest.mark.parametrize("name", _WIDGETS)
def test_nothing_lies_beyond_the_right_edge(name, widgets, qtbot) -> None:
    widget = widgets[name]
    widget.open_widget(name)
    qtbot.wait(200)
    scroll = widget.findChild(QScrollArea)
    assert scroll.isVisible()
    room = widget.minimumWidth() - scroll.verticalScrollBar().sizeHint().width()
    assert scroll.widget().minimumSizeHint().width() <= room


def test_the_header_says_run_and_model_of_a_long_name(widgets) -> None:
    header = widgets["Segment"].header
    assert "…" in header.line._elidedText()
    assert header.run_line._elidedText() == "run 1 · Breast ultrasound lesions v2"


def test_the_legend_shows_five_classes_without_scrolling(widgets) -> None:
    legend = widgets["Segment"].result_panel.legend
    assert len(legend.rows) == len(CLASSES)
    assert legend._scroll.verticalScrollBar().maximum() == 0
    assert legend._scroll.viewport().height() >= legend.rows[-1].geometry().bottom()


def test_the_line_about_the_fit_is_shown_whole(widgets, qtbot) -> None:
    form = widgets["Segment"].form
    form.model.value = "retina-vessels"
    qtbot.waitUntil(lambda: not form.fit_line.is_checking, timeout=20_000)
    qtbot.wait(200)
    assert form.fit_line.isVisible()
    assert form.fit_line.height() >= form.fit_line.heightForWidth(form.fit_line.width())
    assert form.height() < form.sizeHint().height() + 2 * form.fit_line.fontMetrics().lineSpacing()


def test_a_long_summary_of_what_is_approved_widens_nothing(widgets, qtbot) -> None:
    train = widgets["Train"]
    train.open_widget("Train")
    train.form.data_source.show_approved_count("128 images, 1042 slices of 87 volumes, and more " * 3)
    qtbot.wait(100)
    scroll = train.findChild(QScrollArea)
    assert train.train_button.geometry().right() <= scroll.viewport().width()
    assert "1042 slices" in train.form.data_source.approved_option.toolTip()


def test_a_wrapped_label_is_as_high_as_its_lines(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)
    label.setText("Fits this image, and much more is said of it here")
    label.show()
    label.resize(60, label.height())
    qtbot.waitUntil(lambda: label.height() > 3 * label.fontMetrics().height())
    label.resize(600, label.height())
    qtbot.waitUntil(lambda: label.height() < 2 * label.fontMetrics().height())
