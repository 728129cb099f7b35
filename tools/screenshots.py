"""Renders every widget in its states, in napari's dark and light theme, to be looked at and for the docs.

    tools/display.sh run .venv/bin/python tools/screenshots.py --out build/pictures --only segment review
    tools/display.sh run .venv/bin/python tools/screenshots.py --out FOLDER --only crowded refused_slices

The second shows what is crowded or refused, to be looked at and not kept. Each picture is made by the real
application, in a window of 1366x768, on images that the package brings or that are made here. Models that are
taught on the way go to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = ""  # nobody's own settings
os.environ["NAPARI_LATENTSEG_HOME"] = tempfile.mkdtemp(prefix="latentseg-screenshots-")

import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtWidgets import QScrollArea, QWidget
from screenshot_cases import cases, readers
from screenshot_correct import correct
from screenshot_evaluation import evaluation, evaluation_by_clicks
from screenshot_helpers import Shots, dock, settle, wait_until
from screenshot_hints import hints
from screenshot_point import point, point_volume

from napari_latentseg import api
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.io.convert import write_scan
from napari_latentseg.sample_data import (
    SampleImage,
    retina,
    ultrasound_phantom,
    ultrasound_sweep,
)
from napari_latentseg.widgets.segment.samples import layer_data_of

_WIDGETS = ("Segment", "Review", "Annotate", "Train", "Models", "Cases")
_FIVE_CLASSES = Path(__file__).parents[1] / "docs" / "trainings" / "hippocampus-heart-guided"
_LONG_NAME = "cardiac_cine_short_axis_follow_up_2026_patient_0071_end_diastole"


def show(viewer: Any, sample: Any) -> Any:
    data, arguments, _ = layer_data_of(sample)
    return viewer.add_image(data, **arguments)


def raise_widget(viewer: Any, widget: Any, name: str) -> None:
    widget.open_widget(name)
    settle(0.3)


def short_axis() -> SampleImage:
    """A drawn stack of short-axis slices: two bright ventricles, the dark muscle between them, 10 slices."""
    slices, rows, columns = np.mgrid[:10, :160, :160].astype(float)
    size = 1 - 0.05 * slices
    left = np.hypot(rows - 84, columns - 92) / size
    right = np.hypot((rows - 76) / 1.2, columns - 62) / size
    body = np.hypot((rows - 80) / 66, (columns - 80) / 74) < 1
    signal = np.where(body, 0.35, 0.02)
    signal[right < 21] = 0.85
    signal[left < 26] = 0.2
    signal[left < 17] = 0.9
    noisy = signal + np.random.default_rng(0).normal(0, 0.04, signal.shape)
    pixels = np.clip(noisy * 900, 0, None).astype(np.uint16)
    scan = Scan(pixels, "zyx", Geometry.from_spacing("zyx", (8, 1.5, 1.5), "mm"), modality="MR")
    return SampleImage(_LONG_NAME, scan, _FIVE_CLASSES.name)


def segment(viewer: Any) -> Shots:
    widget = dock(viewer, "Segment")
    yield "segment-empty", widget
    show(viewer, ultrasound_phantom())
    widget.form.model.value = "breast-ultrasound"
    wait_until(lambda: not widget.form.fit_line.is_checking)
    yield "segment-ready", widget
    widget.form.advanced.expand(animate=False)
    yield "segment-more", widget
    widget.form.advanced.collapse(animate=False)
    widget.form.samples.value = 40
    widget.segment()
    wait_until(lambda: widget.progress_bar.value() > 250 or not widget.busy)
    yield "segment-running", widget
    widget.cancel()
    wait_until(lambda: not widget.busy)
    yield "segment-cancelled", widget
    widget.form.samples.value = 5
    widget.segment()
    wait_until(lambda: not widget.busy)
    yield "segment-done", widget
    widget.result_panel.toggles["agreement"].click()
    settle(0.5)
    viewer.cursor.position = (20.0, 24.0)
    yield "window-segment", None
    widget.form.model.value = "retina-vessels"
    wait_until(lambda: not widget.form.fit_line.is_checking)
    yield "segment-unusual", widget
    widget.form.model.value = "breast-ultrasound"
    widget.ask_export()
    settle()
    for dialog in widget.findChildren(QWidget, "export"):
        dialog.folder.setText(tempfile.mkdtemp(prefix="exports-"))
    settle(1)
    for dialog in widget.findChildren(QWidget, "export"):
        yield "export", dialog
        dialog.close()
    widget.form.show_card()
    settle()
    for dialog in widget.form.findChildren(QWidget, "card"):
        yield "card", dialog
        dialog.close()
    show(viewer, retina())
    widget.form.spacing_row.ask()
    widget.form.spacing_row.dialog.draw_ruler()
    settle()
    yield "spacing", widget.form.spacing_row.dialog
    widget.form.spacing_row.dialog.reject()
    viewer.layers.clear()
    viewer.add_image(np.full((20, 20), np.nan), name="broken", visible=False)  # Mesa draws no such image
    widget.segment()
    wait_until(lambda: not widget.busy)
    yield "segment-failed", widget


def review(viewer: Any) -> Shots:
    segmenting = dock(viewer, "Segment")
    widget = dock(viewer, "Review")
    yield "review-empty", widget
    show(viewer, ultrasound_sweep())
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.form.samples.value = 5
    segmenting.segment()
    wait_until(lambda: not segmenting.busy)
    wait_until(lambda: bool(widget.queue.findings) and bool(widget.measures.size_text.text()))
    yield "review-volume", widget
    for _ in range(3):
        widget.next()
    widget.approve()
    widget.display_buttons.show_map("variance", True)
    widget.display_buttons.map_buttons["variance"].setChecked(True)
    settle(1)
    yield "window-review", None
    widget.display_buttons.show_map("variance", False)
    for _ in range(len(widget.queue.findings)):  # the slices at both ends show no lesion
        if (widget.session.current.layers.mask.data[viewer.dims.current_step[0]] > 0).mean() > 0.02:
            break
        widget.next()
    widget.display_buttons.outlines_button.click()
    wait_until(lambda: widget.display_buttons.outlines.layer is not None)
    settle(1)
    yield "window-outlines", None
    widget.ranking.unit_box.setCurrentIndex(1)
    widget.rank()
    settle(2)
    yield "review-objects", widget
    widget.measures.objects_button.click()
    settle(2)
    for dialog in widget.findChildren(QWidget, "objects"):
        yield "objects", dialog
        dialog.close()
    viewer.layers.clear()
    show(viewer, retina())
    segmenting.form.model.value = "retina-vessels"
    segmenting.segment()
    wait_until(lambda: not segmenting.busy)
    settle(2)
    yield "review-plane", widget


def edge_contours(viewer: Any) -> Shots:
    """The contours between which the true edge lies, on an image that fits the model."""
    segmenting, reviewing = dock(viewer, "Segment"), dock(viewer, "Review")
    raise_widget(viewer, segmenting, "Segment")
    show(viewer, ultrasound_phantom())
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.segment()
    wait_until(lambda: not segmenting.busy)
    wait_until(lambda: not segmenting.form.fit_line.is_checking)
    yield "segment-fits", segmenting
    raise_widget(viewer, segmenting, "Review")
    wait_until(lambda: bool(reviewing.queue.findings) and bool(reviewing.measures.size_text.text()))
    reviewing.display_buttons.edge_button.click()
    wait_until(lambda: reviewing.display_buttons.edge_contours.layer is not None)
    settle(1)
    yield "window-contours", None


def teach(viewer: Any) -> Shots:
    segmenting = dock(viewer, "Segment")
    annotating = dock(viewer, "Annotate")
    yield "annotate-empty", annotating
    training = dock(viewer, "Train")
    yield "train-empty", training
    training.form.data_source.folder_option.click()
    settle(0.2)
    yield "train-folder", training
    training.form.data_source.approved_option.click()
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.form.samples.value = 3
    for seed in range(5):
        sample = ultrasound_phantom(seed)
        segmenting.form.image.value = show(viewer, sample)
        segmenting.segment()
        wait_until(lambda: not segmenting.busy)
        annotating.edit()
        layer = viewer.layers.selection.active
        if seed == 0:
            settle(1)
            annotating.open_widget("Annotate")
            yield "window-annotate", None
        wrong = np.nonzero(layer.data != sample.reference)
        layer.data_setitem(wrong, sample.reference[wrong])
        annotating.approve_button.click()
        wait_until(lambda: annotating.corrections.approvals.writes_in_progress == 0)
    yield "annotate-approved", annotating
    training.form.model.setCurrentIndex(training.form.model.findData("breast-ultrasound"))
    training._on_model()
    training.form.minutes.setValue(1.0)
    wait_until(training.train_button.isEnabled)
    yield "train-ready", training
    training.train_button.click()
    wait_until(lambda: training.training.state != "idle" and training.progress.bar.value() > 500)
    settle(1)
    yield "train-running", training
    wait_until(lambda: not training.training.busy)
    settle(1)
    yield "train-done", training
    training.comparison.use_button.click()
    wait_until(lambda: training.training.state == "idle")
    models = dock(viewer, "Models")
    wait_until(lambda: models._running_jobs == 0)
    settle(1)
    yield "models", models


def crowded(viewer: Any) -> Shots:
    """Five tabs, five classes, a long name, several images, and a run that was cancelled."""
    if _FIVE_CLASSES.name not in api.list_models():
        api.install_model(_FIVE_CLASSES)
    widgets = {name: dock(viewer, name) for name in _WIDGETS}
    segmenting, reviewing = widgets["Segment"], widgets["Review"]
    raise_widget(viewer, segmenting, "Segment")
    show(viewer, ultrasound_phantom())
    show(viewer, short_axis())
    segmenting.form.model.value = _FIVE_CLASSES.name
    wait_until(lambda: not segmenting.form.fit_line.is_checking)
    yield "crowded-ready", None
    segmenting.form.samples.value = 60
    segmenting.segment()
    wait_until(lambda: segmenting.progress_bar.value() > 60 or not segmenting.busy)
    segmenting.cancel()
    wait_until(lambda: not segmenting.busy)
    yield "crowded-cancelled", None
    segmenting.form.samples.value = 8
    segmenting.segment()
    wait_until(lambda: not segmenting.busy)
    segmenting.result_panel.toggles["agreement"].click()
    settle(1)
    yield "crowded-agreement", None
    scroll_down(segmenting)
    segmenting.result_panel.toggles["mean"].click()
    settle(1)
    yield "crowded-mean", None
    segmenting.result_panel.toggles["variance"].click()
    settle(1)
    yield "crowded-variance", None
    segmenting.form.advanced.expand(animate=False)
    yield "crowded-advanced", None
    segmenting.form.advanced.collapse(animate=False)
    raise_widget(viewer, segmenting, "Review")
    wait_until(lambda: bool(reviewing.queue.findings) and bool(reviewing.measures.size_text.text()))
    reviewing.next()
    yield "crowded-review", None
    scroll_down(reviewing)
    yield "crowded-review-end", None
    segmenting.ask_export()
    settle(1)
    for dialog in segmenting.findChildren(QWidget, "export"):
        yield "crowded-export", dialog
        dialog.close()
    raise_widget(viewer, segmenting, "Annotate")
    widgets["Annotate"].edit()
    settle(1)
    yield "crowded-annotate", None
    raise_widget(viewer, segmenting, "Train")
    yield "crowded-train", None
    raise_widget(viewer, segmenting, "Models")
    wait_until(lambda: widgets["Models"]._running_jobs == 0)
    settle(1)
    yield "crowded-models", None


def refused_slices(viewer: Any) -> Shots:
    """Annotate after a run on some of the slices."""
    segmenting, annotating = dock(viewer, "Segment"), dock(viewer, "Annotate")
    show(viewer, ultrasound_sweep())
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.form.samples.value = 40
    segmenting.segment()
    wait_until(lambda: segmenting.progress_bar.value() > 250 or not segmenting.busy)
    segmenting.cancel()
    wait_until(lambda: not segmenting.busy)
    yield "part-segment", segmenting
    viewer.dims.set_current_step(0, 23)
    annotating.edit()
    settle(1)
    annotating.approve_all_button.click()
    yield "part-annotate", None


def folder(viewer: Any) -> Shots:
    """A folder of phantoms, a volume and a broken file: ready, running, done, and a case opened in Review."""
    images = Path(tempfile.mkdtemp(prefix="scans-"))
    for seed in range(6):
        sample = ultrasound_phantom(seed)
        Image.fromarray(np.asarray(sample.scan.array)).save(images / f"patient_{seed + 1:02d}.png")
    sweep = ultrasound_sweep().scan
    write_scan(sweep, images / "sweep_07.nii.gz")
    (images / "patient_08.png").write_bytes(b"cut short")
    segmenting = dock(viewer, "Segment")
    segmenting.form.model.value = "breast-ultrasound"
    segmenting.folder_button.click()
    dialog = viewer.window._qt_window.findChild(QWidget, "batch")
    yield "folder-empty", dialog
    results = tempfile.mkdtemp(prefix="results-")
    dialog.deidentify.setChecked(False)  # a case is opened by the name of its file below
    dialog.images.setText(str(images))
    dialog.out.setText(results)
    wait_until(dialog.start_button.isEnabled)
    yield "folder-ready", dialog
    dialog.start_button.click()
    wait_until(lambda: len(dialog.process.rows) > 2)
    yield "folder-running", dialog
    wait_until(lambda: not dialog.process.busy)
    settle(1)
    dialog.table.selectRow(0)
    yield "folder-done", dialog
    dialog.deidentify.setChecked(True)
    dialog.out.setText(tempfile.mkdtemp(prefix="results-"))
    wait_until(dialog.start_button.isEnabled)
    dialog.start_button.click()
    wait_until(lambda: not dialog.process.busy and bool(dialog.table.cases.image_names))
    settle(1)
    yield "folder-deidentified", dialog
    dialog.deidentify.setChecked(False)
    dialog.out.setText(str(results))
    wait_until(lambda: "sweep_07" in dialog.process.rows)
    dialog.open_case(dialog.process.rows["sweep_07"])
    wait_until(lambda: bool(dialog.session.results))
    settle(2)
    dialog.hide()
    yield "folder-review", None
    dialog.close()


def dates(viewer: Any) -> Shots:
    """Two examinations of one volume, the second with a larger lesion: their change, and a flip."""
    segmenting, reviewing = dock(viewer, "Segment"), dock(viewer, "Review")
    first = ultrasound_sweep()
    values = np.asarray(first.scan.array)
    second = first.scan.replace(array=np.roll(values, 2, axis=-1), source=None)
    for scan, name in ((first.scan, "first date"), (second, "second date")):
        show(viewer, replace(first, scan=scan, name=name))
        segmenting.form.model.value = "breast-ultrasound"
        segmenting.form.samples.value = 3
        segmenting.segment()
        wait_until(lambda: not segmenting.busy)
    raise_widget(viewer, reviewing, "Review")
    wait_until(lambda: bool(reviewing.queue.findings) and bool(reviewing.measures.size_text.text()))
    panel = reviewing.change_panel
    reviewing.change_box.expand(animate=False)
    panel.register.setChecked(True)
    panel.compare()
    wait_until(lambda: not panel.is_busy)
    settle(2)
    scroll_down(reviewing)
    yield "window-change", None
    yield "change", panel
    reviewing.flip_panel.flip()
    settle(1)
    yield "window-flip", None


def scroll_down(widget: QWidget) -> None:
    for area in widget.findChildren(QScrollArea):
        bar = area.verticalScrollBar()
        if bar is not None:
            bar.setValue(bar.maximum())
    settle(0.3)


SCENES: dict[str, Callable[[Any], Shots]] = {
    "segment": segment,
    "review": review,
    "edge_contours": edge_contours,
    "hints": hints,
    "folder": folder,
    "point": point,
    "correct": correct,
    "point-volume": point_volume,
    "teach": teach,
    "cases": cases,
    "readers": readers,
    "dates": dates,
    "evaluation": evaluation,
    "evaluation_by_clicks": evaluation_by_clicks,
    "refused_slices": refused_slices,
    "crowded": crowded,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--themes", nargs="*", default=["dark", "light"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for theme in arguments.themes:
        get_settings().appearance.theme = theme
        for name in arguments.only:
            viewer = napari.Viewer(title="LatentSeg", show=True)
            viewer.window.resize(1366, 768)
            settle()
            for shot, widget in SCENES[name](viewer):
                settle()
                path = arguments.out / f"{shot}-{theme}.png"
                if widget is None:
                    viewer.reset_view()  # docks were opened since the image was
                    settle()
                    viewer.screenshot(str(path), canvas_only=False, flash=False)
                else:
                    widget.grab().save(str(path))
                print(path)
            viewer.close()
            settle()


if __name__ == "__main__":
    main()
