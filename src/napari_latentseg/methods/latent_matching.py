"""What GMS and Wave-GMS have in common: a latent is matched to the mask's, at several levels of the mapper.

Huo et al., Generative Medical Segmentation, AAAI 2025, Equations 3 to 5; Ahmed et al., Wave-GMS, 2025,
Section 2.4.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy

__all__ = ["Level", "MatchingConfig", "matching_losses"]

Level = Literal["level3", "level2", "level1", "out"]


class MatchingConfig(FrozenModel):
    """The mapper, and the objective at its levels.

    Attributes
    ----------
    width
        Width of the mapper's first block.
    levels
        Heads under deep supervision, `out` among them: it is the prediction.
    latent_weight, dice_weight
        Weights of the squared distance in the latent and of the Dice loss of the decoded mask (1 and 1).
    cross_entropy_weight
        Weight of a pixel cross-entropy, which the papers do not have.
    """

    width: int = Field(32, ge=16, multiple_of=16)
    levels: tuple[Level, ...]
    latent_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)
    cross_entropy_weight: float = Field(0.0, ge=0)

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if "out" not in levels or len(set(levels)) < len(levels):
            raise ValueError("the levels must be different, and 'out' among them")
        return levels

    @model_validator(mode="after")
    def _check_weights(self) -> MatchingConfig:
        if not (self.latent_weight or self.dice_weight or self.cross_entropy_weight):
            raise ValueError("one of the three weights must be above 0")
        return self

    def deviations_from_paper(self) -> list[str]:
        """What differs from the paper, whose values are the defaults, in plain words."""
        paper = {name: field.default for name, field in type(self).model_fields.items()}
        deviations = []
        if self.width != paper["width"]:
            deviations.append(f"width {self.width}")
        if set(self.levels) != set(paper["levels"]):
            deviations.append(f"supervised at {' and '.join(self.levels)}")
        for name in ("latent", "dice"):
            weight = getattr(self, f"{name}_weight")
            if weight != paper[f"{name}_weight"]:
                deviations.append(f"{name} weight {weight:g}")
        if self.cross_entropy_weight:
            deviations.append("pixel cross-entropy")
        return deviations


def matching_losses(
    config: MatchingConfig,
    codec: Codec,
    predicted: dict[str, Tensor],
    target: Tensor,
    masks: Tensor,
    decoded_count: int | None = None,
) -> dict[str, Tensor]:
    """The weighted terms, each summed over the levels (GMS, Equation 5).

    Parameters
    ----------
    config
        The weights.
    codec
        Frozen; the gradient of the pixel terms passes through its decoder.
    predicted
        Latents `(B, C, h, w)` by level.
    target
        The mask's latent, of the same shape.
    masks
        `(B, 1, H, W)` in {0, 1}.
    decoded_count
        How many rows, from the first, have the pixel terms; all where not given.
    """
    latent_losses = [F.mse_loss(level.float(), target.float()) for level in predicted.values()]
    terms = {"latent": config.latent_weight * torch.stack(latent_losses).sum()}
    if decoded_count is not None:
        predicted = {name: level[:decoded_count] for name, level in predicted.items()}
        masks = masks[:decoded_count]
    if not (config.dice_weight or config.cross_entropy_weight) or not len(masks):
        return terms
    # one decoder call for all levels
    pixels = codec.decode(torch.cat(list(predicted.values()))).mean(1, keepdim=True).float()
    level_count = len(predicted)
    masks = masks.repeat(level_count, 1, 1, 1)
    terms["dice"] = config.dice_weight * level_count * dice_loss(pixels.clamp(0, 1), masks)
    if config.cross_entropy_weight:
        terms["cross_entropy"] = (
            config.cross_entropy_weight * level_count * pixel_cross_entropy(pixels, masks)
        )
    return terms
