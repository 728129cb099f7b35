"""Labels of several data sets, brought to the classes of one model.

Guided latent diffusion (Section 3.1) says that such a table exists. Its rules here: an organ includes what
lies in it (its tumours), as a union of sets; a label of both sides is split by orientation; what a data set
did not look for is unknown there, and not background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput

__all__ = ["LabelMap", "LabelTarget", "LateralizedLabel"]

_LABEL_LIMIT = 255


class LateralizedLabel(FrozenModel):
    """A label that covers both of a pair: the classes on the patient's right and left."""

    split: tuple[str, str] = Field(description="right, left")


LabelTarget = str | LateralizedLabel


@dataclass(frozen=True)
class LabelMap:
    """From the labels of one data set to the classes of a model.

    Parameters
    ----------
    classes
        Of the model, in the order of its channels.
    labels
        For each label of the data set the class that it is; a label that is left out is background.
        None where any label is the model's one class.
    name
        Of the data set, for messages.

    Raises
    ------
    BadInput
        Where a label names a class that the model does not have, or two labels name the same one.
    """

    classes: tuple[ClassInfo, ...]
    labels: Mapping[int, LabelTarget] | None = None
    name: str = "data"

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        class_names = [c.name for c in self.classes]
        label_of_name: dict[str, int] = {}
        for label, target in self.labels.items():
            if not 1 <= label < _LABEL_LIMIT:
                raise BadInput(f"{self.name}, label {label}", "is no label", "use 1 to 254; 0 is background")
            for name in _class_names(target):
                if name not in class_names:
                    raise BadInput(
                        f"{self.name}, label {label}",
                        f"no class {name!r}",
                        f"use one of {', '.join(class_names)}",
                    )
                if name in label_of_name:
                    raise BadInput(
                        f"{self.name}, label {label}",
                        f"is {name!r}, and so is label {label_of_name[name]}",
                        "give each class one label",
                    )
                label_of_name[name] = label

    @classmethod
    def for_model(cls, classes: Sequence[ClassInfo]) -> LabelMap:
        """For masks that hold a model's own numbers; any label counts where it has one class."""
        is_multiclass = len(classes) > 1
        return cls(tuple(classes), {c.label: c.name for c in classes} if is_multiclass else None)

    @property
    def annotated(self) -> tuple[bool, ...]:
        """For each class, whether the data set looked for it: K_i of the paper."""
        if self.labels is None:
            return (True,) * len(self.classes)
        annotated_names = {name for target in self.labels.values() for name in _class_names(target)}
        return tuple(c.name in annotated_names for c in self.classes)

    @property
    def has_lateralized(self) -> bool:
        """Whether a label is to be split into the patient's right and left, which takes a geometry."""
        return any(isinstance(target, LateralizedLabel) for target in (self.labels or {}).values())

    def to_class_numbers(
        self, labels: NDArray[np.uint8], geometry: Geometry | None = None
    ) -> NDArray[np.uint8]:
        """Labels of a whole scan as numbers of classes, from 1 in the order of `classes`; 0 is none.

        What one class includes is still told from the rest of it: see `class_masks`.

        Parameters
        ----------
        labels
            In the spatial shape of the scan.
        geometry
            Says where right and left are; needed only where a label is to be split.

        Raises
        ------
        BadInput
            Where a label is to be split into sides, and the scan does not say which is which.
        """
        if self.labels is None:
            return (labels > 0).astype(np.uint8)
        number_of_class = {c.name: k + 1 for k, c in enumerate(self.classes)}
        class_numbers = np.zeros_like(labels)
        for label, target in self.labels.items():
            label_mask = labels == label
            if isinstance(target, str):
                class_numbers[label_mask] = number_of_class[target]
            elif label_mask.any():
                for name, side in zip(
                    target.split, _split_right_left(label_mask, geometry, self.name), strict=True
                ):
                    class_numbers[side] = number_of_class[name]
        return class_numbers

    def class_masks(self, class_numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Each class with all that it includes: 0 or 1, `(K, *shape)`; classes may overlap.

        Parameters
        ----------
        class_numbers
            From `to_class_numbers`, or a part of it.
        """
        return np.stack([class_mask.astype(np.uint8) for class_mask in self.iter_class_masks(class_numbers)])

    def iter_class_masks(self, class_numbers: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
        """The same class by class, so that a large scan is not held K times."""
        for k, included in enumerate(class_descendants(self.classes)):
            yield np.isin(class_numbers, [k + 1, *(j + 1 for j in included)])


def _class_names(target: LabelTarget) -> tuple[str, ...]:
    return (target,) if isinstance(target, str) else target.split


def _split_right_left(
    label_mask: NDArray[np.bool_], geometry: Geometry | None, name: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The right and the left of a pair: its two largest components, and each crumb to the nearer of them.

    A single component is on the side of the scan's middle where its centre lies.
    """
    from scipy import ndimage

    if geometry is None or geometry.frame != "LPS":
        raise BadInput(name, "its scans do not say which side is left", "split the label in its files")
    components, count = ndimage.label(label_mask, np.ones((3,) * label_mask.ndim))
    sizes = np.bincount(components.ravel())[1:]
    largest = np.argsort(sizes, kind="stable")[::-1][:2] + 1
    left_coordinates = _left_coordinate(
        np.array(ndimage.center_of_mass(label_mask, components, largest)), geometry
    )
    if count == 1:
        scan_centre = _left_coordinate((np.array([label_mask.shape]) - 1) / 2, geometry)
        empty = np.zeros_like(label_mask)
        return (empty, label_mask) if left_coordinates[0] > scan_centre[0] else (label_mask, empty)
    right_component, left_component = (largest[i] for i in np.argsort(left_coordinates, kind="stable"))
    distances = [
        ndimage.distance_transform_edt(components != component)
        for component in (right_component, left_component)
    ]
    is_left = label_mask & (distances[1] < distances[0])
    return label_mask & ~is_left, is_left


def _left_coordinate(positions: NDArray[Any], geometry: Geometry) -> NDArray[np.float64]:
    """How far to the patient's left array positions `(n, ndim)` lie, in world units: x of LPS."""
    x = geometry.axis_labels.index("x")
    row = geometry.matrix[x]
    return np.asarray(positions @ row[:-1] + row[-1], dtype=np.float64)
