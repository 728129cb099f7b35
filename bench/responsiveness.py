"""How long the window does not respond to each action, compared with napari for the same layers.

    tools/display.sh run python bench/responsiveness.py

A timer of 2 ms measures how long the main thread was blocked. Other load on the machine affects both alike,
so the ratio counts, not the milliseconds. tests/gui/test_gui_thread.py checks that this plugin does not read,
compute or wait in that thread.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import napari
import nibabel as nib
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtTest import QTest
from tests.helpers.dicom import positions, series
from tests.helpers.shown import show_ball_in

from event_loop import Holds, wait_for
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import ome_zarr
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

PLUGIN = "napari-latentseg"
SHAPE = (200, 256, 256)


def napari_alone(viewer: Any, volume: Any) -> float:
    """What napari needs for an image and a Labels layer of this size, new data, and other slices."""
    with Holds() as holds:
        layers = [viewer.add_image(volume, contrast_limits=(0, 3000))]
        QTest.qWait(300)
        layers.append(viewer.add_labels(np.zeros(volume.shape, "u1")))
        QTest.qWait(300)
        for number in range(3):
            layers[1].data = np.full(layers[1].data.shape, number, "u1")
            QTest.qWait(150)
            viewer.dims.set_current_step(0, 10 * number)
            QTest.qWait(150)
    for layer in layers:
        viewer.layers.remove(layer)
    QTest.qWait(300)
    return holds.worst


def tell(what: str, ours: float, theirs: float) -> None:
    sys.stdout.write(
        f"{what:24} held {1000 * ours:6.0f} ms, napari alone {1000 * theirs:6.0f} ms, "
        f"ratio {ours / theirs:5.2f}\n"
    )


def opening(viewer: Any, folder: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.int16)
    series(folder / "ct", volume, positions(len(volume)), PixelSpacing=[0.7, 0.7])
    with zipfile.ZipFile(folder / "ct.zip", "w") as packed:
        for file in (folder / "ct").iterdir():
            packed.write(file, file.name)
    nib.save(nib.Nifti1Image(volume.T, np.diag([0.7, 0.7, 2, 1])), folder / "ct.nii.gz")
    ome_zarr.write(folder / "ct.zarr", volume, "zyx", Geometry.from_spacing("zyx", (2, 0.7, 0.7), "mm"), {})
    for name in ("ct", "ct.zip", "ct.nii.gz", "ct.zarr"):
        theirs = napari_alone(viewer, volume)
        path = str(folder / name)
        with Holds() as holds:
            QTimer.singleShot(0, lambda path=path: viewer.open(path, plugin=PLUGIN))
            wait_for(lambda: len(viewer.layers) == 1)
            QTest.qWait(200)
        tell(f"open {name}", holds.worst, theirs)
        with Holds() as holds:
            for step in range(0, SHAPE[0], 10):
                viewer.dims.set_current_step(0, step)
                QTest.qWait(5)
        tell(f"scroll {name}", holds.worst, theirs)
        viewer.layers.clear()
        QTest.qWait(300)


def running(viewer: Any) -> None:
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    (image,) = viewer.open_sample(PLUGIN, "retina")
    widget.form.model.value = "retina-vessels"
    widget.form.samples.value = 3
    QTest.qWait(3000)  # torch is being imported in the background
    theirs = napari_alone(viewer, image.data[..., 0])
    with Holds() as holds:
        widget.run_button.click()
        wait_for(lambda: not widget.busy)
    tell("run", holds.worst, theirs)
    viewer.layers.clear()
    QTest.qWait(300)


def reviewing(viewer: Any) -> None:
    theirs = napari_alone(viewer, np.zeros((200, 160, 160), np.int16))
    shown = show_ball_in(viewer, (200, 160, 160))
    QTest.qWait(500)
    with Holds() as holds:
        for threshold in (0.45, 0.35, 0.25):
            shown.session.apply_threshold(threshold)
            QTest.qWait(20)
        wait_for(lambda: shown.result.segmentation.record.threshold == 0.25)
    tell("threshold", holds.worst, theirs)
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    with Holds() as holds:
        wait_for(lambda: len(widget.queue.findings) > 0)
        for _ in range(4):
            widget.next()
            QTest.qWait(100)
        widget.display_buttons.outlines_button.click()
        wait_for(lambda: widget.display_buttons.outlines.layer is not None)
    tell("rank and walk", holds.worst, theirs)
    wait_for(lambda: bool(widget.measures.size_text.text()))
    with Holds() as holds:
        widget.measures.objects_button.click()
        wait_for(lambda: widget.measures.objects_button.isEnabled())
    tell("table of objects", holds.worst, theirs)


def main() -> None:
    viewer = napari.Viewer()
    QTest.qWait(1000)
    with tempfile.TemporaryDirectory() as folder:
        opening(viewer, Path(folder))
    running(viewer)
    reviewing(viewer)
    viewer.close()


if __name__ == "__main__":
    main()
