"""Segmentations that are made rather than run, so that what they measure is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.segmentation import Segmentation

COLOURS = ("#ffb000", "#3a86ff", "#00b050")


def classes_of(*names: str) -> tuple[ClassInfo, ...]:
    return tuple(
        ClassInfo(label=i + 1, name=n, color=c) for i, (n, c) in enumerate(zip(names, COLOURS, strict=False))
    )


def made(
    samples: NDArray[Any],
    geometry: Geometry,
    axes: str = "zyx",
    classes: Sequence[ClassInfo] = classes_of("lesion"),
    *,
    source: str = "augment",
    keep: bool = True,
    threshold: float = 0.5,
) -> Segmentation:
    """The segmentation of these samples, probabilities `(n, K, *spatial)`."""
    samples = np.asarray(samples, dtype=np.float32)
    n, count, *spatial = samples.shape
    mean = samples.mean(axis=0)
    *leading, height, width = spatial
    planes = int(np.prod(leading, dtype=int))
    maps = SampleMaps(count, planes, (height, width), 2**28, leading=tuple(leading))
    for one in samples:
        for number, plane in enumerate(one.reshape(count, planes, height, width).swapaxes(0, 1)):
            maps.add(number, plane)
    size, unit = geometry.voxel_volume
    masks = [labels_from_probabilities(one, threshold, classes) for one in samples]
    volumes = np.array([[np.count_nonzero(m == c.label) * size for c in classes] for m in masks], dtype=float)
    record = RunRecord(
        plugin_version="0",
        time="2026-01-01T00:00:00+00:00",
        input=InputRecord(
            sha256="0" * 64, format="nifti", axes=axes, shape=tuple(spatial), dtype="uint8",
            spacing=geometry.spacing, units=geometry.units,
        ),
        model=ModelRecord(name="made", version="1", method="gms", variant="", codec="c", sha256={}),
        classes=tuple(classes),
        samples_asked=n,
        samples=n,
        planes_done=planes,
        planes=planes,
        source=source,
        source_settings={},
        seed=0,
        threshold=threshold,
        device="cpu",
        precision="float32",
        tile=None,
        overlap=0,
        working_size=(64, 64),
        seconds=1.0,
        complete=True,
        volumes={c.name: volumes[:, k].tolist() for k, c in enumerate(classes)},
        volume_unit=unit,
        versions={},
    )  # fmt: skip
    return Segmentation(
        mask=labels_from_probabilities(mean, threshold, classes),
        mean=mean,
        variance=samples.var(axis=0) if n > 2 and source != "none" else None,
        volumes=volumes,
        axes=axes,
        geometry=geometry,
        format="nifti",
        properties={},
        classes=tuple(classes),
        record=record,
        sample_maps=maps if keep else None,
    )


def balls(
    shape: tuple[int, ...], spacing: Sequence[float], *given: tuple[Sequence[float], float]
) -> NDArray[np.bool_]:
    """Whether each element lies in one of some balls (or discs): centre and radius in the world."""
    steps = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    places = np.stack(np.meshgrid(*steps, indexing="ij"), -1)
    found = np.zeros(shape, bool)
    for centre, radius in given:
        found |= ((places - np.asarray(centre)) ** 2).sum(-1) <= radius**2
    return found
