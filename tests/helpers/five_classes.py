"""A finished result with five classes of long names, whose eight samples differ at their edges."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.helpers.shown import segmentation_of

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.measure import class_sizes
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import find_model
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.runner import RunJob
from napari_latentseg.widgets._shared.session import RunResult, session_of

CLASSES = (
    ClassInfo(label=1, name="left ventricular cavity", color="#d55e00"),
    ClassInfo(label=2, name="right ventricular cavity", color="#56b4e9"),
    ClassInfo(label=3, name="left ventricular myocardium", color="#009e73"),
    ClassInfo(label=4, name="papillary muscles and trabeculae of the left ventricle", color="#f0e442"),
    ClassInfo(label=5, name="pericardial fat", color="#cc79a7"),
)
# row, column, radius in fractions of the slice
_DISCS = ((0.45, 0.4, 0.12), (0.45, 0.72, 0.11), (0.75, 0.4, 0.1), (0.2, 0.3, 0.06), (0.2, 0.7, 0.08))


def samples_of_discs(shape: tuple[int, ...], samples: int = 8) -> np.ndarray:
    """Samples `(samples, 5, *shape)`: one disc a class, of another size in each sample."""
    height, width = shape[-2:]
    y, x = np.ogrid[:height, :width]
    result = np.zeros((samples, len(CLASSES), *shape), dtype=np.float32)
    for i in range(samples):
        for k, (row, column, radius) in enumerate(_DISCS):
            away = np.hypot(y - row * height, x - column * width) - radius * height * (0.8 + 0.06 * i)
            result[i, k] = 1 / (1 + np.exp(np.clip(away, -30, 30)))
    return np.round(result * 255) / np.float32(255)


def show_five_classes_in(
    viewer: Any, shape: tuple[int, ...] = (3, 220, 240), **image: Any
) -> SimpleNamespace:
    """Show an image with a finished result of it: `viewer`, `session`, `result`, `image`."""
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    anatomy = 0.4 + 0.2 * np.sin(x / 9) * np.cos(y / 7) + np.random.default_rng(0).normal(0, 0.05, shape)
    layer = viewer.add_image(anatomy.astype("f4"), **{"name": "cardiac_cine_patient_07", **image})
    session = session_of(viewer)
    card = read_card(find_model("breast-ultrasound"))
    scan = scan_from_layer(layer)
    result = RunResult(
        ResultLayers(viewer, layer, CLASSES), RunJob(scan, card.name, InferenceSettings.for_model(card)), card
    )
    samples = samples_of_discs(scan.spatial_shape)
    segmentation = segmentation_of(samples, scan.geometry, card.model_copy(update={"classes": CLASSES}))
    for _ in result.layers.show_all(segmentation):
        pass
    result.segmentation, result.sizes = segmentation, class_sizes(segmentation, card)
    session.results.append(result)
    session.current = result
    session.results_changed.emit()
    return SimpleNamespace(viewer=viewer, session=session, result=result, image=layer)
