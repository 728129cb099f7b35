"""Where to look first: slices and objects ranked by how unsure a segmentation is of them."""

from __future__ import annotations

from napari_latentseg.review.measures import DEFAULT_MEASURE, MEASURES, UncertaintyMeasure
from napari_latentseg.review.ranking import Finding, available, basis, profile, rank

__all__ = [
    "DEFAULT_MEASURE",
    "MEASURES",
    "Finding",
    "UncertaintyMeasure",
    "available",
    "basis",
    "profile",
    "rank",
]
