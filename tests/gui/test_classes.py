"""The result of a model with several classes, in a real viewer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import class_extents
from napari_latentseg.widgets._shared.layers import METADATA_KEY, layer_matrix, role_of
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets.segment.result_panel import ResultPanel

CLASSES = (
    ClassInfo(label=1, name="liver", color="#d90b7a", includes=("liver tumour",)),
    ClassInfo(label=2, name="liver tumour", color="#b2b21b"),
    ClassInfo(label=3, name="spleen", color="#ff2626"),
)


def segmentation(samples: int = 5) -> Segmentation:
    mean = np.zeros((3, 2, 20, 24), dtype=np.float32)
    mean[0, :, 4:14, 4:14] = 0.9
    mean[1, :, 6:9, 6:9] = 0.6
    mean[2, :, 15:19, 15:20] = 0.8
    record = RunRecord(
        plugin_version="0", time="", classes=CLASSES, samples_asked=samples, samples=samples,
        planes_done=2, planes=2, source="noise", source_settings={}, seed=0, threshold=0.5, device="cpu",
        precision="float32", tile=None, overlap=0, working_size=(20, 24), seconds=1, complete=True,
        volumes={}, volume_unit="pixel", versions={},
        input=InputRecord(
            sha256="", format="", axes="zyx", shape=(2, 20, 24), dtype="uint8", spacing=(1, 1, 1),
            units=("pixel",) * 3,
        ),
        model=ModelRecord(name="abdomen", version="1", method="guided", variant="", codec="", sha256={}),
    )  # fmt: skip
    return Segmentation(
        mask=labels_from_probabilities(mean, 0.5, CLASSES), mean=mean, variance=mean * 0.1,
        volumes=np.zeros((samples, 3)), axes="zyx",
        geometry=Geometry.from_spacing("zyx"), format="", properties={},
        classes=CLASSES, record=record,
    )  # fmt: skip


@pytest.fixture
def shown(viewer):
    image = viewer.add_image(np.zeros((2, 20, 24)), name="ct", scale=(3, 1, 2), translate=(1, 2, 3))
    layers = ResultLayers(viewer, image, CLASSES)
    for _ in layers.show_all(segmentation()):
        pass
    return viewer, layers


def test_each_class_has_a_mean_and_a_variance_by_its_name(shown) -> None:
    viewer, layers = shown
    names = [layer.name for layer in viewer.layers]
    assert names == [
        "ct",
        *(f"ct mean, {c.name}" for c in CLASSES),
        *(f"ct variance, {c.name}" for c in CLASSES),
        "ct mask",
    ]
    for role in ("mean", "variance"):
        for info, layer in zip(CLASSES, layers.layers_of(role), strict=True):
            assert role_of(layer) == role
            assert layer.metadata[METADATA_KEY]["class"] == info.name
            assert layer.data.shape == (2, 20, 24)
            assert np.allclose(layer_matrix(layer), layer_matrix(viewer.layers["ct"]))
    limits = {tuple(layer.contrast_limits) for layer in layers.layers_of("variance")}
    assert len(limits) == 1


def test_the_labels_have_the_colours_and_names_of_the_card(shown) -> None:
    _, layers = shown
    for info in CLASSES:
        expected = [int(info.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert np.allclose(layers.mask.colormap.map(info.label)[:3], expected, atol=0.01)
        row = layers.mask.features.set_index("index").loc[info.label]
        assert row["class"] == info.name
    assert layers.mask.data[0, 7, 7] == 2  # the tumour wins over the organ that includes it
    assert layers.mask.data[0, 12, 12] == 1
    assert "spleen" in layers.mask.get_status((1, 2 + 17, 3 + 2 * 17), world=True)["value"]


def test_one_toggle_shows_all_the_classes(shown, qtbot) -> None:
    viewer, layers = shown
    panel = ResultPanel()
    qtbot.addWidget(panel)
    panel.show_result(segmentation(), layers, class_extents(segmentation()))
    assert [line.split(":")[0] for line in panel.extent_text.text().splitlines()] == [c.name for c in CLASSES]
    panel.toggles["mean"].click()
    assert all(layer.visible for layer in layers.layers_of("mean"))
    assert not any(layer.visible for layer in layers.layers_of("variance"))
    layers.layers_of("mean")[0].visible = False
    assert panel.toggles["mean"].isChecked()
    for layer in list(layers.layers_of("mean")):
        viewer.layers.remove(layer)
    panel.show_result(segmentation(), layers, class_extents(segmentation()))
    assert not panel.toggles["mean"].isEnabled()


def test_a_longer_run_fills_the_same_layers(shown) -> None:
    viewer, layers = shown
    before = list(viewer.layers)
    for _ in layers.show_all(segmentation(10)):
        pass
    assert list(viewer.layers) == before
    assert {layer.metadata[METADATA_KEY]["record"]["samples"] for layer in layers.layers_of("mean")} == {10}
