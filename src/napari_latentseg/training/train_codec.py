"""Training the embedded codec: one small autoencoder for images and masks.

The recipe, with its weights and ranges, comes from trials of this project. The alignment term is that of
Wave-GMS (L_align, with a pretrained tiny autoencoder as the teacher): masks are predicted better from aligned
latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.data.cases import rgb_slices
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.split import groups_by_dhash, groups_by_name, hold_out
from napari_latentseg.networks.compact import CompactDecoder, CompactEncoder
from napari_latentseg.training.loop import TrainingStep

__all__ = ["CodecConfig", "SourceConfig", "read_codec_datasets", "train_codec"]


class SourceConfig(FrozenModel):
    """One folder of annotated images, and its share of a batch."""

    name: str
    images: float = Field(1.0, ge=0, description="weight among the images of a batch")
    masks: float = Field(1.0, ge=0, description="weight among the masks of a batch")
    scale: tuple[float, float] = Field((0.75, 1.5), description="pixels of the file for one pixel of a crop")
    group_pattern: str | None = None
    likeness_bits: int | None = None
    kept_apart: float = Field(0.15, ge=0, lt=1)


class CodecConfig(FrozenModel):
    """The architecture and training of a codec; every value is recorded with the weights."""

    sources: tuple[SourceConfig, ...]
    channels: int = 32
    widths: tuple[int, int] = (64, 128)
    blocks: tuple[int, int] = (3, 4)
    crop: int = 128
    images_per_batch: int = 10
    masks_per_batch: int = 6
    aligned_per_batch: int = 4
    align_weight: float = 0.1
    gradient_weight: float = 0.5
    mse_weight: float = 2.0
    dice_weight: float = 0.1
    latent_noise: float = 0.03
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    steps: int = 6000
    seed: int = 2333
    split_seed: int = 0


@dataclass(frozen=True)
class CodecDataset:
    """The images and masks of one folder in memory, with their split."""

    config: SourceConfig
    images: list[NDArray[np.uint8]]
    masks: list[NDArray[np.uint8]]
    is_validation: NDArray[np.bool_]


def read_codec_datasets(config: CodecConfig, root: Path) -> list[CodecDataset]:
    """Read every folder of the configuration below `root`, with its split."""
    sources = []
    for source in config.sources:
        images: list[NDArray[np.uint8]] = []
        masks: list[NDArray[np.uint8]] = []
        groups: list[str] = []
        cases = find_cases(root / source.name)
        names = groups_by_name([case.name for case in cases], source.group_pattern)
        for case, group in zip(cases, names, strict=True):
            rgb, labels = rgb_slices(case.read_scan()), case.read_mask()
            kept_slices = [i for i in range(len(rgb)) if len(rgb) == 1 or labels[i].any()]
            images += [rgb[i] for i in kept_slices]
            masks += [labels[i] for i in kept_slices]
            groups += [group] * len(kept_slices)
        if source.likeness_bits is not None:
            groups = groups_by_dhash(images, groups, max_hamming_distance=source.likeness_bits)
        is_validation = hold_out(groups, source.kept_apart, config.split_seed)
        sources.append(CodecDataset(source, images, masks, is_validation))
    return sources


class _CropSampler:
    """Random crops in [0, 1]: images with colour augmentation, masks as three equal channels."""

    def __init__(self, sources: list[CodecDataset], config: CodecConfig) -> None:
        self.sources = sources
        self.config = config
        self.rng = np.random.default_rng(config.seed)
        self.train_indices = [np.flatnonzero(~s.is_validation) for s in sources]

    def _sample_item(self, role: str) -> tuple[CodecDataset, int]:
        weights = np.array([getattr(s.config, role) for s in self.sources])
        source_index = self.rng.choice(len(self.sources), p=weights / weights.sum())
        return self.sources[source_index], int(self.rng.choice(self.train_indices[source_index]))

    def _crop(self, array: NDArray[np.uint8], scale: tuple[float, float]) -> Tensor:
        size = self.config.crop
        factor = math.exp(self.rng.uniform(math.log(scale[0]), math.log(scale[1])))
        side = min(round(size * factor), *array.shape[:2])
        top = self.rng.integers(array.shape[0] - side + 1)
        left = self.rng.integers(array.shape[1] - side + 1)
        crop = array[top : top + side, left : left + side]
        rotated = np.rot90(crop, int(self.rng.integers(4)))
        if self.rng.random() < 0.5:
            rotated = rotated[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(rotated))

    def sample_image(self) -> Tensor:
        source, i = self._sample_item("images")
        crop = self._crop(source.images[i], source.config.scale)
        x = crop.permute(2, 0, 1).float()[None] / 255
        x = _resize(x, self.config.crop)[0]
        gamma = math.exp(self.rng.uniform(-0.4, 0.4))
        x = x.clamp(0, 1) ** gamma
        if self.rng.random() < 0.5:  # a tint: most data sets are grey, but cameras are not
            low = self.rng.uniform(0, 0.3, (3, 1, 1))
            high = self.rng.uniform(0.5, 1, (3, 1, 1))
            x = torch.from_numpy(low).float() + x * torch.from_numpy(high - low).float()
        if self.rng.random() < 0.1:
            x = 1 - x
        return x

    def sample_mask(self) -> Tensor:
        source, i = self._sample_item("masks")
        labels = source.masks[i]
        label = self.rng.choice(np.unique(labels)[1:]) if labels.any() else 1
        crop = self._crop((labels == label).astype(np.uint8), source.config.scale)
        x = crop.float()[None, None]
        if x.shape[-1] != self.config.crop:
            x = F.interpolate(x, size=(self.config.crop,) * 2, mode="nearest-exact")
        return x[0].expand(3, -1, -1)

    def batches(self) -> Iterator[tuple[Tensor, int]]:
        image_count, mask_count = self.config.images_per_batch, self.config.masks_per_batch
        while True:
            rows = [self.sample_image() for _ in range(image_count)] + [
                self.sample_mask() for _ in range(mask_count)
            ]
            yield torch.stack(rows).contiguous(memory_format=torch.channels_last), image_count


def _resize(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def _finite_differences(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def _losses(
    config: CodecConfig, x: Tensor, y: Tensor, image_count: int, z: Tensor, teacher_latents: Tensor | None
) -> dict[str, Tensor]:
    gradient = sum(
        F.l1_loss(a, b) for a, b in zip(_finite_differences(y), _finite_differences(x), strict=True)
    )
    p = y[image_count:].mean(1).clamp(0, 1).flatten(1)
    m = x[image_count:].mean(1).flatten(1)
    dice = 1 - (2 * (p * m).sum(1) + 1) / (p.sum(1) + m.sum(1) + 1)
    terms = {
        "l1": F.l1_loss(y, x),
        "mse": config.mse_weight * F.mse_loss(y, x),
        "gradient": config.gradient_weight * torch.as_tensor(gradient),
        "dice": config.dice_weight * dice.mean(),
    }
    if teacher_latents is not None:
        student_latents = z[: len(teacher_latents), : teacher_latents.shape[1]]
        cosine_distance = 1 - F.cosine_similarity(student_latents, teacher_latents, dim=1, eps=1e-4).mean()
        alignment = 0.9 * cosine_distance + 0.1 * F.l1_loss(student_latents, teacher_latents)
        terms["align"] = config.align_weight * alignment
    return terms


def train_codec(
    config: CodecConfig,
    sources: list[CodecDataset],
    *,
    teacher: nn.Module | None = None,
    initial_weights: dict[str, Tensor] | None = None,
    on_progress: Callable[[int, dict[str, float]], None] = lambda step, terms: None,
) -> dict[str, Tensor]:
    """Train an encoder and a decoder on random crops of images and masks.

    Parameters
    ----------
    config
        Sizes, weights of the terms, schedule, seeds.
    sources
        From `read_codec_datasets`; the validation images are not used.
    teacher
        An encoder, to whose latents the first channels of the image latents are aligned; None for no
        alignment.
    initial_weights
        Initial state dict, with keys that begin with `encoder.` and `decoder.`; None for random weights. It
        may have fewer latent channels: the decoder's weights of the others start at zero.
    on_progress
        Called every 50 steps with the mean of each term.

    Returns
    -------
    dict
        The state dict of a `CompactCodec`, float32.
    """
    torch.manual_seed(config.seed)
    sizes = (config.channels, config.widths, config.blocks)
    networks = {"encoder": CompactEncoder(*sizes), "decoder": CompactDecoder(*sizes)}
    autoencoder = nn.ModuleDict(networks)
    if initial_weights is not None:
        autoencoder.load_state_dict(_extend_channels(initial_weights, autoencoder.state_dict()))
    autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    encoder, decoder = autoencoder["encoder"], autoencoder["decoder"]
    optimizer = torch.optim.AdamW(
        autoencoder.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.05
    )
    training = TrainingStep(optimizer, autoencoder, clip_gradient=1.0)
    batches = _CropSampler(sources, config).batches()
    means: dict[str, float] = {}
    for step in range(1, config.steps + 1):
        x, image_count = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            z = encoder(x)
            y = decoder(z + config.latent_noise * torch.randn_like(z))
        teacher_latents = None
        if teacher is not None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                teacher_latents = teacher(x[: config.aligned_per_batch]).float()
        terms = _losses(config, x, y.float(), image_count, z.float(), teacher_latents)
        for name, value in training.add_gradient(terms).items():
            means[name] = means.get(name, 0.0) + value / 50
        training.update()
        schedule.step()
        if step % 50 == 0:
            on_progress(step, means)
            means = {}
    return autoencoder.state_dict()


def _extend_channels(initial: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    extended = {}
    for name, value in fresh.items():
        initial_value = initial[name].float()
        if initial_value.shape == value.shape:
            extended[name] = initial_value
        elif name.startswith("encoder.head"):
            extended[name] = torch.cat([initial_value, value[len(initial_value) :]])
        else:
            extended[name] = torch.cat(
                [initial_value, torch.zeros_like(value[:, initial_value.shape[1] :])], dim=1
            )
    return extended
