"""A tilted DICOM series is shown in its own planes: what is on screen is what is segmented and approved."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDialogButtonBox
from tests.helpers.canvas import press_key
from tests.helpers.dicom import positions, series
from tests.helpers.geometries import CLOSE, by_itk, places
from tests.helpers.shared_viewer import process_events

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.widgets._shared.layers import (
    exact_matrix,
    layer_geometry,
    matches_geometry,
    scan_from_layer,
    spatial_arguments,
)
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.opening.saved_mask import place_saved_mask
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.export_dialog import ExportDialog
from napari_latentseg.widgets.segment.widget import SegmentWidget

PLUGIN, MODEL = "napari-latentseg", "tiny-taught"
SHAPE = (12, 48, 56)
TILT = np.radians(25)
ALONG_ROW, ALONG_COLUMN = (1.0, 0.0, 0.0), (0.0, np.cos(TILT), np.sin(TILT))
STEP = 6.5 * np.cross(ALONG_ROW, ALONG_COLUMN)  # as a brain MR with few, thick slices


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own."""
    return viewer


@pytest.fixture
def folder(tmp_path):
    volume = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.uint16)
    return series(
        tmp_path / "dicom",
        volume,
        positions(len(volume), STEP, first=(-90, -60, 20)),
        ImageOrientationPatient=[*ALONG_ROW, *(round(v, 8) for v in ALONG_COLUMN)],
        PixelSpacing=[0.7, 0.6],
        SeriesDescription="FLAIR_reg",
    )


@pytest.fixture
def image(viewer, folder):
    session_of(viewer)
    (layer,) = viewer.open(str(folder), plugin=PLUGIN)
    return layer


def slider_of(viewer):
    return viewer.window._qt_viewer.dims.slider_widgets[0].slider


def on_screen(viewer, image):
    """The number of the slice whose values napari draws."""
    process_events()
    drawn = np.asarray(image._slice.image.view)
    (number,) = (k for k in range(SHAPE[0]) if np.array_equal(np.asarray(image.data[k]), drawn))
    return number


def test_the_slider_has_the_slices_of_the_series_and_each_is_drawn_as_it_is(viewer, image, qtbot):
    assert image.name == "FLAIR_reg"
    slider = slider_of(viewer)
    assert (slider.minimum(), slider.maximum()) == (0, SHAPE[0] - 1)
    viewer.dims.set_current_step(0, 0)
    seen = [on_screen(viewer, image)]
    for _ in range(SHAPE[0] - 1):
        press_key(viewer, Qt.Key.Key_Right)
        seen.append(on_screen(viewer, image))
    assert seen == list(range(SHAPE[0]))


def test_the_letters_say_where_the_planes_lie(viewer, image):
    edges = ("top", "bottom", "left", "right")
    assert [viewer.canvas.overlays[f"latentseg_{edge}"].text for edge in edges] == ["AI", "PS", "R", "L"]


def test_the_slice_on_screen_is_segmented_approved_and_exported_where_it_lies(
    viewer, folder, qtbot, tmp_path
):
    segment, review, annotate = SegmentWidget(viewer), ReviewWidget(viewer), AnnotateWidget(viewer)
    for name, widget in (("Segment", segment), ("Review", review), ("Annotate", annotate)):
        viewer.window.add_dock_widget(widget, name=name, area="right", tabify=True)
    (image,) = viewer.open(str(folder), plugin=PLUGIN)
    segment.form.model.value = MODEL
    segment.form.samples.value = 3
    viewer.dims.set_current_step(0, SHAPE[0] - 1)
    press_key(viewer, Qt.Key.Key_Left)
    press_key(viewer, Qt.Key.Key_Left)
    number = on_screen(viewer, image)
    assert number == SHAPE[0] - 3
    segment.form.roi_fields.slices.value = "shown"
    qtbot.mouseClick(segment.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not segment.busy, timeout=120_000)
    result = session_of(viewer).current
    mean = np.asarray(result.segmentation.mean)[0]
    assert [k for k in range(SHAPE[0]) if mean[k].any()] == [number]
    assert on_screen(viewer, image) == number
    qtbot.mouseClick(annotate.approve_button, Qt.MouseButton.LeftButton)
    approvals = corrections_of(viewer).approvals
    qtbot.waitUntil(
        lambda: approvals.writes_in_progress == 0 and len(AnnotationStore.for_model(MODEL).approvals()) == 1,
        timeout=60_000,
    )
    (entry,) = AnnotationStore.for_model(MODEL).approvals()
    assert entry.planes == (number,)

    geometry = read_scan(folder).geometry
    for layer in result.layers.all_layers:
        np.testing.assert_array_equal(exact_matrix(layer), geometry.matrix)
        assert spatial_arguments(layer)["scale"].tolist() == image.scale.tolist()
    qtbot.mouseClick(review.export_button, Qt.MouseButton.LeftButton)
    (dialog,) = review.findChildren(ExportDialog)
    out = tmp_path / "out"
    out.mkdir()
    dialog.folder.setText(str(out))
    dialog.format.setCurrentIndex(dialog.format.findData("nifti"))
    save = dialog.buttons.button(QDialogButtonBox.StandardButton.Save)
    qtbot.waitUntil(save.isEnabled, timeout=60_000)
    qtbot.mouseClick(save, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: any(out.glob("*run.json")) and not any(out.glob(".*")), timeout=60_000)
    qtbot.waitUntil(lambda: not review.findChildren(ExportDialog), timeout=60_000)
    (mask_file,) = out.glob("*mask.nii.gz")
    assert np.abs(by_itk(mask_file, SHAPE) - places(geometry, SHAPE)).max() < CLOSE
    np.testing.assert_array_equal(read_scan(mask_file).array, result.shown_mask().data)


