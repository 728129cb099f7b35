"""The masks of several readers of one image: pair by pair, against their consensus, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.consensus import (
    CONSENSUS_CONVENTIONS,
    Consensus,
    ConsensusMethod,
    estimate_consensus,
)
from napari_latentseg.evaluation.label_maps import class_mask_of, other_labels_text
from napari_latentseg.evaluation.metrics import CONVENTIONS
from napari_latentseg.evaluation.model_beside_readers import (
    CORRELATION_CONVENTION,
    VARIANCE_IS_NOT_DISAGREEMENT,
    ModelBesideReaders,
    ModelMaps,
    beside_readers,
)
from napari_latentseg.evaluation.reader_pairs import ReaderPair, Tolerance, iter_pairs
from napari_latentseg.evaluation.readers import READER_CONVENTIONS
from napari_latentseg.evaluation.surface_dice import SURFACE_DICE_CONVENTION
from napari_latentseg.utils.progress import Progress, StepCount, no_progress

__all__ = ["MAX_READERS", "ReaderComparison", "ReaderNote", "compare_label_maps"]

MAX_READERS = 8
"""More do not fit into one matrix or one picture."""

_DISAGREEMENT_CONVENTION = (
    "p(1 - p) of the share p of the readers that marked a voxel, from 0 where all agree to 0.25 where half "
    "of them did: the variance of their masks, on the scale of the variance of a model's samples"
)


@dataclass(frozen=True)
class ReaderNote:
    """Something to know about one reader's mask.

    Attributes
    ----------
    reader
        Which of the readers, from 0.
    text
        In words that follow the name of the reader, or of the file.
    """

    reader: int
    text: str


@dataclass(frozen=True, eq=False)
class ReaderComparison:
    """Several readers' masks of one image, compared; immutable.

    Attributes
    ----------
    readers
        Their names.
    classes
        The K classes.
    geometry
        Of the masks: that of the first.
    label_maps
        The masks index on index with the first, one for each reader, as they were compared.
    pairs
        The scores of every two readers, for each class and time point.
    consensus
        Their consensus.
    against_consensus
        The scores of each reader against it.
    disagreement
        p(1 - p) of each class, float32 `(K, *spatial)` in [0, 0.25], with p the share of the readers that
        marked the voxel: on the scale of `Segmentation.variance`.
    tolerance
        Of surface Dice, in the unit of the masks.
    model
        A model's result beside the readers; None without one.
    segmented
        What was compared where that is not everything, such as ``"29 of 40 slices"``; empty for all.
    notes
        What to know about single masks.

    Examples
    --------
    >>> from napari_latentseg import compare_readers
    >>> readers = np.zeros((3, 20, 20), np.uint8)
    >>> readers[0, 5:15, 5:15] = readers[1, 5:15, 5:14] = readers[2, 5:15, 6:15] = 1
    >>> compared = compare_readers(list(readers))
    >>> [round(pair.dsc, 3) for pair in compared.pairs]
    [0.947, 0.947, 0.889]
    >>> round(float(compared.disagreement.max()), 3)
    0.222
    """

    readers: tuple[str, ...]
    classes: tuple[ClassInfo, ...]
    geometry: Geometry
    label_maps: tuple[NDArray[Any], ...]
    pairs: tuple[ReaderPair, ...]
    consensus: Consensus
    against_consensus: tuple[ReaderPair, ...]
    disagreement: NDArray[np.float32]
    tolerance: Tolerance
    model: ModelBesideReaders | None = None
    segmented: str = ""
    notes: tuple[ReaderNote, ...] = ()

    @property
    def conventions(self) -> dict[str, str]:
        """The definition of each figure."""
        names = ("dsc", "iou", "hd95")
        texts = {name: CONVENTIONS[name] for name in names} | {
            "assd": "mean of the distances from each boundary to the other, both directions pooled; "
            "0 if both masks are empty, the diagonal of the image if one of them is",
            "surface_dice": SURFACE_DICE_CONVENTION,
            "consensus": CONSENSUS_CONVENTIONS[self.consensus.method],
            "disagreement": _DISAGREEMENT_CONVENTION,
        }
        if self.consensus.performance:
            texts["performance"] = CONSENSUS_CONVENTIONS["performance"]
        if self.model is not None:
            texts |= READER_CONVENTIONS | {"correlation": CORRELATION_CONVENTION}
            texts["variance"] = VARIANCE_IS_NOT_DISAGREEMENT
        return texts

    @property
    def largest_disagreement(self) -> NDArray[np.float32]:
        """The disagreement of the class in which it is largest, float32 `(*spatial)` in [0, 0.25]."""
        largest: NDArray[np.float32] = self.disagreement.max(axis=0)
        return largest

    def figures(self) -> dict[str, Any]:
        """All figures without the maps, as JSON can hold them."""
        model: dict[str, Any] | None = None
        if self.model is not None:
            model = {
                "title": self.model.maps.title,
                "basis": self.model.maps.basis,
                "samples": len(self.model.maps.samples),
                "agreements": [
                    {**asdict(row), "agreement": row.agreement.model_dump()} for row in self.model.agreements
                ],
                "pairs": [asdict(pair) for pair in self.model.pairs],
                "note": VARIANCE_IS_NOT_DISAGREEMENT,
            }
        return {
            "readers": list(self.readers),
            "classes": [{"name": info.name, "label": info.label} for info in self.classes],
            "tolerance": self.tolerance.value,
            "unit": self.tolerance.unit,
            "segmented": self.segmented,
            "pairs": [asdict(pair) for pair in self.pairs],
            "consensus": {
                "method": self.consensus.method,
                "pairs": [asdict(pair) for pair in self.against_consensus],
                "performance": [asdict(row) for row in self.consensus.performance],
            },
            "model": model,
            "notes": [asdict(note) for note in self.notes],
            "conventions": self.conventions,
        }


def compare_label_maps(
    label_maps: Sequence[NDArray[Any]],
    readers: Sequence[str],
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    *,
    method: ConsensusMethod = "majority",
    tolerance: float | None = None,
    model: ModelMaps | None = None,
    compared: NDArray[np.bool_] | None = None,
    segmented: str = "",
    progress: Progress = no_progress,
) -> ReaderComparison:
    """Compare label maps that lie index on index.

    Parameters
    ----------
    label_maps
        Of two to eight readers, of one shape.
    readers
        Their names.
    geometry
        Of the label maps.
    classes
        The classes; with a single one, every nonzero value is the class.
    method
        Of the consensus.
    tolerance
        See `Tolerance.of`.
    model
        A result to set beside them.
    compared, segmented
        The voxels that count, in the shape of the label maps, and what they are in words; None for all.
    progress
        Called after each pair; what it raises ends the comparison.

    Raises
    ------
    BadInput
        If all masks are empty, nothing can be compared, or STAPLE is not available.
    """
    chosen_tolerance = Tolerance.of(geometry, tolerance)
    if compared is not None:
        if not compared.any():
            raise BadInput("masks", "have no slice in common that was segmented", "segment the image again")
        label_maps = [labels * compared for labels in label_maps]
        if model is not None:
            model = _restricted(model, compared)
    if not any(labels.any() for labels in label_maps):
        raise BadInput("masks", "are all empty, so there is nothing to compare", "give masks with a class")
    by_name = dict(zip(readers, label_maps, strict=True))
    pairs = list(combinations(readers, 2))
    times = label_maps[0].shape[geometry.axis_labels.index("t")] if "t" in geometry.axis_labels else 1
    scored = len(pairs) + len(readers) + (0 if model is None else len(readers) + 1)
    steps = StepCount(scored * len(classes) * times, progress)
    progress(0.0)
    consensus = estimate_consensus(label_maps, readers, geometry, classes, method, compared)
    disagreement = np.stack([_disagreement(label_maps, info, classes) for info in classes])
    return ReaderComparison(
        readers=tuple(readers),
        classes=tuple(classes),
        geometry=geometry,
        label_maps=tuple(label_maps),
        pairs=tuple(steps.each(iter_pairs(by_name, pairs, geometry, classes, chosen_tolerance))),
        consensus=consensus,
        against_consensus=tuple(
            steps.each(
                iter_pairs(
                    {**by_name, "consensus": consensus.labels}, [(name, "consensus") for name in readers],
                    geometry, classes, chosen_tolerance,
                )
            )
        ),
        disagreement=disagreement,
        tolerance=chosen_tolerance,
        model=None
        if model is None
        else beside_readers(
            model, by_name, consensus.labels, disagreement, geometry, classes, chosen_tolerance, compared,
            steps,
        ),
        segmented=segmented,
        notes=_notes(label_maps, readers, classes),
    )  # fmt: skip


def _restricted(model: ModelMaps, compared: NDArray[np.bool_]) -> ModelMaps:
    return ModelMaps(
        model.title, model.mask * compared, tuple(sample * compared for sample in model.samples),
        model.drawn, model.mean * compared, None if model.variance is None else model.variance * compared,
    )  # fmt: skip


def _disagreement(
    label_maps: Sequence[NDArray[Any]], info: ClassInfo, classes: Sequence[ClassInfo]
) -> NDArray[np.float32]:
    count = np.zeros(label_maps[0].shape, np.uint8)
    for labels in label_maps:
        count += class_mask_of(labels, info, classes)
    share = count / np.float32(len(label_maps))
    return (share * (1 - share)).astype(np.float32)


def _notes(
    label_maps: Sequence[NDArray[Any]], readers: Sequence[str], classes: Sequence[ClassInfo]
) -> tuple[ReaderNote, ...]:
    notes = []
    for i, labels in enumerate(label_maps):
        missing = [info.name for info in classes if not class_mask_of(labels, info, classes).any()]
        if missing:
            notes.append(ReaderNote(i, f"has no {', '.join(missing)}: it counts as a reader who saw none"))
        if text := other_labels_text(labels, classes):
            notes.append(ReaderNote(i, text))
        equal = next((j for j in range(i) if np.array_equal(label_maps[j], labels)), None)
        if equal is not None and labels.any():
            notes.append(
                ReaderNote(
                    i,
                    f"equals the mask of {readers[equal]} in every voxel: leave it out if it is the same one",
                )
            )
    return tuple(notes)
