"""Where to look first: slices and objects ranked by how unsure a segmentation is of them."""

from __future__ import annotations

from napari_latentseg.review.measures import DEFAULT_MEASURE, MEASURES, UncertaintyMeasure
from napari_latentseg.review.ranking import (
    Finding,
    available_measures,
    rank,
    uncertainty_basis,
    uncertainty_profile,
)

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
