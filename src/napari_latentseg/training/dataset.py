"""Annotated images in memory, at the size that the model works at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.augmentation import AugmentRanges
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods.base import Batch
from napari_latentseg.pairs import find_pairs, load_image, load_mask
from napari_latentseg.preprocess import resize, resize_labels
from napari_latentseg.training.augment import augment
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.split import groups_by_key, groups_by_likeness, groups_by_name, keep_apart

__all__ = ["Dataset", "Example", "plain_batches", "read_dataset", "steps_per_epoch", "training_batches"]


@dataclass(frozen=True)
class Example:
    """One annotated plane.

    Attributes
    ----------
    image
        uint8 `(3, h, w)`.
    mask
        uint8 `(K, h, w)`, 0 or 1.
    key
        The hash of the image's file.
    annotated
        For each class, whether it was looked for in this image.
    """

    image: Tensor
    mask: Tensor
    key: str
    annotated: tuple[bool, ...] = (True,)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Image in [0, 1] and mask in {0, 1}, float32."""
        return self.image.float() / 255, self.mask.float()


@dataclass(frozen=True)
class Dataset:
    """The part to learn from, and the part kept apart."""

    train: list[Example]
    apart: list[Example]

    def keys(self) -> dict[str, list[str]]:
        """The SHA-256 of every image file, by part."""
        return {
            "train": sorted({e.key for e in self.train}),
            "validation": sorted({e.key for e in self.apart}),
        }


def read_dataset(
    folder: Path,
    config: TrainingConfig,
    progress: Callable[[int, int], bool] = lambda done, total: True,
) -> Dataset:
    """Read `images/` and `masks/`, split them, and bring them to working size.

    Any class of a mask counts as the target.

    Parameters
    ----------
    folder
        Holds `images/` and `masks/`.
    config
        Its `preprocess` and `split` are used.
    progress
        Called with the number of files read and their total; False stops.

    Raises
    ------
    BadInput
        Where the folder is not in order, an image and its mask differ in size, or every mask is empty.
    Cancelled
        Where `progress` said so.
    """
    pairs = find_pairs(folder)
    names = groups_by_name([p.name for p in pairs], config.split.group_pattern)
    examples: list[Example] = []
    groups: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    for number, (pair, group) in enumerate(zip(pairs, names, strict=True)):
        image, labels = load_image(pair), load_mask(pair)
        if image.shape[:3] != labels.shape:
            raise BadInput(
                pair.mask,
                f"has shape {labels.shape}, its image {image.shape[:3]}",
                "an image and its mask must have the same size",
            )
        key = pair.key
        for plane, target in zip(image, labels, strict=True):
            size = config.preprocess.working_size(*target.shape)
            x = torch.from_numpy(plane).permute(2, 0, 1)[None].float()
            x = resize(x, size)[0].round().clamp(0, 255).to(torch.uint8)
            m = torch.from_numpy(resize_labels((target > 0).astype(np.uint8), size))[None]
            examples.append(Example(x, m, key))
            groups.append(group)
            if config.split.likeness_bits is not None:
                pictures.append(plane)
        if not progress(number + 1, len(pairs)):
            raise Cancelled
    if not any(bool(e.mask.any()) for e in examples):
        raise BadInput(folder / "masks", "every mask is empty", "mark the target in at least one image")
    groups = groups_by_key(groups, [e.key for e in examples])
    if config.split.likeness_bits is not None:
        groups = groups_by_likeness(pictures, groups, most_bits=config.split.likeness_bits)
    apart = keep_apart(groups, config.split.fraction, config.split.seed)
    return Dataset(
        [e for e, out in zip(examples, apart, strict=True) if not out],
        [e for e, out in zip(examples, apart, strict=True) if out],
    )


def training_batches(
    examples: list[Example], config: TrainingConfig, rng: np.random.Generator
) -> Iterator[Batch]:
    """One epoch: every example `crops_per_image` times in a random order, without the smaller rest."""
    order = np.concatenate([rng.permutation(len(examples)) for _ in range(config.crops_per_image)])
    size = min(config.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        rows, annotated = [], []
        for i in order[start : start + size]:
            image, mask = examples[i].tensors()
            drawn = rng
            if config.augment_variants:  # one of few, the same whenever it comes back
                variant = rng.integers(config.augment_variants)
                drawn = np.random.default_rng([config.seed, int(i), int(variant)])
            rows.append(augment(image, mask, config.augment, drawn, size=config.preprocess.size))
            annotated.append(examples[i].annotated)
        yield _batch(rows, annotated)


def plain_batches(examples: list[Example], config: TrainingConfig) -> Iterator[Batch]:
    """Every example once, in order and not varied; of tiles, one window of each."""
    rng = np.random.default_rng(config.seed)
    as_it_is = AugmentRanges(horizontal_flip=0, vertical_flip=0, quarter_turn=0, jitter=0, affine=0)
    for start in range(0, len(examples), config.batch_size):
        chosen = examples[start : start + config.batch_size]
        rows = [augment(*e.tensors(), as_it_is, rng, size=config.preprocess.size) for e in chosen]
        yield _batch(rows, [e.annotated for e in chosen])


def _batch(rows: list[tuple[Tensor, Tensor]], annotated: list[tuple[bool, ...]]) -> Batch:
    images, masks = (torch.stack(parts) for parts in zip(*rows, strict=True))
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, masks, torch.tensor(annotated))


def steps_per_epoch(examples: list[Example], config: TrainingConfig) -> int:
    """Batches that `training_batches` gives."""
    total = len(examples) * config.crops_per_image
    return total // min(config.batch_size, total)
