"""Long names and numbers with units stay readable in a narrow dock."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QApplication, QToolTip
from tests.helpers.five_classes import show_five_classes_in

from napari_latentseg.review import MEASURES, Finding
from napari_latentseg.widgets._shared.controls import elastic_combo, elided_entry
from napari_latentseg.widgets._shared.text import keep_units
from napari_latentseg.widgets.review.objects_table import ObjectsTable
from napari_latentseg.widgets.review.queue import QueueView
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

LONG = "cardiac_cine_short_axis_follow_up_2026_patient_0071_end_diastole"


@pytest.fixture
def combo(qtbot):
    box = elastic_combo("The result to review")
    box.addItem(LONG)
    box.addItem("short")
    box.resize(200, 28)
    qtbot.addWidget(box)
    box.show()
    qtbot.waitExposed(box)
    return box


def hover(box) -> str:
    """The tooltip that is shown where the mouse rests on the box."""
    at = QPoint(5, 5)
    QApplication.sendEvent(box, QHelpEvent(QEvent.Type.ToolTip, at, box.mapToGlobal(at)))
    text = QToolTip.text()
    QToolTip.hideText()
    return text


def test_a_long_entry_of_a_combo_box_is_elided_and_told_as_a_tooltip(combo):
    text = elided_entry(combo)
    assert "…" in text
    assert text.startswith("cardiac")
    assert text.endswith("stole")
    assert combo.fontMetrics().horizontalAdvance(text) < combo.width() - 20  # beside the arrow
    assert hover(combo) == f"{LONG}\nThe result to review"
    combo.setCurrentIndex(1)
    assert elided_entry(combo) == "short"
    assert hover(combo) == "The result to review"


def test_what_is_drawn_is_the_elided_entry(combo):
    long = combo.grab().toImage()
    combo.setItemText(0, elided_entry(combo))
    assert combo.grab().toImage() == long


def test_the_boxes_of_segment_and_review_elide_a_long_name(viewer, qtbot):
    shown = show_five_classes_in(viewer, (3, 64, 80), name=LONG)
    segment, review = SegmentWidget(viewer), ReviewWidget(viewer)
    for widget in (segment, review):
        viewer.window.add_dock_widget(widget, area="right")
    assert shown.session.current is shown.result
    for box in (segment.form.image.native, review.results):
        assert box.currentText().startswith(LONG)
        qtbot.waitUntil(lambda box=box: "…" in elided_entry(box), timeout=10_000)  # the dock is laid out


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("90 % intervals of 5 samples", "90_% intervals of 5 samples"),
        ("1.52 ml, 0.56 % of the image", "1.52_ml, 0.56_% of the image"),
        ("173 mm² (90 %: 132 to 232)", "173_mm² (90_%: 132 to 232)"),
        ("703 pixels in 3 of 4 slices", "703_pixels in 3 of 4 slices"),
        ("256 x 320 pixels, 0.2 × 0.2 mm", "256_x_320_pixels, 0.2_×_0.2_mm"),
        ("5 samples of 10 mlx", "5 samples of 10 mlx"),
    ],
)
def test_a_number_keeps_its_unit_on_its_line(text, kept):
    assert keep_units(text) == kept.replace("_", "\N{NO-BREAK SPACE}")


def test_sizes_and_their_note_break_no_percent_sign_off(viewer, qtbot):
    show_five_classes_in(viewer, (3, 64, 80))
    segment, review = SegmentWidget(viewer), ReviewWidget(viewer)
    for widget in (segment, review):
        viewer.window.add_dock_widget(widget, area="right")
    qtbot.waitUntil(lambda: bool(review.measures.size_text.text()), timeout=60_000)
    texts = [row.size_label.text() for row in segment.result_panel.legend.rows]
    texts += [segment.result_panel.interval_note.text(), review.measures.size_text.text()]
    texts.append(review.measures.interval_note.text())
    for text in texts:
        assert "90\N{NO-BREAK SPACE}%" in text
        assert " %" not in text


def test_the_table_of_objects_begins_with_the_largest_and_writes_units_as_usual(viewer):
    table = pd.DataFrame({"index": [1, 2], "class": ["lesion"] * 2, "volume (mm3)": [9.5, 0.2]})
    result = SimpleNamespace(image=viewer.add_image(np.zeros((4, 4))), has_other_data=False)
    dialog = ObjectsTable(table, (), viewer, result)
    headings = [dialog.table.horizontalHeaderItem(column).text() for column in range(3)]
    assert headings == ["#", "class", "volume (mm³)"]
    assert [dialog.table.item(row, 2).text() for row in range(2)] == ["9.50", "0.200"]
    dialog.deleteLater()


@pytest.mark.parametrize(("index", "is_hidden"), [((), True), ((3,), False)])
def test_the_queue_of_a_2d_image_has_no_column_of_slices(qtbot, index, is_hidden):
    queue = QueueView()
    qtbot.addWidget(queue)
    box = ((0, 4),) * (2 + len(index))
    queue.fill([Finding("object", index, box, "lesion", 1, 1, "boundary", 0.2, next(iter(MEASURES)))])
    assert queue.isColumnHidden(2) is is_hidden
