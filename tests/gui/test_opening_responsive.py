"""The window stays free while a scan is opened and scrolled through."""

from __future__ import annotations

import shutil
import sys
import zipfile

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QProgressDialog
from tests.formats.conftest import positions, series
from tests.gui.conftest import Gaps
from tests.gui.test_responsive import OURS

from napari_latentseg.formats import omezarr
from napari_latentseg.scan import Geometry
from napari_latentseg.widgets import opening

PLUGIN = "napari-latentseg"
SHAPE = (200, 256, 256)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The same volume in several formats."""
    folder = tmp_path_factory.mktemp("scans")
    volume = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.int16)
    series(folder / "ct", volume, positions(len(volume)), PixelSpacing=[0.7, 0.7])
    with zipfile.ZipFile(folder / "ct.zip", "w") as packed:
        for file in (folder / "ct").iterdir():
            packed.write(file, file.name)
    nib.save(nib.Nifti1Image(volume.T, np.diag([0.7, 0.7, 2, 1])), folder / "ct.nii.gz")
    omezarr.write(folder / "ct.zarr", volume, "zyx", Geometry.plain("zyx", (2, 0.7, 0.7), "mm"), {})
    return folder, volume


def dropped(viewer, path) -> None:
    """Open as drag and drop does it: from the event loop."""
    QTimer.singleShot(0, lambda: viewer.open(str(path), plugin=PLUGIN))


def scrolled(viewer, qtbot) -> Gaps:
    with Gaps() as gaps:
        for step in range(0, SHAPE[0], 10):
            viewer.dims.set_current_step(0, step)
            qtbot.wait(5)
    return gaps


@pytest.mark.parametrize("name", ["ct", "ct.zip", "ct.nii.gz", "ct.zarr"])
def test_the_window_is_free_while_a_scan_is_opened(make_napari_viewer, qtbot, scans, name):
    folder, volume = scans
    viewer = make_napari_viewer(show=True)
    about = {"scale": (2, 0.7, 0.7), "units": ("mm",) * 3, "axis_labels": ("z", "y", "x")}
    opening_holds, scrolling_holds = [], []
    for _ in range(3):  # what else runs on the machine can only make it longer, so the best of some is ours
        with Gaps() as napari_alone:  # what napari itself takes for such a layer
            viewer.add_image(volume, contrast_limits=(0, 3000), **about)
            qtbot.wait(500)
        alone_scrolled = scrolled(viewer, qtbot)
        viewer.layers.clear()
        qtbot.wait(300)
        with Gaps() as during:
            dropped(viewer, folder / name)
            qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
            qtbot.wait(200)
        lazily = scrolled(viewer, qtbot)
        qtbot.wait(200)
        (layer,) = viewer.layers
        assert layer.name == "ct"
        assert np.array_equal(np.asarray(layer.data[70]), volume[70])
        sys.stdout.write(
            f"{name}: longest hold: opening {during.worst * 1000:.0f} ms, "
            f"napari alone {napari_alone.worst * 1000:.0f} ms; "
            f"scrolling {lazily.worst * 1000:.0f} ms, napari alone {alone_scrolled.worst * 1000:.0f} ms\n"
        )
        opening_holds.append(during.worst - napari_alone.worst)
        scrolling_holds.append(lazily.worst - alone_scrolled.worst)
        if min(opening_holds) < OURS and min(scrolling_holds) < OURS:
            return
        viewer.layers.clear()
        qtbot.wait(300)
    pytest.fail(f"held for {min(opening_holds):.3f} s and {min(scrolling_holds):.3f} s beside napari's own")


def test_a_series_comes_into_memory_by_itself(make_napari_viewer, qtbot, scans):
    folder, volume = scans
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(folder / "ct"), plugin=PLUGIN)
    assert not isinstance(layer.data, np.ndarray)
    limits = layer.contrast_limits
    qtbot.waitUntil(lambda: isinstance(layer.data, np.ndarray), timeout=60_000)
    assert np.array_equal(layer.data, volume)
    assert layer.contrast_limits == limits


def test_reading_can_be_cancelled(make_napari_viewer, qtbot, scans, monkeypatch):
    folder, _ = scans
    monkeypatch.setattr(opening, "_PATIENCE_MS", 0)
    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    dropped(viewer, folder / "ct")
    qtbot.waitUntil(lambda: bool(window.findChildren(QProgressDialog)), timeout=10_000)
    dialog = window.findChildren(QProgressDialog)[0]
    assert "ct" in dialog.labelText()
    dialog.canceled.emit()
    qtbot.wait(1000)
    assert not viewer.layers
    dropped(viewer, folder / "ct.zarr")  # the next one is read
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)


def test_scans_dropped_together_come_in_their_order(make_napari_viewer, qtbot, scans, tmp_path):
    folder, _ = scans
    shutil.copytree(folder / "ct", tmp_path / "first")
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "second.nii")
    viewer = make_napari_viewer()
    both = [str(tmp_path / "first"), str(tmp_path / "second.nii")]
    QTimer.singleShot(0, lambda: viewer.open(both, plugin=PLUGIN))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["first", "second"]


def test_a_window_that_closes_ends_the_reading(make_napari_viewer, qtbot, scans):
    folder, _ = scans
    viewer = make_napari_viewer()
    dropped(viewer, folder / "ct")
    opener = opening.opener_of(viewer.window._qt_window)
    qtbot.waitUntil(lambda: bool(opener._jobs), timeout=10_000)
    thread = opener._jobs[0].errand._thread
    viewer.close()
    qtbot.wait(200)
    thread.join(10)
    assert not thread.is_alive()
    assert not viewer.layers
