"""How much of each sample belongs to each region of a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo
from napari_latentseg.measure.regions import Regions
from napari_latentseg.measure.space import Space

__all__ = ["Shares", "shares_of"]


@dataclass(frozen=True)
class Shares:
    """Elements of the samples.

    Attributes
    ----------
    regions
        Of each region, `(n, R + 1)`; nothing of region 0.
    classes
        Of each class as a whole, `(n, K)`; where the mask has none of a class, all of it is here alone.
    """

    regions: NDArray[np.int64]
    classes: NDArray[np.int64]


def shares_of(
    regions: Regions, classes: Sequence[ClassInfo], space: Space, step: Callable[[], None]
) -> Shares | None:
    """What of each sample lies in a region or nearer to it than to any other of its class, in the world.

    So the shares of the objects of a class add up to the class in that sample.

    Parameters
    ----------
    regions
        Of the mask.
    classes
        Of the segmentation.
    space
        Says what is near.
    step
        Called after every plane.

    Returns
    -------
    Shares or None
        None where no samples were kept.
    """
    moment = regions.moment
    n = moment.samples
    if n == 0:
        return None
    number_of = np.full(256, -1)
    number_of[[c.label for c in classes]] = np.arange(len(classes))
    class_of = number_of[regions.label_of]
    class_of[0] = -1
    nearest = [_Nearest(regions, info.label, space) for info in classes]
    inside = np.zeros((n, len(regions) + 1), dtype=np.int64)
    whole = np.zeros((n, len(classes)), dtype=np.int64)
    planes: dict[tuple[int, ...], list[Any]] = {}
    for part in moment.parts():
        planes.setdefault(part.index, []).append(part)
    for index, parts in planes.items():
        numbers = np.concatenate([regions.numbers(part) for part in parts])
        here = class_of[numbers]
        strays: list[list[tuple[int, NDArray[np.intp]]]] = [[] for _ in classes]
        for i, sample in enumerate(moment.classes_of_samples(index)):
            places = np.flatnonzero(sample.ravel() >= 0)
            if not places.size:
                continue
            of_class = sample.ravel()[places]
            whole[i] += np.bincount(of_class, minlength=len(classes))
            hit = here.ravel()[places] == of_class
            inside[i] += np.bincount(numbers.ravel()[places[hit]], minlength=len(regions) + 1)
            for k in np.unique(of_class[~hit]):
                strays[k].append((i, places[~hit & (of_class == k)]))
        for k, found in enumerate(strays):
            nearest[k].add(inside, index, numbers.shape[1], found)
        step()
    return Shares(inside, whole)


class _Nearest:
    """Gives the places outside a class to the nearest of its regions."""

    def __init__(self, regions: Regions, label: int, space: Space) -> None:
        self._regions, self._label, self._space = regions, label, space
        self._members = regions.members(label)
        self._tree: Any = None

    def add(
        self,
        inside: NDArray[np.int64],
        index: tuple[int, ...],
        width: int,
        strays: list[tuple[int, NDArray[np.intp]]],
    ) -> None:
        """Count the strays of a plane, each sample's by their place in the flat plane, into `inside`."""
        if not strays or not self._members:
            return
        if len(self._members) == 1:
            for i, places in strays:
                inside[i, self._members[0]] += len(places)
            return
        every = np.unique(np.concatenate([places for _, places in strays]))
        owner = self._owners(index, every, width)
        for i, places in strays:
            found = owner[np.searchsorted(every, places)]
            inside[i] += np.bincount(found, minlength=inside.shape[1])

    def _owners(self, index: tuple[int, ...], places: NDArray[np.intp], width: int) -> NDArray[np.int32]:
        from scipy.spatial import cKDTree

        if self._tree is None:
            outline, self._owner = self._regions.outline(self._label)
            self._tree = cKDTree(outline @ self._space.linear.T)
        rows, columns = np.divmod(places, width)
        leading = np.broadcast_to(np.array(index, dtype=np.intp), (len(places), len(index)))
        where = np.column_stack([leading, rows, columns]) @ self._space.linear.T
        found: NDArray[np.int32] = self._owner[self._tree.query(where)[1]]
        return found
