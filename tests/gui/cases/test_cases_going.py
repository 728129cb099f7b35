"""From case to case: passed over, decided by mistake, gone back to, by one reader and then another."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests.helpers.canvas import press_key
from tests.helpers.case_reader import CONTROL, MODEL, Reader

from napari_latentseg import CaseList
from napari_latentseg.io import read_scan
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.cases import read_case


@pytest.fixture
def reader(viewer, qtbot):
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    return Reader(viewer, qtbot, widget)


@pytest.fixture
def begun(reader, segmented):
    """Anna has the first case of the list open, and looks at the widget."""
    reader.open_list(segmented)
    reader.be("Anna")
    reader.enter()
    to_front(reader)
    notification_manager.records.clear()
    return reader


@pytest.fixture
def set_double_click():
    """Sets within how many milliseconds a second click counts as one of a double-click."""
    before = QApplication.doubleClickInterval()
    yield QApplication.setDoubleClickInterval
    QApplication.setDoubleClickInterval(before)


def to_front(reader):
    reader.widget.open_widget("Cases")
    reader.wait(reader.widget.next_button.isVisible)


def skip(reader):
    to_front(reader)
    before = reader.work.opened
    reader.click(reader.widget.next_button)
    reader.wait(lambda: reader.work.opened not in (None, before))
    return reader.work.opened.name


def messages():
    return [str(n.message) for n in notification_manager.records]


def decisions(folder):
    with CaseList(folder) as cases:
        return {row.name: (row.state, row.reader) for row in cases.rows() if row.is_decided}


def test_cases_that_are_passed_over_come_again_after_the_others(begun, segmented):
    order = begun.widget.table.shown_names()
    assert [skip(begun) for _ in range(4)] == [*order[1:], order[0]]
    skip(begun)
    begun.look()
    begun.click(begun.widget.opened_panel.reject_button)
    begun.written()
    assert begun.opened().name == order[2]  # and not the first, which was passed over
    assert decisions(segmented) == {order[1]: ("rejected", "Anna")}


def test_open_next_after_a_case_was_closed_is_another_one(begun):
    order = begun.widget.table.shown_names()
    begun.click(begun.widget.opened_panel.close_button)
    begun.wait(lambda: begun.work.opened is None)
    begun.click(begun.widget.next_button)
    assert begun.opened().name == order[1]


@pytest.mark.parametrize("button", ["approve_button", "reject_button"])
def test_a_double_click_decides_on_one_case(begun, segmented, button, set_double_click):
    order = begun.widget.table.shown_names()
    begun.look()
    set_double_click(60_000)  # as fast as on a machine without load
    button = getattr(begun.widget.opened_panel, button)
    begun.work.opened._opened_at -= 60
    begun.click(button)
    begun.written()
    begun.opened()
    for event in (QTest.mouseDClick, QTest.mouseRelease):
        event(button, Qt.MouseButton.LeftButton)
    assert begun.widget.message.text() == f"{order[1]} was opened just now: look at it, then decide."
    begun.written()
    assert list(decisions(segmented)) == [order[0]]
    assert begun.work.opened.name == order[1]


def test_a_key_that_is_held_decides_on_one_case(begun, segmented):
    begun.look()
    for is_repeated in (False, True, True):
        QApplication.sendEvent(
            begun.widget.table,
            QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Return, CONTROL, "", is_repeated),
        )
        begun.written()
        begun.look()
    assert len(decisions(segmented)) == 1


def test_what_a_filter_hides_stays_open_and_is_selected_again(begun):
    widget, name = begun.widget, begun.work.opened.name
    widget.state_box.setCurrentIndex(widget.state_box.findData("approved"))
    assert widget.table.shown_names() == []
    assert widget.table.selected_case is None
    assert begun.work.opened.name == widget.opened_panel.title.text() == name
    assert widget.opened_panel.approve_button.isEnabled()
    assert not widget.next_button.isEnabled()
    widget.state_box.setCurrentIndex(0)
    assert widget.table.selected_case.name == name
    assert widget.open_button.isEnabled()


def test_the_end_of_what_is_shown_says_that_there_are_more(begun, segmented):
    widget, name = begun.widget, begun.work.opened.name
    begun.qtbot.keyClicks(widget.search, name)
    begun.approve()
    said = widget.message.text
    begun.wait(lambda: said().startswith("No case is left: those shown are decided"))
    assert said().endswith("Not shown here: 3 cases more.")
    widget.search.clear()
    assert widget.message.text() == ""
    assert len(decisions(segmented)) == 1


def test_the_end_of_the_list_is_told_where_review_is_in_front(begun, segmented):
    for name in begun.widget.table.shown_names()[1:]:
        with CaseList(segmented) as other:
            other.decide(name, "Ben", "reject")
    begun.widget.open_widget("Review")
    begun.wait(lambda: begun.widget.message.visibleRegion().isEmpty())
    begun.approve()
    begun.wait(lambda: any("No case is left" in text for text in messages()))


def test_the_layers_of_a_decided_case_go_without_a_word(begun, viewer):
    name = begun.work.opened.name
    begun.wait(lambda: len(viewer.layers) > 3)  # its maps are there
    begun.approve()
    begun.wait(lambda: not any(name in layer.name for layer in viewer.layers))
    begun.qtbot.wait(100)
    assert messages() == []


def test_a_name_counts_as_it_stands_in_the_field(begun, segmented):
    field, name = begun.widget.reader, begun.work.opened.name
    begun.look()
    field.selectAll()
    begun.qtbot.keyClicks(field, "Ben")
    begun.widget.reject()  # as a button of macOS does, which takes no focus from the field
    begun.written()
    assert decisions(segmented) == {name: ("rejected", "Ben")}

    begun.look()
    field.clear()
    begun.click(begun.widget.opened_panel.reject_button)
    assert begun.widget.message.text() == "Reader: enter your name or initials above first."
    begun.qtbot.keyClicks(field, 100 * "x")
    begun.click(begun.widget.opened_panel.reject_button)
    assert any("longer than 60 characters" in text for text in messages())
    begun.written()
    assert list(decisions(segmented)) == [name]


def test_rating_and_comment_of_a_decision_that_was_not_written_are_kept(begun, monkeypatch):
    name = begun.work.opened.name
    begun.click(begun.widget.opened_panel.rating_buttons.button(2))
    begun.qtbot.keyClicks(begun.widget.opened_panel.comment, "rim")

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_latentseg.caselist.case_list.CaseList._append", refuse)
    monkeypatch.setattr("napari_latentseg.caselist.readings.write_scan", refuse)
    begun.look()
    press_key(begun.viewer, Qt.Key.Key_Return, CONTROL)
    begun.wait(lambda: any("No space left" in text for text in messages()))
    monkeypatch.undo()
    begun.written()
    to_front(begun)
    begun.enter(name)
    assert begun.widget.opened_panel.comment.text() == "rim"
    assert begun.widget.opened_panel.rating_buttons.button(2).isChecked()


def test_a_case_that_is_being_read_is_not_opened_in_another_list(begun, segmented, tmp_path, monkeypatch):
    """A decision on it would be written to the list that is open now, which has cases of the same names."""
    other = shutil.copytree(segmented, tmp_path / "other")
    shutil.rmtree(other / ".cases", ignore_errors=True)
    read, may_go_on = read_case.read_listed_case, threading.Event()

    def wait_and_read(*arguments):
        may_go_on.wait(60)
        return read(*arguments)

    monkeypatch.setattr(read_case, "read_listed_case", wait_and_read)
    last = begun.widget.table.shown_names()[-1]
    begun.select(last)
    begun.click(begun.widget.open_button)
    begun.widget.source.setText(str(other))
    begun.qtbot.keyClick(begun.widget.source, Qt.Key.Key_Return)
    begun.wait(lambda: begun.work.cases.source == other and not begun.work.is_opening)
    may_go_on.set()
    begun.qtbot.wait(300)
    assert begun.work.opened is None
    assert begun.widget.opened_panel.title.text() == "No case is open."
    with CaseList(segmented) as cases:
        assert cases.hold(last, "Ben").name == last  # it was let go


def test_the_layers_of_a_case_that_was_opened_in_between_stay(begun, viewer):
    first = begun.work.opened.name
    second = skip(begun)
    begun.wait(lambda: f"{second} run 1 mean" in [layer.name for layer in viewer.layers])
    copy = corrections_of(viewer).edit(begun.work.opened.result(viewer))
    to_front(begun)
    begun.enter(first)
    to_front(begun)
    begun.look()
    begun.click(begun.widget.opened_panel.reject_button)
    begun.written()
    begun.wait(lambda: not any(first in layer.name for layer in viewer.layers))
    assert copy in viewer.layers
    assert second in viewer.layers


def test_a_mask_drawn_on_another_case_is_not_approved(reader, viewer, images, tmp_path):
    alone = shutil.copytree(images / "images", tmp_path / "alone")
    reader.open_list(alone)
    reader.be("Anna")
    first = reader.enter().name
    skip(reader)
    drawn = viewer.add_labels(np.zeros(reader.work.opened.image.data.shape[:2], np.uint8), name="mine")
    drawn.paint((5, 5), 1)
    reader.select(first)
    reader.enter(first)
    notification_manager.records.clear()
    reader.look()
    press_key(viewer, Qt.Key.Key_Return, CONTROL)
    assert any(f"{first}: has no mask; segment it, or draw one" in text for text in messages())
    assert decisions(alone) == {}
    second = skip(reader)
    assert reader.approve() == second
    with CaseList(alone) as cases:
        assert np.count_nonzero(read_scan(cases.reading_paths(second)["Anna"]).array)


def test_a_case_that_is_rejected_while_it_is_segmented_leaves_nothing(begun, viewer, segmented):
    name = begun.work.opened.name
    _, segment = viewer.window.add_plugin_dock_widget("napari-latentseg", "Segment", tabify=True)
    begun.wait(lambda: begun.work.opened.image in segment.form.image.choices)
    segment.form.model.value = MODEL
    segment.form.samples.value = 30
    begun.wait(segment.run_button.isVisible)
    begun.click(segment.run_button)
    begun.wait(lambda: segment.busy)
    to_front(begun)
    begun.look()
    begun.click(begun.widget.opened_panel.reject_button)
    begun.written()
    session = session_of(viewer)
    begun.wait(lambda: not session.busy)
    begun.wait(lambda: not any(name in layer.name for layer in viewer.layers))
    begun.qtbot.wait(300)
    assert not any(name in layer.name for layer in viewer.layers)
    assert decisions(segmented) == {name: ("rejected", "Anna")}
    assert session.image is begun.work.opened.image
