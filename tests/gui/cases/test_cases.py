"""Readers work through a list in a real viewer: opened, corrected, approved, read a second time."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from tests.helpers.canvas import press_key
from tests.helpers.case_reader import CONTROL, MODEL, Reader
from tests.helpers.explained import unexplained
from tests.helpers.gui_thread import GuiThreadGuard
from tests.helpers.shared_viewer import process_events

from napari_latentseg import CaseList, batch, list_cases
from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.io import read_scan
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.cases.case_work import case_work_of


@pytest.fixture
def cases(viewer):
    """The widget, as the menu of the plugin opens it."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    return widget


@pytest.fixture
def reader(viewer, qtbot, cases):
    return Reader(viewer, qtbot, cases)


def messages():
    return [str(n.message) for n in notification_manager.records]


def test_without_a_reader_nothing_is_opened(reader, segmented):
    assert unexplained(reader.widget) == []
    assert "list" in reader.widget.next_button.toolTip()
    reader.open_list(segmented)
    reader.qtbot.keyClick(reader.widget.table, Qt.Key.Key_Return)
    assert reader.widget.message.text() == "Reader: enter your name or initials above first."
    assert not (segmented / ".cases").exists()


def test_a_list_is_walked_from_the_first_to_the_last(reader, viewer, segmented, own_home):
    reader.open_list(segmented)
    reader.be("Anna")
    order = [row.name for row in list_cases(segmented)]
    assert reader.widget.table.shown_names() == order
    assert reader.widget.counts.text() == "4 cases, 0 decided."

    first = reader.enter()
    assert first.name == order[0]
    result = reader.work.opened.result(viewer)
    assert result is reader.widget.session.current
    assert [row.state for row in CaseList(segmented).rows()].count("in review") == 1

    layer = corrections_of(viewer).edit(result)
    layer.brush_size = 5
    layer.paint((3, 3), 1)
    corrected = layer.data.copy()
    reader.widget.open_widget("Cases")  # Review is in front
    reader.click(reader.widget.opened_panel.rating_buttons.button(3))
    reader.qtbot.keyClicks(reader.widget.opened_panel.comment, "rim")
    assert reader.approve(reader.widget.opened_panel.comment) == order[0]

    second = reader.opened()
    assert second.name == order[1]
    reader.wait(lambda: not any(order[0] in layer.name for layer in viewer.layers))
    with CaseList(segmented) as listed:
        case = listed.case(order[0])
        assert (case.state, case.reader, case.rating, case.comment) == ("approved", "Anna", 3, "rim")
        assert np.array_equal(read_scan(listed.reading_paths(order[0])["Anna"]).array, corrected)
    (approval,) = AnnotationStore.for_model(MODEL).approvals()
    assert (approval.reader, approval.edited) == ("Anna", True)
    assert reader.widget.opened_panel.comment.text() == ""

    assert reader.approve() == order[1]  # with the image in focus
    assert reader.opened().name == order[2]
    reader.look()
    reader.click(reader.widget.opened_panel.reject_button)
    reader.written()
    assert reader.opened().name == order[3]
    reader.approve()
    reader.wait(lambda: "No case is left" in reader.widget.message.text())
    reader.wait(lambda: reader.widget.counts.text() == "4 cases, 4 decided.")
    assert [reader.state(name) for name in order] == ["approved", "approved", "rejected", "approved"]
    reader.wait(lambda: not viewer.layers)


