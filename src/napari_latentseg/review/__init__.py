"""Where to look first: slices and objects ranked by how unsure a segmentation is of them."""

from __future__ import annotations

from napari_latentseg.review.ranking import (
    Finding,
    available_measures,
    rank,
    uncertainty_basis,
    uncertainty_profile,
)
from napari_latentseg.review.uncertainty import DEFAULT_MEASURE, MEASURES, UncertaintyMeasure

__all__ = [
    "DEFAULT_MEASURE",
    "MEASURES",
    "Finding",
    "UncertaintyMeasure",
    "available_measures",
    "rank",
    "uncertainty_basis",
    "uncertainty_profile",
]
