"""Annotated images in memory, at the size that the model works at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.data.augment import augment
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.pairs import Pair, load_image, plane_spacing
from napari_latentseg.data.preprocess import resize, resize_labels
from napari_latentseg.data.split import groups_by_dhash, groups_by_hash, hold_out
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods.base import Batch
from napari_latentseg.models.split import Split
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset_config import SliceSamplingConfig
from napari_latentseg.training.datasets import AnnotatedDataset, find_datasets

__all__ = [
    "AnnotatedSlice",
    "Dataset",
    "read_dataset",
    "steps_per_epoch",
    "training_batches",
    "unaugmented_batches",
]


@dataclass(frozen=True)
class AnnotatedSlice:
    """One annotated plane.

    Attributes
    ----------
    image
        uint8 `(3, h, w)`.
    mask
        uint8 `(K, h, w)`, 0 or 1.
    key
        `Scan.content_sha256` of the image that it is a plane of.
    annotated
        For each class, whether it was looked for in this image.
    dataset
        The name of the set that it belongs to.
    """

    image: Tensor
    mask: Tensor
    key: str
    annotated: tuple[bool, ...] = (True,)
    dataset: str = ""

    def to_float(self) -> tuple[Tensor, Tensor]:
        """Image in [0, 1] and mask in {0, 1}, float32."""
        return self.image.float() / 255, self.mask.float()


@dataclass(frozen=True)
class Dataset:
    """The part to learn from, and the part kept apart.

    Attributes
    ----------
    train, validation
        Planes; those of one image are never in both.
    copies
        How many files hold an image that another file holds too. They stay, for a second data set may have
        other classes of the same image marked, and are on one side of the split.
    """

    train: list[AnnotatedSlice]
    validation: list[AnnotatedSlice]
    copies: int = 0

    def content_hashes(self) -> dict[str, list[str]]:
        """The hash of every image's content, by part."""
        return {
            "train": sorted({e.key for e in self.train}),
            "validation": sorted({e.key for e in self.validation}),
        }

    def split(self) -> Split:
        """As a model folder records it."""
        keys = self.content_hashes()
        return Split(frozenset(keys["train"]), frozenset(keys["validation"]))


def read_dataset(
    folders: Path | Sequence[Path],
    config: TrainingConfig,
    progress: Callable[[int, int], bool] = lambda done, total: True,
) -> Dataset:
    """Read `images/` and `masks/` of each folder, split them, and bring them to working size.

    Of every folder a part is kept apart.

    Parameters
    ----------
    folders
        One or several that hold `images/` and `masks/`.
    config
        Its `preprocess`, `split`, `classes` and `datasets` are used.
    progress
        Called with the number of files read and their total; False stops.

    Raises
    ------
    BadInput
        Where a folder is not in order, an image and its mask differ in size, or every mask is empty.
    Cancelled
        Where `progress` said so.
    """
    datasets = find_datasets([folders] if isinstance(folders, Path) else folders, config)
    total, done = sum(len(dataset.pairs) for dataset in datasets), 0
    examples: list[AnnotatedSlice] = []
    groups: list[str] = []
    original_planes: list[NDArray[np.uint8]] = []
    for one in datasets:
        first_index = len(examples)
        for pair, group in zip(one.pairs, one.groups, strict=True):
            for plane, example in _annotated_slices(pair, one, config):
                examples.append(example)
                groups.append(group)
                if config.split.likeness_bits is not None:
                    original_planes.append(plane)
            done += 1
            if not progress(done, total):
                raise Cancelled
        if not any(bool(e.mask[torch.tensor(e.annotated)].any()) for e in examples[first_index:]):
            raise BadInput(
                one.pairs[0].mask.parent, "every mask is empty", "mark the target in at least one image"
            )
    groups = groups_by_hash(groups, [e.key for e in examples])
    copies = total - len({e.key for e in examples})
    if config.split.likeness_bits is not None:
        groups = groups_by_dhash(original_planes, groups, max_hamming_distance=config.split.likeness_bits)
    validation_groups = _validation_groups(examples, groups, config)
    return Dataset(
        [e for e, group in zip(examples, groups, strict=True) if group not in validation_groups],
        [e for e, group in zip(examples, groups, strict=True) if group in validation_groups],
        copies,
    )


