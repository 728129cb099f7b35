"""The scene of the Models widget and of the window that evaluates a model, for `screenshots.py`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QWidget
from screenshot_helpers import Shots, dock, settle, wait_until

from napari_latentseg.sample_data import write_annotated_phantoms

__all__ = ["evaluation", "evaluation_by_clicks"]


def evaluation(viewer: Any) -> Shots:
    """The Models widget, and the window that evaluates a model, on images that are drawn."""
    data = Path(tempfile.mkdtemp(prefix="evaluation-")) / "data"
    write_annotated_phantoms(data, 12)
    for number in (1, 2, 3):
        shutil.copytree(data / "masks", data / f"masks_r{number}")
    models = dock(viewer, "Models")
    wait_until(lambda: models.tree.topLevelItemCount() > 0)
    for row in range(models.tree.topLevelItemCount()):
        item = models.tree.topLevelItem(row)
        if item.toolTip(0) == "breast-ultrasound":
            models.tree.setCurrentItem(item)
    yield "models-card", models
    models.card.setCurrentIndex(1)
    yield "models-calibration", models
    models.card.setCurrentIndex(2)
    yield "models-curve", models
    models.evaluate_button.click()
    settle(1)
    dialog = viewer.window._qt_window.findChild(QWidget, "evaluate")
    wait_until(lambda: dialog.fields.card is not None)
    yield "evaluate-empty", dialog
    dialog.fields.data.setText(str(data.parent))
    settle(1)
    yield "evaluate-refused", dialog
    dialog.fields.data.setText(str(data))
    dialog.fields.against.setCurrentIndex(2)
    dialog.fields.readers.setChecked(True)
    wait_until(dialog.start_button.isEnabled)
    yield "evaluate-ready", dialog
    dialog.fields.subset.setCurrentIndex(2)
    settle(0.3)
    yield "evaluate-list", dialog
    dialog.fields.subset.setCurrentIndex(0)
    dialog.start_button.click()
    wait_until(lambda: dialog.process.done > 0.3 or not dialog.process.busy)
    yield "evaluate-running", dialog
    wait_until(lambda: not dialog.process.busy)
    yield "evaluate-done", dialog
    dialog.tabs.setCurrentWidget(dialog.worst_images)
    yield "evaluate-worst", dialog
    dialog.open_button.click()
    wait_until(lambda: dialog._opening is None)
    settle(2)
    dialog.hide()
    yield "evaluate-opened", None
    dialog.show()
    dialog.fields.subset.setCurrentIndex(1)
    wait_until(dialog.start_button.isEnabled)
    dialog.start_button.click()
    wait_until(lambda: not dialog.process.busy)
    yield "evaluate-failed", dialog
    dialog.close()


def evaluation_by_clicks(viewer: Any) -> Shots:
    """The window that evaluates a model, with one that is pointed at."""
    data = Path(tempfile.mkdtemp(prefix="evaluation-")) / "data"
    write_annotated_phantoms(data, 4)
    models = dock(viewer, "Models")
    wait_until(lambda: models.tree.topLevelItemCount() > 0)
    for row in range(models.tree.topLevelItemCount()):
        item = models.tree.topLevelItem(row)
        if item.toolTip(0) == "any-structure":
            models.tree.setCurrentItem(item)
    models.evaluate_button.click()
    settle(1)
    dialog = viewer.window._qt_window.findChild(QWidget, "evaluate")
    wait_until(lambda: dialog.fields.card is not None)
    dialog.fields.data.setText(str(data))
    dialog.fields.samples.setValue(2)
    dialog.fields.clicks.setValue(3)
    wait_until(dialog.start_button.isEnabled)
    yield "evaluate-clicks-ready", dialog
    dialog.start_button.click()
    wait_until(lambda: dialog.process.state == "running" or not dialog.process.busy)
    yield "evaluate-clicks-running", dialog
    wait_until(lambda: not dialog.process.busy)
    yield "evaluate-clicks-done", dialog
    dialog.tabs.setCurrentWidget(dialog.objects)
    yield "evaluate-clicks-objects", dialog
    dialog.close()
