"""The batches of a training: which slices an epoch draws, and how they are augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.data.augment import augment, draw_in_vain
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.methods.base import Batch
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset_config import SliceSamplingConfig
from napari_latentseg.training.stored_slices import StoredSlice, TrainingSlice
from napari_latentseg.utils.batch_share import WHOLE, Share

__all__ = [
    "bootstrap_images",
    "images_per_batch",
    "sample_planes",
    "steps_per_epoch",
    "training_batches",
    "unaugmented_batches",
]

_MAX_UNAUGMENTED = 20_000  # slices; an encoder sees some hundred a second


def bootstrap_images(slices: Sequence[TrainingSlice], seed: int) -> list[TrainingSlice]:
    """As many images as there are, drawn with replacement, each with all of its slices (bagging).

    Breiman, "Bagging predictors", Machine Learning 24, 1996. An image that holds a target is always among
    them.

    Parameters
    ----------
    slices
        Of the training.
    seed
        Of the draw.
    """
    slices_of_image: dict[str, list[TrainingSlice]] = {}
    for training_slice in slices:
        slices_of_image.setdefault(training_slice.content_sha256, []).append(training_slice)
    images = list(slices_of_image.values())
    rng = np.random.default_rng(seed)
    while True:
        drawn = [s for i in rng.integers(len(images), size=len(images)) for s in images[i]]
        if any(s.has_annotated_foreground for s in drawn) or not any(
            s.has_annotated_foreground for s in slices
        ):
            return drawn


def training_batches(
    slices: list[TrainingSlice], config: TrainingConfig, rng: np.random.Generator, share: Share = WHOLE
) -> Iterator[Batch]:
    """The batches of an epoch, or the share of each that one process computes.

    An incomplete last batch is left out.

    The slices are shuffled, `crops_per_image` times all of them, or sampled by `config.draw`.

    Parameters
    ----------
    slices
        Of the training.
    config
        Its `augment`, `batch_size`, `preprocess` and what samples the slices are used.
    rng
        Draws order and augmentation, of the whole batch in every process.
    share
        Which share of a batch.
    """
    if config.draw is None:
        order = np.concatenate([rng.permutation(len(slices)) for _ in range(config.crops_per_image)])
    else:
        order = sample_planes(slices, config.draw, rng)
    size = min(config.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        samples = []
        indices = order[start : start + size]
        own_rows = range(size)[share.rows(size)]
        # of the whole batch in every process, and none where there is one mask: the random numbers of other
        # trainings must not change
        readers = [int(rng.integers(count)) if (count := slices[i].reader_count) else None for i in indices]
        for row, i in enumerate(indices):
            augmentation_rng = rng
            if config.augment_variants:  # one of a few, which is the same each time
                variant = rng.integers(config.augment_variants)
                augmentation_rng = np.random.default_rng([config.seed, int(i), int(variant)])
            if row in own_rows:
                samples.append(
                    _augmented(slices[i], config.augment, augmentation_rng, config.image_size, readers[row])
                )
            elif augmentation_rng is rng:
                draw_in_vain(slices[i].image, config.augment, rng, size=config.image_size)
        batch = _batch(samples, [slices[indices[row]].annotated for row in own_rows])
        if share.count > 1:
            whole = torch.tensor([slices[i].annotated for i in indices])
            batch = replace(batch, whole_annotated=whole)
        yield batch


def sample_planes(
    slices: list[TrainingSlice], sampling: SliceSamplingConfig, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Sample the slices of an epoch: a data set, then a case of it, then a slice, more often with foreground.

    So no large data set and no long volume dominates (guided latent diffusion, Section 3.1).

    Returns
    -------
    ndarray
        Indices into `slices`, as many as `sampling.planes`.
    """
    indices_by_case: dict[str, dict[str, list[int]]] = {}
    for i, s in enumerate(slices):
        indices_by_case.setdefault(s.dataset, {}).setdefault(s.content_sha256, []).append(i)
    cases_by_dataset = [list(case_indices.values()) for case_indices in indices_by_case.values()]
    has_foreground = np.array([s.has_annotated_foreground for s in slices])
    order = np.empty(sampling.planes, dtype=np.intp)
    for number in range(sampling.planes):
        dataset_cases = cases_by_dataset[rng.integers(len(cases_by_dataset))]
        planes = dataset_cases[rng.integers(len(dataset_cases))]
        foreground_planes = [i for i in planes if has_foreground[i]]
        if foreground_planes and rng.random() < sampling.active_share:
            planes = foreground_planes
        order[number] = planes[rng.integers(len(planes))]
    return order


def unaugmented_batches(slices: list[TrainingSlice], config: TrainingConfig) -> Iterator[Batch]:
    """Every slice once, in order and not augmented; for tiles, one crop of each.

    Of more than 20,000 slices that many, evenly: they are for means and deviations of latents.
    """
    count = min(len(slices), _MAX_UNAUGMENTED)
    slices = [slices[i * len(slices) // count] for i in range(count)]
    rng = np.random.default_rng(config.seed)
    no_augmentation = AugmentationConfig(
        horizontal_flip=0, vertical_flip=0, quarter_turn=0, jitter=0, affine=0
    )
    for start in range(0, len(slices), config.batch_size):
        batch_slices = slices[start : start + config.batch_size]
        samples = [_augmented(s, no_augmentation, rng, config.image_size) for s in batch_slices]
        yield _batch(samples, [s.annotated for s in batch_slices])


def _augmented(
    training_slice: TrainingSlice,
    ranges: AugmentationConfig,
    rng: np.random.Generator,
    size: int,
    reader: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Augmented image and masks; class numbers are moved in place of all masks, which takes a fraction."""
    if isinstance(training_slice, StoredSlice):
        image, numbers = augment(*training_slice.to_class_numbers(reader), ranges, rng, size=size)
        return image, training_slice.masks_of(numbers)
    return augment(*training_slice.to_float(reader), ranges, rng, size=size)


def _batch(samples: list[tuple[Tensor, Tensor]], annotated: list[tuple[bool, ...]]) -> Batch:
    images, masks = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, masks, torch.tensor(annotated))


def steps_per_epoch(slices: list[TrainingSlice], config: TrainingConfig) -> int:
    """How many batches `training_batches` gives."""
    return _slices_per_epoch(slices, config) // images_per_batch(slices, config)


def images_per_batch(slices: list[TrainingSlice], config: TrainingConfig) -> int:
    """How many images a batch of `training_batches` has."""
    return min(config.batch_size, _slices_per_epoch(slices, config))


def _slices_per_epoch(slices: list[TrainingSlice], config: TrainingConfig) -> int:
    return len(slices) * config.crops_per_image if config.draw is None else config.draw.planes
