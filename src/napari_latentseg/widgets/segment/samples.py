"""File > Open Sample."""

from __future__ import annotations

from typing import Any

from napari_latentseg.sample_data import SampleImage
from napari_latentseg.widgets._shared.layers import scan_arguments

__all__ = ["layer_data_of", "retina_sample", "sweep_sample", "ultrasound_sample"]

LayerData = tuple[Any, dict[str, Any], str]


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
