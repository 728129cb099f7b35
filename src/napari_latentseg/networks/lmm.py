"""The latent mapping model (LMM) of GMS: from the image latent to the mask latent, without downsampling.

Huo et al., Generative Medical Segmentation, AAAI 2025, Figure 1 and Equations 1 and 2. The order inside a
block is that of the paper's code (GroupNorm, PReLU, convolution), not of its text (convolution, PReLU,
GroupNorm).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_latentseg.networks.skip_connections import SKIP_CHANNELS, SkipHead, join_skips, split_skips

__all__ = ["LatentMappingModel"]

_GROUPS = 16  # groups and eps of every group normalisation, as in the paper's code


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, width, eps=1e-6)


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions, each after GroupNorm and PReLU, with a skip connection; keeps `(h, w)`."""

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
    """Single-head self-attention over the positions of a feature map (Equations 1 and 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # with an axis for heads, though there is one: without it torch takes a slower kernel on the CPU
        q, k, v = (
            layer(h).flatten(2).transpose(1, 2)[:, None] for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v)[:, 0]
        change: Tensor = self.out(y.transpose(1, 2).reshape(x.shape))
        return x + change


class MappingBlock(nn.Sequential):
    """A residual unit followed by self-attention ("ResAttn block" in Wave-GMS, Section 2.3)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(ResidualUnit(n_in, n_out), SpatialAttention(n_out))


def _head(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(_norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1, bias=False))


class LatentMappingModel(nn.Module):
    """An encoder-decoder from image latent to mask latent at constant resolution.

    Parameters
    ----------
    channels
        Channels of the mask latent; 4 for SD-VAE and TAESD.
    in_channels
        Channels of the image latent; as many as `channels` where not given.
    width
        Channels of the first block, a multiple of 16; the others have up to four times as many. The paper's
        32 give 1,564,976 parameters at 4 latent channels.
    has_skips
        Whether the features of `SkipFeatures` follow the channels of the image latent, for the last layers of
        ``"out"``.

    Attributes
    ----------
    LEVEL_NAMES
        The four decoder blocks, each with a head that predicts a mask latent. ``"out"`` is the prediction;
        the others are for deep supervision (``"level3"`` has no loss in the code of GMS).
    skip_channels
        How many channels of its input are skips.
    """

    LEVEL_NAMES = ("level3", "level2", "level1", "out")

    def __init__(
        self, channels: int = 4, in_channels: int | None = None, width: int = 32, has_skips: bool = False
    ) -> None:
        super().__init__()
        self.skip_channels = SKIP_CHANNELS if has_skips else 0
        w1, w2, w4 = width, 2 * width, 4 * width
        self.stem = nn.Conv2d(in_channels or channels, w1, 3, padding=1)
        self.down = nn.ModuleList(MappingBlock(a, b) for a, b in ((w1, w1), (w1, w2), (w2, w4), (w4, w4)))
        # input: the previous block's output and the encoder feature of the same depth, concatenated
        self.up = nn.ModuleList(
            MappingBlock(a + b, c) for a, b, c in ((w4, w4, w4), (w4, w2, w2), (w2, w1, w1), (w1, w1, w1))
        )
        self.heads = nn.ModuleDict(
            {name: _head(w, channels) for name, w in zip(self.LEVEL_NAMES, (w4, w2, w1, w1), strict=True)}
        )
        if has_skips:
            self.heads["out"] = SkipHead(w1, channels)
        self.apply(_initialise)

    @torch.no_grad()
    def begin_near_zero(self) -> None:
        """Let the latents that it predicts be small at first: where they are pixels, nothing is there then.

        Kaiming's initial values give latents of about unit size, which for `FoldedMasks` mean certainty at
        random. The factor was chosen by hand.
        """
        for head in self.heads.values():
            last_layer = head.out if isinstance(head, SkipHead) else head[-1]  # type: ignore[index]
            for weight in last_layer.parameters():
                weight.mul_(0.05)

    @property
    def last_block(self) -> nn.ModuleDict:
        """The layers that `decode_features` runs, which are trained in fine-tuning."""
        return nn.ModuleDict({"up": self.up[-1], "head": self.heads["out"]})

    def encode_features(self, z: Tensor) -> Tensor:
        """Features before the last block, from image latents `(B, in_channels + skip_channels, h, w)`.

        They have `2 width` channels, and those of the skips.
        """
        z, fine = split_skips(z, self.skip_channels)
        x = self.stem(z)
        skips = [x]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = skips.pop()
        for block in self.up[:-1]:
            x = block(torch.cat([skips.pop(), x], dim=1))
        return join_skips(torch.cat([*skips, x], dim=1), fine)

    def decode_features(self, features: Tensor) -> Tensor:
        """Mask latents `(B, channels, h, w)` from the features of `encode_features`."""
        if torch.is_grad_enabled() and not features.requires_grad:
            # Works around a crash of torch 2.13: on the CPU, the backward pass of a channels_last GroupNorm
            # fails if its input requires no gradient.
            features = features.detach().requires_grad_()
        features, fine = split_skips(features, self.skip_channels)
        return self._predict("out", self.up[-1](features), fine)

    def forward(self, z: Tensor, levels: tuple[str, ...] = ("out",)) -> dict[str, Tensor]:
        """The mask latent predicted at each of some levels.

        Parameters
        ----------
        z
            Image latents, and skips where it has them: `(B, in_channels + skip_channels, h, w)`.
        levels
            Levels to compute, of `LEVEL_NAMES`.

        Returns
        -------
        dict
            Mask latents `(B, channels, h, w)` by level, in the order of `LEVEL_NAMES`.

        Raises
        ------
        ValueError
            If a level is not one of `LEVEL_NAMES`.
        """
        if unknown := set(levels) - set(self.LEVEL_NAMES):
            raise ValueError(f"no such levels: {', '.join(sorted(unknown))}")
        z, fine = split_skips(z, self.skip_channels)
        x = self.stem(z)
        skips = [x]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = skips.pop()
        predicted = {}
        for name, block in zip(self.LEVEL_NAMES, self.up, strict=True):
            x = block(torch.cat([skips.pop(), x], dim=1))
            if name in levels:
                predicted[name] = self._predict(name, x, fine)
        return predicted

    def _predict(self, level: str, x: Tensor, skips: Tensor | None) -> Tensor:
        head = self.heads[level]
        mask_latents: Tensor = head(x, skips) if isinstance(head, SkipHead) else head(x)
        return mask_latents


def _initialise(module: nn.Module) -> None:
    """Kaiming initialisation of convolutions, as in the paper's code."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
