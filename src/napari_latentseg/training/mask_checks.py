"""What is said of the masks of a training before it begins: where nothing is marked, or everything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from napari_latentseg.data.mask_values import label_text
from napari_latentseg.data.slices import check_not_uniform
from napari_latentseg.errors import BadInput
from napari_latentseg.training.datasets import AnnotatedDataset
from napari_latentseg.training.stored_slices import TrainingSlice
from napari_latentseg.utils.counts import count_text

__all__ = ["check_marked", "mask_notes"]

_NAMES_SHOWN = 3


def check_marked(
    dataset: AnnotatedDataset, slices: Sequence[TrainingSlice], left_out: Mapping[str, BadInput]
) -> None:
    """Refuse a data set from which there is nothing to learn.

    Parameters
    ----------
    dataset
        What was read.
    slices
        Of it.
    left_out
        Why a case could not be read, by its name.

    Raises
    ------
    BadInput
        If nothing could be read, or all masks are empty, or all of them mark the whole image.
    """
    if left_out and not slices:
        raise next(iter(left_out.values()))
    masks = dataset.cases[0].mask_file
    subject = dataset.name if masks is None else masks.parent
    if not any(s.has_annotated_foreground for s in slices):
        found, known = dataset.cases[0].folder_labels, dataset.label_map.known_labels
        if known is not None and found and not found & known:
            others = sorted(found)
            why = f"no mask holds a class of the model, only {_labels_text(others)}"
            remedy = f"say what they mean with --labels {label_text(others[0])}=NAME"
            raise BadInput(subject, why, remedy)
        raise BadInput(subject, "every mask is empty", "mark the target in at least one image")
    check_not_uniform([s.uniform for s in slices], subject)


def mask_notes(whole: Sequence[str], masks_of_image: Mapping[str, Collection[str]]) -> list[str]:
    """What is to be said of masks that may be those of other images, or not be the masks that were meant.

    Parameters
    ----------
    whole
        The names of the cases whose masks mark the whole image.
    masks_of_image
        The digest of each mask of an image, by the digest of the image.
    """
    notes = []
    if whole:
        names = ", ".join(whole[:_NAMES_SHOWN]) + ", ..." * (len(whole) > _NAMES_SHOWN)
        marks = "marks" if len(whole) == 1 else "mark"
        notes.append(f"{count_text(len(whole), 'mask')} {marks} the whole image: {names}")
    masks = {mask for masks in masks_of_image.values() for mask in masks}
    if len(masks) == 1 and len(masks_of_image) > 1:
        notes.append(f"all {len(masks_of_image)} images have the same mask: check that each has its own")
    return notes


def _labels_text(labels: Sequence[int]) -> str:
    shown = ", ".join(map(label_text, labels[:3]))
    return f"label {shown}" if len(labels) == 1 else f"the labels {shown}" + ", ..." * (len(labels) > 3)
