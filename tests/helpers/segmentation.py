"""A finished segmentation to write."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.segmentation import Segmentation

PLAIN = Geometry.from_spacing("yx", (0.2, 0.3), "mm")


TARGET = ClassInfo(label=1, name="target", color="#ffb000")


def segmentation(
    geometry: Geometry = PLAIN, *names: str, variance: bool = True, format: str = "tiff"
) -> Segmentation:
    classes = tuple(ClassInfo(label=i + 1, name=n, color="#ffb000") for i, n in enumerate(names)) or (TARGET,)
    mean = np.random.default_rng(0).random((len(classes), 6, 9)).astype(np.float32)
    record = RunRecord(
        plugin_version="0",
        time="2026-01-01T00:00:00+00:00",
        input=InputRecord(
            sha256="",
            format=format,
            axes="yx",
            shape=(6, 9),
            dtype="uint8",
            spacing=(0.2, 0.3),
            units=("mm", "mm"),
        ),
        model=ModelRecord(name="m", version="1", method="gms", variant="", codec="c", sha256={}),
        classes=classes,
        samples_asked=3,
        samples=3,
        planes_done=1,
        planes=1,
        source="augment",
        source_settings={},
        seed=0,
        threshold=0.5,
        device="cpu",
        precision="float32",
        tile=None,
        overlap=0,
        working_size=(64, 64),
        seconds=1.0,
        complete=True,
        volumes={},
        volume_unit="mm2",
        versions={},
    )
    return Segmentation(
        mask=(mean[0] > 0.5).astype(np.uint8),
        mean=mean,
        variance=mean / 4 if variance else None,
        volumes=np.ones((3, len(classes))),
        axes="yx",
        geometry=geometry,
        format=format,
        properties={},
        classes=classes,
        record=record,
    )


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))
