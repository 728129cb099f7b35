"""The samples of a model, image by image, beside the masks of several readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.readers import (
    ImageAgreement,
    ReaderReport,
    mean_agreement,
    reader_agreement,
)
from napari_latentseg.models.card import ModelCard

__all__ = ["ReaderScores"]


class ReaderScores:
    """Compares samples with readers; see `napari_latentseg.evaluation.readers`.

    Parameters
    ----------
    card
        Of the model.
    threshold
        A voxel belongs to a class in a sample where its probability is above this.
    """

    def __init__(self, card: ModelCard, threshold: float) -> None:
        self._classes = card.classes
        self._threshold = threshold
        self._reader_count = 0
        self._images: list[ImageAgreement] = []

    def add(
        self,
        name: str,
        segmentation: Segmentation,
        readers: Sequence[NDArray[np.uint8]],
        label_map: LabelMap,
    ) -> None:
        """Add an image.

        Parameters
        ----------
        name
            Of the image.
        segmentation
            With the probability maps of its samples.
        readers
            Class numbers of each reader's mask, in the shape of the mask or as slices `(N, H, W)`.
        label_map
            Which classes the readers annotated. Of several, those count that any mask has. Where a class is
            unknown in one of the masks, nothing is compared.

        Raises
        ------
        BadInput
            If the samples did not fit into memory.
        """
        maps, shape = segmentation.sample_maps, segmentation.mask.shape
        if maps is None or not maps.is_complete:
            raise BadInput(
                name,
                "its samples do not fit into memory, so they cannot be compared",
                "evaluate fewer samples",
            )
        model_map = LabelMap.for_model(self._classes)
        masks = maps.sample_masks(self._threshold, self._classes)
        readers = [numbers.reshape(shape) for numbers in readers]
        is_unknown = np.any([numbers == UNKNOWN_CLASS for numbers in readers], axis=0)
        sample_masks = _class_masks(map(model_map.to_class_numbers, masks), is_unknown, label_map)
        reader_masks = _class_masks(readers, is_unknown, label_map)
        by_class = [
            (ours, theirs)
            for ours, theirs, is_annotated in zip(
                sample_masks, reader_masks, label_map.annotated, strict=True
            )
            if is_annotated
        ]
        present = [masks for masks in by_class if any(part.any() for part in masks)] or by_class[:1]
        mean = mean_agreement([reader_agreement(ours, theirs) for ours, theirs in present])
        self._images.append(ImageAgreement(name=name, **mean.model_dump()))
        self._reader_count = len(readers)

    def report(self) -> ReaderReport:
        """The figures of all images.

        Raises
        ------
        BadInput
            If there are none.
        """
        return ReaderReport(
            mean=mean_agreement(self._images), readers=self._reader_count, images=tuple(self._images)
        )


def _class_masks(
    class_numbers: Iterable[NDArray[np.uint8]], is_unknown: NDArray[np.bool_], label_map: LabelMap
) -> list[NDArray[np.bool_]]:
    """For each class the masks of all samples or readers, `(n, ...)`."""
    masks = [list(label_map.iter_class_masks(np.where(is_unknown, 0, numbers))) for numbers in class_numbers]
    return [np.stack(of_class) for of_class in zip(*masks, strict=True)]
