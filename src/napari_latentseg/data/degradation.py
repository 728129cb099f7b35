"""Lower image quality in training: blur, noise, or a coarser resolution.

The degradations and their order of magnitude are those of nnU-Net (Isensee et al., Nature Methods 2021,
supplement).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from napari_latentseg.data.augmentation_config import AugmentationConfig

__all__ = ["Degradation", "apply_degradation", "draw_degradation"]

_KINDS: tuple[Literal["blur", "noise", "coarsening"], ...] = ("blur", "noise", "coarsening")


class Degradation(NamedTuple):
    """One way in which an image gets worse.

    Attributes
    ----------
    kind
        ``"blur"``, ``"noise"`` or ``"coarsening"``.
    strength
        Standard deviation of the filter in pixels; that of the noise as a fraction of the range of values; or
        the factor of the resolution.
    seed
        Of the noise.
    """

    kind: Literal["blur", "noise", "coarsening"]
    strength: float
    seed: int


def draw_degradation(ranges: AugmentationConfig, rng: np.random.Generator) -> Degradation | None:
    """Draw whether and how an image gets worse; nothing is drawn where the probability is 0."""
    if not ranges.degrade or rng.random() >= ranges.degrade:
        return None
    kind = _KINDS[int(rng.integers(len(_KINDS)))]
    share, seed = rng.random(), int(rng.integers(2**31))
    strength = 1 + share * (ranges.coarsening - 1) if kind == "coarsening" else share * getattr(ranges, kind)
    return Degradation(kind, float(strength), seed)


def apply_degradation(image: Tensor, degradation: Degradation, *, is_grey: bool) -> Tensor:
    """Lower the quality of an image.

    Parameters
    ----------
    image
        `(3, H, W)` in [0, 1].
    degradation
        From `draw_degradation`.
    is_grey
        Whether the channels are equal; they still are afterwards.

    Returns
    -------
    Tensor
        `(3, H, W)` in [0, 1].
    """
    channels = image[:1] if is_grey else image
    if degradation.kind == "blur":
        channels = _blurred(channels, degradation.strength)
    elif degradation.kind == "noise":
        generator = torch.Generator().manual_seed(degradation.seed)
        channels = channels + degradation.strength * torch.randn(channels.shape, generator=generator)
    else:
        channels = _coarsened(channels, degradation.strength)
    return channels.clamp(0, 1).expand_as(image)


def _blurred(channels: Tensor, sigma: float) -> Tensor:
    filtered = ndimage.gaussian_filter(channels.numpy(), (0, sigma, sigma), mode="mirror")
    return torch.from_numpy(filtered)


def _coarsened(channels: Tensor, factor: float) -> Tensor:
    """Reduced by a factor and enlarged again."""
    height, width = channels.shape[-2:]
    reduced_size = (max(1, round(height / factor)), max(1, round(width / factor)))
    reduced = F.interpolate(channels[None], reduced_size, mode="bilinear", antialias=True)
    return F.interpolate(reduced, (height, width), mode="bilinear")[0]
