"""One sample of one plane in the making, and the tiles that it is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.inference.fit import LatentSums
from napari_latentseg.inference.out_of_core import LazyView, StripBlender
from napari_latentseg.inference.tiles import TileBlender, Tiling
from napari_latentseg.inference.tta import TTATransform
from napari_latentseg.inference.working_plane import WorkingPlane

__all__ = ["Corner", "SampleJob", "Tile"]

Corner = tuple[int, int]
"""Row and column of the top left pixel of a tile."""


@dataclass(eq=False)
class SampleJob:
    """One sample of one plane.

    Attributes
    ----------
    plane, sample
        Index of the plane and of the sample, from 0.
    transform
        Augmentation of the sample.
    working_plane
        The plane.
    image
        The augmented plane, `(3, H, W)` in [0, 1].
    tiling, blender
        How it is cut into tiles, and what their probabilities are added to.
    shared_conditioning
        Conditioning of the tiles that is common to all samples of the plane, by corner; None where each
        sample sees another image or is of a member with its own encoder, or where the plane is too large to
        keep it.
    is_encoded_here
        Whether the tiles are encoded for this sample; if not, an earlier sample brings their conditioning.
    sums
        Statistics of the latents, of the sample that tells whether the model fits the image.
    blended_tiles
        How many tiles are blended so far.
    """

    plane: int
    sample: int
    transform: TTATransform
    working_plane: WorkingPlane
    image: NDArray[np.float32] | LazyView
    tiling: Tiling
    blender: TileBlender | StripBlender
    shared_conditioning: dict[Corner, Any] | None = None
    is_encoded_here: bool = True
    sums: LatentSums | None = None
    blended_tiles: int = 0
    tile_count: int = field(init=False)

    def __post_init__(self) -> None:
        self.tile_count = len(self.tiling.corners())

    @property
    def is_complete(self) -> bool:
        """Whether every tile is blended."""
        return self.blended_tiles == self.tile_count

    def blend(self, tile: Tile, probabilities: NDArray[np.float32]) -> None:
        """Add the probabilities of a tile, `(K, size, size)`."""
        self.blender.add_tiles(probabilities[None], [tile.corner])
        self.blended_tiles += 1


@dataclass(eq=False)
class Tile:
    """One tile of a sample.

    Attributes
    ----------
    job
        The sample.
    corner
        Where it lies in the augmented plane.
    image
        Its pixels, `(3, size, size)`; None where another tile brings the conditioning that is shared.
    conditioning
        From `Engine.encode`; None until it is encoded.
    """

    job: SampleJob
    corner: Corner
    image: NDArray[np.float32] | None
    conditioning: Any = None
