"""Annotated images in memory, at the size that the model works at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.augmentation import AugmentRanges
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods.base import Batch
from napari_latentseg.models.split import Split
from napari_latentseg.pairs import Pair, load_image, plane_spacing
from napari_latentseg.preprocess import resize, resize_labels
from napari_latentseg.training.augment import augment
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.data_config import DrawConfig
from napari_latentseg.training.sets import DataSet, data_sets
from napari_latentseg.training.split import groups_by_key, groups_by_likeness, keep_apart

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

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Image in [0, 1] and mask in {0, 1}, float32."""
        return self.image.float() / 255, self.mask.float()


@dataclass(frozen=True)
class Dataset:
    """The part to learn from, and the part kept apart.

    Attributes
    ----------
    train, apart
        Planes; those of one image are never in both.
    copies
        How many files hold an image that another file holds too. They stay, for a second data set may have
        other classes of the same image marked, and are on one side of the split.
    """

    train: list[Example]
    apart: list[Example]
    copies: int = 0

    def keys(self) -> dict[str, list[str]]:
        """The hash of every image's content, by part."""
        return {
            "train": sorted({e.key for e in self.train}),
            "validation": sorted({e.key for e in self.apart}),
        }

    def split(self) -> Split:
        """As a model folder records it."""
        keys = self.keys()
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
    sets = data_sets([folders] if isinstance(folders, Path) else folders, config)
    total, done = sum(len(one.pairs) for one in sets), 0
    examples: list[Example] = []
    groups: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    for one in sets:
        begun = len(examples)
        for pair, group in zip(one.pairs, one.groups, strict=True):
            for plane, example in _examples(pair, one, config):
                examples.append(example)
                groups.append(group)
                if config.split.likeness_bits is not None:
                    pictures.append(plane)
            done += 1
            if not progress(done, total):
                raise Cancelled
        if not any(bool(e.mask[torch.tensor(e.annotated)].any()) for e in examples[begun:]):
            raise BadInput(
                one.pairs[0].mask.parent, "every mask is empty", "mark the target in at least one image"
            )
    groups = groups_by_key(groups, [e.key for e in examples])
    copies = total - len({e.key for e in examples})
    if config.split.likeness_bits is not None:
        groups = groups_by_likeness(pictures, groups, most_bits=config.split.likeness_bits)
    apart = _apart(examples, groups, config)
    return Dataset(
        [e for e, group in zip(examples, groups, strict=True) if group not in apart],
        [e for e, group in zip(examples, groups, strict=True) if group in apart],
        copies,
    )


def _examples(
    pair: Pair, one: DataSet, config: TrainingConfig
) -> Iterator[tuple[NDArray[np.uint8], Example]]:
    """The planes of a pair as they are, with what becomes of them."""
    scan = pair.read()
    image, numbers = load_image(pair, scan), one.map.of_pair(pair)
    if image.shape[:3] != numbers.shape:
        raise BadInput(
            pair.mask,
            f"has shape {numbers.shape}, its image {image.shape[:3]}",
            "an image and its mask must have the same size",
        )
    key, annotated = pair.key, one.map.annotated
    spacing = None if config.preprocess.spacing is None else plane_spacing(scan)
    for plane, target in list(zip(image, numbers, strict=True))[:: one.about.every]:
        height, width = target.shape
        size = config.preprocess.working_size(height, width, spacing)
        x = torch.from_numpy(plane).permute(2, 0, 1)[None].float()
        x = resize(x, size)[0].round().clamp(0, 255).to(torch.uint8)
        m = torch.from_numpy(one.map.masks(resize_labels(target, size)))
        yield plane, Example(x, m, key, annotated, one.name)


def _apart(examples: list[Example], groups: list[str], config: TrainingConfig) -> set[str]:
    """The groups kept apart: the fraction of each data set, and what goes with them in the others."""
    found: set[str] = set()
    for name in dict.fromkeys(e.dataset for e in examples):
        own = [group for e, group in zip(examples, groups, strict=True) if e.dataset == name]
        chosen = keep_apart(own, config.split.fraction, config.split.seed)
        found |= {group for group, out in zip(own, chosen, strict=True) if out}
    return found


def training_batches(
    examples: list[Example], config: TrainingConfig, rng: np.random.Generator
) -> Iterator[Batch]:
    """One epoch: every example `crops_per_image` times in a random order, without the smaller rest.

    Or as many planes as `config.draw` says, drawn as it says.
    """
    if config.draw is None:
        order = np.concatenate([rng.permutation(len(examples)) for _ in range(config.crops_per_image)])
    else:
        order = draw_planes(examples, config.draw, rng)
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


def draw_planes(examples: list[Example], draw: DrawConfig, rng: np.random.Generator) -> NDArray[np.intp]:
    """The positions of the planes of an epoch; no data set and no long volume has more than its share.

    Guided latent diffusion, Section 3.1: a data set, a case of it, and a plane of the case, the oftener one
    in which something is seen.
    """
    cases: dict[str, dict[str, list[int]]] = {}
    for i, e in enumerate(examples):
        cases.setdefault(e.dataset, {}).setdefault(e.key, []).append(i)
    by_set = [list(found.values()) for found in cases.values()]
    seen = np.array([bool(e.mask[torch.tensor(e.annotated)].any()) for e in examples])
    order = np.empty(draw.planes, dtype=np.intp)
    for number in range(draw.planes):
        of_set = by_set[rng.integers(len(by_set))]
        planes = of_set[rng.integers(len(of_set))]
        active = [i for i in planes if seen[i]]
        if active and rng.random() < draw.active_share:
            planes = active
        order[number] = planes[rng.integers(len(planes))]
    return order


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
    total = len(examples) * config.crops_per_image if config.draw is None else config.draw.planes
    return total // min(config.batch_size, total)
