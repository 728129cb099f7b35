"""Legend of the classes, maps and read-out, with the mouse and the keyboard in a real viewer."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, QThreadPool
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests.helpers.canvas import canvas_point
from tests.helpers.five_classes import CLASSES, show_five_classes_in
from tests.helpers.shared_viewer import process_events

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.class_legend import ClassLegend
from napari_latentseg.widgets._shared.label_style import unused_color
from napari_latentseg.widgets._shared.layers import METADATA_KEY
from napari_latentseg.widgets._shared.map_style import MAP_ROLES
from napari_latentseg.widgets._shared.mask_look import MaskLook
from napari_latentseg.widgets.annotate.plane_lock import PlaneLock
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer):
    segment_widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment_widget, name="Segment", area="right")
    return segment_widget


@pytest.fixture
def shown(viewer, widget):
    shown = show_five_classes_in(viewer)
    viewer.reset_view()
    process_events()
    return shown


@pytest.fixture
def panel(shown, widget):
    return widget.result_panel


def click(button) -> None:
    """Click in the middle, as far as the widget can be seen; scrolled into view as a person does."""
    scroll = button.parentWidget()
    while scroll is not None and not hasattr(scroll, "ensureWidgetVisible"):
        scroll = scroll.parentWidget()
    while scroll is not None:
        scroll.ensureWidgetVisible(button)
        scroll = scroll.parentWidget()
        while scroll is not None and not hasattr(scroll, "ensureWidgetVisible"):
            scroll = scroll.parentWidget()
    process_events()
    assert not button.visibleRegion().isEmpty()
    # the text of a radio button is clickable, the empty rest of its row is not
    QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=QPoint(12, button.height() // 2))
    process_events()


def alpha(layer, label: int) -> float:
    return float(layer.colormap.map(label)[..., 3])


def color_on_canvas(viewer, layer, index) -> np.ndarray:
    """The colour at a voxel as it is drawn, 0 to 255."""
    point = canvas_point(viewer, layer, index)
    picture = viewer.screenshot(canvas_only=True, flash=False)
    native = viewer.window._qt_viewer.canvas.native
    scale = picture.shape[0] / native.height()
    return picture[int(point.y() * scale), int(point.x() * scale), :3].astype(int)


def test_the_eye_of_a_class_hides_it_and_leaves_the_labels(shown, panel) -> None:
    mask = shown.result.layers.mask
    before = mask.data.copy()
    row = panel.legend.rows[1]
    click(row.eye)
    assert alpha(mask, 2) == 0
    assert alpha(mask, 1) > 0
    assert np.array_equal(mask.data, before)
    click(row.eye)
    assert alpha(mask, 2) > 0


def test_a_hidden_class_is_not_on_the_canvas(viewer, shown, panel) -> None:
    click(panel.legend.fill_button)
    mask = shown.result.layers.mask
    place = (1, 99, 172)  # in the right ventricular cavity
    assert mask.data[place] == 2
    filled = color_on_canvas(viewer, mask, place)
    click(panel.legend.rows[1].eye)
    plain = color_on_canvas(viewer, mask, place)
    assert np.abs(filled - plain).max() > 30
    assert np.ptp(plain) <= 3  # grey, as the image is


def test_outlines_first_and_areas_on_demand(viewer, shown, panel) -> None:
    mask = shown.result.layers.mask
    middle = (1, 99, 96)  # of the left ventricular cavity
    assert mask.data[middle] == 1
    assert panel.legend.outline_button.isChecked()
    assert mask.contour > 0
    assert np.ptp(color_on_canvas(viewer, mask, middle)) <= 3  # the image is seen inside an outline
    click(panel.legend.fill_button)
    assert mask.contour == 0
    assert np.ptp(color_on_canvas(viewer, mask, middle)) > 30
    click(panel.legend.outline_button)
    assert mask.contour > 0


def test_switching_to_three_dimensions_shows_no_warning(viewer, shown) -> None:
    assert shown.result.layers.mask.contour > 0
    # while a worker of superqt runs, and when it ends, the filters of the whole process are its own
    assert QThreadPool.globalInstance().waitForDone(20_000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        MaskLook(CLASSES, (96, 96))  # as for each mask that is shown
        viewer.dims.ndisplay = 3
        process_events()
    assert not [w for w in caught if "Contours" in str(w.message)]


def test_the_opacity_is_that_of_the_selected_class(shown, panel) -> None:
    mask = shown.result.layers.mask
    click(panel.legend.fill_button)
    click(panel.legend.rows[3].name_button)
    assert CLASSES[3].name in panel.legend.opacity_slider.toolTip()
    panel.legend.opacity_slider.setFocus()
    QTest.keyClick(panel.legend.opacity_slider, Qt.Key.Key_End)
    assert alpha(mask, 4) == pytest.approx(1)
    assert alpha(mask, 1) == pytest.approx(0.4)


def test_the_maps_follow_the_class_that_was_clicked(shown, panel) -> None:
    click(panel.toggles["variance"])
    (variance,) = shown.result.layers.layers_of("variance")
    for position in (2, 4):
        click(panel.legend.rows[position].name_button)
        assert np.array_equal(variance.data, shown.result.segmentation.variance[position])
        assert variance.metadata[METADATA_KEY]["class"] == CLASSES[position].name
        assert CLASSES[position].name in panel.color_bar.meaning.text()


def test_one_map_at_a_time_with_its_scale_in_words(shown, panel) -> None:
    assert not panel.color_bar.isVisible()
    layers = shown.result.layers
    for role, low, high in (
        ("agreement", "1 of 8", "all agree"),
        ("mean", "0:", "1:"),
        ("variance", "all samples agree", "half of them say yes"),
        ("doubt", "0: certain", "0.5: inside or outside equally likely"),
    ):
        click(panel.toggles[role])
        assert [r for r in MAP_ROLES[::-1] if layers.layers_of(r)[0].visible] == [role]
        assert low in panel.color_bar.low_label.text()
        assert high in panel.color_bar.high_label.text()
    click(panel.toggles["doubt"])
    assert not panel.color_bar.isVisible()


def test_the_classes_can_be_reached_with_the_keyboard(viewer, shown, panel) -> None:
    first = panel.legend.rows[0]
    QApplication.setActiveWindow(viewer.window._qt_window)
    first.eye.setFocus()
    QTest.keyClick(first.eye, Qt.Key.Key_Space)
    assert not shown.result.layers.look.is_shown(1)
    first.name_button.setFocus()
    QTest.keyClick(first.name_button, Qt.Key.Key_Down)
    assert shown.result.layers.maps.shown_class == 1


def test_the_readout_follows_the_mouse_whatever_is_selected(viewer, shown, panel, qtbot) -> None:
    viewer.layers.selection.active = shown.image
    segmentation, native = shown.result.segmentation, viewer.window._qt_viewer.canvas.native
    counts = shown.result.layers.maps.agreement
    undecided = np.argwhere(counts[1, 1] == 6)[0]
    index = (1, int(undecided[0]), int(undecided[1]))
    QTest.mouseMove(native, canvas_point(viewer, shown.image, index))
    mean, variance = segmentation.mean[(1, *index)], segmentation.variance[(1, *index)]
    expected = f"right ventricular cavity: 6 of 8 samples, mean {mean:.2f}, variance {variance:.2f}"
    expected += f", doubt {min(mean, 1 - mean):.2f}"
    qtbot.waitUntil(lambda: panel.readout_label.text() == expected, timeout=10_000)
    click(panel.toggles["mean"])  # of the first class: the read-out is about what is on screen
    QTest.mouseMove(native, canvas_point(viewer, shown.image, (1, 99, 96)))
    qtbot.waitUntil(lambda: panel.readout_label.text().startswith("left ventricular cavity: 8 of 8"))
    viewer.dims.ndisplay = 3
    QTest.mouseMove(native, QPoint(60, 60))
    qtbot.waitUntil(lambda: "samples" not in panel.readout_label.text(), timeout=10_000)


def test_the_readout_follows_a_turned_and_mirrored_image(viewer, widget, qtbot) -> None:
    shown = show_five_classes_in(viewer, (200, 240), scale=(-0.5, 0.7), rotate=25, translate=(40, -9))
    viewer.reset_view()
    process_events()
    counts = shown.result.layers.maps.agreement
    undecided = tuple(int(i) for i in np.argwhere(counts[2] == 3)[0])
    QTest.mouseMove(viewer.window._qt_viewer.canvas.native, canvas_point(viewer, shown.image, undecided))
    panel = widget.result_panel
    qtbot.waitUntil(
        lambda: panel.readout_label.text().startswith("left ventricular myocardium: 3 of 8"), timeout=10_000
    )


def test_a_slice_without_a_prediction_says_so(viewer, shown, panel, qtbot) -> None:
    record = shown.result.segmentation.record
    partial = record.replace(planes_done=2, complete=False, segmented_slices=((0, 1),))
    shown.result.layers.maps.segmentation = replace(shown.result.segmentation, record=partial)
    viewer.dims.set_current_step(0, 2)
    QTest.mouseMove(viewer.window._qt_viewer.canvas.native, canvas_point(viewer, shown.image, (2, 99, 96)))
    qtbot.waitUntil(lambda: "not segmented" in panel.readout_label.text(), timeout=10_000)


def test_agreement_follows_the_threshold(shown, panel, widget, qtbot) -> None:
    maps, (agreement,) = shown.result.layers.maps, shown.result.layers.layers_of("agreement")
    samples = np.stack([shown.result.segmentation.sample_maps.sample(i)[0] for i in range(8)])
    shown.session.apply_threshold(0.8)
    qtbot.waitUntil(lambda: shown.result.segmentation.record.threshold == 0.8, timeout=60_000)
    qtbot.waitUntil(lambda: maps.agreement is not None, timeout=60_000)
    assert np.array_equal(agreement.data, (samples > 0.8).sum(axis=0))


def test_sample_outlines_from_segment(viewer, shown, panel, qtbot) -> None:
    click(panel.toggles["outlines"])
    qtbot.waitUntil(lambda: panel.contours.is_on, timeout=60_000)
    qtbot.waitUntil(panel.toggles["outlines"].isChecked)
    click(panel.toggles["outlines"])
    assert not panel.contours.is_on


def test_many_classes_scroll_within_the_legend(qtbot) -> None:
    classes = tuple(
        ClassInfo(
            label=i + 1, name=f"structure number {i + 1} with a name that is much too long", color="#009e73"
        )
        for i in range(20)
    )
    legend = ClassLegend()
    qtbot.addWidget(legend)
    legend.resize(340, 400)
    legend.show_look(MaskLook(classes, (200, 200)), 0)
    legend.set_sizes({info.name: "1.5 ml" for info in classes})
    legend.show()
    process_events()
    assert legend.width() == 340
    assert legend.sizeHint().height() < 400
    row = legend.rows[19]
    assert "…" in row.name_button.text()
    assert classes[19].name in row.name_button.toolTip()
    row.eye.setFocus()
    legend._scroll.ensureWidgetVisible(row.eye)
    process_events()
    assert not row.eye.visibleRegion().isEmpty()


@pytest.mark.parametrize(
    ("shape", "is_outlined", "can_outline"),
    [((512, 512), True, True), ((51, 35), False, True), ((20_000, 20_000), False, False)],
)
def test_outlines_only_where_they_help(shape, is_outlined: bool, can_outline: bool) -> None:
    look = MaskLook(CLASSES, shape)
    assert (look.is_outlined, look.can_outline) == (is_outlined, can_outline)
    look.set_outlined(True)
    assert look.is_outlined == can_outline


def test_a_new_class_gets_a_colour_far_from_the_others() -> None:
    from skimage.color import rgb2lab

    classes = [ClassInfo(label=1, name="lesion", color="#ffb000")]
    for label in range(2, 7):
        classes.append(ClassInfo(label=label, name=f"class {label}", color=unused_color(classes)))
        lab = [rgb2lab([[int(c.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]])[0] for c in classes]
        assert min(np.linalg.norm(lab[-1] - other) for other in lab[:-1]) > 20  # 2.3 is just noticeable


@pytest.mark.parametrize("scale", [(1, 1), (-1, 1), (1, -1), (-2, -1)])
def test_the_frame_of_an_approved_slice_lies_on_the_image(viewer, scale) -> None:
    image = viewer.add_image(np.full((3, 10, 14), 0.6, "f4"), scale=(2, *scale), contrast_limits=(0, 1))
    mask = viewer.add_labels(np.zeros((3, 10, 14), np.uint8), scale=(2, *scale))
    viewer.reset_view()
    process_events()
    plain = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    lock = PlaneLock(viewer, mask, (0, 1, 2))
    lock.lock({1: np.zeros((10, 14), np.uint8)})
    viewer.dims.set_current_step(0, 1)
    process_events()
    framed = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    image_box = extent_of(plain.max(axis=-1) > 100)
    frame_box = extent_of((framed[..., 1] - framed[..., 0] > 60) & (framed[..., 1] > 120))
    assert image in viewer.layers
    assert np.abs(np.subtract(frame_box, image_box)).max() <= 3  # pixels: the width of the line
    lock.disconnect_all()


def extent_of(pixels: np.ndarray) -> tuple[int, ...]:
    rows, columns = np.nonzero(pixels)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_the_rows_of_the_result_before_are_gone_at_once(qtbot):
    legend = ClassLegend()
    qtbot.addWidget(legend)
    legend.show()
    legend.show_look(MaskLook(CLASSES, (96, 96)), 0)
    legend.set_sizes({info.name: "1.52 ml" for info in CLASSES})
    process_events()
    before = legend.rows
    assert all(row.isVisible() for row in before)
    legend.show_look(MaskLook(CLASSES, (96, 96)), 0)
    assert not any(row.isVisible() for row in before)
