"""A morning's list in one window: segmented, opened, corrected, approved, read again, agreed on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from qtpy.QtCore import Qt
from tests.helpers.case_reader import PATIENCE, Reader

from napari_latentseg import CaseList
from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.io import read_scan
from napari_latentseg.widgets.batch.dialog import BatchDialog, segment_folder
from napari_latentseg.widgets.batch.process import batch_of
from napari_latentseg.widgets.cases.consensus_dialog import ConsensusDialog

MODEL = "tiny-taught"
TWICE = 3  # each third case is read by a second reader


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own; the name of the reader is forgotten afterwards."""
    yield viewer
    batch_of(viewer).child.end()
    get_plugin_settings("napari-latentseg").reset()


def segment_all(viewer, qtbot, images, results):
    """Segment a folder in the window, in a real child process."""
    segment_folder(viewer)
    dialog = viewer.window._qt_window.findChild(BatchDialog)
    dialog.model.setCurrentIndex(dialog.model.findData(MODEL))
    dialog.deidentify.setChecked(False)
    for field, folder in ((dialog.images, images), (dialog.out, results)):
        field.clear()
        qtbot.keyClicks(field, str(folder))
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=2 * PATIENCE)
    qtbot.mouseClick(dialog.start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dialog.process.busy, timeout=5 * PATIENCE)
    dialog.close()


@pytest.mark.parametrize("count", [6, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_list_from_the_scans_to_the_consensus(viewer, qtbot, tmp_path, write_ellipses, count):
    images = write_ellipses(tmp_path / "set", count) / "images"
    results = tmp_path / "results"
    segment_all(viewer, qtbot, images, results)
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
    reader = Reader(viewer, qtbot, widget)
    reader.open_list(results)
    reader.be("Anna")
    order = widget.table.shown_names()
    assert len(order) == count
    drawn: dict[str, dict[str, np.ndarray]] = {"Anna": {}, "Ben": {}}

    for number, name in enumerate(order):
        if number == 0:
            reader.enter(name)
        assert reader.opened().name == name  # the order of the list, whatever was decided meanwhile
        drawn["Anna"][name] = reader.stroke((4, 4), (4, 50)).data.copy()
        if number % TWICE:
            reader.approve()
        else:
            reader.look()
            widget.opened_panel.open_action.trigger()
            reader.written()
    twice = order[::TWICE]
    reader.wait(lambda: "No case is left" in widget.message.text())
    reader.wait(
        lambda: sorted(row.name for row in widget.work.rows if row.state == "second reading") == sorted(twice)
    )
    reader.wait(lambda: not viewer.layers)  # nothing of a decided case stays

    reader.be("Ben")
    box = widget.state_box
    box.setCurrentIndex(box.findData("second reading"))
    assert sorted(widget.table.shown_names()) == sorted(twice)
    for number in range(len(twice)):
        if number == 0:
            reader.enter(twice[0])
        name = reader.opened().name
        drawn["Ben"][name] = reader.stroke((40, 6), (44, 50)).data.copy()
        reader.approve()
    reader.wait(lambda: all(row.state == "approved" for row in widget.work.rows))
    assert sorted(drawn["Ben"]) == sorted(twice)

    with CaseList(results) as cases:
        assert len(cases) == count
        assert not cases.damaged_lines
        for row in cases.rows():
            assert row.seconds > 0
            paths = cases.reading_paths(row.name)
            assert list(paths) == (["Anna", "Ben"] if row.name in twice else ["Anna"])
            for who, path in paths.items():
                assert np.array_equal(read_scan(path).array, drawn[who][row.name]), (who, row.name)
    approvals = AnnotationStore.for_model(MODEL).approvals()
    assert {approval.reader for approval in approvals} == {"Anna", "Ben"}

    reader.click(widget.consensus_button)
    dialog = viewer.window._qt_window.findChild(ConsensusDialog)
    assert dialog.about.text() == f"{len(twice)} cases of {count} approved by two readers or more."
    qtbot.keyClicks(dialog.folder, str(tmp_path / "agreed"))
    reader.click(dialog.export_button)
    reader.wait(lambda: not dialog.task.busy_reason)
    assert dialog.task.status.text() == f"{len(twice)} masks written, with records"
    assert not dialog.problems.text()
    for name in twice:
        (mask,) = (tmp_path / "agreed").glob(f"{name}_consensus.*[!n]")
        both = (drawn["Anna"][name] != 0) & (drawn["Ben"][name] != 0)  # the majority of two
        assert np.array_equal(np.asarray(read_scan(mask).array) != 0, both)
        record = json.loads((tmp_path / "agreed" / f"{name}_consensus.json").read_text("utf-8"))
        assert len(record["readings"]) == 2
