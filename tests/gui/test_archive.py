"""Series of an archive are found and opened in a real viewer; the archive is a server on loopback."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QFileDialog
from tests.helpers.dicom import NAME, SECRET, positions, series
from tests.helpers.dicomweb_server import StubArchive, running

from napari_latentseg.io import read_scan
from napari_latentseg.io.dicomweb.address import is_archive_address
from napari_latentseg.io.dicomweb.saved_servers import saved_servers
from napari_latentseg.utils.paths import data_home
from napari_latentseg.widgets.batch.dialog import BatchDialog
from napari_latentseg.widgets.cases import case_work
from napari_latentseg.widgets.cases.widget import CasesWidget
from napari_latentseg.widgets.opening.archive_dialog import ArchiveDialog
from napari_latentseg.widgets.opening.archive_store_dialog import StoreDialog

PATIENCE = 30_000  # ms
MR, CT = "1.2.826.0.1.27", "1.2.826.0.1.28"


@pytest.fixture
def folder(tmp_path):
    values = np.random.default_rng(3)
    mr = values.integers(0, 4000, (6, 24, 20), dtype=np.uint16)
    ct = values.integers(-900, 900, (3, 24, 20), dtype=np.int16)
    series(tmp_path / "mr", mr, positions(6), SeriesInstanceUID=MR)
    series(tmp_path / "ct", ct, positions(3), SeriesInstanceUID=CT, Modality="CT", PatientID="another")
    return tmp_path


@pytest.fixture
def archive(folder, monkeypatch):
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with running(StubArchive().add_folder(folder)) as stub:
        yield stub


@pytest.fixture
def from_menu(own_home, viewer, qtbot):
    """Opens a window by the entry of napari's menu."""
    window = viewer.window._qt_window

    def open_window(text, kind):
        file_menu = viewer.window.file_menu
        file_menu.aboutToShow.emit()
        submenu = next(action.menu() for action in file_menu.actions() if "IO Utilities" in action.text())
        submenu.aboutToShow.emit()
        next(action for action in submenu.actions() if text in action.text()).trigger()
        qtbot.waitUntil(lambda: window.findChild(kind) is not None)
        return window.findChild(kind)

    yield open_window
    for each in window.findChildren(QDialog):
        each.close()


@pytest.fixture
def dialog(from_menu):
    return from_menu("Open from archive", ArchiveDialog)


def search(dialog, qtbot, archive, **fields):
    dialog.server.line.selectAll()
    qtbot.keyClicks(dialog.server.line, archive.address)
    for name, text in fields.items():
        line = getattr(dialog, name)
        line.selectAll()
        qtbot.keyClicks(line, text)
    qtbot.mouseClick(dialog.search, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.search.isEnabled(), timeout=PATIENCE)


def rows(dialog):
    table = dialog.table
    return [[table.item(r, c).text() for c in range(table.columnCount())] for r in range(table.rowCount())]


def click_row(dialog, qtbot, row):
    place = dialog.table.visualItemRect(dialog.table.item(row, 0)).center()
    qtbot.mouseClick(dialog.table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_a_series_is_found_and_opened_as_from_a_folder(dialog, archive, folder, viewer, qtbot):
    assert not dialog.search.isEnabled()
    assert dialog.search.toolTip() == "Give the address of the archive first"
    search(dialog, qtbot, archive)
    assert [row[:1] + row[2:5] for row in rows(dialog)] == [
        [SECRET, "2020-02-02", "MR", "6"],
        ["another", "2020-02-02", "CT", "3"],
    ]
    assert dialog.open_button.toolTip() == "Choose a series of the list first"
    click_row(dialog, qtbot, 0)
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=PATIENCE)
    layer, scan = viewer.layers[0], read_scan(folder / "mr")
    np.testing.assert_array_equal(np.asarray(layer.data), np.asarray(scan.array))
    np.testing.assert_allclose(layer.scale, scan.geometry.spacing)
    for secret in (NAME, SECRET, MR):
        assert secret not in layer.name
    assert dialog.status.text() == "Retrieved; it opens in the viewer"


def test_the_only_match_is_chosen_and_nothing_is_asked_before_search(dialog, archive, viewer, qtbot):
    qtbot.keyClicks(dialog.server.line, archive.address)
    assert archive.requests == []
    search(dialog, qtbot, archive, modality="ct", patient="ano*")
    assert [row[3] for row in rows(dialog)] == ["CT"]
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=PATIENCE)
    assert viewer.layers[0].data.shape == (3, 24, 20)
    search(dialog, qtbot, archive, patient="nobody")
    assert dialog.status.text() == "No series matches"


@pytest.mark.parametrize(
    ("fault", "line"), [("401", "asks who you are"), ("half", "sent 3 of the 6 images"), ("503", "is busy")]
)
def test_a_failure_is_one_line_and_the_window_goes_on(dialog, archive, viewer, qtbot, fault, line):
    search(dialog, qtbot, archive, modality="MR")
    archive.fault = fault
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: line in dialog.status.text(), timeout=PATIENCE)
    assert SECRET not in dialog.status.text()
    assert not viewer.layers
    archive.fault = ""
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=PATIENCE)


def test_a_slow_archive_holds_nothing_and_is_cancelled(dialog, archive, viewer, qtbot):
    search(dialog, qtbot, archive, modality="MR")
    archive.delay_s = 3
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    assert dialog.cancel.isEnabled()
    assert "Cancel" in dialog.open_button.toolTip()
    qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    assert dialog.status.text() == "Cancelled; nothing is kept"
    assert dialog.open_button.isEnabled()
    archive.delay_s = 0
    qtbot.wait(300)
    assert not viewer.layers


