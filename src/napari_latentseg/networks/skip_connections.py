"""Skip connections: fine features of the image beside those of the mapper, for the last layers of a mask.

As in a U-Net (Ronneberger et al., MICCAI 2015), features at a half and a quarter of the image's size meet
what is decided at an eighth, and convolutions that all pixels share draw the outline: without them each pixel
of a folded mask has weights of its own, which learn slowly. The features are folded into channels, so that
what a method knows of an image stays one tensor at the latent's resolution. This is this project's own, in
none of the five papers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SKIP_CHANNELS", "SkipFeatures", "SkipHead", "join_skips", "split_skips"]

_FACTOR = 8  # pixels per latent position along each side
# Few, since the replay patches of a model keep them. With all 16 and 24 channels of EfficientNet-Lite0 two
# minutes of training on the hippocampus ended at 0.831 in place of 0.828; vessels gain a point from 16 each.
_HALF_CHANNELS, _QUARTER_CHANNELS = 4, 8
SKIP_CHANNELS = _HALF_CHANNELS * (_FACTOR // 2) ** 2 + _QUARTER_CHANNELS * (_FACTOR // 4) ** 2
_HALF_WIDTH, _QUARTER_WIDTH = 16, 32  # of the layers; half as many again gained nothing on the hippocampus
_GROUPS = 8


class SkipFeatures(nn.Module):
    """Features at a half and a quarter of an image's size, reduced to a few channels and folded to an eighth.

    Parameters
    ----------
    half_channels, quarter_channels
        Of the features.
    """

    def __init__(self, half_channels: int, quarter_channels: int) -> None:
        super().__init__()
        self.from_half = nn.Conv2d(half_channels, _HALF_CHANNELS, 1)
        self.from_quarter = nn.Conv2d(quarter_channels, _QUARTER_CHANNELS, 1)

    def forward(self, half: Tensor, quarter: Tensor) -> Tensor:
        """`(B, SKIP_CHANNELS, H/8, W/8)` of features `(B, c, H/2, W/2)` and `(B, c, H/4, W/4)`."""
        folded_half = F.pixel_unshuffle(self.from_half(half), _FACTOR // 2)
        return torch.cat([folded_half, F.pixel_unshuffle(self.from_quarter(quarter), _FACTOR // 4)], dim=1)


def split_skips(x: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """The channels of `x` before its last `count`, and these; None where the count is 0."""
    return (x[:, :-count], x[:, -count:]) if count else (x, None)


def join_skips(x: Tensor, skips: Tensor | None) -> Tensor:
    """The opposite of `split_skips`."""
    return x if skips is None else torch.cat([x, skips], dim=1)


def _layers(n_in: int, width: int) -> nn.Sequential:
    modules: list[nn.Module] = []
    for n in (n_in, width):
        modules += [nn.Conv2d(n, width, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, width), nn.SiLU()]
    return nn.Sequential(*modules)


class SkipHead(nn.Module):
    """Latents of `FoldedMasks`, from features of the mapper and `SkipFeatures`.

    Parameters
    ----------
    width
        Channels of the mapper's features.
    channels
        Of the latents of all classes: 64 for each.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        classes = channels // _FACTOR**2
        self.at_quarter = _layers(width + _QUARTER_CHANNELS, _QUARTER_WIDTH)
        self.at_half = _layers(_QUARTER_WIDTH + _HALF_CHANNELS, _HALF_WIDTH)
        self.out = nn.Conv2d(_HALF_WIDTH, 4 * classes, 3, padding=1)

    def forward(self, features: Tensor, skips: Tensor) -> Tensor:
        """`(B, channels, h, w)` of features `(B, width, h, w)` and skips `(B, SKIP_CHANNELS, h, w)`."""
        half_count = _HALF_CHANNELS * (_FACTOR // 2) ** 2
        half = F.pixel_shuffle(skips[:, :half_count], _FACTOR // 2)
        quarter = F.pixel_shuffle(skips[:, half_count:], _FACTOR // 4)
        x = self.at_quarter(torch.cat([_doubled(features), quarter], dim=1))
        x = self.at_half(torch.cat([_doubled(x), half], dim=1))
        return F.pixel_unshuffle(F.pixel_shuffle(self.out(x), 2), _FACTOR)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
