"""What fine-tuning learns from: patches of slices, encoded once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.data.augment import augment
from napari_latentseg.inference.tiles import make_tiling
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.stored_slices import TrainingSlice
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.oom import run_in_batches

__all__ = [
    "EncodedPatches",
    "Patch",
    "augmented_patches",
    "cache_features",
    "encode_images",
    "encode_patches",
    "grid_patches",
]

T = TypeVar("T")

_BATCH_SIZE = 8  # patches encoded at once; chosen by hand, and halved where memory runs out
# Of a round that looks for the structure, so that it takes seconds: time is looked at between rounds alone.
_FOCUSED_ROUND = 128
# Side of the window around a pixel of the structure, in patches: a patch that is drawn in it shows the pixel,
# at any place of its middle half. Near an edge of the slice the window is narrower, so that this holds there.
_WINDOW = 1.5


@dataclass(frozen=True)
class Patch:
    """A part of a slice, of the size that the network is given, with its mask.

    Attributes
    ----------
    image, mask
        float32, `(3, S, S)` in [0, 1] and `(K, S, S)` in {0, 1}.
    annotated
        For each class, whether it was annotated.
    case
        The number of its case.
    unknown
        `(S, S)`, 1 where nothing is known of the classes, see `Slice.unknown`; None where there is no such
        pixel.
    """

    image: Tensor
    mask: Tensor
    annotated: tuple[bool, ...]
    case: int
    unknown: Tensor | None = None


@dataclass(frozen=True)
class EncodedPatches:
    """Many patches after the frozen part of the network, as one tensor for each thing that is known of them.

    It stands beside `Patch` since the images are not kept: their latents take a fraction of the memory, and a
    batch is drawn by indexing the tensors, in every step. It stands beside `methods.base.Batch`, which has
    images, since fine-tuning never goes back to them.

    Attributes
    ----------
    features
        float16, on the CPU; from `FineTuneSpec.cache_features`.
    target
        float16, from `FineTuneSpec.target`.
    masks
        uint8, `(N, K, S, S)`.
    annotated
        bool, `(N, K)`.
    cases
        int64, `(N,)`.
    """

    features: Tensor
    target: Tensor
    masks: Tensor
    annotated: Tensor
    cases: Tensor

    def __len__(self) -> int:
        return len(self.cases)

    def select(self, indices: Tensor) -> EncodedPatches:
        """Those at the indices."""
        return EncodedPatches(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))

    @classmethod
    def concatenate(cls, parts: Sequence[EncodedPatches]) -> EncodedPatches:
        """One after another."""
        names = cls.__dataclass_fields__
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def augmented_patches(
    slices: Sequence[TrainingSlice], card: ModelCard, rng: np.random.Generator, *, focus: float = 0.0
) -> Iterator[Patch]:
    """One round of augmented patches: of every slice as many as cover it.

    Parameters
    ----------
    slices
        With the numbers of their cases.
    card
        Of the model: the patch size, and the ranges of augmentation that it was trained with.
    rng
        Draws the augmentation.
    focus
        Of patches that are a part of their slice, the fraction that is drawn around a pixel of the structure,
        which may be a small part of a large image.
    """
    size = card.preprocess.size
    for annotated_slice in slices:
        image, mask = _with_unknown(annotated_slice)
        count = max(1, round(image[0].numel() / size**2))
        if not focus or count == 1:
            for _ in range(count):
                yield _patch(*augment(image, mask, card.augment, rng, size=size), annotated_slice)
            continue
        structure = annotated_slice.mask.any(0).nonzero().numpy()
        for _ in range(min(count, -(-_FOCUSED_ROUND // len(slices)))):
            window: tuple[slice, ...] = (slice(None),)
            if len(structure) and rng.random() < focus:
                window = _window_around(structure[rng.integers(len(structure))], mask.shape[-2:], size)
            patch_image, patch_mask = augment(image[window], mask[window], card.augment, rng, size=size)
            yield _patch(patch_image, patch_mask, annotated_slice)


def _window_around(pixel: NDArray[np.int64], shape: tuple[int, ...], size: int) -> tuple[slice, slice, slice]:
    """The part of a slice in which a patch around a pixel, its row and column, is drawn."""
    half = round(_WINDOW * size / 2)
    spans = [
        slice(max(0, min(int(centre) - half, n - size)), max(int(centre) + half, size))
        for centre, n in zip(pixel, shape, strict=True)
    ]
    return slice(None), spans[0], spans[1]


def grid_patches(
    slices: Sequence[TrainingSlice], card: ModelCard, max_patches: int, *, focus: float = 0.0
) -> list[Patch]:
    """Patches on the grid that the model's tiles lie on, not augmented; evenly taken where they are too many.

    Parameters
    ----------
    slices
        With the numbers of their cases.
    card
        Of the model: size and overlap of the tiles.
    max_patches
        How many are taken at most.
    focus
        The fraction of these that show the structure at least, where there are as many.
    """
    grid_positions = []
    for annotated_slice in slices:
        tiling = make_tiling(annotated_slice.image_shape, card.preprocess)
        grid_positions += [(annotated_slice, tiling, corner) for corner in tiling.corners()]
    if focus and len(grid_positions) > max_patches:
        is_shown = [tiling.crop_tile(s.mask.numpy(), corner).any() for s, tiling, corner in grid_positions]
        shown = [position for position, is_it in zip(grid_positions, is_shown, strict=True) if is_it]
        empty = [position for position, is_it in zip(grid_positions, is_shown, strict=True) if not is_it]
        count = round(max_patches * max(focus, len(shown) / len(grid_positions)))
        chosen = _evenly(shown, max(count, max_patches - len(empty)))
        grid_positions = [*chosen, *_evenly(empty, max_patches - len(chosen))]
    patches = []
    for annotated_slice, tiling, corner in _evenly(grid_positions, max_patches):
        image, mask = (
            torch.from_numpy(tiling.crop_tile(tensor.numpy(), corner))
            for tensor in _with_unknown(annotated_slice)
        )
        patches.append(_patch(image, mask, annotated_slice))
    return patches


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """As many as `count` of some items, evenly taken."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _with_unknown(annotated_slice: TrainingSlice) -> tuple[Tensor, Tensor]:
    """Image and mask as floats; unknown pixels are one more channel of the mask, to be moved with it."""
    image, mask = annotated_slice.to_float()
    if annotated_slice.unknown is not None:
        mask = torch.cat([mask, annotated_slice.unknown[None].float()])
    return image, mask


