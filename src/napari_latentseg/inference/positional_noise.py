"""The noise of one sample, as a field over the latent grid that tiles and slices share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["PositionalNoise"]

_PERIOD = 256  # latent positions: 2048 pixels at a factor of 8, larger than most planes; 0.25 MB a channel


class PositionalNoise:
    """Gaussian noise that depends on the position in the plane, not on how the plane is cut into tiles.

    Overlapping tiles get the same noise where they overlap, and so do the slices of a volume. With
    independent noise neighbouring slices would flicker, and averaging over the overlap would make the
    variance too small. The field repeats after 256 positions of the latent grid.

    Parameters
    ----------
    seed
        Seed of the run.
    sample
        Index of the sample.
    corners
        Row and column of the top left position of every tile of the batch, in the latent grid.
    """

    def __init__(self, seed: int, sample: int, corners: Sequence[tuple[int, int]]) -> None:
        self.seed = seed
        self.sample = sample
        self.corners = list(corners)

    def __call__(self, shape: tuple[int, ...], step: int = 0) -> Tensor:
        """Noise for the tiles.

        Parameters
        ----------
        shape
            `(B, C, h, w)`, with one entry of the batch for each corner.
        step
            Index of the denoising step; each step has a field of its own.

        Returns
        -------
        Tensor
            Standard normal, float32 `(B, C, h, w)`.

        Raises
        ------
        ValueError
            If B is not the number of corners.
        """
        count, channels, height, width = shape
        if count != len(self.corners):
            raise ValueError(f"noise for {count} tiles, but {len(self.corners)} corners")
        period = _PERIOD * -(-max(height, width) // _PERIOD)
        generator = torch.Generator().manual_seed(_derive_seed(self.seed, self.sample, step))
        field = torch.randn((channels, period, period), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        return torch.stack(
            [field[:, (rows + y) % period][:, :, (columns + x) % period] for y, x in self.corners]
        )


def _derive_seed(*numbers: int) -> int:
    """A different seed for every combination of numbers."""
    digest = hashlib.sha256(":".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
