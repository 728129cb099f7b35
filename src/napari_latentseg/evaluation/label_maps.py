"""Label maps of one image: what may be given as one, and how two of them come to lie index on index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import class_region
from napari_latentseg.core.turn import find_turn, misplacement
from napari_latentseg.errors import BadInput

__all__ = ["at_each_time", "check_labels", "class_mask_of", "other_labels_text", "own_mask_of", "placed_on"]

_MAX_FLOAT_LABEL = 2.0**53  # beyond, floating point has no room for every whole number


def check_labels(name: str, array: Any) -> NDArray[Any]:
    """A label map as an array of integers or booleans.

    Parameters
    ----------
    name
        What an error calls it.
    array
        Labels from 0; floating point is taken where all values are whole numbers.

    Raises
    ------
    BadInput
        If it has fewer than two axes, no voxels, or values that are not labels, as negative numbers.
    """
    values = np.asarray(array)
    if values.ndim < 2 or values.size == 0:
        raise BadInput(name, f"has shape {values.shape}", "give a label map of two or more axes")
    if (
        values.dtype.kind == "f"
        and (np.abs(values) <= _MAX_FLOAT_LABEL).all()
        and np.array_equal(values, np.rint(values))
    ):
        values = values.astype(np.int64)  # NIfTI and TIFF files often hold labels as floating point
    if values.dtype.kind not in "bui":
        raise BadInput(name, "has values that are not labels", "give a label map, not probabilities")
    if values.min() < 0:
        raise BadInput(name, "holds negative numbers, which no class has", "number the classes from 1")
    return values


def placed_on(
    name: str,
    labels: NDArray[Any],
    geometry: Geometry | None,
    target: Geometry,
    target_shape: tuple[int, ...],
    *,
    target_name: str = "the mask",
    remedy: str = "give a reference of the same image",
) -> NDArray[Any]:
    """A label map index on index with another one, turned exactly where it is stored in another orientation.

    Parameters
    ----------
    name
        What an error calls the label map.
    labels, geometry
        The label map; without a geometry only its shape is checked. Nor is its position where one of the two
        has no unit of length, as a photograph.
    target, target_shape
        Of the label map that it is to lie on.
    target_name, remedy
        What an error calls that one, and what it says to do.

    Raises
    ------
    BadInput
        If it has another shape, or lies elsewhere.
    """
    if geometry is not None and labels.ndim == geometry.ndim and len(target_shape) == target.ndim:
        film, target_film = _as_film(labels.shape, geometry), _as_film(target_shape, target)
        if geometry.ndim != target.ndim and film and target_film and film[0] == target_film[0]:
            shape, film_geometry = film
            _check_same_place(name, film_geometry, target_film[1], shape, target_name, remedy)
            return labels.reshape(target_shape)
        turn = find_turn(geometry, labels.shape, target, target_shape) if target.frame else None
        if turn is not None:
            geometry = turn.apply_to_geometry(geometry, labels.shape)
            labels = turn.apply(labels)
    if labels.shape != target_shape:
        raise BadInput(name, f"has shape {labels.shape}, {target_name} {target_shape}", remedy)
    if geometry is not None:
        _check_same_place(name, geometry, target, target_shape, target_name, remedy)
    return labels


def _as_film(shape: tuple[int, ...], geometry: Geometry) -> tuple[tuple[int, ...], Geometry] | None:
    """Slices over time without the thickness that NIfTI adds to a film; None where there is more."""
    if geometry.axis_labels == ("t", "y", "x"):
        return shape, geometry
    if geometry.axis_labels != ("t", "z", "y", "x") or shape[1] != 1:
        return None
    matrix = np.delete(np.delete(geometry.matrix, 1, axis=0), 1, axis=1)
    times, _, *sides = geometry.units
    return (shape[0], *shape[2:]), Geometry.from_matrix(matrix, (times, *sides), ("t", "y", "x"))


def at_each_time(
    geometry: Geometry, label_maps: Sequence[NDArray[Any]]
) -> Iterator[tuple[int | None, list[NDArray[Any]]]]:
    """The label maps at each time point, with its index; whole, with None, without a time axis."""
    if "t" not in geometry.axis_labels:
        yield None, list(label_maps)
        return
    time_axis = geometry.axis_labels.index("t")
    for time in range(label_maps[0].shape[time_axis]):
        yield time, [labels.take(time, time_axis) for labels in label_maps]


def class_mask_of(labels: NDArray[Any], info: ClassInfo, classes: Sequence[ClassInfo]) -> NDArray[np.bool_]:
    """The mask of one of the classes with the classes that are its parts, as it is scored.

    Where there is only one class, it is whatever is not 0.
    """
    if len(classes) == 1:
        return own_mask_of(labels, info, classes)
    return class_region(labels, classes.index(info), classes)


def own_mask_of(labels: NDArray[Any], info: ClassInfo, classes: Sequence[ClassInfo]) -> NDArray[np.bool_]:
    """The mask of one of the classes without its parts, as it stands in a label map."""
    mask: NDArray[np.bool_] = labels != 0 if len(classes) == 1 else labels == info.label
    return mask


def other_labels_text(labels: Any, classes: Sequence[ClassInfo]) -> str:
    """What is to be known of a mask with other labels than the one class; empty where there is nothing.

    They may mean something else, such as the tumour in one mask and the organ in another.

    Parameters
    ----------
    labels
        The mask.
    classes
        The classes; with several, each label is its own class.

    Returns
    -------
    str
        In words that follow the name of the mask.

    Examples
    --------
    >>> lesion = ClassInfo(label=1, name="lesion", color="#ffb000")
    >>> other_labels_text(np.array([[0, 2]]), [lesion])
    'holds label 2, which is compared as lesion (label 1), since there is one class'
    """
    others = np.setdiff1d(labels, [0, classes[0].label])
    if len(classes) > 1 or not others.size:
        return ""
    held = ", ".join(map(str, others[:3].tolist())) + (", ..." if others.size > 3 else "")
    plural = "labels" if others.size > 1 else "label"
    name = classes[0].name
    own = "" if name == f"label {classes[0].label}" else f" (label {classes[0].label})"
    are = "are" if others.size > 1 else "is"
    return f"holds {plural} {held}, which {are} compared as {name}{own}, since there is one class"


def _check_same_place(
    name: str, geometry: Geometry, target: Geometry, shape: tuple[int, ...], target_name: str, remedy: str
) -> None:
    if geometry.ndim != target.ndim:
        raise BadInput(name, f"has {geometry.ndim} axes, {target_name} {target.ndim}", remedy)
    if "pixel" in (*target.units, *geometry.units):
        return  # without a unit of length (a photograph) there is no position to check
    if not (target.frame and geometry.frame):  # unknown in a TIFF, which does not say e.g. LPS: not compared
        geometry = replace(geometry, frame=target.frame)
    if not target.agrees_with(geometry, shape):
        why = misplacement(geometry, shape, target, shape).replace("its image", target_name)
        raise BadInput(name, why, remedy)
