"""Probabilities and ranges of augmentation, in training and at test time."""

from __future__ import annotations

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["AugmentationConfig"]


class AugmentationConfig(FrozenModel):
    """How images are augmented in training: which transforms, how often and how far.

    The defaults are those of the code of GMS (and Wave-GMS): flips and 90-degree rotations with probability
    0.5 each, colour jitter with 0.2, shift, scale and rotation with 0.4.

    Attributes
    ----------
    horizontal_flip, vertical_flip, quarter_turn, jitter, affine
        Probabilities that the transform is applied, in [0, 1].
    brightness, contrast, saturation, hue
        Half-widths of the jitter, as fractions; of hue, as a fraction of the colour circle.
    gamma
        Half-width of the logarithm of the exponent; 0, as in the paper, for no change.
    shift, scale
        Half-widths, as a fraction of the side and of the size.
    rotate
        Half-width in degrees.
    elastic, degrade
        Probabilities, in [0, 1], that the image is deformed elastically, and that its quality is lowered: by
        blur, noise or a coarser resolution, one of the three. 0, as in the papers, for neither. They keep a
        training on few images from learning these by heart.
    deformation
        Upper limit of the standard deviation of the elastic displacements, as a fraction of the side.
    blur
        Upper limit of the standard deviation of a Gaussian filter, in pixels.
    noise
        Upper limit of the standard deviation of Gaussian noise, as a fraction of the range of values.
    coarsening
        Upper limit of the factor by which the resolution is reduced.
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
    elastic: float = Field(0.0, ge=0, le=1)
    deformation: float = Field(0.03, ge=0, le=0.2)
    degrade: float = Field(0.0, ge=0, le=1)
    blur: float = Field(1.5, ge=0, le=20)
    noise: float = Field(0.08, ge=0, le=1)
    coarsening: float = Field(2.5, ge=1, le=16)

    @property
    def distinct_tta_count(self) -> int | None:
        """How many different views of an image test-time augmentation has; None for any number.

        Flips, 90-degree rotations, shifts, brightness and contrast count: they can be undone.
        """
        if (self.jitter and (self.brightness or self.contrast)) or (self.affine and self.shift):
            return None
        flip_axes = bool(self.horizontal_flip) + bool(self.vertical_flip)
        return min(8, (1 << flip_axes) * (4 if self.quarter_turn else 1))