@pytest.mark.parametrize("blind", [True, False], ids=["blind", "open"])
def test_a_second_reader(reader, viewer, segmented, blind):
    reader.open_list(segmented)
    reader.be("Anna")
    name = reader.enter().name
    layer = corrections_of(viewer).edit(reader.work.opened.result(viewer))
    layer.brush_size = 9
    layer.paint((30, 40), 1)
    action = reader.widget.opened_panel.blind_action if blind else reader.widget.opened_panel.open_action
    reader.look()
    action.trigger()
    reader.written()
    reader.wait(lambda: reader.state(name) == "second reading")
    reader.click(reader.widget.opened_panel.close_button)
    notification_manager.records.clear()
    reader.select(name)
    reader.click(reader.widget.open_button)
    reader.wait(lambda: any("you were the first" in text for text in messages()))

    reader.be("Ben")
    opened = reader.enter(name)
    how = "blind" if blind else "after Anna"
    assert reader.widget.opened_panel.title.text() == f"{name}, second reading, {how}"
    reader.wait(lambda: bool(corrections_of(viewer).corrections))
    reader.qtbot.wait(300)  # approvals are read in a worker
    result = opened.result(viewer)
    shown = result.shown_mask()
    assert (f"{name} mask of Anna" in [layer.name for layer in viewer.layers]) is not blind
    assert not shown.comparison.approved_slices  # those of Anna
    assert np.array_equal(shown.data, result.segmentation.mask) is blind
    reader.approve(reader.widget.table)
    reader.wait(lambda: reader.state(name) == "approved")
    reader.wait(lambda: f"{name}: Anna and Ben, " in reader.widget.message.text())
    assert ("Dice 1.000" in reader.widget.message.text()) is not blind
    case = next(row for row in reader.work.rows if row.name == name)
    assert case.readers == ("Anna", "Ben")


def test_masks_without_a_model(reader, viewer, images):
    reader.open_list(images)
    reader.be("Anna")
    name = reader.enter("images_case_2").name
    labels = viewer.layers[f"{name} mask"]
    before = labels.data.copy()
    labels.brush_size = 3
    labels.paint((2, 2), 1)
    reader.approve()
    with CaseList(images) as listed:
        kept = read_scan(listed.reading_paths(name)["Anna"]).array
    assert np.array_equal(np.asarray(kept) != 0, labels.data != 0)
    assert not np.array_equal(kept, before)
    reader.opened()
    # the layers of a case go one at a time; while one of them is there, a new one gets another name
    reader.wait(lambda: f"{name} mask" not in viewer.layers and name not in viewer.layers)
    again = reader.enter(name)  # what was approved is shown
    assert np.array_equal(viewer.layers[f"{name} mask"].data, kept)
    assert again.case.state == "approved"


def test_an_image_without_a_mask_is_approved_once_one_is_drawn(reader, viewer, images, tmp_path):
    alone = shutil.copytree(images / "images", tmp_path / "alone")
    reader.open_list(alone)
    reader.be("Anna")
    opened = reader.enter()
    notification_manager.records.clear()
    reader.look()
    press_key(viewer, Qt.Key.Key_Return, CONTROL)
    assert any("has no mask; segment it, or draw one" in text for text in messages())
    drawn = viewer.add_labels(np.zeros(opened.image.data.shape[:2], np.uint8), name="mine")
    drawn.paint((5, 5), 1)
    assert reader.approve() == opened.name
    assert np.count_nonzero(read_scan(CaseList(alone).reading_paths(opened.name)["Anna"]).array)


def test_no_file_is_read_or_written_in_the_gui_thread(reader, segmented):
    reader.be("Anna")
    reader.widget.source.setText(str(segmented))
    guard = GuiThreadGuard()
    with guard.watch():
        reader.widget.open_list()
        reader.wait(lambda: reader.work.cases is not None and not reader.work.is_opening)
        reader.qtbot.keyClick(reader.widget.table, Qt.Key.Key_Return)
        first = reader.opened()
        reader.look()
        press_key(reader.viewer, Qt.Key.Key_Return, CONTROL)
        reader.wait(lambda: reader.work.opened not in (None, first))
        reader.written()
    guard.check()


def test_the_following_case_is_read_before_it_is_asked_for(reader, segmented, monkeypatch):
    reader.open_list(segmented)
    reader.be("Anna")
    following = reader.widget.table.shown_names()[1]
    reader.enter()
    reader.work._ahead.wait()

    def refuse(*arguments):
        raise AssertionError("it was read again")

    monkeypatch.setattr("napari_latentseg.widgets.cases.read_case.read_listed_case", refuse)
    reader.look()
    press_key(reader.viewer, Qt.Key.Key_Return, CONTROL)
    reader.wait(lambda: reader.work.opened is not None)
    assert reader.work.opened.name == following
    reader.written()


