"""The noise of samples, as a field over the latent grid that tiles and slices share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        Seed of the run: one for all tiles of the batch, or one for each.
    samples
        Index of the sample, from 0: one for all tiles of the batch, or one for each.
    corners
        Row and column of the top left position of every tile of the batch, in the latent grid.
    """

    def __init__(
        self, seed: int | Sequence[int], samples: int | Sequence[int], corners: Sequence[tuple[int, int]]
    ) -> None:
        self.corners = list(corners)
        self.seeds = [seed] * len(self.corners) if isinstance(seed, int) else list(seed)
        self.samples = [samples] * len(self.corners) if isinstance(samples, int) else list(samples)

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
        import torch  # here, so that a compiled model without noise runs without it

        count, channels, height, width = shape
        if count != len(self.corners):
            raise ValueError(f"noise for {count} tiles, but {len(self.corners)} corners")
        period = _PERIOD * -(-max(height, width) // _PERIOD)
        keys = list(zip(self.seeds, self.samples, strict=True))
        fields = {
            (seed, sample): _field(seed, sample, step, (channels, period, period))
            for seed, sample in set(keys)
        }
        rows, columns = torch.arange(height), torch.arange(width)
        return torch.stack(
            [
                fields[key][:, (rows + y) % period][:, :, (columns + x) % period]
                for key, (y, x) in zip(keys, self.corners, strict=True)
            ]
        )


def _field(seed: int, sample: int, step: int, shape: tuple[int, int, int]) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(_derive_seed(seed, sample, step))
    return torch.randn(shape, generator=generator)


def _derive_seed(*numbers: int) -> int:
    """A different seed for every combination of numbers."""
    digest = hashlib.sha256(":".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
