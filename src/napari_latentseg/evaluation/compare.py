"""Compare a label map with a reference, class by class: overlap, and boundary distances in mm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.turn import find_turn, misplacement
from napari_latentseg.core.units import conversion
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Empty, Mask, empty_masks
from napari_latentseg.evaluation.metrics import boundary, boundary_scores, dice, iou, surface_distances

__all__ = ["Comparison", "compare"]

# Cosine of the angle between two axes, 0 for orthogonal ones. Up to this value (0.06 degrees of shear) a grid
# is measured as an orthogonal one, which is faster and changes a distance by 0.1 % at most.
_ORTHOGONALITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Comparison:
    """Scores of one class against the reference, by `napari_latentseg.evaluation.metrics.CONVENTIONS`.

    Attributes
    ----------
    name, label
        Name of the class, and its value in the label maps.
    time
        Index of the time point, from 0; None without a time axis.
    dsc, iou
        In [0, 1].
    hd95
        95th percentile of the boundary distances, in `unit`.
    assd
        Average symmetric surface distance, in `unit`; None unless requested.
    unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    empty
        Which of the two lacks the class: ``"prediction"``, ``"truth"`` (the reference), ``"both"``, or
        ``""``.
    segmented
        What was compared where that is not everything, such as ``"29 of 40 slices"``; empty for all.

    Examples
    --------
    >>> from napari_latentseg import Comparison
    >>> Comparison("lesion", 1, None, 0.8, 0.667, 2.5, None, "mm", "").dsc
    0.8
    """

    name: str
    label: int
    time: int | None
    dsc: float
    iou: float
    hd95: float
    assd: float | None
    unit: str
    empty: Empty
    segmented: str = ""

    def describe(self) -> str:
        """One line for the user."""
        name = self.name if self.time is None else f"{self.name}, time {self.time + 1}"
        name += f" in {self.segmented}" if self.segmented else ""
        if self.empty:
            empty_text = {
                "prediction": "not in the mask",
                "truth": "not in the reference",
                "both": "in neither",
            }
            return f"{name}: DSC {self.dsc:.3f} ({empty_text[self.empty]})"
        unit = "pixels" if self.unit == "pixel" else self.unit
        line = f"{name}: DSC {self.dsc:.3f}, IoU {self.iou:.3f}, HD95 {self.hd95:.2f} {unit}"
        return line if self.assd is None else f"{line}, ASSD {self.assd:.2f} {unit}"


def compare(
    mask: Any,
    reference: Any,
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    *,
    reference_geometry: Geometry | None = None,
    assd: bool = False,
    segmented: NDArray[np.bool_] | None = None,
    segmented_text: str = "",
) -> tuple[Comparison, ...]:
    """Compare a label map with a reference, class by class and time point by time point.

    Parameters
    ----------
    mask, reference
        Label maps of one shape: integers or booleans, without a channel axis. With a single class, every
        nonzero value is the class. A reference that lies where the mask does but is stored in another
        orientation is turned exactly.
    geometry
        Geometry of the mask. Distances are exact for anisotropic, oblique and sheared grids.
    classes
        The classes, and their values in the label maps.
    reference_geometry
        Geometry of the reference, to check that it agrees with `geometry`; not checked if None.
    assd
        Whether to return the average symmetric surface distance too.
    segmented
        The voxels to compare, of the shape of the masks, where a run left some out (see
        `napari_latentseg.core.segmented_region.segmented_voxels`); None for all. What either mask holds
        elsewhere is passed over.
    segmented_text
        What they are, in words: `Comparison.segmented`.

    Returns
    -------
    tuple of Comparison
        One for each class, time point after time point.

    Raises
    ------
    BadInput
        If shapes or geometries differ, or an array is not a label map.

    Examples
    --------
    >>> from napari_latentseg import ClassInfo, Geometry, compare
    >>> mask, reference = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    >>> mask[5:15, 5:15], reference[5:15, 5:10] = 1, 1
    >>> classes = (ClassInfo(label=1, name="lesion", color="#ff0000"),)
    >>> (row,) = compare(mask, reference, Geometry.from_spacing("yx", (0.5, 0.5), "mm"), classes)
    >>> round(row.dsc, 3), row.unit
    (0.667, 'mm')
    """
    mask_labels, reference_labels = _check_labels("mask", mask), _check_labels("reference", reference)
    if reference_geometry is not None:
        reference_labels, reference_geometry = _turned_as_mask(
            reference_labels, reference_geometry, geometry, mask_labels.shape
        )
    if mask_labels.shape != reference_labels.shape:
        raise BadInput(
            "reference",
            f"has shape {reference_labels.shape}, the mask {mask_labels.shape}",
            "give a reference of the same image",
        )
    if mask_labels.ndim != geometry.ndim:
        raise BadInput(
            "geometry",
            f"has {geometry.ndim} axes, the mask {mask_labels.ndim}",
            "give the geometry of the mask",
        )
    if reference_geometry is not None:
        _check_same_geometry(geometry, reference_geometry, mask_labels.shape)
    if segmented is not None:
        if not segmented.any():
            raise BadInput("mask", "has no slice that was segmented", "segment the image again")
        mask_labels, reference_labels = mask_labels * segmented, reference_labels * segmented
    if not classes:
        raise BadInput("classes", "are empty", "give masks with at least one label")
    time_axis = geometry.axis_labels.index("t") if "t" in geometry.axis_labels else None
    physical_distance = _physical_distance(geometry, time_axis)
    times: Sequence[int | None] = [None] if time_axis is None else range(mask_labels.shape[time_axis])
    comparisons: list[Comparison] = []
    for time in times:
        mask_at_time, reference_at_time = (
            labels if time is None else labels.take(time, time_axis)
            for labels in (mask_labels, reference_labels)
        )
        comparisons += _compare_timepoint(
            mask_at_time, reference_at_time, classes, time, physical_distance, assd
        )
    return tuple(replace(comparison, segmented=segmented_text) for comparison in comparisons)


def _compare_timepoint(
    mask: NDArray[Any],
    reference: NDArray[Any],
    classes: Sequence[ClassInfo],
    time: int | None,
    physical_distance: _PhysicalDistance,
    assd: bool,
) -> Iterator[Comparison]:
    diagonal = physical_distance.diagonal(mask.shape)
    for info in classes:
        class_mask, class_reference = (
            labels != 0 if len(classes) == 1 else labels == info.label for labels in (mask, reference)
        )
        hd95, mean_distance = boundary_scores(
            class_mask, class_reference, physical_distance.distances, diagonal
        )
        yield Comparison(
            name=info.name,
            label=info.label,
            time=time,
            dsc=dice(class_mask, class_reference),
            iou=iou(class_mask, class_reference),
            hd95=hd95,
            assd=mean_distance if assd else None,
            unit=physical_distance.unit,
            empty=empty_masks(class_mask, class_reference),
        )


def _check_labels(name: str, array: Any) -> NDArray[Any]:
    values = np.asarray(array)
    if values.ndim < 2 or values.size == 0:
        raise BadInput(name, f"has shape {values.shape}", "give a label map of two or more axes")
    if values.dtype.kind == "f" and np.isfinite(values).all() and np.array_equal(values, np.rint(values)):
        values = values.astype(np.int64)  # NIfTI and TIFF files often hold labels as floating point
    if values.dtype.kind not in "bui":
        raise BadInput(name, "has values that are no labels", "give a label map, not probabilities")
    return values


def _turned_as_mask(
    reference: NDArray[Any], reference_geometry: Geometry, geometry: Geometry, shape: tuple[int, ...]
) -> tuple[NDArray[Any], Geometry]:
    """The reference index on index with the mask; as it is where it lies elsewhere."""
    if reference.ndim != reference_geometry.ndim or len(shape) != geometry.ndim:
        return reference, reference_geometry
    turn = find_turn(reference_geometry, reference.shape, geometry, shape) if geometry.frame else None
    if turn is None:
        return reference, reference_geometry
    return turn.apply(reference), turn.apply_to_geometry(reference_geometry, reference.shape)


def _check_same_geometry(geometry: Geometry, other: Geometry, shape: tuple[int, ...]) -> None:
    if other.ndim != geometry.ndim:
        raise BadInput(
            "reference",
            f"has {other.ndim} axes, the mask {geometry.ndim}",
            "give a reference of the same image",
        )
    if "pixel" in (*geometry.units, *other.units):
        return  # without a unit of length (a photograph) there is no position to check
    if not (geometry.frame and other.frame):  # unknown in a TIFF, which does not say e.g. LPS: not compared
        other = replace(other, frame=geometry.frame)
    if not geometry.agrees_with(other, shape):
        why = misplacement(other, shape, geometry, shape).replace("its image", "the mask")
        raise BadInput("reference", why, "give a reference of the same image")


@dataclass(frozen=True)
class _PhysicalDistance:
    """Distances between voxels in physical units, exact for anisotropic, oblique and sheared grids.

    Attributes
    ----------
    linear
        Matrix from voxel steps along the axes to lengths in `unit`, `(d, d)`.
    unit
        See `Comparison.unit`.
    """

    linear: NDArray[np.float64]
    unit: str

    @property
    def steps(self) -> NDArray[np.float64]:
        """Distance of neighbouring voxels along each axis, `(d,)`, in `unit`."""
        return np.asarray(np.linalg.norm(self.linear, axis=0), dtype=np.float64)

    def diagonal(self, shape: tuple[int, ...]) -> float:
        """Longest diagonal of an image of this shape, in `unit`."""
        # the corner-to-corner vectors (±n_1, ..., ±n_d); they differ in length on a sheared grid
        signs = np.array(np.meshgrid(*[(-1, 1)] * len(shape))).reshape(len(shape), -1)
        return float(np.linalg.norm(self.linear @ (signs * np.array(shape)[:, None]), axis=0).max())

    def distances(self, a: Mask, b: Mask) -> NDArray[np.float64]:
        """Distances between the boundaries of two masks that are not empty, both directions pooled."""
        directions = self.linear / self.steps
        if np.abs(directions.T @ directions - np.eye(len(directions))).max() <= _ORTHOGONALITY_TOLERANCE:
            return np.concatenate(surface_distances(a, b, [float(s) for s in self.steps]))
        from scipy.spatial import cKDTree  # the distance transform needs orthogonal axes

        first, second = (np.argwhere(boundary(mask)) @ self.linear.T for mask in (a, b))
        return np.concatenate([cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]])


def _physical_distance(geometry: Geometry, time_axis: int | None) -> _PhysicalDistance:
    """The distances of a geometry without its time axis; in pixels if the units cannot be converted."""
    spatial_axes = [i for i in range(geometry.ndim) if i != time_axis]
    units = [geometry.units[i] for i in spatial_axes]
    linear = geometry.matrix[np.ix_(spatial_axes, spatial_axes)]
    unit = units[-1]
    factors = [conversion(u, unit) for u in units]
    if None in factors:
        linear, unit = np.eye(len(spatial_axes)), "pixel"
    else:
        linear = linear * np.array(factors, dtype=np.float64)[:, None]
    return _PhysicalDistance(linear, unit)
