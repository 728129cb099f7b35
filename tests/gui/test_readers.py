"""The window that compares readers: layers, files and readings of a list, beside a model's samples."""

from __future__ import annotations

import html
import json
from dataclasses import replace

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from tests.helpers.gui_thread import GuiThreadGuard

from napari_latentseg import CaseList, Scan, api, compare_readers
from napari_latentseg.evaluation.model_beside_readers import VARIANCE_IS_NOT_DISAGREEMENT
from napari_latentseg.io import read_scan
from napari_latentseg.io.convert import write_scan
from napari_latentseg.widgets._shared.layers import exact_matrix, scan_from_layer
from napari_latentseg.widgets._shared.map_style import map_style
from napari_latentseg.widgets.cases.consensus_dialog import ConsensusDialog
from napari_latentseg.widgets.readers.dialog import ReadersDialog
from napari_latentseg.widgets.readers.dialog import compare_readers as open_window
from napari_latentseg.widgets.readers.map_layers import DISAGREEMENT

PATIENCE = 60_000  # ms, on a machine under load


@pytest.fixture
def shown(shown_volume):
    """A result whose record names the image that is shown."""
    result = shown_volume.result
    scan = scan_from_layer(shown_volume.image)
    record = result.segmentation.record
    named = record.replace(input=record.input.replace(sha256=scan.content_sha256))
    result.segmentation = replace(result.segmentation, record=named)
    return shown_volume


@pytest.fixture
def readers(shown):
    """The masks of two readers as layers of a person: what the model says, and less of it."""
    model = np.asarray(shown.result.segmentation.mask)
    masks = {"Anna": model.copy(), "Ben": np.roll(model, 2, axis=-1)}
    for name, mask in masks.items():
        shown.viewer.add_labels(mask, name=name, scale=shown.image.scale, translate=shown.image.translate)
    return masks


@pytest.fixture
def dialog(shown, readers, qtbot):
    open_window(shown.viewer)
    return shown.viewer.window._qt_window.findChild(ReadersDialog)


def wait(qtbot, dialog):
    qtbot.waitUntil(lambda: not dialog.task.busy_reason, timeout=PATIENCE)


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def compare(qtbot, dialog):
    click(qtbot, dialog.compare_button)
    wait(qtbot, dialog)
    assert dialog.task.status.text() == "2 readers compared"


def cells(table):
    return [
        [table.item(row, column).text() for column in range(table.columnCount()) if table.item(row, column)]
        for row in range(table.rowCount())
    ]


def test_layers_are_compared_beside_the_samples(shown, readers, dialog, qtbot):
    assert [(m.reader, m.is_chosen) for m in dialog.fields.masks] == [
        (shown.result.layers.mask.name, False), ("Anna", True), ("Ben", True),
    ]  # fmt: skip
    guard = GuiThreadGuard()
    with guard.watch():
        compare(qtbot, dialog)
    guard.check()
    scan = scan_from_layer(shown.image)
    expected = compare_readers(
        {name: Scan(mask, "zyx", scan.geometry) for name, mask in readers.items()},
        result=shown.result.segmentation, image=scan,
    )  # fmt: skip
    assert json.dumps(dialog.compared.comparison.figures()) == json.dumps(expected.figures())
    rows = cells(dialog.readers_table)
    assert rows[0][:2] == ["Anna, Ben", f"{expected.pairs[0].dsc:.3f}"]
    assert [row[0] for row in rows] == [
        "Anna, Ben", "Anna, consensus", "Ben, consensus", "Anna, model", "Ben, model", "consensus, model",
    ]  # fmt: skip
    model_rows = dict(cells(dialog.model_table))
    agreement = expected.model.agreements[0].agreement
    assert model_rows["GED² of samples and readers"] == f"{agreement.ged2:.4f}"
    assert model_rows["IoU, samples and readers matched one to one"] == f"{agreement.matched_iou:.4f}"
    assert VARIANCE_IS_NOT_DISAGREEMENT in dialog.model_text.text()


def test_the_maps_lie_on_the_image_on_one_scale(shown, dialog, qtbot):
    button = dialog.map_buttons["disagreement of readers"]
    assert not button.isEnabled()
    assert button.toolTip() == "Compare first"
    compare(qtbot, dialog)
    click(qtbot, button)
    layer = shown.viewer.layers["scan disagreement of readers"]
    assert np.array_equal(exact_matrix(layer), exact_matrix(shown.image))
    assert np.array_equal(layer.data, dialog.compared.comparison.disagreement[0])
    variance = map_style("variance", 5)
    assert tuple(layer.contrast_limits) == tuple(variance["contrast_limits"]) == (0, 0.25)
    assert layer.colormap == variance["colormap"]
    click(qtbot, dialog.map_buttons["variance"])
    (of_model,) = shown.result.layers.layers_of("variance")
    assert of_model.visible
    assert not layer.visible
    assert not button.isChecked()
    click(qtbot, button)
    assert layer.visible
    assert not of_model.visible
    click(qtbot, dialog.map_buttons["consensus of readers"])
    outline = shown.viewer.layers["scan consensus of readers"]
    assert np.array_equal(outline.data, dialog.compared.comparison.consensus.labels)
    dialog.show_layers()
    assert "scan consensus of readers" not in [mask.reader for mask in dialog.fields.masks]


