"""The slices of a training, one byte a pixel for each channel and one for the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.slices import Slice, uniform_classes

__all__ = ["ClassTable", "StoredSlice", "TrainingSlice"]


@dataclass(frozen=True, eq=False)
class ClassTable:
    """From class numbers to the masks of the classes, of one data set.

    Attributes
    ----------
    label_map
        Says which classes include which, and which are annotated.
    """

    label_map: LabelMap

    @cached_property
    def annotated(self) -> tuple[bool, ...]:
        """For each class, whether the data set annotated it."""
        return self.label_map.annotated

    @cached_property
    def rows(self) -> NDArray[np.uint8]:
        """For each class and each class number whether the number is in its mask, `(K, 256)`."""
        return self.label_map.class_masks(np.arange(256, dtype=np.uint8))

    def masks(self, class_numbers: NDArray[np.uint8]) -> Tensor:
        """The mask of each class, uint8 `(K, H, W)`, from class numbers `(H, W)`."""
        return torch.from_numpy(np.take(self.rows, class_numbers, axis=1))


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """One annotated slice at working size; its values are read when they are asked for.

    It takes 2 bytes a pixel (4 in colour), however many classes there are. `Slice` stands beside it for
    fine-tuning, which has few slices.

    Attributes
    ----------
    read
        Gives the values, uint8 `(C + 1 + R, H, W)`: one channel or three, the class numbers, and those of
        each of R readers.
    table
        From class numbers to masks.
    image_shape
        `(3, H, W)`.
    class_numbers
        Those that are in it.
    content_sha256, dataset, case
        See `Slice`.
    reader_count
        R, how many readers' masks it has; 0 where there is one mask.
    """

    read: Callable[[], NDArray[np.uint8]]
    table: ClassTable
    image_shape: tuple[int, int, int]
    class_numbers: frozenset[int]
    content_sha256: str
    dataset: str = ""
    case: int = 0
    reader_count: int = 0
    unknown: None = None  # a slice with an unknown class is not trained on

    @property
    def annotated(self) -> tuple[bool, ...]:
        """For each class, whether it was annotated in this image."""
        return self.table.annotated

    @property
    def image(self) -> Tensor:
        """uint8 `(3, H, W)`."""
        return self._rgb(self.read())

    @property
    def mask(self) -> Tensor:
        """uint8 `(K, H, W)`, 0 or 1."""
        return self.table.masks(self._numbers(self.read()))

    @property
    def reader_masks(self) -> Tensor | None:
        """uint8 `(R, K, H, W)`; None where there is one mask."""
        if not self.reader_count:
            return None
        values = self.read()
        return torch.stack([self.table.masks(self._numbers(values, i)) for i in range(self.reader_count)])

    @property
    def has_foreground(self) -> bool:
        """Whether any class is marked in it."""
        return bool(self.table.rows[:, sorted(self.class_numbers)].any())

    @property
    def has_annotated_foreground(self) -> bool:
        """Whether any annotated class is marked in it."""
        rows = self.table.rows[np.array(self.annotated)]
        return bool(rows[:, sorted(self.class_numbers)].any())

    @property
    def uniform(self) -> tuple[bool, ...] | None:
        """As `Slice.uniform`."""
        return uniform_classes(self.table.rows[:, sorted(self.class_numbers)])

    def to_float(self, reader: int | None = None) -> tuple[Tensor, Tensor]:
        """Image in [0, 1] and mask in {0, 1}, float32; of a reader, from 0, or the one mask."""
        values = self.read()
        return self._rgb(values).float() / 255, self.table.masks(self._numbers(values, reader)).float()

    def to_class_numbers(self, reader: int | None = None) -> tuple[Tensor, Tensor]:
        """Image in [0, 1], and the class numbers `(1, H, W)` of a reader or the one mask; both float32."""
        values = self.read()
        return self._rgb(values).float() / 255, torch.from_numpy(self._numbers(values, reader)[None]).float()

    def masks_of(self, class_numbers: Tensor) -> Tensor:
        """The masks, float32 `(K, h, w)`, of class numbers `(1, h, w)` that nearest neighbours moved."""
        return self.table.masks(class_numbers[0].to(torch.uint8).numpy()).float()

    def _numbers(self, values: NDArray[np.uint8], reader: int | None = None) -> NDArray[np.uint8]:
        first = len(values) - self.reader_count  # after the one mask
        is_of_reader = reader is not None and self.reader_count > 0
        numbers: NDArray[np.uint8] = values[first + (reader or 0) if is_of_reader else first - 1]
        return numbers

    def _rgb(self, values: NDArray[np.uint8]) -> Tensor:
        channels = values[: len(values) - self.reader_count - 1]
        return torch.from_numpy(np.repeat(channels, 3 // len(channels), axis=0))


TrainingSlice = Slice | StoredSlice
