"""The networks of the embedded codec: a small convolutional autoencoder for use on a CPU.

Convolutions at full resolution make tiny autoencoders such as TAESD slow on a CPU. Here blocks of 4 x 4
pixels are folded into channels first (pixel unshuffle), so that the most expensive layers work on a sixteenth
of the positions. The default sizes are choices of this project; bench/train_codec.py trains it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CompactDecoder", "CompactEncoder"]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a skip connection and no normalisation, as in TAESD."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.conv2(self.act(self.conv1(x))))
        return y


class CompactEncoder(nn.Module):
    """Images `(B, 3, H, W)` in [0, 1] to latents `(B, channels, H/8, W/8)`; H and W are multiples of 8.

    Parameters
    ----------
    channels
        Latent channels.
    widths, blocks
        Channels and residual blocks at a quarter, and at an eighth of the resolution.
    """

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int] = (64, 128),
        blocks: tuple[int, int] = (3, 4),
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, fine, 3, padding=1))
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks[0])))
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * fine, coarse, 1))
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(blocks[1])))
        self.head = nn.Conv2d(coarse, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fine(self.stem(x))
        z: Tensor = self.head(self.coarse(self.down(x)))
        return z


class CompactDecoder(nn.Module):
    """Latents `(B, channels, h, w)` to images `(B, 3, 8h, 8w)`, nominally in [0, 1] but not clamped.

    Latents pass `3 tanh(z / 3)` first, as in TAESD, so that outliers of a predicted latent stay in the range
    (-3, 3) that the decoder was trained on.

    Parameters
    ----------
    channels, widths, blocks
        As for `CompactEncoder`, whose mirror image it is.
    """

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int] = (64, 128),
        blocks: tuple[int, int] = (3, 4),
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.stem = nn.Conv2d(channels, coarse, 3, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(blocks[1])))
        self.up = nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks[0])))
        self.head = nn.Sequential(nn.Conv2d(fine, 48, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, z: Tensor) -> Tensor:
        z = 3 * torch.tanh(z / 3)
        x: Tensor = self.head(self.fine(self.up(self.coarse(self.stem(z)))))
        return x
