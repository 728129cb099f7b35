"""Random augmentation of an image together with its mask."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.degradation import apply_degradation, draw_degradation
from napari_latentseg.data.elastic import draw_displacements

__all__ = ["augment", "draw_in_vain"]

# Not torchvision, kornia or MONAI: each is one more dependency, and draws its random numbers in another
# order, so that models trained with this code could not be trained again to the same weights.


def augment(
    image: Tensor,
    mask: Tensor,
    ranges: AugmentationConfig,
    rng: np.random.Generator,
    *,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Augment an image and its mask with the same random transform.

    Parameters
    ----------
    image
        `(3, H, W)` in [0, 1].
    mask
        `(1, H, W)` in {0, 1}.
    ranges
        Probabilities and ranges of the transforms.
    rng
        Draws which transforms are applied, and how far.
    size
        Side of the result in pixels. A larger image is cropped at a random position.

    Returns
    -------
    image, mask
        `(3, size, size)` and `(1, size, size)`; the mask is resampled by nearest neighbour. Beyond the edge
        of the image both are mirrored.
    """
    image, mask = _random_affine_crop(image, mask, ranges, rng, size)
    if rng.random() < ranges.quarter_turn:
        turns = int(rng.integers(4))
        image, mask = torch.rot90(image, turns, (1, 2)), torch.rot90(mask, turns, (1, 2))
    if rng.random() < ranges.horizontal_flip:
        image, mask = image.flip(2), mask.flip(2)
    if rng.random() < ranges.vertical_flip:
        image, mask = image.flip(1), mask.flip(1)
    if rng.random() < ranges.jitter:
        image = jitter_colours(image, ranges, rng)
    if (degradation := draw_degradation(ranges, rng)) is not None:
        image = apply_degradation(image, degradation, is_grey=_is_grey(image))
    return image.contiguous(), mask.contiguous()


def draw_in_vain(image: Tensor, ranges: AugmentationConfig, rng: np.random.Generator, *, size: int) -> None:
    """Draw the random numbers that `augment` would draw for an image, which another process augments.

    Parameters
    ----------
    image
        uint8 `(3, H, W)`.
    ranges, rng, size
        As for `augment`.
    """
    is_grey = _is_grey(image)
    if not is_grey and ranges.jitter:
        # a part of a coloured image can be grey, and then draws less
        colours = image.float() / 255
        augment(colours, colours[:1], ranges, rng, size=size)
        return
    _draw_affine(image.shape[-2], image.shape[-1], ranges, rng, size)
    draw_displacements(ranges, rng, size)
    if rng.random() < ranges.quarter_turn:
        rng.integers(4)
    rng.random(2)  # both flips
    if rng.random() < ranges.jitter:
        _draw_jitter(ranges, rng, is_grey=is_grey)
    draw_degradation(ranges, rng)


def _is_grey(image: Tensor) -> bool:
    return bool((image[0] == image[1]).all() and (image[1] == image[2]).all())


def _random_affine_crop(
    image: Tensor, mask: Tensor, ranges: AugmentationConfig, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor]:
    height, width = image.shape[-2:]
    (top, left), affine = _draw_affine(height, width, ranges, rng, size)
    displacements = draw_displacements(ranges, rng, size)
    if affine is None and displacements is None and height >= size and width >= size:
        window = (slice(None), slice(top, top + size), slice(left, left + size))
        return image[window], mask[window]
    angle, factor, translation = affine or (0.0, 1.0, (0.0, 0.0))
    # sampling positions: for each pixel of the result its row and column in the image
    coordinates = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(coordinates, coordinates, indexing="ij")
    cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
    rows = cos * y - sin * x + (top + (size - 1) / 2 + translation[0])
    columns = sin * y + cos * x + (left + (size - 1) / 2 + translation[1])
    if displacements is not None:
        rows, columns = rows + displacements[0], columns + displacements[1]
    grid = torch.stack([2 * (columns + 0.5) / width - 1, 2 * (rows + 0.5) / height - 1], dim=-1)[None]

    def resample(x: Tensor, mode: str) -> Tensor:
        return F.grid_sample(x[None], grid, mode, padding_mode="reflection", align_corners=False)[0]

    return resample(image, "bilinear").clamp(0, 1), resample(mask, "nearest")


def _draw_affine(
    height: int, width: int, ranges: AugmentationConfig, rng: np.random.Generator, size: int
) -> tuple[tuple[int, int], tuple[float, float, tuple[float, float]] | None]:
    """Top left corner of the crop; angle in radians, factor and translation in pixels, or None for none."""
    # in whole pixels, so that a crop without rotation or shift is not interpolated
    top, left = (int((n - size + 1) * rng.random()) if n > size else (n - size) // 2 for n in (height, width))
    if rng.random() >= ranges.affine:
        return (top, left), None
    angle = math.radians(rng.uniform(-ranges.rotate, ranges.rotate))
    factor = 1 + rng.uniform(-ranges.scale, ranges.scale)
    translation = (
        rng.uniform(-ranges.shift, ranges.shift) * size,
        rng.uniform(-ranges.shift, ranges.shift) * size,
    )
    return (top, left), (angle, factor, translation)


def jitter_colours(image: Tensor, ranges: AugmentationConfig, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast, saturation, hue and gamma of an image `(3, H, W)` in [0, 1].

    Each change is drawn from its range. Grey images keep equal channels; the result is clipped to [0, 1].
    """
    is_grey = _is_grey(image)
    changes = _draw_jitter(ranges, rng, is_grey=is_grey)
    x = image * changes.brightness
    x = (x - x.mean()) * changes.contrast + x.mean()
    if not is_grey:
        grey = x.mean(0, keepdim=True)
        x = grey + (x - grey) * changes.saturation
        if ranges.hue:
            x = _shift_hue(x.clamp(0, 1), changes.hue)
    x = x.clamp(0, 1)
    if ranges.gamma:
        x = x ** math.exp(changes.log_gamma)
    return x


class _Jitter(NamedTuple):
    brightness: float
    contrast: float
    saturation: float
    hue: float
    log_gamma: float


def _draw_jitter(ranges: AugmentationConfig, rng: np.random.Generator, *, is_grey: bool) -> _Jitter:
    def draw(width: float) -> float:
        return float(rng.uniform(-width, width))

    brightness, contrast = 1 + draw(ranges.brightness), 1 + draw(ranges.contrast)
    saturation = 1.0 if is_grey else 1 + draw(ranges.saturation)
    hue = draw(ranges.hue) if ranges.hue and not is_grey else 0.0
    return _Jitter(brightness, contrast, saturation, hue, draw(ranges.gamma) if ranges.gamma else 0.0)


def _shift_hue(image: Tensor, shift: float) -> Tensor:
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(image.permute(1, 2, 0).numpy())
    hsv[..., 0] = (hsv[..., 0] + shift) % 1
    return torch.from_numpy(hsv2rgb(hsv)).float().permute(2, 0, 1)
