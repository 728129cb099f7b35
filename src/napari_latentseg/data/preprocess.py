"""Resizing of slices to the size that a model works at, in training and at inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Preprocess", "resize", "resize_labels"]

_MAX_SIDE = 65536  # pixels; a square of it has 4 GB as uint8, more than a slice of any scanner
_MAX_UPSCALING = 16  # along a side; a larger factor means a wrong spacing, not a coarse image


class Preprocess(FrozenModel):
    """The size a model works at.

    Attributes
    ----------
    mode
        ``"whole"``: the slice is resized to `size` by `size`, as in the GMS paper. ``"tiles"``: the slice is
        scaled so that its longer side has `long_side` pixels, and cut into tiles of `size` by `size`.
    size
        Side of the network's input, in pixels; a multiple of 8.
    long_side
        For ``"tiles"``: pixels of the longer side of the scaled slice.
    overlap
        For ``"tiles"``: the least number of pixels that neighbouring tiles share.
    spacing
        For ``"tiles"``: the pixel spacing in millimetres that a slice is scaled to. A slice without a known
        spacing is scaled by `long_side`.
    """

    mode: Literal["whole", "tiles"] = "whole"
    size: int = Field(224, ge=32, le=2048, multiple_of=8)
    long_side: int | None = Field(None, ge=32, le=_MAX_SIDE)
    overlap: int = Field(0, ge=0)
    spacing: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_consistency(self) -> Preprocess:
        if self.mode == "tiles" and self.long_side is None:
            raise ValueError("tiles need a long_side")
        if self.mode == "whole" and (self.long_side is not None or self.overlap or self.spacing):
            raise ValueError("long_side, overlap and spacing belong to tiles")
        if self.overlap >= self.size:
            raise ValueError("the overlap must be smaller than a tile")
        return self

    def working_size(
        self, height: int, width: int, spacing: tuple[float, float] | None = None
    ) -> tuple[int, int]:
        """Height and width that a slice is resized to.

        Parameters
        ----------
        height, width
            Of the slice, in pixels.
        spacing
            Millimetres between its rows and between its columns; None if not known.

        Raises
        ------
        BadInput
            If a side would have more than 65,536 pixels or become more than 16 times as long: the spacing of
            the slice is then wrong.
        """
        if self.mode == "whole":
            return self.size, self.size
        assert self.long_side is not None
        if self.spacing is not None and spacing is not None:
            scaled_height, scaled_width = (
                max(1, round(n * step / self.spacing))
                for n, step in zip((height, width), spacing, strict=True)
            )
            if (
                max(scaled_height, scaled_width) > _MAX_SIDE
                or scaled_height > _MAX_UPSCALING * height
                or scaled_width > _MAX_UPSCALING * width
            ):
                raise BadInput(
                    "spacing",
                    f"at the model's {self.spacing:g} mm a pixel the slice would have"
                    f" {scaled_height} by {scaled_width} pixels",
                    "look at the image's spacing, which may be wrong",
                )
            return scaled_height, scaled_width
        factor = self.long_side / max(height, width)
        return max(1, round(height * factor)), max(1, round(width * factor))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `(B, C, H, W)` to `(B, C, *size)`: bilinear, with antialiasing where it shrinks."""
    import torch.nn.functional as F

    if tuple(x.shape[-2:]) == size:
        return x
    # antialiasing in torch 2.13 is wrong for a single column (all rows are the same), so it is resized as two
    if x.shape[-1] == 1 or size[1] == 1:
        x = x if x.shape[-1] > 1 else x.expand(*x.shape[:-1], 2)
        doubled = F.interpolate(x, size=(size[0], 2 * size[1]), mode="bilinear", antialias=True)
        return (doubled[..., ::2] + doubled[..., 1::2]) / 2
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize labels `(H, W)` to `size` by nearest neighbour, sampled at pixel centres."""
    import torch
    import torch.nn.functional as F

    if labels.shape == size:
        return labels
    x = torch.from_numpy(np.ascontiguousarray(labels))[None, None].float()
    return F.interpolate(x, size=size, mode="nearest-exact")[0, 0].numpy().astype(np.uint8)
