"""Which part of an image is worked on: slices, planes, a drawn box, what is in view."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets._shared.region import crop_box_in_view, crop_box_of_shapes
from napari_latentseg.widgets._shared.view import camera_of
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer):
    segment_widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment_widget, name="Segment", area="right")
    return segment_widget


@pytest.fixture
def volume(viewer, widget):
    """A volume in a patient, axes z y x, unequally spaced."""
    layer = viewer.add_image(
        np.random.default_rng(0).random((6, 48, 64)).astype("f4"), name="volume", scale=(4, 0.5, 0.5),
        units=("mm",) * 3, axis_labels=("z", "y", "x"),
        metadata={"napari-latentseg": {"role": "scan", "axes": "zyx", "frame": "LPS", "format": "nifti"}},
    )  # fmt: skip
    widget.form.model.value = "breast-ultrasound"
    widget.form.samples.value = 3
    return layer


def run(widget, qtbot):
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert widget.finished_result is not None, widget.status.text()
    return widget.finished_result.segmentation


def test_a_range_of_slices(viewer, widget, volume, qtbot):
    widget.form.roi_fields.slices.value = "range"
    assert widget.form.roi_fields.range_row.isVisibleTo(widget)
    assert (widget.form.roi_fields.first.value(), widget.form.roi_fields.last.value()) == (1, 6)
    widget.form.roi_fields.first.setValue(3)
    widget.form.roi_fields.last.setValue(4)
    segmentation = run(widget, qtbot)
    assert [z for z in range(6) if segmentation.mean[0, z].any()] == [2, 3]
    widget.form.roi_fields.first.setValue(5)
    assert not widget.run_button.isEnabled()
    assert "the first is after the last" in widget.problem_label.text()


def test_a_box_that_was_drawn(viewer, widget, volume, qtbot):
    world = [[0, 5, 8], [0, 5, 24], [0, 20, 24], [0, 20, 8]]
    shapes = viewer.add_shapes([world], shape_type="rectangle", name="here")
    assert crop_box_of_shapes(shapes, volume, (0, 1, 2)) == (10, 16, 41, 49)
    widget.form.roi_fields.area.value = shapes
    segmentation = run(widget, qtbot)
    assert segmentation.record.box == (10, 16, 41, 49)
    inside = np.zeros(segmentation.mask.shape, dtype=bool)
    inside[:, 10:41, 16:49] = True
    assert segmentation.mean[0][inside].any()
    assert not segmentation.mean[0][~inside].any()
    (mask,) = [layer for layer in viewer.layers if role_of(layer) == "mask"]
    assert mask.data.shape == volume.data.shape
    viewer.layers.remove(shapes)
    assert widget.form.roi_fields.area.value == "all"


def test_a_box_on_a_turned_layer_lies_where_it_was_drawn(viewer):
    image = viewer.add_image(np.zeros((40, 60)), scale=(0.5, 2), rotate=90, translate=(3, 4), name="turned")
    corners = np.array([[10, 20], [10, 30], [25, 30], [25, 20]], dtype=float)
    world = np.array([image.data_to_world(corner) for corner in corners])
    shapes = viewer.add_shapes([world], shape_type="polygon", name="box")
    top, left, bottom, right = crop_box_of_shapes(shapes, image, (0, 1))
    assert (top, left) == (10, 20)
    assert (bottom, right) == (26, 31)


def test_a_box_beside_the_image_is_refused(viewer, widget, volume):
    shapes = viewer.add_shapes([[[0, 500, 500], [0, 500, 600], [0, 600, 600], [0, 600, 500]]], name="away")
    widget.form.roi_fields.area.value = shapes
    assert not widget.run_button.isEnabled()
    assert "lies outside volume" in widget.problem_label.text()
    empty = viewer.add_shapes(ndim=3, name="empty")
    widget.form.roi_fields.area.value = empty
    assert "has no shape" in widget.problem_label.text()


def test_what_is_in_view(viewer, widget, volume, qtbot):
    camera = camera_of(viewer)
    camera.zoom *= 2
    camera.center = (0, 12, 16)
    qtbot.wait(200)
    top, left, bottom, right = crop_box_in_view(viewer, volume, (0, 1, 2))
    assert 0 < top < 24 < bottom < 48
    assert 0 < left < 32 < right < 64
    with pytest.raises(BadInput, match="change the orientation"):
        crop_box_in_view(viewer, volume, (1, 0, 2))
    widget.form.roi_fields.area.value = "view"
    segmentation = run(widget, qtbot)
    outside = np.ones(segmentation.mask.shape, dtype=bool)
    outside[:, top:bottom, left:right] = False
    assert not segmentation.mean[0][outside].any()


@pytest.mark.parametrize(("plane", "axis"), [("coronal", 1), ("sagittal", 2)])
def test_other_planes_of_a_volume(viewer, widget, volume, qtbot, plane, axis):
    assert widget.form.roi_fields.plane.native.isVisibleTo(widget.form.advanced.content())
    widget.form.roi_fields.plane.value = plane
    widget.form.roi_fields.slices.value = "range"
    widget.form.roi_fields.first.setValue(21)
    widget.form.roi_fields.last.setValue(21)
    segmentation = run(widget, qtbot)
    assert segmentation.mask.shape == volume.data.shape
    assert segmentation.geometry.spacing == pytest.approx((4, 0.5, 0.5))
    others = [i for i in range(3) if i != axis]
    plane_sums = np.abs(segmentation.mean[0]).sum(axis=tuple(others))
    assert np.flatnonzero(plane_sums).tolist() == [20]
    (mask,) = [layer for layer in viewer.layers if role_of(layer) == "mask"]
    np.testing.assert_array_equal(mask.data, segmentation.mask)


def test_the_slice_on_screen_of_other_planes(viewer, widget, volume):
    widget.form.roi_fields.plane.value = "coronal"
    widget.form.roi_fields.slices.value = "shown"
    assert "does not show the coronal orientation" in widget.problem_label.text()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 0.5 * 30)
    assert widget.form.settings().slices == (30, 30)


def test_an_image_that_lies_in_no_patient_has_no_other_planes(viewer, widget):
    viewer.add_image(np.zeros((3, 20, 30)), name="stack")
    assert Geometry.from_spacing("zyx").frame == ""
    assert not widget.form.roi_fields.plane.native.isVisibleTo(widget.form.advanced.content())
