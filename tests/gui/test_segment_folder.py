"""A folder is segmented in a real viewer; the batch is a real process on a tiny model."""

from __future__ import annotations

import os
import signal

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog
from tests.helpers.explained import unexplained

from napari_latentseg.batches.case_rows import read_case_rows
from napari_latentseg.widgets._shared.closing import CloseGuard
from napari_latentseg.widgets.batch.dialog import BatchDialog
from napari_latentseg.widgets.batch.process import batch_of
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"
PATIENCE = 120_000  # ms; the child process imports torch on a machine under load


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    yield viewer
    batch_of(viewer).child.end()
    for dialog in viewer.window._qt_window.findChildren(QDialog):
        dialog.close()


@pytest.fixture
def images(tmp_path, write_ellipses):
    """A folder with two images, and one that cannot be read."""
    folder = write_ellipses(tmp_path / "scans", 3) / "images"
    (folder / "case_1.png").write_bytes(b"broken")
    return folder


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def open_dialog(viewer, qtbot):
    """Opens the window by the entry of napari's menu."""

    def open_dialog() -> BatchDialog:
        entry(viewer).trigger()
        window = viewer.window._qt_window
        qtbot.waitUntil(lambda: window.findChild(BatchDialog) is not None)
        dialog = window.findChild(BatchDialog)
        dialog.model.setCurrentIndex(dialog.model.findData(MODEL))
        dialog.deidentify.setChecked(False)  # the tests know the cases by the names of their files
        return dialog

    return open_dialog


def entry(viewer):
    """File > IO Utilities > Segment a folder..."""
    file_menu = viewer.window.file_menu
    file_menu.aboutToShow.emit()
    submenu = next(a.menu() for a in file_menu.actions() if "IO Utilities" in a.text())
    submenu.aboutToShow.emit()
    return next(action for action in submenu.actions() if "Segment a folder" in action.text())


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose_folders(qtbot, dialog, images, results):
    """Type both folders, and wait until they were looked at."""
    for field, folder in ((dialog.images, images), (dialog.out, results)):
        field.clear()
        qtbot.keyClicks(field, str(folder))
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=PATIENCE)


def run_to_the_end(qtbot, dialog):
    click(qtbot, dialog.start_button)
    assert dialog.process.busy
    qtbot.waitUntil(lambda: not dialog.process.busy, timeout=PATIENCE)
    qtbot.waitUntil(
        lambda: all(row.sizes for row in dialog.process.rows.values() if row.state == "done"),
        timeout=PATIENCE,
    )


def shown_cells(dialog):
    """The texts of the table as they are shown, by the name of the case."""
    model = dialog.table.model()
    texts = [
        [model.index(row, column).data() for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]
    return {cells[0]: cells for cells in texts}


def row_of(dialog, case):
    model = dialog.table.model()
    return next(row for row in range(model.rowCount()) if model.index(row, 0).data() == case)


def double_click(qtbot, dialog, case):
    table = dialog.table
    centre = table.visualRect(table.model().index(row_of(dialog, case), 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=centre)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=centre)


def messages():
    return [str(n.message) for n in notification_manager.records]


def test_from_the_menu_over_the_table_to_review(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    assert "Choose the images first" in dialog.message.text()
    assert not any(card.takes_prompts for card in dialog.cards.values())
    assert dialog.model.count() == len(dialog.cards) >= 3
    choose_folders(qtbot, dialog, images, results)
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error + dialog.process.details
    assert dialog.status.text() == "Finished: 3 cases, 1 failed."
    cells = shown_cells(dialog)
    assert [cells[case][1] for case in sorted(cells)] == ["done", "failed", "done"]
    assert "pixels (" in cells["case_0"][2]  # the size of the class, with its interval
    assert cells["case_1"][-1].startswith("is not a PNG, JPEG or BMP image")
    assert {row.case for row in read_case_rows(results)} == set(cells)

    qtbot.keyClick(dialog.state_filter, Qt.Key.Key_Down)
    assert list(shown_cells(dialog)) == ["case_1"]
    assert dialog.state_filter.currentText() == "failed (1)"
    notification_manager.records.clear()
    double_click(qtbot, dialog, "case_1")
    assert any("case_1 has no result" in text for text in messages())
    qtbot.keyClick(dialog.state_filter, Qt.Key.Key_Home)

    double_click(qtbot, dialog, "case_0")
    session = dialog.session
    qtbot.waitUntil(lambda: len(session.results) == 1, timeout=PATIENCE)
    assert session.image.name == "case_0"
    assert session.current.segmentation.record.model.name == MODEL
    window = viewer.window._qt_window
    qtbot.waitUntil(lambda: window.findChild(ReviewWidget) is not None, timeout=PATIENCE)
    review = window.findChild(ReviewWidget)
    qtbot.waitUntil(lambda: bool(review.measures.size_text.text()), timeout=PATIENCE)
    assert review.result is session.current

    dialog.table.setCurrentIndex(dialog.table.model().index(row_of(dialog, "case_2"), 0))
    qtbot.keyClick(dialog.table, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(session.results) == 2, timeout=PATIENCE)
    assert session.image.name == "case_2"
    assert dialog.isVisible()
    layer_count = len(viewer.layers)
    double_click(qtbot, dialog, "case_0")  # open already: it is selected
    assert session.image.name == "case_0"
    assert len(viewer.layers) == layer_count


def test_a_result_that_was_opened_takes_a_threshold_and_no_more_samples(
    viewer, qtbot, open_dialog, images, results
):
    segmenting = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segmenting, name="Segment", area="right")
    dialog = open_dialog()
    choose_folders(qtbot, dialog, images, results)
    run_to_the_end(qtbot, dialog)
    double_click(qtbot, dialog, "case_0")
    qtbot.waitUntil(lambda: segmenting.finished_result is not None, timeout=PATIENCE)
    assert segmenting.result_panel.isVisibleTo(segmenting)
    assert not segmenting.result_panel.more_button.isEnabled()
    assert "read from files" in segmenting.result_panel.more_button.toolTip()
    result = segmenting.finished_result
    before = result.segmentation.mask.sum()
    dialog.session.apply_threshold(0.95)
    qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.95, timeout=PATIENCE)
    assert result.segmentation.mask.sum() < before


