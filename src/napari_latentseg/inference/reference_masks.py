"""The reference masks of annotated images, in the class numbers of a model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.cases import Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard

__all__ = ["ReferenceMasks", "check_shape", "label_map_for", "read_reference_masks"]


@dataclass(frozen=True)
class ReferenceMasks:
    """The masks of a case in class numbers, `(N, H, W)`.

    Attributes
    ----------
    case
        The image.
    label_map, reference
        What the class numbers mean, and the reference mask; None where the case cannot be used.
    readers
        The masks of several readers, in the order of the case.
    mask_sha256
        Of the reference mask at the size of the file.
    """

    case: Case
    label_map: LabelMap | None = None
    reference: NDArray[np.uint8] | None = None
    readers: tuple[NDArray[np.uint8], ...] = ()
    mask_sha256: str = ""


def read_reference_masks(case: Case, card: ModelCard) -> tuple[ReferenceMasks, Scan]:
    """The reference mask of a case, those of its readers, and its image.

    Parameters
    ----------
    case
        The annotated image.
    card
        Of the model, for its classes.

    Raises
    ------
    BadInput
        If one of them cannot be read, or a mask has another shape than the image.
    """
    scan = case.read_scan()
    label_map = label_map_for(card, case)
    reference = case.read_class_numbers(label_map)
    check_shape(case, reference, scan)
    readers = tuple(_read_reader(reader, label_map, scan) for reader in case.reader_cases)
    mask_sha256 = hashlib.sha256(reference.tobytes()).hexdigest()
    return ReferenceMasks(case, label_map, reference, readers, mask_sha256), scan


def _read_reader(reader: Case, label_map: LabelMap, scan: Scan) -> NDArray[np.uint8]:
    """A reader's mask in class numbers `(N, H, W)`."""
    class_numbers = reader.read_class_numbers(label_map)
    check_shape(reader, class_numbers, scan)
    return class_numbers


def check_shape(case: Case, reference: NDArray[np.uint8], scan: Scan) -> None:
    """Refuse a mask of another shape than its image.

    Parameters
    ----------
    case, scan
        The image.
    reference
        Its mask, `(N, H, W)`.

    Raises
    ------
    BadInput
        If they differ.
    """
    planes = Planes(scan, 0.0, 1.0)  # for its shape alone, so the range of values does not matter
    shape = (len(planes), *planes.plane_shape)
    if reference.shape != shape:
        why = f"has shape {reference.shape}, its image {shape}"
        raise BadInput(case.mask_source, why, "give a mask of the same shape")


def label_map_for(card: ModelCard, case: Case) -> LabelMap:
    """The meaning of the values in a reference mask.

    That of the case where it has one; else the labels of a training data set, if the mask lies in the folder
    of one whose labels the card lists; else those of the model.
    """
    if case.label_map is not None:
        return case.label_map
    folder = case.dataset_name
    for data in card.training_data:
        if data.labels and data.folder == folder:
            return LabelMap(card.classes, data.labels, folder, others_are_background=True)
    return LabelMap.for_model(card.classes)
