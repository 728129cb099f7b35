"""The consensus of several readers' label maps, by majority or by STAPLE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.evaluation.label_maps import at_each_time, own_mask_of
from napari_latentseg.evaluation.staple import check_staple_available, staple

__all__ = [
    "CONSENSUS_CONVENTIONS",
    "METHODS",
    "Consensus",
    "ConsensusMethod",
    "ReaderPerformance",
    "check_method",
    "estimate_consensus",
]

ConsensusMethod = Literal["majority", "staple"]
METHODS: tuple[ConsensusMethod, ...] = ("majority", "staple")

CONSENSUS_CONVENTIONS: dict[str, str] = {
    "majority": (
        "a voxel belongs to a class where strictly more than half of the readers marked it: of two readers "
        "both, of four three"
    ),
    "staple": (
        "STAPLE (Warfield et al. 2004, ITK) for each class and time point over all voxels compared; a voxel "
        "belongs to a class where its probability is above 0.5, of several such classes to the most probable "
        "one, and of equally probable ones to the first"
    ),
    "performance": (
        "sensitivity and specificity of a reader against the truth that STAPLE estimates from these same "
        "readers; most of an image is background, so specificity is close to 1 for everyone"
    ),
}
"""The definition of each consensus, for reports and JSON."""


@dataclass(frozen=True)
class ReaderPerformance:
    """How reliable STAPLE takes a reader to be, for one class.

    Attributes
    ----------
    reader
        Name of the reader.
    name, label
        Name of the class, and its value in the label maps.
    time
        Index of the time point, from 0; None without a time axis.
    sensitivity, specificity
        In [0, 1], see `CONSENSUS_CONVENTIONS`; None where all readers marked nothing, or everything.

    Examples
    --------
    >>> from napari_latentseg import ReaderPerformance
    >>> ReaderPerformance("reader 1", "lesion", 1, None, 0.9, 0.999).sensitivity
    0.9
    """

    reader: str
    name: str
    label: int
    time: int | None
    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True, eq=False)
class Consensus:
    """The consensus of several readers; immutable.

    Attributes
    ----------
    labels
        Label map, uint8, in the shape of the readers' masks; 0 is background.
    probability
        Of each class, float32 `(K, *spatial)` in [0, 1]: the share of the readers that marked the voxel, or
        the probability that STAPLE estimates. 0 where nothing was compared.
    method
        ``"majority"`` or ``"staple"``; see `napari_latentseg.evaluation.consensus.CONSENSUS_CONVENTIONS`.
    geometry
        Of the masks.
    classes
        The K classes.
    performance
        With STAPLE, of each reader, class and time point.

    Examples
    --------
    >>> from napari_latentseg import consensus
    >>> readers = np.zeros((3, 20, 20), np.uint8)
    >>> readers[0, 5:15, 5:15] = readers[1, 5:15, 5:14] = readers[2, 5:15, 6:20] = 1
    >>> result = consensus(list(readers), method="majority")
    >>> result.method, int(result.labels.sum()), float(result.probability.max())
    ('majority', 100, 1.0)
    """

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]
    method: ConsensusMethod
    geometry: Geometry
    classes: tuple[ClassInfo, ...]
    performance: tuple[ReaderPerformance, ...] = ()


def check_method(method: str) -> ConsensusMethod:
    """The method by its name.

    Raises
    ------
    BadInput
        If there is no such method, or it needs SimpleITK, which is not installed.
    """
    for known in METHODS:
        if method == known:
            if known == "staple":
                check_staple_available()
            return known
    raise BadInput("consensus", f"{method!r} is not known", choose_from(str(method), METHODS))


def estimate_consensus(
    label_maps: Sequence[NDArray[Any]],
    readers: Sequence[str],
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    method: ConsensusMethod,
    compared: NDArray[np.bool_] | None = None,
) -> Consensus:
    """The consensus of label maps that lie index on index.

    Parameters
    ----------
    label_maps
        One for each reader.
    readers
        Their names.
    geometry
        Of the label maps.
    classes
        The K classes; with a single one, every nonzero value is the class.
    method
        See `CONSENSUS_CONVENTIONS`.
    compared
        The voxels that count, in the shape of the label maps; None for all. The others are background.

    Raises
    ------
    BadInput
        If STAPLE is asked for and SimpleITK is not installed.
    """
    shape = label_maps[0].shape
    labels, best = np.zeros(shape, np.uint8), np.full(shape, 0.5)
    probability = np.zeros((len(classes), *shape), np.float32)
    performance: list[ReaderPerformance] = []
    region = np.ones(shape, bool) if compared is None else compared
    for time, (part, *maps) in at_each_time(geometry, [region, *label_maps]):
        for k, info in enumerate(classes):
            masks = np.stack([own_mask_of(labels[part], info, classes) for labels in maps])
            if method == "majority":
                values = masks.mean(axis=0)
            else:
                values, sensitivity, specificity = staple(masks)
                performance += [
                    ReaderPerformance(
                        reader, info.name, info.label, time,
                        sensitivity[i] if sensitivity else None, specificity[i] if specificity else None,
                    )
                    for i, reader in enumerate(readers)
                ]  # fmt: skip
            labels_now, best_now, probability_now = (
                _time_view(array, geometry, time) for array in (labels, best, probability[k])
            )
            probability_now[part] = values
            is_better = np.zeros(part.shape, bool)
            is_better[part] = values > best_now[part]  # in double precision: 0.5 is a limit
            labels_now[is_better] = info.label
            best_now[part] = np.maximum(best_now[part], values)
    return Consensus(labels, probability, method, geometry, tuple(classes), tuple(performance))


def _time_view(array: NDArray[Any], geometry: Geometry, time: int | None) -> NDArray[Any]:
    """A view of one time point, or of all without a time axis, which can be written to."""
    if time is None:
        return array
    index: list[Any] = [slice(None)] * array.ndim
    index[geometry.axis_labels.index("t")] = time
    view: NDArray[Any] = array[tuple(index)]
    return view
