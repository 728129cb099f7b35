"""The noise of one sample, as a field that every tile and slice cuts its part from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["PositionalNoise"]

_PERIOD = 256


class PositionalNoise:
    """Gaussian noise that depends on the place, not on how a plane is cut into tiles or batches.

    Windows that overlap see the same noise where they do, and so do the slices of a volume; otherwise they
    would flicker, and the average over their overlap would make the variance too small. The field repeats
    itself after 256 positions of the latent.

    Parameters
    ----------
    seed, sample
        Of the run, and which of its samples.
    corners
        Top left of every window of the batch, in positions of the latent.
    """

    def __init__(self, seed: int, sample: int, corners: Sequence[tuple[int, int]]) -> None:
        self.seed = seed
        self.sample = sample
        self.corners = list(corners)

    def __call__(self, shape: tuple[int, ...], step: int = 0) -> Tensor:
        """Noise for the windows, `(B, C, h, w)`.

        Raises
        ------
        ValueError
            Where B is not the number of windows.
        """
        count, channels, height, width = shape
        if count != len(self.corners):
            raise ValueError(f"{count} windows were asked for, but {len(self.corners)} have a place")
        period = _PERIOD * -(-max(height, width) // _PERIOD)
        generator = torch.Generator().manual_seed(_derive_seed(self.seed, self.sample, step))
        field = torch.randn((channels, period, period), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        return torch.stack(
            [field[:, (rows + y) % period][:, :, (columns + x) % period] for y, x in self.corners]
        )


def _derive_seed(*numbers: int) -> int:
    """A seed of its own for every combination."""
    digest = hashlib.sha256(":".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
