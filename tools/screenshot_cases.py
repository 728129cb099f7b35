"""The scene of the Cases widget, for `screenshots.py`."""

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

__all__ = ["cases"]


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
    widget.rating_buttons.button(3).click()
    QTest.keyClicks(widget.comment, "rim at 3 o'clock")
    settle(0.5)
    yield "window-cases", None
    yield "cases-open", widget
    widget.blind_action.trigger()
    wait_until(lambda: not widget.work.writes_in_progress and widget.work.opened is not None)
    settle(1)
    yield "cases-second", widget
