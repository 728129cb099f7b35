"""The layer of numbered objects, and the table of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from tests.helpers.made import made

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.measure import measure, measurement_table
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.review import objects as objects_module
from napari_latentseg.widgets.review.measures import MeasuresPanel
from napari_latentseg.widgets.review.objects import label_objects
from napari_latentseg.widgets.review.objects_table import ObjectsTable

ORGAN = ClassInfo(label=2, name="organ", color="#ff0000", includes=("tumour",))
TUMOUR = ClassInfo(label=1, name="tumour", color="#00ff00")


def test_a_tumour_has_its_own_number_in_the_organ_that_it_cuts_in_two():
    samples = np.zeros((3, 2, 2, 12, 16))
    samples[:, 1, :, 1:11, 1:9] = 0.9
    samples[:, 1, 0, 2:4, 12:15] = 0.9
    samples[:, 0, :, 5:7, 1:9] = 0.9
    found = made(samples, Geometry.from_spacing("zyx", (1.0,) * 3, "mm"), classes=(TUMOUR, ORGAN))
    objects, rows = label_objects(found.mask, measure(found), found.classes)
    assert [(row.name, row.object_number) for row in rows] == [("tumour", 1), ("organ", 1), ("organ", 2)]
    assert np.array_equal(objects == 1, found.mask == 1)
    assert np.array_equal(objects >= 2, found.mask == 2)
    assert (objects[:, 1:11, 1:9] > 0).all()
    assert set(np.unique(objects[0, 2:4, 12:15])) == {3}
    assert rows[1].value == np.count_nonzero(objects == 2) + rows[0].value


def test_the_table_is_sorted_by_a_heading_and_gone_through_with_the_keys(viewer, qtbot):
    samples = np.zeros((3, 2, 12, 12, 16))
    for z, size in ((1, 3), (5, 5), (9, 2)):
        samples[:, 1, z, 2 : 2 + size, 3 : 3 + size] = 0.9
    found = made(samples, Geometry.from_spacing("zyx", (1.0,) * 3, "mm"), classes=(TUMOUR, ORGAN))
    rows = label_objects(found.mask, measure(found), found.classes)[1]
    image = viewer.add_image(np.zeros((12, 12, 16)))
    result = SimpleNamespace(image=image, has_other_data=False)
    dialog = ObjectsTable(measurement_table(rows), rows, viewer, result, viewer.window._qt_window)
    dialog.show()
    table, header = dialog.table, dialog.table.horizontalHeader()
    texts = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount())]
    volume = next(column for column, text in enumerate(texts) if text.startswith("volume"))
    table.scrollToItem(table.item(0, volume))
    place = QPoint(header.sectionViewportPosition(volume) + 8, header.height() // 2)
    shown = []
    for _ in range(2):
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        cell = table.visualItemRect(table.item(0, volume)).center()
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
        shown.append([viewer.dims.current_step[0]])
        for _ in range(2):
            qtbot.keyClick(table, Qt.Key.Key_Down)
            shown[-1].append(viewer.dims.current_step[0])
    assert sorted(shown) == [[5, 1, 9], [9, 1, 5]]


@pytest.fixture
def measures(shown_volume):
    panel = MeasuresPanel(shown_volume.viewer)
    shown_volume.viewer.window.add_dock_widget(panel, name="Measures", area="right")
    panel.show_result(shown_volume.result)
    return panel


def replace_values(shown, qtbot):
    """The volume becomes a single slice."""
    shown.image.data = np.zeros((40, 50), "f4")
    qtbot.waitUntil(
        lambda: any("has changed" in r.message for r in notification_manager.records), timeout=60_000
    )


def outlines(shown):
    return [layer for layer in shown.viewer.layers if role_of(layer) == "objects"]


def test_outlines_and_rows_are_of_the_values_that_were_measured(shown_volume, measures, qtbot):
    qtbot.mouseClick(measures.objects_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(measures.findChildren(ObjectsTable)) == 1, timeout=60_000)
    (layer,) = outlines(shown_volume)
    replace_values(shown_volume, qtbot)
    assert not layer.visible
    (dialog,) = measures.findChildren(ObjectsTable)
    cell = dialog.table.visualItemRect(dialog.table.item(0, 0)).center()
    qtbot.mouseClick(dialog.table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    assert "has changed since its objects were measured" in notification_manager.records[-1].message


def test_objects_of_values_that_were_replaced_meanwhile_are_not_shown(
    shown_volume, measures, qtbot, monkeypatch
):
    begun = []
    monkeypatch.setattr(objects_module, "run_in_thread", lambda *given: begun.append(given))
    qtbot.mouseClick(measures.objects_button, Qt.MouseButton.LeftButton)
    qtbot.mouseDClick(measures.objects_button, Qt.MouseButton.LeftButton)
    ((compute, show, _, _),) = begun
    replace_values(shown_volume, qtbot)
    show(compute())
    assert not outlines(shown_volume)
    assert not measures.findChildren(ObjectsTable)
    assert measures.objects_button.isEnabled()
