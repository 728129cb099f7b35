"""Reading beside the window: into memory by itself, cancelled, in order, and ended with the window."""

from __future__ import annotations

import gc
import shutil
import threading

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QProgressDialog
from tests.helpers.dicom import positions, series

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import ome_zarr
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets.opening import opening

PLUGIN = "napari-latentseg"
SHAPE = (200, 256, 256)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The same volume as a series and as a store."""
    folder = tmp_path_factory.mktemp("scans")
    volume = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.int16)
    series(folder / "ct", volume, positions(len(volume)), PixelSpacing=[0.7, 0.7])
    ome_zarr.write(folder / "ct.zarr", volume, "zyx", Geometry.from_spacing("zyx", (2, 0.7, 0.7), "mm"), {})
    return folder, volume


def dropped(viewer, path) -> None:
    """Open as drag and drop does it: from the event loop."""
    QTimer.singleShot(0, lambda: viewer.open(str(path), plugin=PLUGIN))


def test_a_series_comes_into_memory_by_itself(viewer, qtbot, scans):
    folder, volume = scans
    (layer,) = viewer.open(str(folder / "ct"), plugin=PLUGIN)
    assert not isinstance(layer.data, np.ndarray)
    limits = layer.contrast_limits
    qtbot.waitUntil(lambda: isinstance(layer.data, np.ndarray), timeout=60_000)
    assert np.array_equal(layer.data, volume)
    assert layer.contrast_limits == limits


def test_reading_can_be_cancelled(viewer, qtbot, scans, monkeypatch):
    folder, _ = scans
    monkeypatch.setattr(opening, "_PROGRESS_DELAY_MS", 0)
    window = viewer.window._qt_window
    dropped(viewer, folder / "ct")
    qtbot.waitUntil(lambda: bool(window.findChildren(QProgressDialog)), timeout=60_000)
    dialog = window.findChildren(QProgressDialog)[0]
    assert "ct" in dialog.labelText()
    dialog.canceled.emit()
    qtbot.wait(1000)
    assert not viewer.layers
    dropped(viewer, folder / "ct.zarr")  # the next one is read
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)


def test_scans_dropped_together_come_in_their_order(viewer, qtbot, scans, tmp_path):
    folder, _ = scans
    shutil.copytree(folder / "ct", tmp_path / "first")
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "second.nii")
    both = [str(tmp_path / "first"), str(tmp_path / "second.nii")]
    QTimer.singleShot(0, lambda: viewer.open(both, plugin=PLUGIN))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["first", "second"]


def test_a_window_that_closes_ends_the_reading(make_napari_viewer, qtbot, scans):
    folder, _ = scans
    viewer = make_napari_viewer()
    dropped(viewer, folder / "ct")
    opener = opening.opener_of(viewer.window._qt_window)
    qtbot.waitUntil(lambda: bool(opener._jobs), timeout=60_000)
    thread = opener._jobs[0].task._thread
    viewer.close()
    qtbot.wait(200)
    thread.join(60)
    assert not thread.is_alive()
    assert not viewer.layers


def test_what_the_reader_assumed_is_said_when_the_file_opens(viewer, qtbot, tmp_path, monkeypatch):
    """And it is with the layer, so that the record of a run has it as from the command line."""
    shown = []
    monkeypatch.setattr(opening, "show_info", shown.append)
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)  # neither sform nor qform
    nib.save(image, tmp_path / "a.nii")
    dropped(viewer, tmp_path / "a.nii")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    (note,) = shown
    assert note.startswith("a.nii: the file does not say how the image lies in the patient")
    assert note == f"a.nii: {'; '.join(scan_from_layer(viewer.layers[0]).notes)}"


def test_a_file_opens_after_refused_ones_in_a_cleared_viewer(viewer, qtbot, tmp_path):
    """As in a review that goes through a list of files; the window must not go down."""
    (tmp_path / "bad.nii").write_bytes(b"damaged" * 100)
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "good.nii")
    for _ in range(3):
        for name, layers in (("good.nii", 1), ("bad.nii", 0), ("bad.nii", 0)):
            viewer.layers.clear()
            gc.collect()
            viewer.open(str(tmp_path / name), plugin=PLUGIN)
            assert len(viewer.layers) == layers


class PanicException(BaseException):
    """As pyo3's, which Rust code raises: it is no `Exception`."""


def test_a_panic_of_a_decoder_does_not_keep_the_next_file_waiting(viewer, qtbot, tmp_path, monkeypatch):
    for name in ("bad.nii", "good.nii"):
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / name)
    survey_path, shown = opening.survey_path, []

    def survey_or_panic(path):
        if path.name == "bad.nii":
            raise PanicException("index out of bounds: the len is 896 but the index is 897")
        return survey_path(path)

    monkeypatch.setattr(opening, "survey_path", survey_or_panic)
    monkeypatch.setattr(opening, "show_error", shown.append)
    both = [str(tmp_path / "bad.nii"), str(tmp_path / "good.nii")]
    QTimer.singleShot(0, lambda: viewer.open(both, plugin=PLUGIN))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    assert viewer.layers[0].name == "good"
    assert shown == ["bad.nii: could not be read (PanicException); report it, with the type of the file"]


def test_a_reading_that_does_not_end_does_not_hold_the_program(viewer, qtbot, tmp_path, monkeypatch):
    """After Cancel the next file is read, and the thread is none that Python waits for at its end."""
    for name in ("endless.nii", "good.nii"):
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / name)
    survey_path, release = opening.survey_path, threading.Event()

    def survey_or_stay(path):
        if path.name == "endless.nii":
            release.wait()
        return survey_path(path)

    monkeypatch.setattr(opening, "survey_path", survey_or_stay)
    opener = opening.opener_of(viewer.window._qt_window)
    both = [str(tmp_path / "endless.nii"), str(tmp_path / "good.nii")]
    QTimer.singleShot(0, lambda: viewer.open(both, plugin=PLUGIN))
    qtbot.waitUntil(lambda: len(opener._jobs) == 2, timeout=60_000)
    thread = opener._jobs[0].task._thread
    opener.cancel()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    assert viewer.layers[0].name == "good"
    assert thread.is_alive()
    assert thread.daemon
    release.set()
    thread.join(60)
