"""The U-Net of latent diffusion written anew from its description, with the names that its checkpoints have.

Only what the unconditional models use: residual blocks that scale and shift, that resample too, and attention
whose query, key and value are split by heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ReferenceUNet", "fill"]

GROUPS = 32


def zero(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def timestep_features(t: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class Residual(nn.Module):
    def __init__(self, n_in: int, n_out: int, time_width: int, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, n_in), nn.SiLU(), nn.Conv2d(n_in, n_out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * n_out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, n_out),
            nn.SiLU(),
            nn.Dropout(0),
            zero(nn.Conv2d(n_out, n_out, 3, padding=1)),
        )
        self.skip_connection = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def resized(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, activation, convolution = self.in_layers
        h = convolution(self.resized(activation(norm(x))))
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, 1)
        norm, *rest = self.out_layers
        h = norm(h) * (1 + scale) + shift
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resized(x)) + h


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = zero(nn.Conv1d(width, width, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        batch, width, *size = x.shape
        per_head = self.qkv(self.norm(x).flatten(2)).reshape(batch * self.heads, 3 * width // self.heads, -1)
        q, k, v = per_head.chunk(3, 1)
        weight = (q.transpose(1, 2) @ k / math.sqrt(q.shape[1])).softmax(-1)
        h = (v @ weight.transpose(1, 2)).reshape(batch, width, -1)
        return x + self.proj_out(h).reshape(batch, width, *size)


class Block(nn.Sequential):
    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, embedding)
        return x


class ReferenceUNet(nn.Module):
    """The published network.

    Parameters
    ----------
    channels
        Of input and output.
    widths, attention, layers, heads
        As in `DenoiserConfig`.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], attention: tuple[bool, ...], layers: int, heads: int
    ) -> None:
        super().__init__()
        time_width = 4 * widths[0]
        self.time_embed = nn.Sequential(
            nn.Linear(widths[0], time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        self.input_blocks = nn.ModuleList([Block(nn.Conv2d(channels, widths[0], 3, padding=1))])
        skips, width = [widths[0]], widths[0]
        for level, level_width in enumerate(widths):
            for _ in range(layers):
                block = Block(Residual(width, level_width, time_width))
                width = level_width
                if attention[level]:
                    block.append(Attention(width, heads))
                self.input_blocks.append(block)
                skips.append(width)
            if level + 1 < len(widths):
                self.input_blocks.append(Block(Residual(width, width, time_width, "down")))
                skips.append(width)
        self.middle_block = Block(
            Residual(width, width, time_width), Attention(width, heads), Residual(width, width, time_width)
        )
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(widths))):
            for layer in range(layers + 1):
                block = Block(Residual(width + skips.pop(), widths[level], time_width))
                width = widths[level]
                if attention[level]:
                    block.append(Attention(width, heads))
                if level and layer == layers:
                    block.append(Residual(width, width, time_width, "up"))
                self.output_blocks.append(block)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), zero(nn.Conv2d(width, channels, 3, padding=1))
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time_embed(timestep_features(t, self.time_embed[0].in_features))
        skips = []
        for block in self.input_blocks:
            x = block(x, embedding)
            skips.append(x)
        x = self.middle_block(x, embedding)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], 1), embedding)
        return self.out(x)


def fill(network: nn.Module) -> None:
    """Give every weight values of its own that do not depend on torch's random numbers."""
    offset = 0
    with torch.no_grad():
        for name, weight in sorted(network.state_dict().items()):
            values = torch.arange(offset, offset + weight.numel(), dtype=torch.float64)
            # the fractional parts of multiples of the golden ratio: evenly spread, and never the same twice
            spread = (values * 0.6180339887498949).frac().sub(0.5).mul(2)
            scale = 1.7 / math.sqrt(max(weight[0].numel(), 1)) if weight.ndim > 1 else 0.2
            is_norm_weight = weight.ndim == 1 and name.endswith("weight")
            weight.copy_((spread * scale + is_norm_weight).reshape(weight.shape))
            offset += weight.numel()
