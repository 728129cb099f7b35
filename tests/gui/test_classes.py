"""The result of a model with several classes, in a real viewer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import class_sizes
from napari_latentseg.widgets._shared import result_maps
from napari_latentseg.widgets._shared.layers import METADATA_KEY, layer_matrix, role_of
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets.segment.result_panel import ResultPanel

CLASSES = (
    ClassInfo(label=1, name="liver", color="#d90b7a", includes=("liver tumour",)),
    ClassInfo(label=2, name="liver tumour", color="#b2b21b"),
    ClassInfo(label=3, name="spleen", color="#ff2626"),
)


def segmentation(samples: int = 5) -> Segmentation:
    """A result whose samples are all equal to the mean."""
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
    maps = SampleMaps(3, 2, (20, 24), 10**8)
    for number in range(2):
        for _ in range(samples):
            maps.add(number, mean[:, number])
    return Segmentation(
        mask=labels_from_probabilities(mean, 0.5, CLASSES), mean=mean, variance=mean * 0.1,
        volumes=np.zeros((samples, 3)), axes="zyx",
        geometry=Geometry.from_spacing("zyx"), format="", properties={},
        classes=CLASSES, record=record, sample_maps=maps,
    )  # fmt: skip


@pytest.fixture
def shown(viewer):
    image = viewer.add_image(np.zeros((2, 20, 24)), name="ct", scale=(3, 1, 2), translate=(1, 2, 3))
    layers = ResultLayers(viewer, image, CLASSES)
    for _ in layers.show_all(segmentation()):
        pass
    return viewer, layers


def test_one_run_has_five_layers_that_lie_together(shown) -> None:
    viewer, layers = shown
    assert [layer.name for layer in viewer.layers] == [
        "ct", "ct run 1 doubt", "ct run 1 variance", "ct run 1 mean", "ct run 1 agreement", "ct run 1 mask",
    ]  # fmt: skip
    assert layers.all_layers == list(viewer.layers)[1:]
    for layer in layers.all_layers:
        metadata = layer.metadata[METADATA_KEY]
        assert (metadata["image"], metadata["run"]) == (str(layers.image.unique_id), 1)
        assert layers.layers_of(role_of(layer)) == [layer]
        assert layer.data.shape == (2, 20, 24)
        assert np.allclose(layer_matrix(layer), layer_matrix(viewer.layers["ct"]))


def test_the_maps_show_the_class_that_was_chosen(shown) -> None:
    _, layers = shown
    result = segmentation()
    for k, info in enumerate(CLASSES):
        layers.maps.show_class(k)
        maps = {"mean": result.mean[k], "variance": result.variance[k], "doubt": result.doubt[k]}
        maps["agreement"] = layers.maps.agreement[k]
        for role, expected in maps.items():
            (layer,) = layers.layers_of(role)
            assert np.array_equal(layer.data, expected)
            assert layer.metadata[METADATA_KEY]["class"] == info.name


def test_the_scales_of_the_maps_do_not_depend_on_the_run(shown) -> None:
    _, layers = shown
    limits = {"agreement": [0, 5], "mean": [0, 1], "variance": [0, 0.25], "doubt": [0, 0.5]}
    for role, expected in limits.items():
        (layer,) = layers.layers_of(role)
        assert list(layer.contrast_limits) == expected
        colors = layer.colormap.map(np.array([0, 1]))
        assert colors[0, 3] == 0  # where all samples agree on background the image stays visible
        assert colors[1, 3] == 1


def test_each_number_of_samples_has_one_colour(shown) -> None:
    _, layers = shown
    (layer,) = layers.layers_of("agreement")
    colors = layer.colormap.map(np.arange(6) / 5)
    assert len(np.unique(colors.round(3), axis=0)) == 6
    assert np.allclose(layer.colormap.map((np.arange(6) / 5) + 0.04), colors)


def test_a_second_run_is_a_group_of_its_own(shown) -> None:
    viewer, first = shown
    second = ResultLayers(viewer, first.image, CLASSES)
    for _ in second.show_all(segmentation()):
        pass
    assert [layer.name for layer in list(viewer.layers)[6:]] == [
        f"ct run 2 {role}" for role in ("doubt", "variance", "mean", "agreement", "mask")
    ]
    viewer.layers.remove(first.mask)
    assert ResultLayers(viewer, first.image, CLASSES).run_number == 3  # numbers are not used twice


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


def test_the_toggles_follow_the_layers(shown, qtbot) -> None:
    viewer, layers = shown
    panel = ResultPanel(viewer)
    qtbot.addWidget(panel)
    panel.show_result(segmentation(), layers, class_sizes(segmentation()), "a note")
    assert all("pixels" in panel.legend.size_text(c.name) for c in CLASSES)
    panel.toggles["mean"].click()
    (mean,) = layers.layers_of("mean")
    assert mean.visible
    assert not layers.layers_of("variance")[0].visible
    mean.visible = False
    assert not panel.toggles["mean"].isChecked()
    viewer.layers.remove(mean)
    panel.show_result(segmentation(), layers, class_sizes(segmentation()), "a note")
    assert not panel.toggles["mean"].isEnabled()


def test_a_longer_run_fills_the_same_layers(shown) -> None:
    viewer, layers = shown
    before = list(viewer.layers)
    for _ in layers.show_all(segmentation(10)):
        pass
    assert list(viewer.layers) == before
    assert {layer.metadata[METADATA_KEY]["record"]["samples"] for layer in layers.layers_of("mean")} == {10}


def test_the_doubt_of_a_large_volume_is_computed_slice_by_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computing it at once would hold the window."""
    monkeypatch.setattr(result_maps, "_MAX_DOUBT_VOXELS", 100)
    mean = segmentation().mean[0]
    lazy = result_maps._doubt_layer_data(mean)
    assert lazy.chunksize == (1, *mean.shape[1:])
    assert lazy.dtype == np.float32
    np.testing.assert_array_equal(lazy[1], np.minimum(mean[1], 1 - mean[1]))