def test_a_deidentified_result_finds_its_image(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    qtbot.keyClick(dialog.deidentify, Qt.Key.Key_Space)
    choose_folders(qtbot, dialog, images, results)
    run_to_the_end(qtbot, dialog)
    rows = [row for row in dialog.process.rows.values() if row.state == "done"]
    assert [row.path for row in rows] == ["", ""]
    assert not any("case_" in text for cells in shown_cells(dialog).values() for text in cells[:1])
    qtbot.waitUntil(lambda: "Image" in dialog.table.cases.headings, timeout=PATIENCE)
    column = dialog.table.cases.headings.index("Image")
    assert column == 1  # beside the code, and not beyond what is seen
    named = {cells[column]: cells[2] for cells in shown_cells(dialog).values()}
    assert named == {"case_0.png": "done", "case_1.png": "failed", "case_2.png": "done"}
    assert not any(b"case_" in path.read_bytes() for path in results.rglob("*") if path.is_file())
    double_click(qtbot, dialog, rows[0].case)
    qtbot.waitUntil(lambda: len(dialog.session.results) == 1, timeout=PATIENCE)
    assert dialog.session.image.name == rows[0].case
    dialog.images.clear()
    notification_manager.records.clear()
    double_click(qtbot, dialog, rows[1].case)
    qtbot.waitUntil(lambda: any("give their folder under Images" in text for text in messages()))


def test_of_a_layout_for_other_programs_the_mask_is_opened(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    dialog.layout_box.setCurrentIndex(dialog.layout_box.findData("nnunet"))
    choose_folders(qtbot, dialog, images, results)
    run_to_the_end(qtbot, dialog)
    assert (results / "case_0.json").is_file()
    notification_manager.records.clear()
    double_click(qtbot, dialog, "case_0")
    qtbot.waitUntil(lambda: "case_0 mask" in viewer.layers, timeout=PATIENCE)
    assert viewer.layers["case_0 mask"].data.shape == viewer.layers["case_0"].data.shape
    assert any("holds only the mask" in text for text in messages())
    double_click(qtbot, dialog, "case_0")
    assert len(viewer.layers) == 2


def test_a_stopped_batch_is_continued(
    viewer, qtbot, open_dialog, tmp_path, write_ellipses, results, monkeypatch
):
    images = write_ellipses(tmp_path / "many", 30, shape=(160, 160)) / "images"
    dialog = open_dialog()
    dialog.session.choices |= {"model": MODEL, "source": "augment", "samples": 40, "threshold": 0.5}
    choose_folders(qtbot, dialog, images, results)
    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 60_000))
    click(qtbot, dialog.start_button)
    qtbot.mouseClick(dialog.cancel_button, Qt.MouseButton.LeftButton)  # the second click on Segment
    assert dialog.cancel_button.isEnabled()
    monkeypatch.setattr(QApplication, "doubleClickInterval", staticmethod(lambda: 0))
    qtbot.waitUntil(
        lambda: any(row.state == "done" for row in dialog.process.rows.values()), timeout=PATIENCE
    )
    assert " of 30 cases" in dialog.status.text()
    assert unexplained(dialog) == []
    click(qtbot, dialog.cancel_button)
    assert not dialog.cancel_button.isEnabled()
    qtbot.waitUntil(lambda: not dialog.process.busy, timeout=PATIENCE)
    assert dialog.process.state == "stopped", dialog.process.error + dialog.process.details
    done = {row.case for row in read_case_rows(results) if row.state == "done"}
    assert 0 < len(done) < 30
    assert f"Stopped: {len(done)} of 30 cases done" in dialog.status.text()
    assert dialog.start_button.text() == "Continue"
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error + dialog.process.details
    rows = read_case_rows(results)
    assert [row.state for row in rows] == ["done"] * 30
    assert sorted(shown_cells(dialog)) == sorted({row.case for row in rows})


