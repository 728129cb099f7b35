"""A finished result in a viewer, without a model having been run: a volume of which the samples differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import find_model
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.runner import RunJob
from napari_latentseg.widgets._shared.session import RunResult, session_of

UNSURE = 5
"""The slice of which the samples differ most."""


def samples_of_a_ball(shape: tuple[int, int, int]) -> np.ndarray:
    """Five samples `(5, 1, *shape)` of a ball, whose size differs most on one slice."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    found = np.zeros((5, 1, *shape), dtype=np.float32)
    for i in range(5):
        radius = np.where(z == UNSURE, 8 + 3 * i, 12 + 0.3 * i)
        away = np.sqrt((y - 25) ** 2 + (x - 30) ** 2 + (1.5 * (z - 6)) ** 2)
        found[i, 0] = 1 / (1 + np.exp(np.clip(3 * (away - radius), -30, 30)))
    return np.round(found * 255) / np.float32(255)


def segmentation_of(samples: np.ndarray, geometry: Geometry, card) -> Segmentation:
    """The segmentation that a run would have given."""
    n, k, *shape = samples.shape
    classes = card.classes
    leading, plane_shape = tuple(shape[:-2]), tuple(shape[-2:])
    planes = int(np.prod(leading, dtype=int))
    maps = SampleMaps(k, planes, plane_shape, 2**30, leading=leading)
    for sample in samples.reshape(n, k, planes, *plane_shape):
        for number in range(planes):
            maps.add(number, sample[:, number])
    mean, axes = samples.mean(axis=0), "zyx"[-len(shape) :]
    size, unit = geometry.voxel_volume
    volumes = (samples > 0.5).reshape(n, k, -1).sum(axis=2) * size
    record = RunRecord(
        plugin_version="0", time="", classes=classes, samples_asked=n, samples=n, planes_done=planes,
        planes=planes, source="augment", source_settings={}, seed=0, threshold=0.5, device="cpu",
        precision="float32", tile=None, overlap=0, working_size=plane_shape, seconds=1, complete=True,
        volumes={c.name: list(volumes[:, i]) for i, c in enumerate(classes)}, volume_unit=unit, versions={},
        input=InputRecord(sha256="0" * 64, format="", axes=axes, shape=tuple(shape), dtype="float32",
                          spacing=geometry.spacing, units=geometry.units),
        model=ModelRecord(name=card.name, version="1", method="gms", variant="", codec="", sha256={}),
    )  # fmt: skip
    return Segmentation(
        mask=labels_from_probabilities(mean, 0.5, classes), mean=mean, variance=samples.var(axis=0),
        volumes=volumes, axes=axes, geometry=geometry, format="nifti", properties={}, classes=classes,
        record=record, sample_maps=maps,
    )  # fmt: skip


def show_ball_in(viewer: Any, shape: tuple[int, int, int]) -> SimpleNamespace:
    """Show a volume of some shape with a finished result of it: `viewer`, `session`, `result`, `image`."""
    image = viewer.add_image(
        np.random.default_rng(0).random(shape).astype("f4"), name="scan", scale=(3, 0.5, 0.7),
        translate=(10, -4, 2), units=("mm",) * 3, axis_labels=("z", "y", "x"),
    )  # fmt: skip
    session = session_of(viewer)
    # the mean of drawn samples is not calibrated
    card = read_card(find_model("breast-ultrasound")).replace(temperature=None, temperature_fit=None)
    scan = scan_from_layer(image)
    found = segmentation_of(samples_of_a_ball(shape), scan.geometry, card)
    job = RunJob(scan, card.name, InferenceSettings.for_model(card))
    result = RunResult(ResultLayers(viewer, image, found.classes), job, card)
    for _ in result.layers.show_all(found):
        pass
    result.segmentation = found
    session.results.append(result)
    session.current = result
    session.results_changed.emit()
    return SimpleNamespace(viewer=viewer, session=session, result=result, image=image)