def test_a_reading_that_cannot_be_written_loses_no_stroke(reader, viewer, segmented, monkeypatch):
    reader.open_list(segmented)
    reader.be("Anna")
    name = reader.enter().name
    copy = corrections_of(viewer).edit(reader.work.opened.result(viewer))
    process_events()  # nobody paints in a layer that was not drawn yet, and software rendering ends at it
    copy.paint((3, 3), 1)

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_latentseg.caselist.readings.write_scan", refuse)
    notification_manager.records.clear()
    reader.look()
    press_key(viewer, Qt.Key.Key_Return, CONTROL)
    reader.wait(
        lambda: any("decisions cannot be written there (No space left" in text for text in messages())
    )
    monkeypatch.undo()
    reader.written()
    assert copy in viewer.layers
    assert copy.data[3, 3] == 1
    reader.enter(name)
    assert reader.approve() == name
    with CaseList(segmented) as listed:
        assert np.asarray(read_scan(listed.reading_paths(name)["Anna"]).array)[3, 3] == 1


def test_a_deidentified_batch_is_opened_with_its_images(reader, images, tmp_path, own_home):
    out = tmp_path / "hidden"
    batch(images / "images", MODEL, out, samples=3, deidentify=True)
    reader.be("Anna")
    reader.open_list(out)
    notification_manager.records.clear()
    reader.qtbot.keyClick(reader.widget.table, Qt.Key.Key_Return)
    reader.wait(lambda: any("give the folder of the images as the list" in text for text in messages()))
    reader.open_list(images / "images", out)
    reader.wait(lambda: reader.work.cases.results is not None and not reader.work.is_opening)
    name = reader.enter().name
    assert name.startswith("scan-")
    assert reader.approve() == name


def test_filter_and_search(reader, segmented):
    with CaseList(segmented) as listed:
        listed.decide("case_2", "Ben", "reject", comment="motion")
    reader.open_list(segmented)
    reader.qtbot.keyClicks(reader.widget.search, "MOTION")
    assert reader.widget.table.shown_names() == ["case_2"]
    assert reader.widget.counts.text() == "1 shown; 4 cases, 1 decided."
    reader.widget.search.clear()
    box = reader.widget.state_box
    box.setFocus()
    reader.qtbot.keyClicks(box, "undecided")
    assert box.currentText() == "undecided"
    assert "case_2" not in reader.widget.table.shown_names()
    assert len(reader.widget.table.shown_names()) == 3


def test_a_case_of_another_reader_is_refused_in_one_line(reader, segmented):
    other = CaseList(segmented)
    name = other.rows()[0].name
    other.hold(name, "Ben")
    reader.open_list(segmented)
    reader.be("Anna")
    notification_manager.records.clear()
    reader.qtbot.keyClick(reader.widget.table, Qt.Key.Key_Return)
    reader.wait(lambda: any(f"{name}: is being read by Ben" in text for text in messages()))
    reader.click(reader.widget.next_button)
    assert reader.opened().name == other.rows()[1].name
    other.close()


def test_a_closed_case_can_be_had_by_another_and_keeps_its_layers(reader, viewer, segmented):
    reader.open_list(segmented)
    reader.be("Anna")
    name = reader.enter().name
    layer = corrections_of(viewer).edit(reader.work.opened.result(viewer))
    layer.paint((3, 3), 1)
    reader.click(reader.widget.opened_panel.close_button)
    reader.wait(lambda: reader.work.opened is None)
    other = CaseList(segmented)
    reader.wait(lambda: _can_hold(other, name))
    other.close()
    reader.enter(name)
    assert layer in viewer.layers
    assert len([shown for shown in viewer.layers if shown.name == name]) == 1


