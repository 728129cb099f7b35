"""The multi-resolution encoder of Wave-GMS: Haar wavelets, and U-Nets without down- and upsampling.

Ahmed, Shaikh, Mohy-ud-Din, Wave-GMS, 2025, Section 2.2; the U-Nets are those of LiteVAE-S (Sadat et al.,
LiteVAE, NeurIPS 2024). What the paper leaves open follows its authors' development code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FlatUNet", "WaveEncoder", "haar", "haar_pyramid"]

_LEVELS = 3  # Section 2.2: the third level has the size of the latent, 1/8 of the image
_GROUPS = 8  # of every group normalisation, as in the development code
_BANDS = 12  # channels of a level: 4 subbands of 3 colours


def haar(x: Tensor) -> Tensor:
    """One level of the orthonormal 2-D Haar transform, which keeps the sum of squares.

    Parameters
    ----------
    x
        `(B, C, H, W)`, H and W even.

    Returns
    -------
    Tensor
        `(B, 4, C, H/2, W/2)`: the subbands LL (sums), then the differences along x, along y, and along both.
    """
    a, b = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    c, d = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


def haar_pyramid(images: Tensor) -> list[Tensor]:
    """Three levels of the Haar transform, each of the LL subband of the previous level.

    Level l is divided by 2^l, so that LL is the local mean, in [0, 1] as the image, and the details lie in
    [-1/2, 1/2].

    Parameters
    ----------
    images
        `(B, 3, H, W)` in [0, 1]; H and W are multiples of 8.

    Returns
    -------
    list of Tensor
        `(B, 12, H/2, W/2)`, `(B, 12, H/4, W/4)` and `(B, 12, H/8, W/8)`: LL of the three colours, then the
        details.
    """
    levels, low_pass = [], images
    for _ in range(_LEVELS):
        bands = haar(low_pass) / 2
        low_pass = bands[:, 0]
        levels.append(bands.flatten(1, 2))
    return levels


class WaveBlock(nn.Module):
    """Two 3 x 3 convolutions, each after GroupNorm and SiLU, with a skip connection; keeps `(h, w)`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(_GROUPS, n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        residual: Tensor = self.conv2(F.silu(self.norm2(y)))
        shortcut: Tensor = self.skip(x)
        return shortcut + residual


class FlatUNet(nn.Module):
    """A U-Net without down- or upsampling, `(B, n_in, h, w)` to `(B, n_out, h, w)`.

    Parameters
    ----------
    n_in, n_out
        Input and output channels.
    width, multiples, blocks
        Channels of a stage are `width` times its multiple; each stage has `blocks` blocks. The defaults are
        those of LiteVAE-S: 258,204 parameters with 12 input and output channels.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        width: int = 16,
        multiples: tuple[int, ...] = (1, 2, 2),
        blocks: int = 2,
    ) -> None:
        super().__init__()
        widths = [width * m for m in multiples for _ in range(blocks)]
        self.stem = nn.Conv2d(n_in, width, 3, padding=1)
        self.down = nn.ModuleList(WaveBlock(a, b) for a, b in zip([width, *widths], widths, strict=False))
        self.middle = nn.Sequential(*(WaveBlock(widths[-1], widths[-1]) for _ in range(blocks)))
        back = widths[::-1]
        # input: the previous block's output and the feature of the mirrored block, concatenated
        self.up = nn.ModuleList(WaveBlock(a + b, b) for a, b in zip([back[0], *back], back, strict=False))
        self.head = nn.Conv2d(width, n_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.middle(x)
        for block in self.up:
            x = block(torch.cat([x, skips.pop()], dim=1))
        output: Tensor = self.head(x)
        return output


class WaveEncoder(nn.Module):
    """Images `(B, 3, H, W)` in [0, 1] to the mean and log variance of a latent, `(B, 2 channels, H/8, W/8)`.

    Parameters
    ----------
    channels
        Latent channels. The paper's 4 give 1,035,692 parameters ("~1.03 M").

    Attributes
    ----------
    FACTOR
        Pixels per latent position along each side, 8.
    """

    FACTOR = 2**_LEVELS

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.extractors = nn.ModuleList(FlatUNet(_BANDS, _BANDS) for _ in range(_LEVELS))
        self.aggregator = FlatUNet(_LEVELS * _BANDS, 2 * channels)

    def forward(self, images: Tensor) -> Tensor:
        features = []
        for level, (extractor, bands) in enumerate(
            zip(self.extractors, haar_pyramid(images), strict=True), start=1
        ):
            features.append(F.avg_pool2d(extractor(bands), 2 ** (_LEVELS - level)))
        moments: Tensor = self.aggregator(torch.cat(features, dim=1))
        return moments
