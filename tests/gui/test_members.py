"""A model with several members in the widget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt

from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import read_card
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.store import data_home, open_codec
from napari_latentseg.widgets.segment.widget import SegmentWidget


@pytest.fixture
def widget(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    """The widget in a home that also holds a model with three members."""
    import shutil

    shutil.copytree(data_home() / "codecs", tmp_path / "codecs")
    card = read_card(make_tiny_model("tiny-three", title="Three members"))
    codec, _ = open_codec("tiny-codec")
    methods = []
    for seed in (7, 8, 9):
        torch.manual_seed(seed)
        methods.append(build_method("gms", codec, card.settings))
    card_with_members = card.model_copy(
        update={"sources": ("members", "members-augment", "augment", "none"), "default_samples": 5}
    )
    save_model_folder(
        tmp_path / "models" / "tiny-three", methods[0], card_with_members, other_members=methods[1:]
    )
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    segment_widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment_widget, name="Segment", area="right")
    viewer.add_image(np.random.default_rng(0).random((48, 64)).astype("f4"), name="noise")
    return segment_widget


def test_there_are_as_many_samples_as_members(widget, qtbot):
    form = widget.form
    form.model.value = "tiny-three"
    assert (form.source.value, form.samples.value, form.samples.max) == ("members", 3, 3)
    assert "has 3 members, and each of them gives one sample" in form.samples.tooltip
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert widget.finished_result.segmentation.record.samples == 3
    assert widget.finished_result.segmentation.variance.max() > 0
    assert not widget.result_panel.more_button.isEnabled()
    assert "one sample" in widget.result_panel.more_button.toolTip()
    form.source.value = "augment"
    form.samples.value = 12
    assert "members" not in form.samples.tooltip
    form.source.value = "members"
    assert form.samples.value == 3
    form.model.value = "retina-vessels"
    form.samples.value = 20
    form.model.value = "tiny-three"
    assert form.samples.value == 3


def test_members_on_augmented_images_give_more_samples_than_members(widget, qtbot):
    form = widget.form
    form.model.value = "tiny-three"
    labels = [form.source.native.itemText(i) for i in range(form.source.native.count())]
    assert labels[:2] == ["ensemble members", "ensemble members and test-time augmentation"]
    combo = form.source.native
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Down)
    assert form.source.value == "members-augment"
    assert form.samples.max > 3
    assert "each on another flip" in form.source.tooltip
    form.samples.value = 4
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    record = widget.finished_result.segmentation.record
    assert (record.samples, record.source) == (4, "members-augment")
    assert widget.result_panel.more_button.isEnabled()
