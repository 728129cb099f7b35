"""Areas, volumes, diameters and intensities in physical units, with their spread over the samples.

- `measurement`: `Measurement`, one row of the table, and how its numbers are shown.
- `measure_segmentation`: `measure`, from a segmentation to its rows.
- `contours`: contours that enclose the true edge in nine of ten images.
- `expected_dice`: the Dice to expect of a result.
- `interval_basis`: whether intervals may be called calibrated, and if not, why not.
- `table`: rows as a pandas table and as CSV.
- `case_table`: a CSV file to which each case adds its classes.
- `spreadsheet_text`: text that a spreadsheet does not run as a formula.
- `class_sizes`: the rows of the classes alone, quickly enough to follow a slider.
- `size_interval`: the interval of a size, for every row of both.
- `timepoint`: `TimePoint`, the arrays of one point in time, read block by block.
- `regions`: `Regions`, the classes or the connected objects of a mask, numbered.
- `region_sums`: voxels, positions, probabilities and intensities of each region, in one pass.
- `sample_assignment`: how many voxels of each sample belong to each object.
- `diameters`: longest diameter and short axis, from the convex hull.
- `physical_space`: from array indices to positions and lengths in one unit.
"""

from __future__ import annotations

from napari_latentseg.core.contours import Contours
from napari_latentseg.measure.case_table import CASE_COLUMNS, append_to_table, check_case_table, is_case_table
from napari_latentseg.measure.class_sizes import class_sizes
from napari_latentseg.measure.contours import contours, contours_unavailable_reason
from napari_latentseg.measure.expected_dice import expected_dice, expected_dice_lines
from napari_latentseg.measure.interval_basis import IntervalBasis, interval_basis, sizes_note
from napari_latentseg.measure.measure_segmentation import measure
from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Intensity, Measurement
from napari_latentseg.measure.table import check_csv_replaceable, measurement_table, write_csv

__all__ = [
    "CASE_COLUMNS",
    "INTERVAL_LEVEL",
    "Contours",
    "Intensity",
    "IntervalBasis",
    "Measurement",
    "append_to_table",
    "check_case_table",
    "check_csv_replaceable",
    "class_sizes",
    "contours",
    "contours_unavailable_reason",
    "expected_dice",
    "expected_dice_lines",
    "interval_basis",
    "is_case_table",
    "measure",
    "measurement_table",
    "sizes_note",
    "write_csv",
]