def test_layers_that_are_removed_leave_the_window(shown, dialog, qtbot):
    compare(qtbot, dialog)
    assert dialog.map_buttons[DISAGREEMENT].isEnabled()
    shown.viewer.layers.remove("Ben")
    assert "Ben" not in [mask.reader for mask in dialog.fields.masks]
    shown.viewer.layers.remove(shown.image)
    assert not dialog.map_buttons[DISAGREEMENT].isEnabled()
    assert dialog.map_buttons[DISAGREEMENT].toolTip() == "The image is not open in the viewer"


@pytest.mark.parametrize(("scale", "proposed"), [(None, "consensus.ome.tif"), ((1, 2), "consensus.nii.gz")])
def test_a_format_is_proposed_that_can_hold_the_consensus(viewer, qtbot, monkeypatch, scale, proposed):
    units = {} if scale is None else {"scale": scale, "units": ("mm", "mm")}
    viewer.add_image(np.random.default_rng(0).random((32, 40)).astype("f4"), name="scan", **units)
    for name, edge in (("Anna", 8), ("Ben", 9)):
        mask = np.zeros((32, 40), np.uint8)
        mask[4:20, edge:30] = 1
        viewer.add_labels(mask, name=name, **units)
    open_window(viewer)
    dialog = viewer.window._qt_window.findChild(ReadersDialog)
    compare(qtbot, dialog)
    asked = []
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *given: (asked.append(given[2]), ("", ""))[1])
    click(qtbot, dialog.save_button)
    assert asked == [proposed]


def test_the_consensus_and_the_page_are_written(shown, dialog, qtbot, tmp_path, monkeypatch):
    pytest.importorskip("SimpleITK")
    dialog.fields.consensus_box.setCurrentIndex(dialog.fields.consensus_box.findData("staple"))
    compare(qtbot, dialog)
    assert any(row[0] == "STAPLE of Anna" for row in cells(dialog.readers_table))
    for button, path in ((dialog.save_button, "both.nii.gz"), (dialog.page_button, "page")):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, p=path: (str(tmp_path / p), ""))
        click(qtbot, button)
        wait(qtbot, dialog)
    consensus = read_scan(tmp_path / "both.nii.gz")
    assert np.array_equal(consensus.array, dialog.compared.comparison.consensus.labels)
    page = html.unescape((tmp_path / "page.html").read_text("utf-8"))
    assert "STAPLE" in page
    assert "data:image/png" in page
    assert VARIANCE_IS_NOT_DISAGREEMENT in page


