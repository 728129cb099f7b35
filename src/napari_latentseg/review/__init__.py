"""Where to look first: slices or objects of a segmentation ranked by their uncertainty.

- `uncertainty`: `MEASURES`, the measures of uncertainty, each as sums over voxels with its source.
- `scoring`: the sums over each slice or object, read block by block.
- `ranking`: `rank`, from the scores to a list of `Finding`, the most uncertain first.
"""

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
