"""Some of the classes of a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.helpers.guided import make
from tests.helpers.predicted import picture, predicted, scan_of, started

from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.methods.noise import random_noise
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model

CLASSES = [
    {"label": 5, "name": "organ", "color": "#ffb000", "includes": ["tumour"]},
    {"label": 2, "name": "tumour", "color": "#00b0ff", "includes": ["core"]},
    {"label": 9, "name": "core", "color": "#00ff00"},
]


@pytest.fixture(scope="session")
def model(make_tiny_model) -> Model:
    return load_model(make_tiny_model("tiny-three", classes=CLASSES, settings={"width": 16, "classes": 3}))


@pytest.mark.parametrize(
    ("asked", "picked", "includes"),
    [
        (["organ"], [0], [()]),
        (["core", "organ"], [0, 2], [("core",), ()]),  # in the card's order, and through the class between
        (["tumour", "core"], [1, 2], [("core",), ()]),
        (["organ", "tumour", "core"], [0, 1, 2], [("tumour", "core"), ("core",), ()]),
    ],
)
def test_the_result_holds_those_alone(model: Model, asked, picked, includes) -> None:
    scan = scan_of(picture(2, 40, 50), "zyx")
    whole = predicted(model, scan, samples=3)
    found = predicted(model, scan, samples=3, classes=asked)
    assert [c.name for c in found.classes] == [CLASSES[i]["name"] for i in picked]
    assert [c.includes for c in found.classes] == includes
    assert found.record.classes == found.classes
    # fewer rows of a matrix product may be added up in another order, as the processor has it
    np.testing.assert_allclose(found.mean, whole.mean[picked], atol=1e-6)
    np.testing.assert_allclose(found.variance, whole.variance[picked], atol=1e-6)
    assert np.array_equal(found.mask, labels_from_probabilities(found.mean, 0.5, found.classes))
    assert set(np.unique(found.mask)) <= {0, *(CLASSES[i]["label"] for i in picked)}
    assert found.volumes.shape == (3, len(picked))
    assert found.sample_maps.plane_samples(0).shape == (3, len(picked), 40, 50)
    assert set(found.record.volumes) == {CLASSES[i]["name"] for i in picked}


def test_the_preview_is_of_those_too(model: Model) -> None:
    run = started(model, scan_of(picture(40, 50)), samples=1, classes=["tumour"])
    list(run)
    assert [c.name for c in run.state.classes] == ["tumour"]
    assert np.array_equal(run.preview(0), run.result().mask)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["liver"], "classes: tiny-three has no class 'liver'; choose from organ, tumour, core"),
        ([], "classes: none is given; choose from organ, tumour, core"),
    ],
)
def test_what_the_model_does_not_know_is_refused(model: Model, asked, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        InferenceSettings.for_model(model.card, classes=asked)
    assert str(caught.value) == message


def test_guided_computes_only_those(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(classes=3).eval()
    rows: list[int] = []
    predict = method.denoise
    monkeypatch.setattr(method, "denoise", lambda z, *more: (rows.append(len(z)), predict(z, *more))[1])
    with torch.inference_mode():
        condition = method.encode(torch.rand(2, 3, 32, 32))

        def noise():
            return random_noise(torch.Generator().manual_seed(3))

        whole = method.sample(condition, noise())
        assert set(rows) == {2 * 3}
        rows.clear()
        some = method.sample_classes([2], condition, noise())
    assert set(rows) == {2}
    assert torch.allclose(some, whole[:, [2]], atol=1e-4)