def test_staple_is_refused_with_its_reason_without_simpleitk(viewer, qtbot, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    open_window(viewer)
    dialog = viewer.window._qt_window.findChild(ReadersDialog)
    item = dialog.fields.consensus_box.model().item(1)
    assert not item.isEnabled()
    assert "napari-latentseg[readers]" in item.toolTip()
    assert dialog.compare_button.toolTip() == "Tick two masks or more: 0 chosen"


def test_files_are_named_without_their_names_and_one_elsewhere_is_refused(
    shown, readers, dialog, qtbot, tmp_path
):
    scan = scan_from_layer(shown.image)
    write_scan(Scan(readers["Ben"], "zyx", scan.geometry), tmp_path / "patient-4711.nii.gz")
    dialog.fields.add_files([tmp_path / "patient-4711.nii.gz"])
    assert dialog.fields.masks[-1].reader == "reader 1"
    name = dialog.fields.table.item(len(dialog.fields.masks) - 1, 0)
    name.setText("Cleo")
    click(qtbot, dialog.compare_button)
    wait(qtbot, dialog)
    assert dialog.task.status.text() == "3 readers compared"
    assert "Cleo equals the mask of Ben in every voxel" in dialog.readers_text.text()
    write_scan(Scan(readers["Ben"][:, :-1], "zyx", scan.geometry), tmp_path / "other.nii.gz")
    dialog.fields.add_files([tmp_path / "other.nii.gz"])
    click(qtbot, dialog.compare_button)
    wait(qtbot, dialog)
    assert dialog.task.status.text().startswith("other.nii.gz: has shape (12, 59, 70), mask 1 (12, 60, 70)")
    dialog.fields.table.selectRow(len(dialog.fields.masks) - 1)
    click(qtbot, dialog.fields.remove_button)
    assert len(dialog.fields.masks) == 4


def test_the_mask_of_another_image_is_no_reader_of_this_one(viewer, qtbot):
    """Photographs of one camera have one shape: the masks of all were ticked as readers of the last."""
    for name in ("first", "second"):
        viewer.add_image(np.zeros((30, 40), np.uint8), name=name)
        viewer.add_labels(np.eye(30, 40, dtype=np.uint8), name=f"on {name}")
    open_window(viewer)
    dialog = viewer.window._qt_window.findChild(ReadersDialog)
    assert dialog.session.image.name == "second"
    assert [mask.reader for mask in dialog.fields.masks] == ["on second"]
    dialog.close()


def test_a_layer_that_lies_elsewhere_cannot_be_ticked(shown, readers, dialog):
    shown.viewer.add_labels(readers["Ben"], name="moved", scale=shown.image.scale, translate=(99, 0, 0))
    dialog.show_layers()
    (moved,) = [mask for mask in dialog.fields.masks if mask.reader == "moved"]
    assert moved.problem == "lies elsewhere than the image"
    assert moved not in dialog.fields.chosen


def test_cancel_ends_the_comparison(shown, dialog, qtbot, monkeypatch):
    import threading

    go_on, ended = threading.Event(), threading.Event()

    def slow(*_, progress, **__):
        go_on.wait(30)
        try:
            progress(0.5)
        finally:
            ended.set()

    monkeypatch.setattr(api, "compare_readers", slow)
    click(qtbot, dialog.compare_button)
    click(qtbot, dialog.task.cancel)
    go_on.set()
    qtbot.waitUntil(ended.is_set, timeout=PATIENCE)
    assert dialog.task.status.text() == "Cancelled"
    assert dialog.compared is None


def test_the_readings_of_a_case(own_home, viewer, qtbot, tmp_path, write_ellipses):
    images = write_ellipses(tmp_path / "set", 2)
    with CaseList(images) as cases:
        name = cases.rows()[0].name
        mask = read_scan(images / "masks" / f"{name.removeprefix('images_')}.png")
        for reader, shift in (("Anna", 0), ("Ben", 3)):
            labels = np.roll((np.asarray(mask.array) > 0).astype(np.uint8), shift, axis=1)
            cases.decide(name, reader, "approve", mask=Scan(labels, "yx", mask.geometry))
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    widget.source.setText(str(images))
    qtbot.keyClick(widget.source, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(widget.work.rows), timeout=PATIENCE)
    widget.table.select("images_case_1" if name.endswith("0") else "images_case_0")
    assert widget.compare_button.toolTip() == "The case has 0 of the 2 readings"
    widget.table.select(name)
    click(qtbot, widget.compare_button)
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(ReadersDialog) is not None, timeout=PATIENCE)
    dialog = viewer.window._qt_window.findChild(ReadersDialog)
    qtbot.waitUntil(lambda: dialog.compared is not None, timeout=PATIENCE)
    assert cells(dialog.readers_table)[0][0] == "Anna, Ben"
    assert dialog.map_buttons["disagreement of readers"].toolTip() == "The image is not open in the viewer"
    page = tmp_path / "page.html"
    dialog.write_page(page)
    wait(qtbot, dialog)
    assert name not in page.read_text("utf-8")
    get_plugin_settings("napari-latentseg").reset()


def test_the_consensus_of_a_list_is_exported(own_home, viewer, qtbot, tmp_path, write_ellipses):
    images = write_ellipses(tmp_path / "set", 3)
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    widget.source.setText(str(images))
    qtbot.keyClick(widget.source, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(widget.work.rows), timeout=PATIENCE)
    assert widget.consensus_button.toolTip() == "No case of the list was approved by two readers"
    names = [row.name for row in widget.work.rows][:2]
    with CaseList(images) as cases:
        for name in names:
            mask = np.zeros((48, 64), np.uint8)
            for reader, width in (("Anna", 10), ("Ben", 9)):
                mask[5:15, 5:15] = 0
                mask[5:15, 5 : 5 + width] = 1
                cases.decide(name, reader, "approve", mask=Scan(mask, "yx", geometry_of(images)))
        cases.reading_paths(names[1])["Ben"].unlink()
    widget.work.refresh()
    qtbot.waitUntil(widget.consensus_button.isEnabled, timeout=PATIENCE)
    click(qtbot, widget.consensus_button)
    dialog = viewer.window._qt_window.findChild(ConsensusDialog)
    assert dialog.about.text() == "2 cases of 3 approved by two readers or more."
    assert dialog.export_button.toolTip() == "Give the folder first"
    qtbot.keyClicks(dialog.folder, str(tmp_path / "agreed"))
    guard = GuiThreadGuard()
    with guard.watch():
        click(qtbot, dialog.export_button)
        wait(qtbot, dialog)
    guard.check()
    assert dialog.task.status.text() == "1 mask written, with records"
    assert f"{names[1]}: the mask of Ben is gone" in dialog.problems.text()
    assert len(list((tmp_path / "agreed").iterdir())) == 2


def geometry_of(images):
    return read_scan(images / "images" / "case_0.png").geometry
