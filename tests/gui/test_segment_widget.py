"""The real widget in a real viewer, with the models that come with the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.layers import Image, Labels
from tests.helpers.explained import unexplained
from tests.helpers.segmenting import add_phantom, layers_by_role, run

from napari_latentseg.inference.sampler import Sampler
from napari_latentseg.io import read_scan
from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets._shared.layers import METADATA_KEY, layer_matrix, role_of
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer, qtbot):
    segment_widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment_widget, name="Segment", area="right")
    return segment_widget


@pytest.fixture
def phantom(viewer, widget):
    return add_phantom(viewer, widget)


def test_sample_gives_five_layers(viewer, widget, qtbot):
    (layer,) = viewer.open_sample("napari-latentseg", "retina")
    assert layer.data.shape == (1411, 1411, 3)
    run(widget, qtbot, model="retina-vessels", samples=5)
    shown = layers_by_role(viewer)
    assert set(shown) == {"mask", "agreement", "mean", "variance", "doubt"}
    assert all(layer.name == f"retina run 1 {role}" for role, layer in shown.items())
    mask, mean, variance = shown["mask"].data, shown["mean"].data, shown["variance"].data
    assert mask.shape == mean.shape == variance.shape == (1411, 1411)
    assert 0.03 < mask.mean() < 0.2  # vessels are some tenth of a fundus
    np.testing.assert_array_equal(mask, mean > 0.5)
    agreement = shown["agreement"].data
    assert set(np.unique(agreement)) == set(range(6))
    assert np.abs(agreement / 5 - mean).max() < 0.51  # as far as labels are from their probabilities
    assert mean.min() >= 0
    assert mean.max() <= 1
    assert 0 < variance.max() <= 0.25
    assert shown["mean"].metadata[METADATA_KEY]["record"]["samples"] == 5
    assert tuple(shown["mean"].contrast_limits) == (0, 1)
    assert shown["mask"].visible
    assert not shown["mean"].visible


def test_layers_lie_where_the_image_lies(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    for layer in layers_by_role(viewer).values():
        np.testing.assert_allclose(layer_matrix(layer), layer_matrix(phantom), atol=1e-12)
        assert layer.units == phantom.units
        assert layer.axis_labels == phantom.axis_labels
        corner = (200, 300)
        np.testing.assert_allclose(layer.data_to_world(corner), phantom.data_to_world(corner), atol=1e-9)


def test_the_lesion_of_the_phantom_is_found(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=5)
    truth = ultrasound_phantom().reference > 0
    mask = layers_by_role(viewer)["mask"].data > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.7
    assert "mm²" in widget.result_panel.legend.size_text("lesion")


@pytest.fixture
def batches(monkeypatch):
    """How many tiles of its sample were blended after each batch so far."""
    drawn = []
    draw = Sampler.draw

    def counting(self, jobs):
        for tiles in draw(self, jobs):
            if tiles is not None:
                drawn.append(tiles[-1].job.blended_tiles)
            yield tiles

    monkeypatch.setattr(Sampler, "draw", counting)
    return drawn


def test_cancel_keeps_what_is_complete(viewer, widget, qtbot, batches):
    viewer.open_sample("napari-latentseg", "retina")
    widget.form.model.value = "retina-vessels"
    widget.form.samples.value = 40
    widget.run_button.click()
    qtbot.waitUntil(lambda: "mask" in layers_by_role(viewer), timeout=120_000)  # one sample is complete
    widget.cancel_button.click()
    before = len(batches)
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert before <= len(batches) <= before + 1  # the one that was being drawn, and no other
    record = layers_by_role(viewer)["mask"].metadata[METADATA_KEY]["record"]
    assert 1 <= record["samples"] < 40
    assert record["samples_asked"] == 40
    assert not record["complete"]
    assert f"{record['samples']} of 40" in widget.status.text()
    assert ("variance" in layers_by_role(viewer)) == (record["samples"] >= 3)
    assert widget.run_button.isEnabled()


def test_cancel_before_the_first_sample_leaves_nothing(viewer, widget, qtbot):
    viewer.open_sample("napari-latentseg", "retina")
    widget.form.model.value = "retina-vessels"
    widget.run_button.click()
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert not layers_by_role(viewer)
    assert "Cancelled before the first sample" in widget.status.text()


@pytest.mark.parametrize(
    ("fields", "roles"),
    [
        ({"samples": 2}, {"mask", "mean", "doubt"}),
        ({"samples": 3}, {"mask", "agreement", "mean", "variance", "doubt"}),
        ({"source": "none"}, {"mask", "mean", "doubt"}),
    ],
)
def test_variance_is_honest_or_absent(viewer, widget, qtbot, phantom, fields, roles):
    run(widget, qtbot, **fields)
    assert set(layers_by_role(viewer)) == roles
    if fields.get("source") == "none":
        assert not widget.form.samples.enabled
        assert not widget.result_panel.more_button.isEnabled()
        assert "no variance" in widget.result_panel.run_note.text()
        doubt = widget.result_panel.toggles["doubt"]
        assert doubt.isEnabled()
        assert "the model's own probability" in doubt.toolTip()


def test_more_samples_equal_a_longer_run(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    before = len(viewer.layers)
    widget.result_panel.more_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert len(viewer.layers) == before  # the same layers, with new data
    mean = layers_by_role(viewer)["mean"].data.copy()
    doubt = layers_by_role(viewer)["doubt"].data
    np.testing.assert_array_equal(doubt, np.minimum(mean, 1 - mean))
    assert layers_by_role(viewer)["mean"].metadata[METADATA_KEY]["record"]["samples"] == 8
    run(widget, qtbot, samples=8)
    second = [layer for layer in viewer.layers if role_of(layer) == "mean"][-1]
    assert second.name.endswith("run 2 mean")
    np.testing.assert_array_equal(second.data, mean)


def test_cut_moves_the_mask(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    layer = layers_by_role(viewer)["mask"]
    mean = layers_by_role(viewer)["mean"].data
    widget.result_threshold.slider.value = 0.2
    qtbot.waitUntil(lambda: np.array_equal(layer.data > 0, mean > 0.2), timeout=60_000)


def test_a_painted_mask_is_left_alone(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    layer = layers_by_role(viewer)["mask"]
    layer.paint((20, 20), 1)
    painted = layer.data.copy()
    assert painted[20, 20] == 1
    widget.result_threshold.slider.value = 0.9
    qtbot.wait(500)
    np.testing.assert_array_equal(layer.data, painted)
    widget.result_panel.more_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    np.testing.assert_array_equal(layer.data, painted)


def test_layers_of_the_user_are_never_touched(viewer, widget, qtbot, phantom):
    own = viewer.add_labels(np.full(phantom.data.shape, 7, dtype=np.uint8), name=f"{phantom.name} mask")
    run(widget, qtbot, samples=3)
    run(widget, qtbot, samples=3)
    assert own in viewer.layers
    assert (own.data == 7).all()
    assert sum(role_of(layer) == "mask" for layer in viewer.layers) == 2
    assert len({layer.name for layer in viewer.layers}) == len(viewer.layers)


def test_run_says_why_it_cannot(viewer, widget):
    assert not widget.run_button.isEnabled()
    assert "Open an image" in widget.run_button.toolTip()
    assert widget.empty_button.isVisible()
    labels = viewer.add_labels(np.zeros((4, 4), np.uint8), name="drawn")
    assert "“drawn” is a layer of labels" in widget.run_button.toolTip()
    viewer.layers.remove(labels)
    viewer.add_image(np.zeros((2, 2, 2, 4, 4)), name="too many")
    assert not widget.run_button.isEnabled()
    assert "5 dimensions" in widget.problem_label.text()
    viewer.add_image(np.zeros((16, 16)), name="good")
    widget.form.image.value = viewer.layers["good"]
    assert widget.run_button.isEnabled()


def test_sample_button(viewer, widget, qtbot):
    widget.empty_button.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    assert widget.form.model.value == "retina-vessels"
    assert widget.run_button.isEnabled()


def test_failure_is_told_and_napari_lives(viewer, widget, qtbot):
    viewer.add_image(np.full((20, 20), np.nan), name="broken")
    run(widget, qtbot)
    assert widget.status.text().startswith("broken: holds no finite value")
    assert not widget.result_panel.isVisible()
    assert not layers_by_role(viewer)
    viewer.add_image(np.random.default_rng(0).random((20, 30)), name="good")
    widget.form.image.value = viewer.layers["good"]
    run(widget, qtbot, model="breast-ultrasound", samples=3)
    assert layers_by_role(viewer)["mask"].data.shape == (20, 30)


@pytest.mark.parametrize(
    ("data", "rgb"),
    [
        (np.zeros((1, 1)), False),
        (np.zeros((8, 2000), dtype=np.uint8), False),
        (np.linspace(-3000, 3000, 40 * 50).reshape(40, 50).astype(np.int16), False),
        (np.random.default_rng(0).integers(0, 255, (30, 40, 4), dtype=np.uint8), True),
        (np.random.default_rng(0).random((3, 30, 40)), False),
    ],
    ids=["1x1", "thin", "int16", "rgba", "stack"],
)
def test_odd_images(viewer, widget, qtbot, data, rgb):
    layer = viewer.add_image(data, rgb=rgb, name="odd")
    run(widget, qtbot, model="breast-ultrasound", samples=3)
    shown = layers_by_role(viewer)
    shape = data.shape[:2] if rgb else data.shape
    assert {layer.data.shape for layer in shown.values()} == {shape}
    assert np.isfinite(shown["mean"].data).all()
    assert layer in viewer.layers


def test_only_the_slice_on_screen(viewer, widget, qtbot, phantom):
    assert not widget.form.roi_fields.slices.native.isVisibleTo(widget)  # a plane has none to choose from
    viewer.layers.clear()
    viewer.add_image(np.random.default_rng(0).random((5, 40, 50)), name="stack")
    assert widget.form.roi_fields.slices.native.isVisibleTo(widget)
    viewer.dims.set_point(0, 3)
    widget.form.roi_fields.slices.value = "shown"
    run(widget, qtbot, model="breast-ultrasound", samples=3)
    mean = np.asarray(layers_by_role(viewer)["mean"].data)
    assert [i for i in range(5) if mean[i].any()] == [3]
    assert "on 1 of 5 slices" in widget.result_panel.run_note.text()
    viewer.dims.set_point(0, 1)  # another slice, another run
    run(widget, qtbot)
    mean = np.asarray(layers_by_role(viewer)["mean"].data)
    assert [i for i in range(5) if mean[i].any()] == [1]


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_the_slice_on_screen_of_a_volume_that_lies_askew(viewer, widget):
    """napari draws the slice at the origin of the plane on screen, not the one at the cursor."""
    affine = np.eye(4)
    affine[:3, :3] = [[5.9, 0.2, 0.3], [-1.0, 0.85, 0.1], [-1.8, -0.1, 0.85]]
    affine[:3, 3] = (-30, 40, -90)
    stack = np.arange(12, dtype=np.float32)[:, None, None] + np.zeros((12, 60, 60), dtype=np.float32)
    layer = viewer.add_image(stack, affine=affine, name="askew")
    seen = set()
    for at in np.linspace(*layer.extent.world[:, 0], 9)[1:-1]:
        viewer.dims.set_point(0, at)
        drawn = np.unique(viewer.layers["askew"]._slice.image.view)
        if len(drawn) == 1 and layer._slice.image.view.size > 1:
            assert widget.form.settings().first_plane == drawn[0]
            seen.add(float(drawn[0]))
    assert len(seen) > 3


def test_image_removed_while_running(viewer, widget, qtbot, phantom):
    widget.form.samples.value = 20
    widget.run_button.click()
    viewer.layers.remove(phantom)
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert "mask" in layers_by_role(viewer)
    assert not widget.run_button.isEnabled()


def test_a_run_whose_layers_are_all_removed_ends_and_adds_none(viewer, widget, qtbot, phantom):
    widget.form.samples.value = 30
    widget.run_button.click()
    qtbot.waitUntil(lambda: "mask" in layers_by_role(viewer), timeout=120_000)
    for layer in viewer.layers:
        layer.visible = False  # see remove_layers: what is drawn must not be removed
    qtbot.wait(200)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert not viewer.layers
    assert not widget.session.results


def test_second_run_is_refused_while_one_goes_on(viewer, widget, qtbot, phantom):
    widget.form.samples.value = 20
    widget.run_button.click()
    assert not widget.run_button.isEnabled()
    assert "in progress" in widget.run_button.toolTip()
    widget.segment()  # what a key binding would do: refused in words
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert sum(role_of(layer) == "mask" for layer in viewer.layers) == 1


def test_what_cannot_be_used_says_why(viewer, widget, qtbot, phantom):
    assert unexplained(widget) == []
    run(widget, qtbot, source="none")
    assert unexplained(widget) == []
    widget.form.advanced.expand(animate=False)
    widget.run_button.click()
    assert not widget.result_threshold.isEnabled()
    assert "in progress" in widget.result_threshold.toolTip()
    assert unexplained(widget) == []
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert "mean probability" in widget.result_threshold.toolTip()
    layers_by_role(viewer)["mask"].data_setitem((np.array([3]), np.array([3])), 1)  # a corrected mask
    qtbot.waitUntil(lambda: not widget.result_threshold.slider.native.isEnabled(), timeout=30_000)
    assert unexplained(widget) == []


def test_export_writes_what_is_shown(viewer, widget, qtbot, phantom, tmp_path):
    run(widget, qtbot, samples=3)
    widget.export(tmp_path)
    qtbot.waitUntil(lambda: len([p for p in tmp_path.iterdir() if p.name[0] != "."]) == 4, timeout=60_000)
    record = json.loads(next(tmp_path.glob("*_run.json")).read_text())
    assert record["mask_edited"] is False
    assert record["samples"] == 3

    scan = read_scan(next(tmp_path.glob("*_mask*")))
    np.testing.assert_array_equal(np.asarray(scan.array), layers_by_role(viewer)["mask"].data)


def test_card_is_at_hand(viewer, widget, qtbot):
    from napari_latentseg.widgets.segment.card import CardDialog

    widget.form.model.value = "retina-vessels"
    widget.form.card_button.click()
    (dialog,) = widget.form.findChildren(CardDialog)
    text = dialog.text.toPlainText()
    for part in ("Retinal vessels", "GMS variant", "not a medical device", "CC BY 4.0", "Dice"):
        assert part.lower() in text.lower()
    dialog.close()


def test_fits_a_laptop(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    widget.form.advanced.expand(animate=False)
    assert widget.minimumSizeHint().width() <= 380
    assert widget.sizeHint().height() <= 700


def test_result_layers_are_of_their_kinds(viewer, widget, qtbot, phantom):
    run(widget, qtbot, samples=3)
    shown = layers_by_role(viewer)
    assert isinstance(shown["mask"], Labels)
    assert shown["mask"].editable
    assert isinstance(shown["mean"], Image)
    assert isinstance(shown["variance"], Image)
    assert tuple(shown["variance"].contrast_limits) == (0, 0.25)
    assert tuple(shown["doubt"].contrast_limits) == (0, 0.5)
    names = [layer.name for layer in viewer.layers]
    assert names[-1] == shown["mask"].name  # on top


def test_a_corrected_mask_goes_out_as_corrected(viewer, widget, qtbot, phantom, tmp_path):

    run(widget, qtbot, samples=3)
    layer = layers_by_role(viewer)["mask"]
    layer.paint((20, 20), 1)
    painted = layer.data.copy()
    widget.export(tmp_path)
    qtbot.waitUntil(lambda: len([p for p in tmp_path.iterdir() if p.name[0] != "."]) == 4, timeout=60_000)
    np.testing.assert_array_equal(np.asarray(read_scan(next(tmp_path.glob("*_mask*"))).array), painted)
    assert json.loads(next(tmp_path.glob("*_run.json")).read_text())["mask_edited"] is True


def test_a_closed_widget_leaves_the_run_going_and_its_choices(viewer, widget, qtbot, phantom):
    widget.form.samples.value = 12
    widget.run_button.click()
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.wait(50)
    again = SegmentWidget(viewer)
    viewer.window.add_dock_widget(again, name="Segment", area="right")
    assert again.busy
    assert again.cancel_button.isVisibleTo(again)
    assert again.form.samples.value == 12
    assert again.form.model.value == "breast-ultrasound"
    qtbot.waitUntil(lambda: not again.busy, timeout=120_000)
    assert again.finished_result.segmentation.record.samples == 12
    assert again.result_panel.isVisibleTo(again)


def test_early_stop_and_mending_are_recorded(viewer, widget, qtbot, phantom):
    widget.form.postprocess_fields.tolerance.value = 0.02
    widget.form.postprocess_fields.keep_largest.value = True
    run(widget, qtbot, samples=30)
    record = widget.finished_result.segmentation.record
    assert 3 <= record.samples < 30
    assert record.tolerance == 0.02
    assert record.cleanup.keep_largest
    widget.form.postprocess_fields.min_size.value = 1e6
    qtbot.waitUntil(lambda: not layers_by_role(viewer)["mask"].data.any(), timeout=60_000)
    assert widget.finished_result.segmentation.record.cleanup.smallest == 1e6


def test_export_with_table_and_report(viewer, widget, qtbot, phantom, tmp_path):
    from napari_latentseg.widgets.segment.export_dialog import ExportDialog

    run(widget, qtbot, samples=3)
    widget.ask_export()
    (dialog,) = widget.findChildren(ExportDialog)
    dialog.folder.setText(str(tmp_path))
    dialog.deidentify.setChecked(True)
    dialog.contours.setChecked(True)
    dialog.save()
    qtbot.waitUntil((tmp_path / "case-1_report.html").exists, timeout=60_000)  # written last
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".part-")}
    assert len(names) == 7
    assert {"case-1_run.json", "case-1_report.html", "case-1_measurements.csv"} <= names
    assert "ultrasound phantom" not in (tmp_path / "case-1_report.html").read_text()
