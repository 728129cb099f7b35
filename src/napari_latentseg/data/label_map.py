"""The labels of several data sets, mapped to the classes of one model.

Guided latent diffusion (Section 3.1) has such a table, without its rules. The rules here: an organ includes
the structures in it, such as its tumours; a label of a paired organ is split into the patient's right and
left; a class that a data set did not annotate is unknown there, and not background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.data.mask_values import COLOR_LABEL, counted_labels, label_text
from napari_latentseg.errors import BadInput

__all__ = ["LabelMap", "LabelTarget", "LateralizedLabel"]

_LABEL_LIMIT = 2 * COLOR_LABEL  # colours are the highest labels


# from this number on, the labels of a mask for one class are rather those of single objects than of classes
_MIN_INSTANCES = 20


class LateralizedLabel(FrozenModel):
    """A label of a paired organ, such as the kidneys: the classes on the patient's right and left."""

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
        The class of each label of the data set; several labels may be one class. None for a model of one
        class, which is any label.
    name
        Of the data set, for messages.
    others_are_background
        Whether labels that are left out are background; if not, a mask that holds them is refused.
    several_are_one_class
        Where `labels` is None, whether a mask may hold several labels, which are all the one class.
    several_remedy
        What else to do where a mask for one class holds several labels.

    Raises
    ------
    BadInput
        If a label names a class that the model does not have, or two name the same side of an organ.
    """

    classes: tuple[ClassInfo, ...]
    labels: Mapping[int, LabelTarget] | None = None
    name: str = "data"
    others_are_background: bool = False
    several_are_one_class: bool = False
    several_remedy: str = ""

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        class_names = [c.name for c in self.classes]
        label_of_name: dict[str, int] = {}
        sided_names = {
            name for t in self.labels.values() if isinstance(t, LateralizedLabel) for name in t.split
        }
        for label, target in self.labels.items():
            if not 1 <= label < _LABEL_LIMIT:
                raise BadInput(
                    f"{self.name}, label {label}", "is not a label", "use 1 or more; 0 is background"
                )
            for name in _class_names(target):
                if name not in class_names:
                    raise BadInput(
                        f"{self.name}, label {label}",
                        f"no class {name!r}",
                        f"use one of {', '.join(class_names)}",
                    )
                if name in label_of_name and name in sided_names:
                    raise BadInput(
                        f"{self.name}, label {label}",
                        f"is {name!r}, and so is label {label_of_name[name]}",
                        "give each side one label",
                    )
                label_of_name[name] = label

    @classmethod
    def for_model(cls, classes: Sequence[ClassInfo]) -> LabelMap:
        """The map of masks with the model's own labels; for a model of one class, any label is that class."""
        is_multiclass = len(classes) > 1
        return cls(tuple(classes), {c.label: c.name for c in classes} if is_multiclass else None)

    @property
    def known_labels(self) -> frozenset[int] | None:
        """The labels that have a meaning; None for a model of one class, which is any label."""
        return None if self.labels is None else frozenset(self.labels)

    def check_labels(self, labels: NDArray[Any], subject: str, elsewhere: Set[int] = frozenset()) -> None:
        """Refuse a mask with labels that have no meaning.

        Parameters
        ----------
        labels
            Of a whole mask.
        subject
            What the error calls the mask.
        elsewhere
            The labels of other masks of the same folder, which must be the same one for a model of one class.

        Raises
        ------
        BadInput
            With the first labels of the mask and their numbers of pixels.
        """
        present = set(np.unique(labels).tolist()) - {0}
        if self.labels is None:
            if self.several_are_one_class or len(present | elsewhere) <= 1:
                return
            name = self.classes[0].name
            if len(present) == 1:
                others = ", ".join(map(label_text, sorted(elsewhere)[:3]))
                why = f"holds label {label_text(*present)}, and other masks of the folder {others}"
            elif len(present) >= _MIN_INSTANCES:
                why = f"holds {len(present)} labels, perhaps of single objects: {counted_labels(labels)}"
            else:
                why = f"holds the labels {counted_labels(labels)}"
            raise BadInput(
                subject,
                why,
                f"the model has one class, {name!r}: {self.several_remedy}--labels any={name} takes all as"
                f" it, --labels {label_text(min(present))}={name} that one alone",
            )
        unknown = sorted(present - set(self.labels))
        if unknown and not self.others_are_background:
            known = ", ".join(f"{label_text(n)} {_target_text(t)}" for n, t in list(self.labels.items())[:10])
            raise BadInput(
                subject,
                f"holds the labels {counted_labels(labels)}",
                f"the model knows {known}: number the mask so, or say what each label means with --labels"
                f" {label_text(unknown[0])}=NAME",
            )

    @property
    def annotated(self) -> tuple[bool, ...]:
        """For each class, whether the data set annotated it: K_i of the paper."""
        if self.labels is None:
            return (True,) * len(self.classes)
        annotated_names = {name for target in self.labels.values() for name in _class_names(target)}
        return tuple(c.name in annotated_names for c in self.classes)

    @property
    def has_lateralized(self) -> bool:
        """Whether a label is to be split into the patient's right and left, which takes a geometry."""
        return any(isinstance(target, LateralizedLabel) for target in (self.labels or {}).values())

    def to_class_numbers(self, labels: NDArray[Any], geometry: Geometry | None = None) -> NDArray[np.uint8]:
        """The labels of a whole scan as class numbers, from 1 in the order of `classes`; 0 is none.

        A structure that lies in another keeps its own number: see `class_masks`.

        Parameters
        ----------
        labels
            In the spatial shape of the scan.
        geometry
            Says where the patient's right and left are; needed only to split a label.

        Raises
        ------
        BadInput
            If a label is to be split into sides, and the scan has no orientation in the patient.
        """
        if self.labels is None:
            return (labels > 0).astype(np.uint8)
        number_of_class = {c.name: k + 1 for k, c in enumerate(self.classes)}
        class_numbers = np.zeros(labels.shape, np.uint8)
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
        """A mask of each class with the classes that it includes: 0 or 1, `(K, *shape)`; they may overlap.

        Parameters
        ----------
        class_numbers
            From `to_class_numbers`, or some slices of it.
        """
        return np.stack([class_mask.astype(np.uint8) for class_mask in self.iter_class_masks(class_numbers)])

    def iter_class_masks(self, class_numbers: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
        """The same, class by class, so that a large scan is not in memory K times."""
        for k, included in enumerate(class_descendants(self.classes)):
            yield np.isin(class_numbers, [k + 1, *(j + 1 for j in included)])


def _target_text(target: LabelTarget) -> str:
    return " and ".join(_class_names(target))


def _class_names(target: LabelTarget) -> tuple[str, ...]:
    return (target,) if isinstance(target, str) else target.split


def _split_right_left(
    label_mask: NDArray[np.bool_], geometry: Geometry | None, name: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the right and the left of a paired organ.

    They are its two largest components; a smaller component belongs to the nearer of the two. A single
    component is on the side of the scan's middle where its centre of mass lies.
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
    """The x coordinate in LPS, which grows to the patient's left, of array positions `(n, ndim)`."""
    x = geometry.axis_labels.index("x")
    row = geometry.matrix[x]
    return np.asarray(positions @ row[:-1] + row[-1], dtype=np.float64)
