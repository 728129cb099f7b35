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

from napari_latentseg.classes import ClassInfo, descendants
from napari_latentseg.errors import BadInput
from napari_latentseg.formats import read_scan
from napari_latentseg.frozen import FrozenModel
from napari_latentseg.pairs import Pair, load_mask
from napari_latentseg.scan import Geometry

__all__ = ["LabelMap", "LabelTarget", "Sides"]

_EVERY = 255


class Sides(FrozenModel):
    """A label that covers both of a pair: the classes on the patient's right and left."""

    split: tuple[str, str] = Field(description="right, left")


LabelTarget = str | Sides


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
        known = [c.name for c in self.classes]
        seen: dict[str, int] = {}
        for label, target in self.labels.items():
            if not 1 <= label < _EVERY:
                raise BadInput(f"{self.name}, label {label}", "is no label", "use 1 to 254; 0 is background")
            for name in _names(target):
                if name not in known:
                    raise BadInput(
                        f"{self.name}, label {label}", f"no class {name!r}", f"use one of {', '.join(known)}"
                    )
                if name in seen:
                    raise BadInput(
                        f"{self.name}, label {label}",
                        f"is {name!r}, and so is label {seen[name]}",
                        "give each class one label",
                    )
                seen[name] = label

    @classmethod
    def of_model(cls, classes: Sequence[ClassInfo]) -> LabelMap:
        """For masks that hold a model's own numbers; any label counts where it has one class."""
        several = len(classes) > 1
        return cls(tuple(classes), {c.label: c.name for c in classes} if several else None)

    @property
    def annotated(self) -> tuple[bool, ...]:
        """For each class, whether the data set looked for it: K_i of the paper."""
        if self.labels is None:
            return (True,) * len(self.classes)
        found = {name for target in self.labels.values() for name in _names(target)}
        return tuple(c.name in found for c in self.classes)

    def of_pair(self, pair: Pair) -> NDArray[np.uint8]:
        """The mask of a pair as `numbered` gives it, `(N, H, W)`.

        Raises
        ------
        BadInput
            Where it cannot be read, or be split into sides.
        """
        labels = load_mask(pair)
        if not any(isinstance(target, Sides) for target in (self.labels or {}).values()):
            return self.numbered(labels)
        scan = read_scan(pair.mask)
        found = self.numbered(labels.reshape(scan.spatial_shape), scan.geometry)
        return found.reshape(labels.shape)

    def numbered(self, labels: NDArray[np.uint8], geometry: Geometry | None = None) -> NDArray[np.uint8]:
        """Labels of a whole scan as numbers of classes, from 1 in the order of `classes`; 0 is none.

        What one class includes is still told from the rest of it: see `masks`.

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
        numbers = {c.name: k + 1 for k, c in enumerate(self.classes)}
        found = np.zeros_like(labels)
        for label, target in self.labels.items():
            here = labels == label
            if isinstance(target, str):
                found[here] = numbers[target]
            elif here.any():
                for name, side in zip(target.split, _sides(here, geometry, self.name), strict=True):
                    found[side] = numbers[name]
        return found

    def masks(self, numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Each class with all that it includes: 0 or 1, `(K, *shape)`; classes may overlap.

        Parameters
        ----------
        numbers
            From `numbered`, or a part of it.
        """
        return np.stack([one.astype(np.uint8) for one in self.each(numbers)])

    def each(self, numbers: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
        """The same class by class, so that a large scan is not held K times."""
        for k, parts in enumerate(descendants(self.classes)):
            yield np.isin(numbers, [k + 1, *(j + 1 for j in parts)])


def _names(target: LabelTarget) -> tuple[str, ...]:
    return (target,) if isinstance(target, str) else target.split


def _sides(
    here: NDArray[np.bool_], geometry: Geometry | None, name: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The right and the left of a pair: its two largest components, and each crumb to the nearer of them.

    A single component is on the side of the scan's middle where its centre lies.
    """
    from scipy import ndimage

    if geometry is None or geometry.frame != "LPS":
        raise BadInput(name, "its scans do not say which side is left", "split the label in its files")
    parts, count = ndimage.label(here, np.ones((3,) * here.ndim))
    sizes = np.bincount(parts.ravel())[1:]
    largest = np.argsort(sizes, kind="stable")[::-1][:2] + 1
    left = _leftward(np.array(ndimage.center_of_mass(here, parts, largest)), geometry)
    if count == 1:
        middle = _leftward((np.array([here.shape]) - 1) / 2, geometry)
        nothing = np.zeros_like(here)
        return (nothing, here) if left[0] > middle[0] else (here, nothing)
    right, other = (largest[i] for i in np.argsort(left, kind="stable"))
    away = [ndimage.distance_transform_edt(parts != part) for part in (right, other)]
    is_left = here & (away[1] < away[0])
    return here & ~is_left, is_left


def _leftward(positions: NDArray[Any], geometry: Geometry) -> NDArray[np.float64]:
    """How far to the patient's left array positions `(n, ndim)` lie, in world units: x of LPS."""
    x = geometry.axis_labels.index("x")
    row = geometry.matrix[x]
    return np.asarray(positions @ row[:-1] + row[-1], dtype=np.float64)