def _patch(image: Tensor, mask: Tensor, annotated_slice: TrainingSlice) -> Patch:
    unknown = None
    if annotated_slice.unknown is not None:
        mask, unknown = mask[:-1], mask[-1]
    return Patch(image, mask, annotated_slice.annotated, annotated_slice.case, unknown)


def encode_images(method: Method, images: Tensor, compute: Compute) -> Tensor:
    """`Method.encode` of images `(B, 3, S, S)`, float32 on the CPU; of fewer at a time where memory runs out.

    Raises
    ------
    BadInput
        If memory is too small even for one.
    """
    return run_in_batches(lambda batch: _encode(method, batch, compute), images, _BATCH_SIZE)


def cache_features(spec: FineTuneSpec, conditioning: Tensor, compute: Compute) -> Tensor:
    """`FineTuneSpec.cache_features` of what `encode_images` gave, float16 on the CPU."""
    device = compute.torch_device()

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast():
            return spec.cache_features(batch.to(device, torch.float32)).half().cpu()

    return run_in_batches(run, conditioning, _BATCH_SIZE)


def encode_patches(
    method: Method, spec: FineTuneSpec, patches: Sequence[Patch], compute: Compute
) -> EncodedPatches:
    """Encode patches once."""
    images = torch.stack([patch.image for patch in patches])
    masks = torch.stack([patch.mask for patch in patches])
    return patches_from_conditioning(
        spec,
        encode_images(method, images, compute),
        masks,
        torch.tensor([patch.annotated for patch in patches]),
        torch.tensor([patch.case for patch in patches]),
        compute,
    )


def patches_from_conditioning(
    spec: FineTuneSpec,
    conditioning: Tensor,
    masks: Tensor,
    annotated: Tensor,
    cases: Tensor,
    compute: Compute,
) -> EncodedPatches:
    """Encoded patches, where what the method encodes of their images is known already."""
    device = compute.torch_device()

    def encode_target(batch: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast():
            return spec.encode_masks(batch.to(device)).half().cpu()

    return EncodedPatches(
        cache_features(spec, conditioning, compute),
        run_in_batches(encode_target, masks.float(), _BATCH_SIZE),
        masks.to(torch.uint8),
        annotated,
        cases,
    )


def _encode(method: Method, images: Tensor, compute: Compute) -> Tensor:
    batch = images.to(compute.torch_device()).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), compute.autocast():
        return method.encode(batch).float().cpu()
