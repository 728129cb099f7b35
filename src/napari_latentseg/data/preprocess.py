"""The size and the intensities that a model works at, in training and at inference."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.errors import BadInput

__all__ = ["Preprocess"]

_MAX_SIDE = 65536  # pixels; a square of it has 4 GB as uint8, more than a slice of any scanner
_MAX_UPSCALING = 16  # along a side; a larger factor means a wrong spacing, not a coarse image


class Preprocess(FrozenModel):
    """The size and the intensities that a model works at.

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
    window
        The values that become black and white, low and high, in the unit of the scan: Hounsfield units (HU)
        in CT. None for the range of each scan, see `napari_latentseg.core.slices.Planes`.
    neighbours
        Distance in mm of two neighbouring slices that the network sees beside each slice of a volume, as red
        and blue (2.5D); see `Planes.from_scan`. None for the slice alone.

    Examples
    --------
    >>> tiles = Preprocess(mode="tiles", size=256, long_side=320, spacing=1.5, window=(-175, 250))
    >>> tiles.working_size(512, 512, (0.75, 0.75))
    (256, 256)
    >>> tiles.describe()
    'tiles of 256 x 256 pixels at 1.5 mm; values from -175 to 250'
    """

    mode: Literal["whole", "tiles"] = "whole"
    size: int = Field(224, ge=32, le=2048, multiple_of=8)
    long_side: int | None = Field(None, ge=32, le=_MAX_SIDE)
    overlap: int = Field(0, ge=0)
    spacing: float | None = Field(None, gt=0, allow_inf_nan=False)
    window: tuple[FiniteFloat, FiniteFloat] | None = None
    neighbours: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_consistency(self) -> Preprocess:
        if self.mode == "tiles" and self.long_side is None:
            raise ValueError("tiles need a long_side")
        if self.mode == "whole" and (self.long_side is not None or self.overlap or self.spacing):
            raise ValueError("long_side, overlap and spacing belong to tiles")
        if self.overlap >= self.size:
            raise ValueError("the overlap must be smaller than a tile")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError("window: its first value must be below its second")
        return self

    def planes(self, scan: Scan) -> Planes:
        """The slices of a scan with the intensities and the neighbours that the model works with.

        Raises
        ------
        BadInput
            As `Planes.from_scan`.
        """
        return Planes.from_scan(scan, self.window, self.neighbours)

    def describe(self) -> str:
        """What a slice becomes before the networks see it, in words."""
        if self.mode == "whole":
            text = f"whole slices at {self.size} x {self.size} pixels"
        else:
            scale = f"{self.spacing:g} mm" if self.spacing else f"{self.long_side} pixels on the longer side"
            text = f"tiles of {self.size} x {self.size} pixels at {scale}"
        if self.neighbours is not None:
            text += f", each with its neighbours {self.neighbours:g} mm before and after"
        if self.window is not None:
            text += f"; values from {self.window[0]:g} to {self.window[1]:g}"
        return text

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