def test_an_address_is_kept_only_on_request_and_without_what_was_asked(dialog, archive, qtbot):
    search(dialog, qtbot, archive)
    assert saved_servers() == []
    qtbot.keyClicks(dialog.server.line, "?patient=4711-secret")
    qtbot.mouseClick(dialog.server.remember, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.server.remember.text() == "Forget", timeout=PATIENCE)
    assert json.loads((data_home() / "archives.json").read_text()) == [archive.address]
    qtbot.mouseClick(dialog.server.remember, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.server.remember.text() == "Remember", timeout=PATIENCE)
    assert saved_servers() == []


def test_a_password_in_the_address_is_refused(dialog, qtbot):
    qtbot.keyClicks(dialog.server.line, "dicomweb://jane:secret@pacs/dicom-web")
    assert not dialog.search.isEnabled()
    assert "user or password" in dialog.search.toolTip()
    assert not dialog.server.remember.isEnabled()


def test_exported_files_are_stored_and_a_refusal_says_how_many(
    from_menu, archive, folder, qtbot, monkeypatch
):
    files = sorted((folder / "ct").iterdir())
    dialog = from_menu("Store in archive", StoreDialog)
    assert dialog.store.toolTip() == "Choose the files first"
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(path) for path in files], ""))
    qtbot.mouseClick(dialog.choose, Qt.MouseButton.LeftButton)
    assert dialog.list.count() == 3
    assert dialog.store.toolTip() == "Give the address of the archive first"
    qtbot.keyClicks(dialog.server.line, archive.address)
    before = len(archive.instances)
    archive.fault = "refuses to store"
    qtbot.mouseClick(dialog.store, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "it took 0 of 3 files" in dialog.task.status.text(), timeout=PATIENCE)
    archive.fault = ""
    qtbot.mouseClick(dialog.store, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.task.status.text() == "Stored 3 files", timeout=PATIENCE)
    assert len(archive.instances) == before + 3


def test_what_was_found_is_listed_in_cases_and_opened(dialog, archive, folder, viewer, qtbot, tmp_path):
    search(dialog, qtbot, archive, modality="MR")
    qtbot.mouseClick(dialog.list_button, Qt.MouseButton.LeftButton)
    widget = next(w for w in viewer.window.dock_widgets.values() if isinstance(w, CasesWidget))
    asked = len(archive.requests)
    (tmp_path / "results").mkdir()
    qtbot.keyClicks(widget.reader, "Anna")
    qtbot.keyClick(widget.reader, Qt.Key.Key_Return)
    qtbot.keyClicks(widget.results, str(tmp_path / "results"))
    assert len(archive.requests) == asked  # nothing is asked before Enter
    qtbot.keyClick(widget.results, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(widget.work.rows), timeout=PATIENCE)
    (row,) = widget.work.rows
    assert row.name.startswith("series-")
    assert MR not in row.name
    asked = len(archive.requests)
    widget.work.refresh()
    qtbot.wait(100)
    assert len(archive.requests) == asked  # nor by looking at the list
    qtbot.keyClick(widget.table, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: widget.work.opened is not None, timeout=PATIENCE)
    scan = read_scan(folder / "mr")
    np.testing.assert_array_equal(np.asarray(widget.work.opened.image.data), np.asarray(scan.array))
    journal = (tmp_path / "results" / ".cases" / "journal.jsonl").read_text("utf-8")
    for secret in (NAME, SECRET, MR):
        assert secret not in journal
    get_plugin_settings("napari-latentseg").reset()


def test_an_archive_needs_a_folder_for_decisions_and_its_listing_can_be_cancelled(
    own_home, archive, viewer, qtbot, tmp_path, monkeypatch
):
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    widget.source.setText(archive.address)
    notification_manager.records.clear()
    widget.open_list()
    qtbot.waitUntil(lambda: not widget.work.is_opening, timeout=PATIENCE)
    assert any("folder of the results: is missing" in str(n.message) for n in notification_manager.records)
    assert archive.requests == []
    go_on = threading.Event()
    real = case_work.CaseList
    monkeypatch.setattr(case_work, "CaseList", lambda *args: go_on.wait(30) and real(*args))
    widget.results.setText(str(tmp_path))
    widget.open_list()
    qtbot.waitUntil(lambda: not widget.cancel_button.isHidden(), timeout=PATIENCE)
    qtbot.mouseClick(widget.cancel_button, Qt.MouseButton.LeftButton)
    assert not widget.work.is_opening
    go_on.set()
    qtbot.wait(300)
    assert widget.work.cases is None
    assert widget.cancel_button.isHidden()


def test_all_that_was_found_can_be_segmented(dialog, archive, viewer, qtbot, tmp_path):
    search(dialog, qtbot, archive)
    qtbot.mouseClick(dialog.batch_button, Qt.MouseButton.LeftButton)
    batch = viewer.window._qt_window.findChild(BatchDialog)
    asked = len(archive.requests)
    assert batch.images.text().startswith("dicomweb")
    qtbot.keyClicks(batch.out, str(tmp_path / "out"))
    qtbot.waitUntil(lambda: not batch._is_checking, timeout=PATIENCE)
    assert not batch._path_problem
    assert len(archive.requests) == asked
    assert is_archive_address(batch.request.images)
