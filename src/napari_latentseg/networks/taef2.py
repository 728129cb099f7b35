"""The tiny autoencoder distilled from the FLUX.2 VAE ("taef2", madebyollin/taesd, MIT licence).

It downsamples by 8 and has 32 latent channels. It differs in one thing from TAESD, which diffusers'
`AutoencoderTiny` builds: the three blocks at the lowest resolution start with `x + pool(x)`, where `pool` is
two 1 x 1 convolutions with normalisation. Names and order of the modules are those of the published state
dicts, which load without renaming.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["build_taef2_decoder", "build_taef2_encoder"]

WIDTH = 64
CHANNELS = 32


def _conv(n_in: int, n_out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, stride=stride, bias=bias)


class _Clamp(nn.Module):
    """Soft clamp of latents to (-3, 3), as in TAESD."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class _Block(nn.Module):
    """Three 3 x 3 convolutions with a skip connection; `pooled` puts `x + pool(x)` before them."""

    def __init__(self, width: int, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )
        self.skip = nn.Identity()
        self.fuse = nn.ReLU()
        self.pool = (
            nn.Sequential(
                nn.Conv2d(width, 4 * width, 1, bias=False),
                nn.GroupNorm(4, 4 * width),
                nn.ReLU(),
                nn.Conv2d(4 * width, width, 1, bias=False),
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        y: Tensor = self.fuse(self.conv(x) + self.skip(x))
        return y


def _blocks(pooled: bool = False) -> list[nn.Module]:
    return [_Block(WIDTH, pooled) for _ in range(3)]


def build_taef2_encoder() -> nn.Sequential:
    """Images in [0, 1] `(B, 3, H, W)` to latents `(B, 32, H/8, W/8)`."""

    def down() -> nn.Module:
        return _conv(WIDTH, WIDTH, stride=2, bias=False)

    return nn.Sequential(
        _conv(3, WIDTH),
        _Block(WIDTH, False),
        *(down(), *_blocks()),
        *(down(), *_blocks()),
        *(down(), *_blocks(pooled=True)),
        _conv(WIDTH, CHANNELS),
    )


def build_taef2_decoder() -> nn.Sequential:
    """Latents `(B, 32, h, w)` to images in about [0, 1], `(B, 3, 8h, 8w)`."""

    def up() -> list[nn.Module]:
        return [nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False)]

    return nn.Sequential(
        _Clamp(),
        _conv(CHANNELS, WIDTH),
        nn.ReLU(),
        *(*_blocks(pooled=True), *up()),
        *(*_blocks(), *up()),
        *(*_blocks(), *up()),
        _Block(WIDTH, False),
        _conv(WIDTH, 3),
    )
