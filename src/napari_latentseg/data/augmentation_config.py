"""The ranges that images are varied in; for training, and for the samples of test-time augmentation."""

from __future__ import annotations

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["AugmentationConfig"]


class AugmentationConfig(FrozenModel):
    """What happens to an image in training, how often and how far.

    The defaults are those of GMS (and Wave-GMS): flips and quarter turns with probability 0.5 each, colour
    jitter with 0.2, shift, scale and rotation with 0.4.

    Attributes
    ----------
    horizontal_flip, vertical_flip, quarter_turn, jitter, affine
        Probabilities.
    brightness, contrast, saturation, hue
        Half-widths of the jitter, as fractions (hue: of the circle).
    gamma
        Half-width of the exponent's logarithm; not in the paper.
    shift, scale
        Half-widths, as fractions of the side and of one.
    rotate
        Half-width in degrees.
    """

    horizontal_flip: float = Field(0.5, ge=0, le=1)
    vertical_flip: float = Field(0.5, ge=0, le=1)
    quarter_turn: float = Field(0.5, ge=0, le=1)
    jitter: float = Field(0.2, ge=0, le=1)
    brightness: float = Field(0.1, ge=0, lt=1)
    contrast: float = Field(0.1, ge=0, lt=1)
    saturation: float = Field(0.1, ge=0, lt=1)
    hue: float = Field(0.1, ge=0, le=0.5)
    gamma: float = Field(0.0, ge=0, lt=2)
    affine: float = Field(0.4, ge=0, le=1)
    shift: float = Field(0.15, ge=0, lt=1)
    scale: float = Field(0.1, ge=0, lt=1)
    rotate: float = Field(20.0, ge=0, le=180)

    @property
    def distinct_tta_count(self) -> int | None:
        """How many views of an image can be made inside these ranges and undone; None for any number.

        Flips, quarter turns, shifts, brightness and contrast count, as in test-time augmentation.
        """
        if (self.jitter and (self.brightness or self.contrast)) or (self.affine and self.shift):
            return None
        flip_axes = bool(self.horizontal_flip) + bool(self.vertical_flip)
        return min(8, (1 << flip_axes) * (4 if self.quarter_turn else 1))
