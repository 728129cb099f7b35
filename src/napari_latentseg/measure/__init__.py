"""Areas, volumes, diameters and intensities in physical units, with their spread over the samples."""

from __future__ import annotations

from napari_latentseg.measure.extent import Extent, extents
from napari_latentseg.measure.measurement import LEVEL, Intensity, Measurement
from napari_latentseg.measure.measuring import measure
from napari_latentseg.measure.table import table_of, write_csv

__all__ = [
    "LEVEL",
    "Extent",
    "Intensity",
    "Measurement",
    "extents",
    "measure",
    "table_of",
    "write_csv",
]