def test_a_layer_that_is_moved_on_screen_is_moved_along_its_own_axes(viewer, image, folder):
    geometry = read_scan(folder).geometry
    image.translate = np.asarray(image.translate) + np.asarray(image.scale) * (1, -2, 3)
    moved = scan_from_layer(image).geometry
    there = places(geometry, SHAPE) + geometry.matrix[:3, :3] @ (1, -2, 3)
    assert np.abs(places(moved, SHAPE) - there).max() < CLOSE
    image.translate = np.asarray(image.translate) - np.asarray(image.scale) * (1, -2, 3)
    assert np.abs(places(scan_from_layer(image).geometry, SHAPE) - places(geometry, SHAPE)).max() < CLOSE


def test_a_mask_that_is_drawn_here_is_saved_in_the_patient(viewer, image, folder, tmp_path):
    QTest.mouseClick(viewer.window._qt_viewer.layerButtons.newLabelsButton, Qt.MouseButton.LeftButton)
    drawn = viewer.layers[-1]
    assert drawn.data.shape == SHAPE  # as many slices as the series
    drawn.data[4, 10:20, 10:30] = 1
    drawn.refresh()
    path = tmp_path / "drawn.nii.gz"
    assert drawn.save(str(path), plugin=PLUGIN) == [str(path)]
    assert np.abs(by_itk(path, SHAPE) - places(read_scan(folder).geometry, SHAPE)).max() < CLOSE
    np.testing.assert_array_equal(read_scan(path).array, drawn.data)


def test_a_mask_of_other_software_is_drawn_on_the_series_that_it_lies_on(viewer, image, folder, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 10:20, 10:30] = 1
    exact = read_scan(folder).geometry
    other = viewer.add_labels(mask, affine=exact.matrix, name="reference")
    assert other.scale.tolist() == image.scale.tolist()
    assert matches_geometry(other, layer_geometry(image))
    assert viewer.dims.nsteps[0] == SHAPE[0]
    viewer.dims.set_current_step(0, 5)
    process_events()
    assert np.asarray(other._slice.image.raw).any()
    shifted = exact.matrix
    shifted[0, 3] += 1
    elsewhere = viewer.add_labels(mask, affine=shifted, name="elsewhere")
    assert not matches_geometry(elsewhere, layer_geometry(image))


def test_a_mask_on_two_tilted_series_says_which_is_to_be_hidden(viewer, folder, tmp_path, image):
    other_folder = series(
        tmp_path / "other", np.zeros(SHAPE, np.uint16), positions(SHAPE[0], STEP, first=(0, 0, 0)),
        ImageOrientationPatient=[*ALONG_ROW, *(round(v, 8) for v in ALONG_COLUMN)], PixelSpacing=[0.7, 0.6],
    )  # fmt: skip
    (other,) = viewer.open(str(other_folder), plugin=PLUGIN)
    mask = viewer.add_labels(np.ones(SHAPE, np.uint8), **spatial_arguments(other))
    assert np.array_equal(exact_matrix(mask), exact_matrix(other))  # the series that was the case then
    assert not matches_geometry(mask, layer_geometry(image))
    del mask.metadata["napari-latentseg"]
    for layer in (image, other):
        layer.visible = True
    with pytest.raises(BadInput, match=r"several tilted scans.*show only the one"):
        place_saved_mask(tmp_path / "mask.nii.gz", mask)
    image.visible = False
    place_saved_mask(tmp_path / "mask.nii.gz", mask)
    assert np.array_equal(exact_matrix(mask), exact_matrix(other))


def test_a_nifti_of_the_same_grid_lies_on_it(viewer, image, folder, tmp_path):
    """Its header rounds to float32, which must not take it out of the planes."""
    scan = read_scan(folder)
    to_ras = np.diag([-1, -1, 1, 1.0])
    matrix = to_ras @ np.pad(scan.geometry.matrix[:3, :3][::-1, ::-1], (0, 1))
    matrix[:3, 3] = to_ras[:3, :3] @ scan.geometry.matrix[:3, 3][::-1]
    matrix[3] = (0, 0, 0, 1)
    nib.save(nib.Nifti1Image(np.asarray(scan.array).T, matrix.astype(np.float32)), tmp_path / "same.nii")
    (layer,) = viewer.open(str(tmp_path / "same.nii"), plugin=PLUGIN)
    assert layer_geometry(image).agrees_with(layer_geometry(layer), SHAPE)
    np.testing.assert_allclose(layer.scale, image.scale, rtol=1e-5)
    np.testing.assert_allclose(layer.translate, image.translate, atol=1e-3)
