"""A corrected mask is what is measured, reported, exported and saved: each step with mouse and keys."""

from __future__ import annotations

import csv
import json

import highdicom
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox
from tests.helpers.canvas import drag_on_canvas, press_key
from tests.helpers.dicom import positions, series

from napari_latentseg.io import read_scan
from napari_latentseg.widgets._shared.layers import exact_matrix, role_of
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.export_dialog import ExportDialog
from napari_latentseg.widgets.segment.widget import SegmentWidget

MODEL = "tiny-taught"
SLICES, SLICE = 5, 2


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


class Window:
    """A DICOM series with a finished run, Segment and Review beside it."""

    def __init__(self, viewer, qtbot, folder):
        self.viewer, self.qtbot = viewer, qtbot
        self.segment, self.review = SegmentWidget(viewer), ReviewWidget(viewer)
        for name, widget in (("Segment", self.segment), ("Review", self.review)):
            viewer.window.add_dock_widget(widget, name=name, area="right", tabify=True)
        (self.image,) = viewer.open(str(folder), plugin="napari-latentseg")
        self.segment.form.image.value = self.image
        self.segment.form.model.value = MODEL
        self.segment.form.samples.value = 3
        qtbot.mouseClick(self.segment.run_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not self.segment.busy, timeout=120_000)
        self.result = self.segment.session.current
        qtbot.waitUntil(lambda: len(self.review.queue.findings) > 0, timeout=60_000)

    def settle(self, state, approved=None):
        def is_settled():
            mask = self.result.latest_mask
            return (
                mask is not None
                and mask.state == state
                and (approved is None or mask.comparison.approved_slices == approved)
            )

        self.qtbot.waitUntil(is_settled, timeout=60_000)

    def go_to(self, number):
        self.viewer.dims.set_current_step(0, number)

    def correct(self):
        """Shift+E, and a stroke with the mouse in one slice; gives the copy."""
        self.go_to(SLICE)
        press_key(self.viewer, Qt.Key.Key_E, Qt.KeyboardModifier.ShiftModifier)
        copy = self.viewer.layers.selection.active
        assert role_of(copy) == "corrected"
        copy.brush_size = 4
        free = np.argwhere(copy.data[SLICE] == 0)
        row = free[len(free) // 2][0]
        drag_on_canvas(self.viewer, copy, (SLICE, row, 4), (SLICE, row, copy.data.shape[2] - 5))
        self.settle("corrected")
        return copy

    def export(self, folder, *, format="nifti", own_mask=False, everything=True):
        """The export dialog, with the mouse; gives the files by the end of their names."""
        self.qtbot.mouseClick(self.review.export_button, Qt.MouseButton.LeftButton)
        (dialog,) = self.review.findChildren(ExportDialog)
        dialog.folder.setText(str(folder))
        dialog.format.setCurrentIndex(dialog.format.findData(format))
        dialog.mask_choice.setCurrentIndex(dialog.mask_choice.findData(own_mask))
        dialog.contours.setChecked(everything)
        save = dialog.buttons.button(QDialogButtonBox.StandardButton.Save)
        self.qtbot.waitUntil(save.isEnabled, timeout=60_000)  # the folder has been looked at
        self.qtbot.mouseClick(save, Qt.MouseButton.LeftButton)
        self.qtbot.waitUntil(
            lambda: any(folder.glob("*run.json")) and not any(folder.glob(".*")), timeout=60_000
        )
        self.qtbot.waitUntil(lambda: not self.review.findChildren(ExportDialog), timeout=60_000)
        return {path.name.rpartition("_")[2]: path for path in folder.iterdir()}


@pytest.fixture
def window(viewer, qtbot, tmp_path):
    volume = np.random.default_rng(3).integers(0, 900, (SLICES, 48, 56)).astype(np.uint16)
    folder = series(tmp_path / "series", volume, positions(SLICES, np.array([0, 0, 2.5])))
    return Window(viewer, qtbot, folder)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["object"] == "0"]


def test_the_stroke_is_in_every_file_of_an_export(window, tmp_path):
    copy = window.correct()
    model_mask = window.result.segmentation.mask
    files = window.export(tmp_path / "out")
    mask = np.asarray(read_scan(files["mask.nii.gz"]).array)
    np.testing.assert_array_equal(mask, copy.data)
    assert np.count_nonzero(mask) > np.count_nonzero(model_mask)
    record = json.loads(files["run.json"].read_text())
    assert (record["mask_state"], record["mask_edited"]) == ("corrected", True)
    (row,) = rows_of(files["measurements.csv"])
    assert float(row["volume (mm3)"]) == pytest.approx(np.count_nonzero(copy.data) * 2.5)
    assert row["mask"] == "corrected"
    page = files["report.html"].read_text()
    assert "corrected by a person" in page
    contours = json.loads(files["contours.geojson"].read_text())["features"]
    planes = {contour["properties"]["plane"][0] for contour in contours}
    assert SLICE in planes


