"""A mask against a reference: overlap, and distances between their boundaries in the world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.units import conversion
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Empty, Mask, empty_masks
from napari_latentseg.evaluation.metrics import boundary, boundary_scores, dice, iou, surface_distances

__all__ = ["Comparison", "compare"]

_ORTHOGONALITY_TOLERANCE = 1e-3  # cosine of the angle between two axes


@dataclass(frozen=True)
class Comparison:
    """One class of a mask against its reference.

    Attributes
    ----------
    name, label
        Of the class.
    time
        Which point in time, from 0; None where there is no such axis.
    dsc, iou
        In [0, 1]; 1 where both are empty, 0 where one of them is.
    hd95
        95th percentile of the distances between the two boundaries, both directions pooled, in `unit`; 0
        where both are empty, and where one of them is the diagonal of the image, the worst that could be.
    assd
        Average symmetric surface distance, alike; None where it was not asked for.
    unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    empty
        Which of the two has nothing of the class: ``"prediction"``, ``"truth"``, ``"both"``; else empty.
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

    def describe(self) -> str:
        """In one line, for people."""
        name = self.name if self.time is None else f"{self.name}, time {self.time + 1}"
        if self.empty:
            empty_text = {
                "prediction": "the mask has none",
                "truth": "the reference has none",
                "both": "neither has any",
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
) -> tuple[Comparison, ...]:
    """Each class of a mask against a reference.

    Parameters
    ----------
    mask, reference
        Labels: whole numbers or booleans, `spatial`. Where there is one class, everything but 0 is it.
    geometry
        Of the mask. Distances are those in the world, exact for unequal, turned and sheared axes; where
        there is an axis ``t``, each point in time is compared by itself.
    classes
        Which labels are what.
    reference_geometry
        Of the reference, to see that it lies where the mask does; taken to be so where not given.
    assd
        Whether to give the average symmetric surface distance too.

    Raises
    ------
    BadInput
        Where the two do not have one shape or do not lie in one place, or hold no labels.
    """
    mask_labels, reference_labels = _check_labels("mask", mask), _check_labels("reference", reference)
    if mask_labels.shape != reference_labels.shape:
        raise BadInput(
            "reference",
            f"has shape {reference_labels.shape}, the mask {mask_labels.shape}",
            "give one of the same image",
        )
    if mask_labels.ndim != geometry.ndim:
        raise BadInput(
            "geometry", f"has {geometry.ndim} axes, the mask {mask_labels.ndim}", "give the mask's own"
        )
    if reference_geometry is not None:
        _check_same_geometry(geometry, reference_geometry, mask_labels.shape)
    if not classes:
        raise BadInput("classes", "there are none", "give masks that hold something")
    time_axis = geometry.axis_labels.index("t") if "t" in geometry.axis_labels else None
    ruler = _ruler_of(geometry, time_axis)
    times: Sequence[int | None] = [None] if time_axis is None else range(mask_labels.shape[time_axis])
    comparisons: list[Comparison] = []
    for time in times:
        mask_at_time, reference_at_time = (
            labels if time is None else labels.take(time, time_axis)
            for labels in (mask_labels, reference_labels)
        )
        comparisons += _compare_timepoint(mask_at_time, reference_at_time, classes, time, ruler, assd)
    return tuple(comparisons)


def _compare_timepoint(
    mask: NDArray[Any],
    reference: NDArray[Any],
    classes: Sequence[ClassInfo],
    time: int | None,
    ruler: _Ruler,
    assd: bool,
) -> Iterator[Comparison]:
    diagonal = ruler.diagonal(mask.shape)
    for info in classes:
        class_mask, class_reference = (
            labels != 0 if len(classes) == 1 else labels == info.label for labels in (mask, reference)
        )
        hd95, mean_distance = boundary_scores(class_mask, class_reference, ruler.distances, diagonal)
        yield Comparison(
            name=info.name,
            label=info.label,
            time=time,
            dsc=dice(class_mask, class_reference),
            iou=iou(class_mask, class_reference),
            hd95=hd95,
            assd=mean_distance if assd else None,
            unit=ruler.unit,
            empty=empty_masks(class_mask, class_reference),
        )


def _check_labels(name: str, array: Any) -> NDArray[Any]:
    values = np.asarray(array)
    if values.ndim < 2 or values.size == 0:
        raise BadInput(name, f"has shape {values.shape}", "give an image of labels")
    if values.dtype.kind == "f" and np.array_equal(values, np.rint(values)):
        values = values.astype(np.int64)
    if values.dtype.kind not in "bui":
        raise BadInput(name, "holds values that are no labels", "give a mask, not probabilities")
    return values


def _check_same_geometry(geometry: Geometry, other: Geometry, shape: tuple[int, ...]) -> None:
    if other.ndim != geometry.ndim:
        raise BadInput(
            "reference", f"has {other.ndim} axes, the mask {geometry.ndim}", "give one like the mask"
        )
    if "pixel" in (*geometry.units, *other.units):
        return  # one of the two, a photo for one, does not say where it lies: there is nothing to hold it to
    if not (geometry.frame and other.frame):  # a TIFF says where, but not that this is the patient
        other = replace(other, frame=geometry.frame)
    if not geometry.agrees_with(other, shape):
        raise BadInput("reference", "does not lie where the mask does", "give one of the same image")


@dataclass(frozen=True)
class _Ruler:
    """What measures distances between elements, exactly for unequal, turned and sheared axes.

    Attributes
    ----------
    linear
        From steps along the axes to `unit`, `(d, d)`.
    unit
        See `Comparison`.
    """

    linear: NDArray[np.float64]
    unit: str

    @property
    def steps(self) -> NDArray[np.float64]:
        """The distance between neighbours along each axis, `(d,)`."""
        return np.asarray(np.linalg.norm(self.linear, axis=0), dtype=np.float64)

    def diagonal(self, shape: tuple[int, ...]) -> float:
        """The longest diagonal of an image of this shape."""
        signs = np.array(np.meshgrid(*[(-1, 1)] * len(shape))).reshape(len(shape), -1)
        return float(np.linalg.norm(self.linear @ (signs * np.array(shape)[:, None]), axis=0).max())

    def distances(self, a: Mask, b: Mask) -> NDArray[np.float64]:
        """The distances of two boundaries, neither of them empty, both directions pooled."""
        directions = self.linear / self.steps
        if np.abs(directions.T @ directions - np.eye(len(directions))).max() <= _ORTHOGONALITY_TOLERANCE:
            return np.concatenate(surface_distances(a, b, [float(s) for s in self.steps]))
        from scipy.spatial import cKDTree

        first, second = (np.argwhere(boundary(mask)) @ self.linear.T for mask in (a, b))
        return np.concatenate([cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]])


def _ruler_of(geometry: Geometry, time: int | None) -> _Ruler:
    """What measures in a geometry, of which one axis may be time."""
    space = [i for i in range(geometry.ndim) if i != time]
    units = [geometry.units[i] for i in space]
    linear = geometry.matrix[np.ix_(space, space)]
    unit = units[-1]
    factors = [conversion(u, unit) for u in units]
    if None in factors:
        linear, unit = np.eye(len(space)), "pixel"
    else:
        linear = linear * np.array(factors, dtype=np.float64)[:, None]
    return _Ruler(linear, unit)
