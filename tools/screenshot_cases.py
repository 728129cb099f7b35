"""The scenes of the Cases widget and of the comparison of readers, for `screenshots.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from screenshot_helpers import Shots, dock, settle, wait_until

from napari_latentseg import CaseList, batch
from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets.cases.consensus_dialog import ConsensusDialog
from napari_latentseg.widgets.opening.archive_dialog import ArchiveDialog
from napari_latentseg.widgets.readers.dialog import ReadersDialog, compare_readers
from napari_latentseg.widgets.segment.samples import layer_data_of

__all__ = ["cases", "readers"]


def cases(viewer: Any) -> Shots:
    """A list of phantoms: empty, listed, and a case open in Review."""
    folder = Path(tempfile.mkdtemp(prefix="cases-"))
    (folder / "scans").mkdir()
    for seed in range(8):
        pixels = np.asarray(ultrasound_phantom(seed).scan.array)
        Image.fromarray(pixels).save(folder / "scans" / f"lesion_{seed + 1:02d}.png")
    batch(folder / "scans", "breast-ultrasound", folder / "results", samples=5)
    widget = dock(viewer, "Cases")
    yield "cases-empty", widget
    with CaseList(folder / "results") as listed:
        listed.decide("lesion_03", "Ben", "reject", rating=1, comment="no lesion in view", seconds=48)
        listed.hold("lesion_06", "Ben")
        listed.release("lesion_06", "Ben", 130)
    widget.source.setText(str(folder / "results"))
    widget.reader.setText("Anna")
    widget.reader.editingFinished.emit()
    widget.open_list()
    wait_until(lambda: bool(widget.work.rows))
    yield "cases-listed", widget
    QTest.keyClick(widget.table, Qt.Key.Key_Return)
    wait_until(lambda: widget.work.opened is not None)
    settle(2)
    yield "cases-review", None
    widget.open_widget("Cases")
    widget.opened_panel.rating_buttons.button(3).click()
    QTest.keyClicks(widget.opened_panel.comment, "rim at 3 o'clock")
    settle(0.5)
    yield "window-cases", None
    yield "cases-open", widget
    widget.opened_panel.blind_action.trigger()
    wait_until(lambda: not widget.work.writes_in_progress and widget.work.opened is not None)
    settle(1)
    yield "cases-second", widget
    with CaseList(folder / "results") as listed:
        held = widget.work.opened.name
        for name in [f"lesion_{number:02d}" for number in (1, 2, 4) if not held.endswith(str(number))][:2]:
            scan = ultrasound_phantom(int(name[-2:]) - 1)
            mask = np.asarray(scan.reference).astype(np.uint8)
            for reader, shift in (("Anna", 0), ("Ben", 5)):
                labels = np.roll(mask, shift, axis=1)
                listed.decide(name, reader, "approve", mask=scan.scan.replace(array=labels))
    widget.work.refresh()
    wait_until(widget.consensus_button.isEnabled)
    widget.consensus_button.click()
    settle(0.5)
    yield "cases-consensus", viewer.window._qt_window.findChild(ConsensusDialog)
    archive = show_dialog(viewer, ArchiveDialog, ArchiveDialog)
    settle(0.5)
    yield "archive-empty", archive


def readers(viewer: Any) -> Shots:
    """Two readers of a phantom beside the samples of a model: nothing yet, compared, and the maps."""
    window = viewer.window._qt_window
    compare_readers(viewer)
    dialog = window.findChild(ReadersDialog)
    settle(0.5)
    yield "readers-empty", dialog
    dialog.close()
    phantom = ultrasound_phantom()
    data, arguments, _ = layer_data_of(phantom)
    image = viewer.add_image(data, **arguments)
    segment = dock(viewer, "Segment")
    segment.form.model.value = "breast-ultrasound"
    segment.form.samples.value = 8
    segment.segment()
    wait_until(lambda: not segment.busy and segment.session.current is not None)
    wait_until(lambda: segment.session.current.segmentation is not None)
    reference = np.asarray(phantom.reference).astype(np.uint8)
    for name, labels in (
        ("Anna", reference),
        ("Ben", np.roll(reference, (4, 9), axis=(0, 1))),
        ("Cleo", np.roll(reference, -7, axis=0)),
    ):
        layer = viewer.add_labels(labels, name=name, scale=image.scale, units=image.units)
        layer.visible = False
    compare_readers(viewer)
    dialog = window.findChild(ReadersDialog)
    dialog.compare_button.click()
    wait_until(lambda: dialog.compared is not None)
    settle(0.5)
    yield "readers-compared", dialog
    dialog.map_buttons["disagreement of readers"].click()
    dialog.map_buttons["consensus of readers"].click()
    dialog.tabs.setCurrentIndex(1)
    settle(0.5)
    yield "readers-model", dialog
    dialog.hide()
    settle(0.5)
    yield "window-readers-disagreement", None
    dialog.map_buttons["variance"].click()
    settle(0.5)
    yield "window-readers-variance", None
    dialog.close()