def test_the_models_own_mask_is_the_other_choice(window, tmp_path):
    window.correct()
    files = window.export(tmp_path / "out", own_mask=True)
    mask = np.asarray(read_scan(files["mask.nii.gz"]).array)
    np.testing.assert_array_equal(mask, window.result.segmentation.mask)
    record = json.loads(files["run.json"].read_text())
    assert (record["mask_state"], record["mask_edited"]) == ("model", False)
    (row,) = rows_of(files["measurements.csv"])
    assert float(row["volume (mm3)"]) == pytest.approx(np.count_nonzero(mask) * 2.5)


def test_dicom_seg_is_semiautomatic_after_a_stroke_and_approval_is_told(window, tmp_path, qtbot):
    copy = window.correct()
    window.review.queue.select(
        next(row for row, found in enumerate(window.review.queue.findings) if found.index == (SLICE,))
    )
    press_key(window.viewer, Qt.Key.Key_A)
    window.settle("corrected", (SLICE,))
    status = window.review.queue.marks
    assert status[("slice", (SLICE,))] == "approved"
    assert "1 approved" in window.review.counter.text()
    assert "1 corrected" not in window.review.counter.text()  # that slice is approved by now
    files = window.export(tmp_path / "out", format="dicom-seg")
    seg = highdicom.seg.segread(files["mask.dcm"])
    segment = seg.get_segment_description(1)
    assert segment.algorithm_type.value == "SEMIAUTOMATIC"
    assert segment.SegmentDescription == f"corrected by a person, slice {SLICE + 1} approved"
    assert np.count_nonzero(seg.get_volume(combine_segments=True).array) == np.count_nonzero(copy.data)
    record = json.loads(files["run.json"].read_text())
    assert record["approved_slices"] == [[SLICE, SLICE]]


