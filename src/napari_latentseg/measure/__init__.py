"""Areas, volumes, diameters and intensities in physical units, with their spread over the samples."""

from __future__ import annotations

from napari_latentseg.measure.extent import ClassExtent, class_extents
from napari_latentseg.measure.measure_segmentation import measure
from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Intensity, Measurement
from napari_latentseg.measure.table import measurement_table, write_csv

__all__ = [
    "INTERVAL_LEVEL",
    "ClassExtent",
    "Intensity",
    "Measurement",
    "class_extents",
    "measure",
    "measurement_table",
    "write_csv",
]