def test_a_case_of_a_list_that_is_read_again_is_not_added_twice(reader, viewer, segmented):
    reader.open_list(segmented)
    reader.be("Anna")
    name = reader.enter().name
    image = reader.work.opened.image
    reader.click(reader.widget.opened_panel.close_button)
    reader.wait(lambda: reader.work.opened is None)
    reader.open_list(segmented)
    assert reader.enter(name).image is image
    assert not [layer.name for layer in viewer.layers if "[1]" in layer.name]


def _can_hold(cases, name):
    try:
        cases.hold(name, "Ben")
    except ValueError:
        return False
    return True


def test_what_is_not_a_list_is_said_in_one_line(reader, tmp_path):
    notification_manager.records.clear()
    reader.click(reader.widget.open_button)
    for field_text, said in (("", "Choose a folder or a list first."), (str(tmp_path / "none"), "")):
        reader.widget.source.setText(field_text)
        reader.qtbot.keyClick(reader.widget.source, Qt.Key.Key_Return)
        reader.wait(lambda: not reader.work.is_opening)
        assert reader.widget.message.text() == said
    assert any("no such file or folder" in text for text in messages())


def test_the_case_stays_open_when_the_widget_is_closed(reader, viewer, segmented, qtbot):
    reader.open_list(segmented)
    reader.be("Anna")
    name = reader.enter().name
    viewer.window.remove_dock_widget(reader.widget)
    reader.widget.deleteLater()
    qtbot.wait(50)
    _, again = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    assert case_work_of(viewer).opened.name == name
    assert again.opened_panel.title.text() == name
    assert again.source.text() == str(segmented)
    other = Reader(viewer, qtbot, again)
    assert other.approve() == name


def test_nothing_is_decided_on_an_image_with_other_values(reader, viewer, images):
    reader.open_list(images)
    reader.be("Anna")
    name = reader.enter("images_case_2").name
    opened = reader.opened()
    values = opened.image.data
    opened.image.data = np.zeros_like(values)
    viewer.layers[f"{name} mask"].paint((2, 2), 1)
    for decide in (reader.widget.opened_panel.reject_button, None):
        notification_manager.records.clear()
        reader.look()
        if decide is None:
            press_key(viewer, Qt.Key.Key_Return, CONTROL)
        else:
            reader.click(decide)
        assert any("open it again, which reads its file" in text for text in messages())
    assert reader.work.opened is opened
    assert not CaseList(images).reading_paths(name)
    again = reader.enter(name)
    assert again is not opened
    np.testing.assert_array_equal(again.image.data, values)
    again.image.data = values.copy()  # equal ones, as when a volume is loaded into memory
    reader.wait(lambda: not again.images_with_other_values)
    again.labels.paint((7, 7), 1)
    assert reader.approve() == name
    kept = read_scan(CaseList(images).reading_paths(name)["Anna"]).array
    assert np.asarray(kept)[7, 7] == 1
    assert np.asarray(kept)[2, 2] == 0


def test_a_case_whose_image_was_replaced_behind_another_is_read_again(reader, viewer, segmented):
    reader.open_list(segmented)
    reader.be("Anna")
    order = reader.widget.table.shown_names()
    first = reader.enter(order[0])
    values, key = first.image.data, first.read.sha256
    copy = corrections_of(viewer).edit(first.result(viewer))
    process_events()
    copy.paint((3, 3), 0 if copy.data[3, 3] else 1)
    second = reader.enter(order[1])
    first.image.data = np.zeros_like(values)
    reader.wait(lambda: copy not in viewer.layers)
    reader.wait(lambda: {draft.key for draft in AnnotationStore.for_model(MODEL).drafts()} == {key})
    assert reader.approve() == second.name  # which is not concerned
    again = reader.enter(order[0])
    assert again is not first
    np.testing.assert_array_equal(again.image.data, values)
    np.testing.assert_array_equal(again.mask(viewer).array, again.read.saved.segmentation.mask)
    assert reader.approve() == order[0]