def test_sizes_follow_the_brush_and_undo(window, qtbot):
    review, segment = window.review, window.segment
    qtbot.waitUntil(lambda: "the model's" in review.measures.mask_text.text(), timeout=60_000)
    before = review.measures.size_text.text()
    copy = window.correct()
    voxels = np.count_nonzero(copy.data)
    class_name = segment.result_panel.legend.rows[0].info.name
    in_legend = lambda: segment.result_panel.legend.size_text(class_name)  # noqa: E731
    for text in (review.measures.size_text.text, in_legend):
        qtbot.waitUntil(lambda text=text: "yours" in text(), timeout=60_000)
        assert "model" in text()
    assert "corrected by a person" in review.measures.mask_text.text()
    assert voxels != np.count_nonzero(window.result.segmentation.mask)
    press_key(window.viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.settle("model")
    qtbot.waitUntil(lambda: review.measures.size_text.text() == before, timeout=60_000)
    qtbot.waitUntil(lambda: "yours" not in in_legend(), timeout=60_000)


def test_edit_alone_corrects_nothing(window, qtbot):
    window.review.next()
    press_key(window.viewer, Qt.Key.Key_E, Qt.KeyboardModifier.ShiftModifier)
    copy = window.viewer.layers.selection.active
    qtbot.waitUntil(lambda: getattr(window.result.latest_mask, "layer", None) is copy, timeout=60_000)
    assert "corrected" not in window.review.counter.text()
    assert set(window.review.queue.marks.values()) == {"seen"}


def test_an_approved_slice_has_a_green_frame_without_a_copy(window, qtbot):
    window.review.next()
    number = window.review.queue.findings[0].index[0]
    press_key(window.viewer, Qt.Key.Key_A)
    window.settle("model", (number,))
    mask = window.result.layers.mask
    window.go_to(number)
    assert mask.bounding_box.visible
    window.go_to(number - 1 if number else number + 1)
    assert not mask.bounding_box.visible
    assert not [layer for layer in window.viewer.layers if role_of(layer) == "corrected"]


@pytest.mark.parametrize("what", ["copy", "mask"])
def test_napari_saves_what_is_on_screen(window, tmp_path, what):
    layer = window.correct() if what == "copy" else window.result.layers.mask
    viewer = window.viewer
    viewer.layers.selection.active = layer
    for ending in (".nii.gz", ".nrrd", ".mha", ".dcm"):
        path = tmp_path / f"saved{ending}"
        assert viewer.layers.save(str(path), selected=True) == [str(path)]
        scan = read_scan(path) if ending != ".dcm" else None
        if scan is not None:
            np.testing.assert_array_equal(np.asarray(scan.array), layer.data)
            np.testing.assert_allclose(
                scan.geometry.matrix, read_scan(tmp_path / "series").geometry.matrix, atol=1e-4
            )
    seg = highdicom.seg.segread(tmp_path / "saved.dcm")
    assert np.count_nonzero(seg.get_volume(combine_segments=True).array) == np.count_nonzero(layer.data)
    expected = "SEMIAUTOMATIC" if what == "copy" else "AUTOMATIC"
    assert seg.get_segment_description(1).algorithm_type.value == expected


def test_a_drawn_mask_is_saved_as_manual_and_what_cannot_be_says_so(window, tmp_path):
    viewer, image = window.viewer, window.image
    drawn = viewer.add_labels(
        np.zeros(image.data.shape, np.int64), scale=image.scale, translate=image.translate,
        rotate=image.rotate, affine=image.affine.affine_matrix, units=image.units,
    )  # fmt: skip
    drawn.data[1, 3:9, 4:8] = 3
    viewer.layers.selection.active = drawn
    path = tmp_path / "drawn.dcm"
    assert viewer.layers.save(str(path), selected=True) == [str(path)]
    seg = highdicom.seg.segread(path)
    segment = seg.get_segment_description(1)
    assert (segment.algorithm_type.value, segment.segment_label) == ("MANUAL", "label 3")
    assert np.count_nonzero(seg.get_volume(combine_segments=True).array) == 24
    elsewhere = viewer.add_labels(np.ones((3, 8, 8), np.uint8))
    with pytest.raises(OSError, match="lies on no image that is open"):
        elsewhere.save(str(tmp_path / "elsewhere.dcm"))
    with pytest.raises(OSError, match="cannot be saved as DICOM"):
        window.image.save(str(tmp_path / "image.dcm"))
    assert not (tmp_path / "image.dcm").exists()


def test_of_two_series_a_drawn_mask_is_saved_with_that_on_which_it_was_drawn(viewer, tmp_path):
    volume = np.zeros((SLICES, 24, 28), np.uint16)
    place = positions(SLICES, np.array([0, 0, 2.5]))
    folders = [
        series(tmp_path / name, volume + i, place, SeriesInstanceUID=f"1.2.3.{i}")
        for i, name in enumerate(("first", "second"))
    ]
    (first,) = viewer.open(str(folders[0]), plugin="napari-latentseg")
    (second,) = viewer.open(str(folders[1]), plugin="napari-latentseg")
    before = viewer.add_labels(np.ones(volume.shape, np.uint8), name="before", affine=exact_matrix(first))
    with pytest.raises(OSError, match="lies on several images"):  # nobody knows on which it was drawn
        before.save(str(tmp_path / "before.dcm"))
    assert not (tmp_path / "before.dcm").exists()
    viewer.layers.remove(before)
    cases = session_of(viewer).cases
    for image, uid in ((first, "1.2.3.0"), (second, "1.2.3.1")):
        cases.set_image(image)
        drawn = viewer.add_labels(np.ones(volume.shape, np.uint8), affine=exact_matrix(image))
        cases.set_image(second if image is first else first)  # the other patient is shown when it is saved
        path = tmp_path / f"{uid}.dcm"
        assert drawn.save(str(path)) == [str(path)]
        seg = highdicom.seg.segread(path)
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uid


def test_another_run_has_its_own_mask_and_never_loses_strokes(window, qtbot):
    copy = window.correct()
    first = window.result
    painted = copy.data.copy()
    qtbot.mouseClick(window.segment.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not window.segment.busy, timeout=120_000)
    second = window.segment.session.current
    assert second is not first
    assert second.shown_mask().layer is second.layers.mask  # not the copy of the first run
    assert not second.shown_mask().is_edited
    corrections = corrections_of(window.viewer)
    assert corrections.approve(second, (SLICE,)) is None  # it would replace the strokes
    np.testing.assert_array_equal(copy.data, painted)
    press_key(window.viewer, Qt.Key.Key_E, Qt.KeyboardModifier.ShiftModifier)
    assert window.viewer.layers.selection.active is copy
    assert window.segment.session.current is first  # what is edited is what is exported
    assert copy.visible
