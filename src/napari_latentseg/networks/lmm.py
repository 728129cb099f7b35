"""The latent mapping model (LMM) of GMS: from an image's latent to its mask's, at full latent resolution.

Huo et al., Generative Medical Segmentation, AAAI 2025, Figure 1 and Equations 1-2. Where the paper's text
and its code disagree on the order inside a block, the code is followed: normalise, activate, convolve.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LatentMappingModel"]

_GROUPS = 16


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, width, eps=1e-6)


class ResidualUnit(nn.Module):
    """Two pre-activated 3x3 convolutions with a skip."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm1, self.act1 = _norm(n_in), nn.PReLU()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm2, self.act2 = _norm(n_out), nn.PReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.act1(self.norm1(x)))
        residual: Tensor = self.conv2(self.act2(self.norm2(y)))
        shortcut: Tensor = self.skip(x)
        return residual + shortcut


class SpatialAttention(nn.Module):
    """Single-head self-attention over the positions of the latent (Equations 1 and 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v)
        change: Tensor = self.out(y.transpose(1, 2).reshape(x.shape))
        return x + change


class MappingBlock(nn.Sequential):
    """A residual unit, then attention."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(ResidualUnit(n_in, n_out), SpatialAttention(n_out))


def _head(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(_norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1, bias=False))


class LatentMappingModel(nn.Module):
    """Map an image latent to a mask latent, without any change of resolution.

    Parameters
    ----------
    channels
        Channels of the mask latent (4 for SD-VAE and TAESD).
    in_channels
        Channels of the image latent; as many as `channels` where not given.
    width
        Width of the first block, a multiple of 16. The paper's is 32, which gives exactly
        1,564,976 parameters at 4 channels.

    Notes
    -----
    There are four heads, on the four decoder blocks; the last, `out`, is the prediction, the others
    serve deep supervision alone. `level3` has no loss in the paper's code.
    """

    LEVEL_NAMES = ("level3", "level2", "level1", "out")

    def __init__(self, channels: int = 4, in_channels: int | None = None, width: int = 32) -> None:
        super().__init__()
        w1, w2, w4 = width, 2 * width, 4 * width
        self.stem = nn.Conv2d(in_channels or channels, w1, 3, padding=1)
        self.down = nn.ModuleList(MappingBlock(a, b) for a, b in ((w1, w1), (w1, w2), (w2, w4), (w4, w4)))
        # each takes what came before, and the encoder's feature of the same depth
        self.up = nn.ModuleList(
            MappingBlock(a + b, c) for a, b, c in ((w4, w4, w4), (w4, w2, w2), (w2, w1, w1), (w1, w1, w1))
        )
        self.heads = nn.ModuleDict(
            {name: _head(w, channels) for name, w in zip(self.LEVEL_NAMES, (w4, w2, w1, w1), strict=True)}
        )
        self.apply(_initialise)

    @property
    def last_block(self) -> nn.ModuleDict:
        """The part of the network that `decode_features` runs; the rest is run by `encode_features`."""
        return nn.ModuleDict({"up": self.up[-1], "head": self.heads["out"]})

    def encode_features(self, z: Tensor) -> Tensor:
        """What `decode_features` needs of image latents `(B, in_channels, h, w)`: `(B, 2 width, h, w)`."""
        x = self.stem(z)
        skips = [x]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = skips.pop()
        for block in self.up[:-1]:
            x = block(torch.cat([skips.pop(), x], dim=1))
        return torch.cat([*skips, x], dim=1)

    def decode_features(self, features: Tensor) -> Tensor:
        """The mask latent `(B, channels, h, w)` from what `encode_features` gave; together they are `forward`."""
        if torch.is_grad_enabled() and not features.requires_grad:
            # torch (2.13) crashes in the backward pass of a GroupNorm in channels_last on the CPU whose
            # input asks for no gradient
            features = features.detach().requires_grad_()
        mask_latents: Tensor = self.heads["out"](self.up[-1](features))
        return mask_latents

    def forward(self, z: Tensor, levels: tuple[str, ...] = ("out",)) -> dict[str, Tensor]:
        """The mask latent at each asked level.

        Parameters
        ----------
        z
            Image latents, `(B, in_channels, h, w)`.
        levels
            Which of `LEVEL_NAMES` to compute.

        Returns
        -------
        dict
            Level to latent, each `(B, channels, h, w)`, in the order of `LEVEL_NAMES`.

        Raises
        ------
        ValueError
            Where a level is not one of `LEVEL_NAMES`.
        """
        if unknown := set(levels) - set(self.LEVEL_NAMES):
            raise ValueError(f"no such levels: {', '.join(sorted(unknown))}")
        x = self.stem(z)
        skips = [x]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = skips.pop()
        predicted = {}
        for name, block in zip(self.LEVEL_NAMES, self.up, strict=True):
            x = block(torch.cat([skips.pop(), x], dim=1))
            if name in levels:
                predicted[name] = self.heads[name](x)
        return predicted


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
