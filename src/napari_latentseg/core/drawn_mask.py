"""A mask that belongs to no run: a person drew it, or went on with one after the run was closed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation

__all__ = ["drawn_mask"]

_NO_MODEL = "drawn by a person"


def drawn_mask(
    scan: Scan,
    mask: NDArray[np.uint8],
    classes: Sequence[ClassInfo],
    *,
    model: tuple[str, str] | None = None,
    plugin_version: str = "",
) -> Segmentation:
    """A mask as a result without samples, for the writers.

    Parameters
    ----------
    scan
        The image that the mask lies on.
    mask
        Labels, of the spatial shape of the scan.
    classes
        The classes of the labels.
    model
        Name and version of the model whose mask was corrected; None where all of it was drawn.
    plugin_version
        Of this package.

    Returns
    -------
    Segmentation
        With a record that says whose mask it is; its mean is 0 everywhere.
    """
    name, version = model or (_NO_MODEL, "")
    axes = scan.axes.removesuffix(CHANNEL)
    model_classes = tuple(classes) if model is not None else ()
    plane_count = int(np.prod(mask.shape[:-2], dtype=int))
    record = RunRecord(
        plugin_version=plugin_version,
        time="",
        input=InputRecord(
            sha256="", format=scan.format, axes=scan.axes, shape=tuple(scan.array.shape),
            dtype=str(scan.array.dtype), spacing=scan.geometry.spacing, units=scan.geometry.units,
            modality=scan.modality,
        ),
        model=ModelRecord(name=name, version=version, method="", variant="", codec="", sha256={}),
        classes=model_classes,
        samples_asked=0, samples=0, planes_done=plane_count, planes=plane_count,
        source="none", source_settings={}, seed=0, threshold=0.5, device="", precision="", tile=None,
        overlap=0, working_size=(0, 0), seconds=0.0, complete=True,
        mask_edited=True, mask_state="corrected", added_classes=() if model is not None else tuple(classes),
        volumes={}, volume_unit=scan.geometry.voxel_volume[1], versions={},
    )  # fmt: skip
    mean = np.broadcast_to(np.zeros(1, np.float32), (len(model_classes), *mask.shape))
    return Segmentation(
        mask=mask, mean=mean, variance=None, volumes=np.zeros((0, len(model_classes))), axes=axes,
        geometry=scan.geometry, format=scan.format, properties=dict(scan.properties), classes=model_classes,
        record=record, source=scan.source,
    )  # fmt: skip
