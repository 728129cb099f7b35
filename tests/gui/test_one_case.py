"""One case at a time: what is opened or selected is worked on, and nothing of another image is shown."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from PIL import Image as PillowImage
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests.helpers.shared_viewer import process_events
from tests.helpers.two_cases import SHAPE, add_case, add_result, click_eye, click_layer, two_cases

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.cases import is_case_image
from napari_latentseg.widgets._shared.layers import METADATA_KEY
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.review.widget import ReviewWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def cases(viewer):
    return two_cases(viewer)


@pytest.fixture
def segment(viewer):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


@pytest.fixture
def review(viewer):
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    return widget


def visible_names(viewer):
    return {layer.name for layer in viewer.layers if layer.visible}


def layers_of(cases, image):
    return [layer for layer in cases.viewer.layers if cases.session.cases.image_of(layer) is image]


def test_an_opened_file_is_the_image_that_is_segmented(viewer, segment, tmp_path):
    for name in ("benign_105", "malignant_10"):
        pixels = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / f"{name}.png")
        viewer.open(tmp_path / f"{name}.png")
        assert session_of(viewer).image.name == name
        assert segment.form.image.value.name == name
        assert segment.header.line.text() == name
        assert segment.header.run_line.text() == "not segmented"
    assert visible_names(viewer) == {"malignant_10"}
    entry = {"role": "corrected", "image": str(session_of(viewer).image.unique_id)}
    objects = viewer.add_labels(
        np.zeros((40, 50), np.uint8), name="malignant_10 objects", metadata={METADATA_KEY: entry}
    )
    assert segment.header.run_line.text() == "malignant_10 objects"  # accepted by pointing, or drawn
    viewer.layers.remove(objects)
    assert segment.header.run_line.text() == "not segmented"


def test_the_layers_of_another_case_are_hidden(cases):
    assert cases.session.image is cases.second
    assert cases.session.current is cases.second_result
    assert not any(layer.visible for layer in layers_of(cases, cases.first))
    assert cases.second.visible
    assert cases.second_result.layers.mask.visible


def test_a_click_on_a_layer_goes_to_its_case(cases, segment):
    click_layer(cases.viewer, cases.first)
    assert cases.session.image is cases.first
    assert cases.session.current is cases.first_result
    assert segment.form.image.value is cases.first
    assert not any(layer.visible for layer in layers_of(cases, cases.second))
    click_layer(cases.viewer, cases.second_result.layers.mask)
    assert cases.session.image is cases.second
    assert cases.session.current is cases.second_result
    assert segment.form.image.value is cases.second
    assert cases.viewer.layers.selection.active is cases.second_result.layers.mask


def test_the_combo_of_segment_goes_to_a_case(cases, segment):
    combo = segment.form.image.native
    combo.setFocus()
    QTest.keyClick(combo, Qt.Key.Key_Down if combo.currentText() == "malignant_10" else Qt.Key.Key_Up)
    assert combo.currentText() == "benign_105"
    assert cases.session.image is cases.first
    assert cases.viewer.layers.selection.active is cases.first
    assert cases.first_result.layers.mask.visible
    assert not cases.second.visible


def test_review_goes_to_the_case_of_the_result(cases, review, qtbot):
    row = cases.session.results.index(cases.first_result)
    review.results.setCurrentIndex(row)
    review.results.activated.emit(row)
    assert cases.session.image is cases.first
    assert review.result is cases.first_result
    assert not cases.second.visible
    assert cases.first.visible


def test_visibility_is_restored_with_the_case(cases):
    mask, mean = cases.second_result.layers.mask, cases.second_result.layers.layers_of("mean")[0]
    click_eye(cases.viewer, mask)
    click_eye(cases.viewer, mean)
    assert (mask.visible, mean.visible) == (False, True)
    click_layer(cases.viewer, cases.first)
    assert (mask.visible, mean.visible) == (False, False)
    click_layer(cases.viewer, cases.second)
    assert (mask.visible, mean.visible) == (False, True)


def test_all_cases_are_shown_on_demand_alone(cases, segment):
    box = segment.header.all_cases
    assert box.isVisibleTo(segment)
    assert not box.isChecked()
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=box.rect().center() - box.rect().center() / 2)
    if not box.isChecked():
        box.click()
    assert cases.session.show_all_cases
    assert cases.first.visible
    assert cases.first_result.layers.mask.visible
    click_layer(cases.viewer, cases.first)
    assert cases.second.visible
    box.click()
    assert not cases.second.visible
    assert cases.first.visible


def test_another_image_is_shown_with_a_case_by_its_eye(cases):
    """Such as T1 and T2 of one patient: a person says that they belong together, no guess does."""
    click_eye(cases.viewer, cases.first)
    assert cases.session.image is cases.second
    assert {cases.first.visible, cases.second.visible} == {True}
    third = add_case(cases.viewer, "benign_11", 3)
    assert visible_names(cases.viewer) == {"benign_11"}
    click_layer(cases.viewer, cases.second)
    assert cases.first.visible
    assert cases.second.visible
    assert not third.visible
    click_eye(cases.viewer, cases.first)
    click_layer(cases.viewer, third)
    click_layer(cases.viewer, cases.second)
    assert not cases.first.visible


def test_channels_of_one_image_are_one_case(viewer):
    session = session_of(viewer)
    first, second = viewer.add_image(np.zeros((2, 30, 40), "f4"), channel_axis=0, name=["red", "green"])
    assert session.image is first
    assert first.visible
    assert second.visible
    click_layer(viewer, second)
    assert session.image is second
    assert first.visible
    add_case(viewer, "benign_105")
    assert visible_names(viewer) == {"benign_105"}
    click_layer(viewer, first)
    assert visible_names(viewer) == {"red", "green"}


def test_channels_that_our_reader_opens_are_one_case(viewer):
    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.widgets.opening.layer_data import layers_of_scan

    session = session_of(viewer)
    scan = Scan(np.random.default_rng(0).random((20, 30, 2)), "yxc", Geometry.from_spacing("yx"))
    for data, arguments, _ in layers_of_scan(scan, "slide"):
        viewer.add_image(data, **arguments)
    assert session.image.name == "slide channel 1"
    assert session.cases.count == 1


def test_a_mask_of_the_person_belongs_to_the_image_on_which_it_was_opened(cases):
    reference = cases.viewer.add_labels(np.ones(SHAPE, np.uint8), name="reference")
    assert reference.visible
    click_layer(cases.viewer, cases.first)
    assert not reference.visible
    click_layer(cases.viewer, cases.second)
    assert reference.visible
    other_grid = cases.viewer.add_labels(np.ones((4, 4), np.uint8), name="something else")
    click_layer(cases.viewer, cases.first)
    assert other_grid.visible


def test_a_second_run_hides_the_first_and_a_click_brings_it_back(cases):
    second_run = add_result(cases.viewer, cases.second)
    assert second_run.layers.run_number == 2
    assert cases.session.current is second_run
    assert not cases.second_result.layers.mask.visible
    assert second_run.layers.mask.visible
    click_layer(cases.viewer, cases.second_result.layers.mask)
    assert cases.session.current is cases.second_result
    assert cases.second_result.layers.mask.visible
    assert not second_run.layers.mask.visible
    click_layer(cases.viewer, cases.first)
    click_layer(cases.viewer, cases.second)
    assert cases.session.current is cases.second_result  # which was chosen last


def test_the_number_of_a_run_is_not_given_twice(cases):
    second_run = add_result(cases.viewer, cases.second)
    cases.viewer.layers.remove(cases.second_result.layers.mask)
    third_run = add_result(cases.viewer, cases.second)
    assert second_run.layers.run_number == 2
    assert third_run.layers.run_number == 3


def test_a_run_that_ends_while_another_case_is_shown_stays_with_its_image(cases):
    late_result = add_result(cases.viewer, cases.first)
    assert cases.session.image is cases.second
    assert cases.session.current is cases.second_result
    assert not late_result.layers.mask.visible
    click_layer(cases.viewer, cases.first)
    assert cases.session.current is late_result
    assert late_result.layers.mask.visible


def test_a_removed_mask_leaves_the_case(cases):
    """napari selects the layer below what was removed, which is of the other image here."""
    layers = cases.viewer.layers
    layers.move(layers.index(cases.first), layers.index(cases.second_result.layers.mask))
    layers.selection.active = cases.second_result.layers.mask
    process_events()
    layers.remove_selected()
    process_events()
    assert cases.session.image is cases.second
    assert cases.session.current is None
    assert layers.selection.active is cases.second
    assert not cases.first.visible


def test_a_removed_image_gives_way_to_another_and_keeps_its_results(cases, segment, review):
    cases.viewer.layers.remove(cases.second)
    process_events()
    assert cases.session.image is cases.first
    assert cases.second_result in cases.session.results
    assert not cases.second_result.layers.mask.visible
    click_layer(cases.viewer, cases.second_result.layers.mask)
    assert cases.session.current is cases.second_result
    assert "malignant_10 (image removed) · run 1" in review.header.line.toolTip()
    assert not cases.first.visible
    assert segment.form.image.value is None
    assert not segment.run_button.isEnabled()


def test_without_images_there_is_no_case(cases, segment):
    cases.viewer.layers.clear()
    process_events()
    assert cases.session.image is None
    assert cases.session.current is None
    assert segment.header.line.text() == "No image is open"
    assert not segment.header.all_cases.isVisibleTo(segment)


def test_a_renamed_image_renames_what_belongs_to_it(cases, segment, review):
    own = cases.second_result.layers.layers_of("variance")[0]
    own.name = "my map"
    cases.second.name = "case 7"
    assert cases.second_result.layers.mask.name.startswith("case 7 ")
    assert own.name == "my map"
    assert review.results.currentText().startswith("case 7")
    assert segment.form.image.native.currentText() == "case 7"
    assert review.header.line.toolTip().startswith("case 7 · run 1 · Breast ultrasound")
    assert cases.first_result.layers.mask.name.startswith("benign_105 ")
    cases.second.name = "T2 axial of the second visit"
    assert cases.second_result.layers.mask.name == "T2 axia… visit run 1 mask"


def test_every_header_says_case_run_and_model_within_340_pixels(cases, segment):
    models = ModelsWidget(cases.viewer)
    cases.viewer.window.add_dock_widget(models, name="Models", area="right")
    cases.second.name = "a name of an image that is far longer than 340 pixels " * 3
    for widget in (segment, models):
        header = widget.header
        assert header.line.toolTip() == f"{cases.second.name} · run 1 · Breast ultrasound lesions v2"
        widget.resize(340, 600)
        process_events()
        assert header.width() <= 380
        assert header.all_cases.isVisibleTo(widget)
        assert "…" in header.line._elidedText()


def test_a_widget_opened_late_shows_one_case(viewer):
    images = [add_case(viewer, f"image {i}", i) for i in range(3)]
    viewer.layers.selection.active = images[1]
    session = session_of(viewer)
    assert session.image is images[1]
    assert visible_names(viewer) == {"image 1"}


def test_a_corrected_copy_goes_with_its_case(cases):
    copy = corrections_of(cases.viewer).edit(cases.second_result)
    assert copy.visible
    click_layer(cases.viewer, cases.first)
    assert not copy.visible
    assert cases.viewer.layers.selection.active is cases.first
    click_layer(cases.viewer, copy)
    assert cases.session.current is cases.second_result
    assert copy.visible


def test_replaced_values_of_an_image_are_another_image(cases, segment, review, qtbot):
    result = cases.second_result
    cases.second.data = cases.second.data.copy()  # equal values: it stays what it was
    qtbot.waitUntil(lambda: not result.has_other_data, timeout=20_000)
    assert cases.session.current is result
    cases.second.data = 1 - cases.second.data
    assert cases.session.current is None  # at once, and not when the values have been read
    assert not result.layers.mask.visible
    qtbot.waitUntil(lambda: "malignant_10 has changed" in messages(), timeout=20_000)
    assert segment.header.line.toolTip() == "malignant_10 · not segmented"
    assert not segment.result_panel.isVisibleTo(segment)
    assert review.is_empty
    cases.session.select_result(result)
    assert "(of earlier values)" in review.header.line.toolTip()
    assert not result.layers.mask.visible
    with pytest.raises(BadInput, match="have changed since; segment the image again"):
        corrections_of(cases.viewer).edit(result)
    assert corrections_of(cases.viewer).approve(result, (0,)) is None
    qtbot.waitUntil(lambda: "have changed since; segment the image again" in messages(), timeout=20_000)


def test_a_removed_image_is_told_once(cases, qtbot):
    cases.viewer.layers.remove(cases.second)
    qtbot.waitUntil(lambda: "malignant_10 was removed. Its result can still be" in messages(), timeout=20_000)


def messages():
    return "\n".join(record.message for record in notification_manager.records)


def test_every_map_belongs_to_an_image(cases):
    for layer in cases.viewer.layers:
        assert is_case_image(layer) or cases.session.cases.image_of(layer) in (cases.first, cases.second)
    assert isinstance(cases.second_result.layers.mask, Labels)


def test_a_run_that_ends_is_the_current_one_though_a_copy_of_an_earlier_run_was_selected(cases):
    """The layers that a run adds leave the selection as it was, which is no choice of the earlier run."""
    corrections = corrections_of(cases.viewer)
    copy = corrections.edit(cases.second_result)
    process_events()
    assert cases.viewer.layers.selection.active is copy
    second_run = add_result(cases.viewer, cases.second)
    process_events()
    assert cases.session.current is second_run
    assert second_run.layers.mask.visible
    assert not copy.visible
    assert not cases.second_result.layers.mask.visible
    assert cases.viewer.layers.selection.active is cases.second  # the brush is not left on a hidden layer
    assert corrections.active.result is second_run
    click_layer(cases.viewer, copy)
    assert cases.session.current is cases.second_result
    assert copy.visible
    assert not second_run.layers.mask.visible


def test_maps_that_are_added_do_not_choose_the_result_whose_layer_is_selected(cases):
    """napari selects each new layer, and the one before again: that one stays selected, and no more."""
    second_run = add_result(cases.viewer, cases.second)
    click_layer(cases.viewer, cases.second_result.layers.mask)
    cases.session.select_result(second_run)
    assert cases.viewer.layers.selection.active is cases.second
    click_layer(cases.viewer, second_run.layers.mask)
    assert cases.session.current is second_run


def test_a_mask_of_another_case_is_no_reference_unless_it_is_shown(cases, review):
    def references():
        review.measures.reset_references()
        return [layer for layer in review.measures.reference.choices if layer is not None]

    other = cases.first_result.layers.mask
    assert other not in references()
    own = cases.viewer.add_labels(np.ones(SHAPE, np.uint8), name="reference")
    assert own in references()
    click_eye(cases.viewer, other)
    assert other in references()


def test_review_never_lists_the_regions_of_another_case(cases, review, qtbot):
    qtbot.waitUntil(lambda: len(review.queue.findings) > 0, timeout=20_000)
    review.go_to_row(0)
    cases.session.set_image(cases.first)
    assert not review.queue.findings  # at once, and not when those of this case are ranked
    review.approve()
    assert not corrections_of(cases.viewer).approvals.writes_in_progress
    qtbot.waitUntil(lambda: len(review.queue.findings) > 0, timeout=20_000)


def test_a_threshold_that_was_chosen_just_before_another_case_is_not_left_on_screen(cases, qtbot):
    first, second = cases.first_result, cases.second_result
    before = second.layers.mask.data.copy()
    cases.viewer.dims.set_point(0, 15)
    cases.session.apply_threshold(0.9)
    assert second.layers.is_previewing
    cases.session.set_image(cases.first)
    cases.session.apply_threshold(0.9)
    assert not second.layers.is_previewing
    np.testing.assert_array_equal(second.layers.mask.data, before)
    qtbot.waitUntil(lambda: first.segmentation.record.threshold == 0.9, timeout=20_000)
    assert second.segmentation.record.threshold == 0.5


def test_a_mask_that_is_corrected_in_a_copy_has_a_fixed_threshold(cases, segment, qtbot):
    result, slider = cases.second_result, segment.result_threshold.slider
    assert slider.native.isEnabled()
    copy = corrections_of(cases.viewer).edit(result)
    qtbot.waitUntil(lambda: not slider.native.isEnabled(), timeout=20_000)
    assert segment.result_threshold.toolTip().startswith("The mask is being corrected in a copy")
    cases.session.apply_threshold(0.9)
    qtbot.wait(300)
    assert result.segmentation.record.threshold == 0.5
    assert result.shown_mask().state == "model"  # nobody has painted
    cases.viewer.layers.remove(copy)
    qtbot.waitUntil(lambda: slider.native.isEnabled(), timeout=20_000)
    slider.value = 0.9
    qtbot.waitUntil(lambda: result.segmentation.record.threshold == 0.9, timeout=20_000)


def test_review_shows_a_slice_before_it_is_approved(own_home, cases, review, qtbot):
    """The person may have scrolled to another slice, of which this region is no part."""
    qtbot.waitUntil(lambda: len(review.queue.findings) > 0, timeout=20_000)
    review.next()
    (number,) = review.queue.findings[0].index
    cases.viewer.dims.set_point(0, cases.second.data_to_world((7, 0, 0))[0])
    approved = corrections_of(cases.viewer).correction_of(cases.second_result).approved
    corrections = corrections_of(cases.viewer)
    qtbot.mouseClick(review.approve_button, Qt.MouseButton.LeftButton)
    assert "Another slice was on screen" in messages()
    assert not corrections.approvals.writes_in_progress
    assert cases.viewer.dims.point[0] == cases.second.data_to_world((number, 0, 0))[0]
    qtbot.wait(QApplication.doubleClickInterval() + 100)  # the second click of a double-click is ignored
    qtbot.mouseClick(review.approve_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: list(approved) == [number], timeout=20_000)
