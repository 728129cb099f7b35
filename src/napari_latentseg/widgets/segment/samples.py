"""File > Open Sample, and the conversion of a scan to layer data."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_latentseg.core.placement import placement_of
from napari_latentseg.core.scan import Scan
from napari_latentseg.sample_data import SampleImage
from napari_latentseg.widgets._shared.layers import METADATA_KEY, NOTES_KEY, PLACEMENT_KEY

__all__ = ["layer_data_of", "retina_sample", "scan_arguments", "sweep_sample", "ultrasound_sample"]

LayerData = tuple[Any, dict[str, Any], str]


def scan_arguments(scan: Scan) -> dict[str, Any]:
    """The keywords for `add_image` that give the layer the geometry of the scan.

    A scan that is oblique to the axes of the world is drawn in its own planes, so that the slices on screen
    are those of the scan, and a slider has as many positions; its exact affine is in the metadata.
    """
    geometry = scan.geometry
    placement = placement_of(geometry, scan.spatial_shape)
    arguments: dict[str, Any] = {
        "axis_labels": geometry.axis_labels,
        "units": geometry.units,
        "rgb": scan.axes.endswith("c"),
        "metadata": {
            METADATA_KEY: {
                "role": "scan",
                "axes": scan.axes,
                "frame": geometry.frame,
                "format": scan.format,
                "modality": scan.modality,
                "properties": dict(scan.properties),
                NOTES_KEY: scan.notes,
                "source": scan.source,  # in memory only: DICOM-SEG references the files
            }
        },
    }
    if placement is not None:
        arguments["metadata"][METADATA_KEY][PLACEMENT_KEY] = placement
    matrix = geometry.matrix if placement is None else np.array(placement.drawn)
    scale = [float(matrix[i, i]) for i in range(geometry.ndim)]
    return arguments | {"scale": scale, "translate": [float(v) for v in matrix[:-1, -1]]}


def layer_data_of(sample: SampleImage) -> LayerData:
    """A sample as napari layer data."""
    return sample.scan.array, {"name": sample.name, **scan_arguments(sample.scan)}, "image"


def retina_sample() -> list[LayerData]:
    """The fundus photograph of scikit-image, (1411, 1411, 3)."""
    from napari_latentseg.sample_data import retina

    return [layer_data_of(retina())]


def ultrasound_sample() -> list[LayerData]:
    """A synthetic breast ultrasound image with a lesion, and its ground truth."""
    from napari_latentseg.sample_data import ultrasound_phantom

    return _with_ground_truth(ultrasound_phantom())


def sweep_sample() -> list[LayerData]:
    """A synthetic ultrasound volume with a lesion, and its ground truth."""
    from napari_latentseg.sample_data import ultrasound_sweep

    return _with_ground_truth(ultrasound_sweep())


def _with_ground_truth(sample: SampleImage) -> list[LayerData]:
    arguments = scan_arguments(sample.scan)
    truth_arguments = {
        k: v for k, v in arguments.items() if k in ("scale", "translate", "axis_labels", "units")
    }
    return [
        layer_data_of(sample),
        (sample.reference, {"name": f"{sample.name} truth", "visible": False, **truth_arguments}, "labels"),
    ]
