"""File > Open Sample, and a scan as napari takes it."""

from __future__ import annotations

from typing import Any

from napari_latentseg.core.scan import Scan
from napari_latentseg.sample_data import SampleImage
from napari_latentseg.widgets._shared.layers import METADATA_KEY

__all__ = ["layer_data_of", "retina_sample", "scan_arguments", "sweep_sample", "ultrasound_sample"]

LayerData = tuple[Any, dict[str, Any], str]


def scan_arguments(scan: Scan) -> dict[str, Any]:
    """The keywords with which `add_image` shows a scan where it lies."""
    geometry = scan.geometry
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
                "source": scan.source,  # in memory alone: DICOM-SEG refers to what is there
            }
        },
    }
    if geometry.is_axis_aligned:
        matrix = geometry.matrix
        diagonal = [float(matrix[i, i]) for i in range(geometry.ndim)]
        return arguments | {"scale": diagonal, "translate": [float(v) for v in matrix[:-1, -1]]}
    return arguments | {"affine": geometry.matrix}


def layer_data_of(sample: SampleImage) -> LayerData:
    """A sample as napari takes it."""
    return sample.scan.array, {"name": sample.name, **scan_arguments(sample.scan)}, "image"


def retina_sample() -> list[LayerData]:
    """The fundus photograph that scikit-image carries."""
    from napari_latentseg.sample_data import retina

    return [layer_data_of(retina())]


def ultrasound_sample() -> list[LayerData]:
    """A made breast ultrasound image with a lesion, and its true outline."""
    from napari_latentseg.sample_data import ultrasound_phantom

    return _with_ground_truth(ultrasound_phantom())


def sweep_sample() -> list[LayerData]:
    """A made volume of ultrasound slices with a lesion, and its true outline."""
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