def test_the_button_in_segment_opens_the_window_with_its_model_and_settings(viewer, qtbot):
    segmenting = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segmenting, name="Segment", area="right")
    segmenting.form.model.value = MODEL
    segmenting.form.samples.value = 7
    segmenting.form.threshold.value = 0.35
    segmenting.form.postprocess_fields.seed.value = 3
    click(qtbot, segmenting.folder_button)
    window = viewer.window._qt_window
    dialog = window.findChild(BatchDialog)
    assert dialog.isVisible()
    assert dialog.model.currentData() == MODEL
    assert dialog.settings_label.text().startswith("7 samples from test-time augmentation, threshold 0.35")
    options = dialog.request.command_line()
    for name, value in (
        ("--samples", "7"),
        ("--threshold", "0.35"),
        ("--seed", "3"),
        ("--sampling", "augment"),
    ):
        assert options[options.index(name) + 1] == value
    other = next(name for name in dialog.cards if name != MODEL)
    dialog.model.setCurrentIndex(dialog.model.findData(other))
    assert "--samples" not in dialog.request.command_line()  # those of that model
    click(qtbot, segmenting.folder_button)
    assert window.findChildren(BatchDialog) == [dialog]  # one window for each viewer


def test_a_folder_with_results_is_shown_and_only_continued(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    choose_folders(qtbot, dialog, images, results)
    run_to_the_end(qtbot, dialog)
    dialog.out.clear()
    assert not dialog.start_button.isEnabled()
    qtbot.waitUntil(lambda: not dialog.process.rows, timeout=PATIENCE)
    choose_folders(qtbot, dialog, images, results)
    assert len(shown_cells(dialog)) == 3
    assert dialog.start_button.text() == "Continue"
    qtbot.keyClick(dialog.resume_box, Qt.Key.Key_Space)
    assert not dialog.start_button.isEnabled()
    assert "continue it, or choose another folder" in dialog.message.text()


def test_a_window_that_is_closed_leaves_the_batch_running(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    choose_folders(qtbot, dialog, images, results)
    click(qtbot, dialog.start_button)
    process = dialog.process
    click(qtbot, dialog.close_button)
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(BatchDialog) is None)
    assert process.busy
    again = open_dialog()
    assert again.out.text() == str(results)
    qtbot.waitUntil(lambda: not process.busy, timeout=PATIENCE)
    assert process.state == "done", process.error + process.details
    assert len(shown_cells(again)) == 3


def test_a_killed_batch_is_reported_and_continued(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    choose_folders(qtbot, dialog, images, results)
    click(qtbot, dialog.start_button)
    qtbot.waitUntil(lambda: dialog.process.case_count is not None, timeout=PATIENCE)
    os.kill(dialog.process.child.process_id, signal.SIGKILL)
    qtbot.waitUntil(lambda: not dialog.process.busy, timeout=PATIENCE)
    assert dialog.process.state == "failed"
    assert "ended unexpectedly" in dialog.status.text()
    dialog.resume_box.setChecked(True)
    run_to_the_end(qtbot, dialog)
    assert dialog.process.state == "done", dialog.process.error + dialog.process.details


def test_napari_asks_and_ends_the_batch(viewer, qtbot, open_dialog, images, results):
    dialog = open_dialog()
    choose_folders(qtbot, dialog, images, results)
    click(qtbot, dialog.start_button)
    qtbot.waitUntil(lambda: dialog.process.case_count is not None, timeout=PATIENCE)
    number = dialog.process.child.process_id
    manager = viewer.window._task_status_manager
    assert any("folder is being segmented" in line for line in manager.get_status())
    (work,) = viewer.window._qt_window.findChild(CloseGuard).work_in_progress()
    assert work.what == "A folder is being segmented."
    assert "Finished cases are kept" in work.kept
    manager.cancel_all()  # what napari does when its window is closed all the same
    assert not dialog.process.busy
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert dialog.process.state == "stopped"


def test_what_the_command_refuses_is_one_line(viewer, qtbot, open_dialog, tmp_path, results):
    empty = tmp_path / "nothing here"
    empty.mkdir()
    dialog = open_dialog()
    dialog.images.setText(str(tmp_path / "missing"))
    dialog.out.setText(str(results))
    qtbot.waitUntil(lambda: "does not exist" in dialog.message.text(), timeout=PATIENCE)
    choose_folders(qtbot, dialog, empty, results)
    click(qtbot, dialog.start_button)
    qtbot.waitUntil(lambda: not dialog.process.busy, timeout=PATIENCE)
    assert dialog.process.state == "failed"
    assert "nothing here" in dialog.status.text()
    assert "\n" not in dialog.status.text()
    assert "Traceback" not in dialog.status.text()


def test_fits_a_laptop(viewer, open_dialog):
    dialog = open_dialog()
    assert dialog.minimumSizeHint().width() <= 760
    assert dialog.minimumSizeHint().height() <= 700
