"""Nothing of ours reads, computes or waits in the GUI thread.

How long it is held is told by bench/responsiveness.py.
"""

from __future__ import annotations

import zipfile

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QTimer
from tests.helpers.dicom import positions, series
from tests.helpers.gui_thread import GuiThreadGuard

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import ome_zarr
from napari_latentseg.widgets._shared.layers import index_on_screen, role_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget

PLUGIN = "napari-latentseg"
SHAPE = (40, 128, 128)


@pytest.fixture
def guard():
    """Watch the GUI thread: ``with guard.watch(): ...``, then ``guard.check()``."""
    return GuiThreadGuard()


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
    ome_zarr.write(folder / "ct.zarr", volume, "zyx", Geometry.from_spacing("zyx", (2, 0.7, 0.7), "mm"), {})
    return folder, volume


@pytest.mark.parametrize("name", ["ct", "ct.zip", "ct.nii.gz", "ct.zarr"])
def test_opening_and_scrolling(viewer, qtbot, scans, guard, name):
    folder, volume = scans
    with guard.watch():
        QTimer.singleShot(0, lambda: viewer.open(str(folder / name), plugin=PLUGIN))  # as drag and drop does
        qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
        for step in range(0, SHAPE[0], 5):
            viewer.dims.set_current_step(0, step)
            qtbot.wait(5)
        qtbot.waitUntil(lambda: isinstance(viewer.layers[0].data, np.ndarray), timeout=60_000)
    guard.check()
    (layer,) = viewer.layers
    assert layer.name == "ct"
    assert np.array_equal(np.asarray(layer.data[20]), volume[20])


def test_a_run(viewer, qtbot, guard):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    viewer.add_image(np.random.default_rng(0).random((60, 70)).astype("f4"), name="noise")
    widget.form.model.value = "breast-ultrasound"
    widget.form.samples.value = 3
    with guard.watch():
        widget.run_button.click()
        qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    guard.check()
    assert {role_of(layer) for layer in viewer.layers} >= {"mask", "mean", "variance"}


def test_a_moved_threshold(show_ball, viewer, qtbot, guard):
    """The slice on screen follows at once, the rest in the background."""
    shown = show_ball(SHAPE)
    session, result = shown.session, shown.result
    mask, mean = result.layers.mask, result.segmentation.mean[0]
    place = index_on_screen(viewer, mask)
    before = mask.data.copy()
    with guard.watch():
        for cut in (0.45, 0.35, 0.25):
            session.apply_threshold(cut)
            np.testing.assert_array_equal(mask.data[place] > 0, mean[place[0]] > cut)
            qtbot.wait(20)
        qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.25, timeout=60_000)
        qtbot.waitUntil(lambda: np.array_equal(mask.data > 0, mean > 0.25), timeout=60_000)
        qtbot.waitUntil(lambda: result.layers.maps.agreement is not None, timeout=60_000)
    guard.check()
    samples = np.stack([result.segmentation.sample_maps.sample(i)[0] for i in range(5)])
    (agreement,) = result.layers.layers_of("agreement")
    np.testing.assert_array_equal(agreement.data, (samples > 0.25).sum(axis=0))
    for _ in range(3):  # one step back for each position that the cut rested at, as Ctrl+Z does
        if not np.array_equal(mask.data, before):
            mask.undo()
    np.testing.assert_array_equal(mask.data, before)
    assert not result.layers.is_edited


def test_ranking_walking_outlines_and_measuring(show_ball, viewer, qtbot, guard):
    shown = show_ball(SHAPE)
    with guard.watch():
        widget = ReviewWidget(shown.viewer)
        viewer.window.add_dock_widget(widget, name="Review", area="right")
        qtbot.waitUntil(lambda: len(widget.queue.findings) > 0, timeout=60_000)
        for _ in range(4):
            widget.next()
            qtbot.wait(20)
        widget.display_buttons.outlines_button.click()
        qtbot.waitUntil(lambda: widget.display_buttons.outlines.layer is not None, timeout=60_000)
        widget.next()
        qtbot.waitUntil(lambda: bool(widget.measures.size_text.text()), timeout=60_000)
        widget.measures.objects_button.click()
        qtbot.waitUntil(lambda: widget.measures.objects_button.isEnabled(), timeout=60_000)
    guard.check()
    assert [one for one in viewer.layers if role_of(one) == "objects"]


def test_approving_keeping_and_unlocking(own_home, viewer, qtbot, guard):
    segment, annotate = SegmentWidget(viewer), AnnotateWidget(viewer)
    for widget in (segment, annotate):
        viewer.window.add_dock_widget(widget, name=type(widget).__name__, area="right")
    data = np.random.default_rng(3).random((6, 200, 200)).astype("f4")
    segment.form.image.value = viewer.add_image(data, name="scan")
    segment.form.model.value = "tiny-taught"
    segment.form.samples.value = 2
    segment.run_button.click()
    qtbot.waitUntil(lambda: not segment.busy, timeout=120_000)
    corrections = corrections_of(viewer)
    with guard.watch():
        annotate.edit_button.click()
        copy = viewer.layers.selection.active
        copy.paint((0, 5, 5), 1 - int(copy.data[0, 5, 5]))
        corrections.autosaver.save_all()
        qtbot.waitUntil(lambda: corrections.corrections[0].draft is not None, timeout=60_000)
        annotate.approve_button.click()
        qtbot.waitUntil(lambda: corrections.approvals.writes_in_progress == 0, timeout=60_000)
        annotate.approve_all_button.click()
        qtbot.waitUntil(lambda: corrections.approvals.writes_in_progress == 0, timeout=60_000)
        corrections.approvals.unlock(corrections.corrections[0], range(3))
        qtbot.waitUntil(
            lambda: corrections.approvals.writes_in_progress == 0 and not corrections.autosaver._saving,
            timeout=60_000,
        )
    guard.check()
