"""Slices of annotated images, at the size that a model works at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.data.cases import UNKNOWN_CLASS
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.resize import resize, resize_labels
from napari_latentseg.errors import BadInput

__all__ = ["Slice", "check_not_uniform", "make_slice", "uniform_classes"]


@dataclass(frozen=True)
class Slice:
    """One annotated slice of a case, at working size.

    Images and masks stay uint8: all slices of a data set are in memory during training, and float32 would
    take four times as much.

    Attributes
    ----------
    image
        uint8 `(3, h, w)`.
    mask
        uint8 `(K, h, w)`, 0 or 1; classes may overlap.
    content_sha256
        Of its case.
    annotated
        For each class, whether it was annotated in this image; one that was not is unknown, not background.
    dataset
        The name of the data set that it belongs to.
    case
        The number of its case, where the cases are numbered.
    unknown
        uint8 `(h, w)`, 1 where a class is marked that the model does not know, so that nothing is known of
        the model's classes there; None where there is no such pixel.
    reader_masks
        uint8 `(R, K, h, w)`, the masks of R readers, of which a training draws one in place of `mask`; None
        where there is one mask.
    """

    image: Tensor
    mask: Tensor
    content_sha256: str
    annotated: tuple[bool, ...] = (True,)
    dataset: str = ""
    case: int = 0
    unknown: Tensor | None = None
    reader_masks: Tensor | None = None

    @property
    def reader_count(self) -> int:
        """How many readers' masks it has."""
        return 0 if self.reader_masks is None else len(self.reader_masks)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(3, h, w)`."""
        channels, height, width = self.image.shape
        return channels, height, width

    def to_float(self, reader: int | None = None) -> tuple[Tensor, Tensor]:
        """Image in [0, 1] and mask in {0, 1}, float32.

        Parameters
        ----------
        reader
            Whose mask, from 0; None for `mask`.
        """
        mask = self.mask if reader is None or self.reader_masks is None else self.reader_masks[reader]
        return self.image.float() / 255, mask.float()

    @property
    def has_foreground(self) -> bool:
        """Whether any class is marked in it."""
        return bool(self.mask.any())

    @property
    def has_annotated_foreground(self) -> bool:
        """Whether any annotated class is marked in it."""
        return bool(self.mask[torch.tensor(self.annotated)].any())

    @property
    def uniform(self) -> tuple[bool, ...] | None:
        """Which classes mark all of it, where each marks all or nothing and one marks all; None otherwise."""
        return uniform_classes(self.mask.numpy())

    def columns(self, start: int, stop: int) -> Slice:
        """A part of the slice: its columns from `start` to before `stop`."""
        window = (slice(None), slice(None), slice(start, stop))
        return Slice(
            self.image[window],
            self.mask[window],
            self.content_sha256,
            self.annotated,
            self.dataset,
            self.case,
            None if self.unknown is None else self.unknown[window[1:]],
            None if self.reader_masks is None else self.reader_masks[..., start:stop],
        )


def uniform_classes(masks: NDArray[np.uint8]) -> tuple[bool, ...] | None:
    """Which masks `(K, ...)` are 1 everywhere; None where none is, or one is neither that nor empty."""
    everywhere = [bool(mask.all()) for mask in masks]
    if not any(everywhere) or any(
        mask.any() for mask, is_all in zip(masks, everywhere, strict=True) if not is_all
    ):
        return None
    return tuple(everywhere)


def check_not_uniform(slices: Sequence[tuple[bool, ...] | None], subject: object) -> None:
    """Refuse slices that are marked from edge to edge, all with the same class: they show no outline.

    Parameters
    ----------
    slices
        `Slice.uniform` of each.
    subject
        What the error calls them.

    Raises
    ------
    BadInput
        As described.
    """
    if slices and slices[0] is not None and len(set(slices)) == 1:
        raise BadInput(subject, "every mask marks the whole image", "mark the target alone, with 0 around it")


def make_slice(
    rgb: NDArray[np.uint8],
    class_numbers: NDArray[np.uint8],
    label_map: LabelMap,
    preprocess: Preprocess,
    spacing: tuple[float, float] | None,
    *,
    content_sha256: str,
    dataset: str = "",
    case: int = 0,
    readers: Sequence[NDArray[np.uint8]] = (),
) -> Slice:
    """Bring a slice and its mask to working size.

    Parameters
    ----------
    rgb
        `(H, W, 3)`.
    class_numbers
        `(H, W)`, see `Case.read_annotation`.
    label_map
        Which classes there are, and which are annotated.
    preprocess
        Says the working size.
    spacing
        Millimetres between rows and between columns; None where that is not known.
    content_sha256, dataset, case
        See `Slice`.
    readers
        Class numbers of each reader's mask, `(H, W)` each.
    """
    height, width = class_numbers.shape
    size = preprocess.working_size(height, width, spacing)
    channels = resize(np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32), size)
    image = torch.from_numpy(channels.round().clip(0, 255).astype(np.uint8))
    class_numbers = resize_labels(class_numbers, size)
    mask = torch.from_numpy(label_map.class_masks(class_numbers))
    is_unknown = class_numbers == UNKNOWN_CLASS
    unknown = torch.from_numpy(is_unknown.astype(np.uint8)) if is_unknown.any() else None
    reader_masks = None
    if readers:
        reader_masks = torch.from_numpy(
            np.stack([label_map.class_masks(resize_labels(numbers, size)) for numbers in readers])
        )
    return Slice(image, mask, content_sha256, label_map.annotated, dataset, case, unknown, reader_masks)