def _annotated_slices(
    pair: Pair, dataset: AnnotatedDataset, config: TrainingConfig
) -> Iterator[tuple[NDArray[np.uint8], AnnotatedSlice]]:
    """The planes of a pair as they are, with what becomes of them."""
    scan = pair.read()
    image, label_map = load_image(pair, scan), dataset.label_map.load_class_mask(pair)
    if image.shape[:3] != label_map.shape:
        raise BadInput(
            pair.mask,
            f"has shape {label_map.shape}, its image {image.shape[:3]}",
            "an image and its mask must have the same size",
        )
    key, annotated = pair.content_sha256, dataset.label_map.annotated
    spacing = None if config.preprocess.spacing is None else plane_spacing(scan)
    for plane, target in list(zip(image, label_map, strict=True))[:: dataset.config.every]:
        height, width = target.shape
        size = config.preprocess.working_size(height, width, spacing)
        x = torch.from_numpy(plane).permute(2, 0, 1)[None].float()
        x = resize(x, size)[0].round().clamp(0, 255).to(torch.uint8)
        m = torch.from_numpy(dataset.label_map.class_masks(resize_labels(target, size)))
        yield plane, AnnotatedSlice(x, m, key, annotated, dataset.name)


def _validation_groups(examples: list[AnnotatedSlice], groups: list[str], config: TrainingConfig) -> set[str]:
    """The groups kept apart: the fraction of each data set, and what goes with them in the others."""
    validation_groups: set[str] = set()
    for name in dict.fromkeys(e.dataset for e in examples):
        dataset_groups = [group for e, group in zip(examples, groups, strict=True) if e.dataset == name]
        is_held_out = hold_out(dataset_groups, config.split.fraction, config.split.seed)
        validation_groups |= {
            group for group, is_validation in zip(dataset_groups, is_held_out, strict=True) if is_validation
        }
    return validation_groups


def training_batches(
    examples: list[AnnotatedSlice], config: TrainingConfig, rng: np.random.Generator
) -> Iterator[Batch]:
    """One epoch: every example `crops_per_image` times in a random order, without the smaller rest.

    Or as many planes as `config.draw` says, drawn as it says.
    """
    if config.draw is None:
        order = np.concatenate([rng.permutation(len(examples)) for _ in range(config.crops_per_image)])
    else:
        order = sample_planes(examples, config.draw, rng)
    size = min(config.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        samples, annotated = [], []
        for i in order[start : start + size]:
            image, mask = examples[i].to_float()
            augmentation_rng = rng
            if config.augment_variants:  # one of few, the same whenever it comes back
                variant = rng.integers(config.augment_variants)
                augmentation_rng = np.random.default_rng([config.seed, int(i), int(variant)])
            samples.append(
                augment(image, mask, config.augment, augmentation_rng, size=config.preprocess.size)
            )
            annotated.append(examples[i].annotated)
        yield _batch(samples, annotated)


def sample_planes(
    examples: list[AnnotatedSlice], sampling: SliceSamplingConfig, rng: np.random.Generator
) -> NDArray[np.intp]:
    """The positions of the planes of an epoch; no data set and no long volume has more than its share.

    Guided latent diffusion, Section 3.1: a data set, a case of it, and a plane of the case, the oftener one
    in which something is seen.
    """
    indices_by_case: dict[str, dict[str, list[int]]] = {}
    for i, e in enumerate(examples):
        indices_by_case.setdefault(e.dataset, {}).setdefault(e.key, []).append(i)
    cases_by_dataset = [list(case_indices.values()) for case_indices in indices_by_case.values()]
    has_foreground = np.array([bool(e.mask[torch.tensor(e.annotated)].any()) for e in examples])
    order = np.empty(sampling.planes, dtype=np.intp)
    for number in range(sampling.planes):
        dataset_cases = cases_by_dataset[rng.integers(len(cases_by_dataset))]
        planes = dataset_cases[rng.integers(len(dataset_cases))]
        foreground_planes = [i for i in planes if has_foreground[i]]
        if foreground_planes and rng.random() < sampling.active_share:
            planes = foreground_planes
        order[number] = planes[rng.integers(len(planes))]
    return order


def unaugmented_batches(examples: list[AnnotatedSlice], config: TrainingConfig) -> Iterator[Batch]:
    """Every example once, in order and not varied; of tiles, one window of each."""
    rng = np.random.default_rng(config.seed)
    no_augmentation = AugmentationConfig(
        horizontal_flip=0, vertical_flip=0, quarter_turn=0, jitter=0, affine=0
    )
    for start in range(0, len(examples), config.batch_size):
        batch_examples = examples[start : start + config.batch_size]
        samples = [
            augment(*e.to_float(), no_augmentation, rng, size=config.preprocess.size) for e in batch_examples
        ]
        yield _batch(samples, [e.annotated for e in batch_examples])


def _batch(samples: list[tuple[Tensor, Tensor]], annotated: list[tuple[bool, ...]]) -> Batch:
    images, masks = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, masks, torch.tensor(annotated))


def steps_per_epoch(examples: list[AnnotatedSlice], config: TrainingConfig) -> int:
    """Batches that `training_batches` gives."""
    total = len(examples) * config.crops_per_image if config.draw is None else config.draw.planes
    return total // min(config.batch_size, total)
