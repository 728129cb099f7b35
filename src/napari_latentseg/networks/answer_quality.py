"""How good the answers to a prompt are in a view: a small network that predicts their Dice.

As the head of Segment Anything that predicts the overlap of its masks (Kirillov et al., ICCV 2023), but of a
view: whether this is the scale at which the structure that is meant can be outlined.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_latentseg.networks.prompt_encoder import PROMPT_CHANNELS

__all__ = ["AnswerQuality"]

_WIDTH = 48
_GROUPS = 8
_HIDDEN = 64
# Without it the quality of images that it learnt from is overrated. Chosen by hand.
_DROPOUT = 0.2
# Statistics of the readings, each a map: their mean, how far they differ, what all agree on, what any says.
_ANSWER_MAPS = 4


class _Block(nn.Module):
    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, _WIDTH, 3, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))


class AnswerQuality(nn.Module):
    """Predicts the Dice between the mean of the readings of a view and the whole structure that is meant.

    Parameters
    ----------
    channels
        Of the image's latent.
    factor
        Its downsampling factor f, a multiple of 2.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.project = nn.Conv2d(channels, _WIDTH, 1)
        self.first = _Block(_WIDTH + 4 * _ANSWER_MAPS + len(PROMPT_CHANNELS))
        self.blocks = nn.ModuleList(_Block(_WIDTH) for _ in range(2))
        self.head = nn.Sequential(
            nn.Linear(4 * _WIDTH, _HIDDEN), nn.SiLU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, 1)
        )

    def forward(self, latents: Tensor, readings: Tensor, maps: Tensor) -> Tensor:
        """The predicted Dice as a logit, `(B,)`.

        Parameters
        ----------
        latents
            Of the images, `(B, C, H/f, W/f)`.
        readings
            Probabilities, `(B, R, H, W)`, each without objects that nothing points at.
        maps
            Of the prompts, `(B, 4, H, W)`.
        """
        answers = F.pixel_unshuffle(self._answer_maps(readings), 2)
        clicks = F.max_pool2d(maps, self.factor)
        x = self.first(torch.cat([self.project(latents), answers, clicks], dim=1))
        for block in self.blocks:
            x = x + block(x)
        inside = F.avg_pool2d(readings.mean(1, keepdim=True), self.factor)
        pointed_at = clicks[:, :1]
        pooled = [x.mean((2, 3)), x.amax((2, 3)), _mean_over(x, inside), _mean_over(x, pointed_at)]
        logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits[:, 0]

    def _answer_maps(self, readings: Tensor) -> Tensor:
        """Statistics of the readings at twice the resolution of the latent, `(B, 4, 2 H/f, 2 W/f)`."""
        small = F.avg_pool2d(readings, self.factor // 2)
        spread = small.var(1, correction=0).clamp(min=1e-6).sqrt()  # differentiable where all are equal
        return torch.stack([small.mean(1), 2 * spread, small.amin(1), small.amax(1)], dim=1)


def _mean_over(x: Tensor, weights: Tensor) -> Tensor:
    """Mean of features `(B, C, h, w)` with weights `(B, 1, h, w)`; near 0 where these are."""
    return (x * weights).sum((2, 3)) / (weights.sum((2, 3)) + 1)
