"""The objective of GMS and Wave-GMS: predicted mask latents are matched to the true ones, at several levels.

Huo et al., Generative Medical Segmentation, AAAI 2025, Equations 3 to 5; Ahmed et al., Wave-GMS, 2025,
Section 2.4.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.networks.efficientnet import Backbone, PyramidConditioner
from napari_latentseg.networks.folded_masks import FoldedMasks
from napari_latentseg.networks.lmm import LatentMappingModel
from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy

__all__ = ["Level", "MatchingConfig", "MatchingMethod", "matching_losses"]

Level = Literal["level3", "level2", "level1", "out"]


class MatchingConfig(FrozenModel):
    """Size of the latent mapping model, and its objective.

    Attributes
    ----------
    width
        Channels of the mapper's first block (32 in both papers).
    levels
        Decoder levels of the mapper under deep supervision. ``"out"`` is the prediction and must be among
        them.
    latent_weight, dice_weight
        Weights of the mean squared error of the latents (Equation 3 of GMS) and of the Dice loss of the
        decoded masks (Equation 4); both 1 in the papers.
    mask_latents
        ``"codec"``: latents of masks are those of the frozen codec, as published. ``"folded"``: they are the
        masks themselves, folded into channels (`FoldedMasks`), which takes no decoder and loses nothing.
    skips
        Whether features of the image at a half and a quarter of its size reach the last layers, as in a U-Net
        (`networks.skip_connections`); of folded masks, and with a pyramid as the conditioner.
    dice_over
        ``"image"``: the Dice loss is that of each class of each image, as in the papers. ``"batch"``: that of
        each class over the images of a batch, for slices of volumes, which often lack a class.
    cross_entropy_weight
        Weight of a pixel cross-entropy of the decoded masks, which the papers do not have. It keeps a
        gradient where decoded values lie outside [0, 1] and the clamp before the Dice loss has none.
    """

    width: int = Field(32, ge=16, multiple_of=16)
    levels: tuple[Level, ...]
    latent_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)
    mask_latents: Literal["codec", "folded"] = "codec"
    skips: bool = False
    dice_over: Literal["image", "batch"] = "image"
    cross_entropy_weight: float = Field(0.0, ge=0)

    @property
    def has_pyramid(self) -> bool:
        """Whether a feature pyramid of the image is part of the conditioning."""
        return True

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if "out" not in levels or len(set(levels)) < len(levels):
            raise ValueError("each level may occur once, and 'out' must be among them")
        return levels

    @model_validator(mode="after")
    def _check_weights(self) -> MatchingConfig:
        if not (self.latent_weight or self.dice_weight or self.cross_entropy_weight):
            raise ValueError("latent_weight, dice_weight or cross_entropy_weight must be above 0")
        return self

    @model_validator(mode="after")
    def _check_skips(self) -> MatchingConfig:
        if self.skips and not (self.mask_latents == "folded" and self.has_pyramid):
            raise ValueError('skips: true needs mask_latents: "folded" and conditioner: "pyramid"')
        return self

    def deviations_from_paper(self) -> list[tuple[bool, str]]:
        """Whether and how the settings differ from the paper's, the defaults; for `join_deviations`."""
        paper = {name: field.default for name, field in type(self).model_fields.items()}
        return [
            (self.width != paper["width"], f"width {self.width}"),
            (set(self.levels) != set(paper["levels"]), f"supervised at {' and '.join(self.levels)}"),
            (self.latent_weight != paper["latent_weight"], f"latent weight {self.latent_weight:g}"),
            (self.dice_weight != paper["dice_weight"], f"dice weight {self.dice_weight:g}"),
            (self.mask_latents == "folded", "folded masks"),
            (self.skips, "skip connections"),
            (self.dice_over != paper["dice_over"], f"Dice over the {self.dice_over}"),
            (self.cross_entropy_weight > 0, "pixel cross-entropy"),
        ]


class MatchingMethod(Method):
    """A method with a latent mapping model, whose masks are latents of its frozen codec or folded.

    Parameters
    ----------
    codec
        The autoencoder; it is frozen.
    config
        Says which latents masks have.
    """

    codec: Codec
    config: MatchingConfig

    def __init__(self, codec: Codec, config: MatchingConfig) -> None:
        if config.skips and codec.downsampling_factor != PyramidConditioner.OUTPUT_FACTOR:
            raise BadInput(
                "skips",
                f"are for codecs that downsample by {PyramidConditioner.OUTPUT_FACTOR}, "
                f"not by {codec.downsampling_factor}",
                "set skips to false, or use another codec",
            )
        super().__init__(codec.freeze(), config)
        self._folded = FoldedMasks(codec.downsampling_factor) if config.mask_latents == "folded" else None

    @property
    def mask_codec(self) -> Codec | FoldedMasks:
        return self._folded or self.codec

    def _make_pyramid(self, backbone: Backbone) -> PyramidConditioner:
        return PyramidConditioner(self.codec.channels, backbone=backbone, has_skips=self.config.skips)

    def _make_mapper(self, in_channels: int, classes: int = 1) -> LatentMappingModel:
        """A mapper from latents of so many channels to one mask latent per class, stacked in the channels."""
        mapper = LatentMappingModel(
            self.mask_codec.channels * classes, in_channels, self.config.width, self.config.skips
        )
        if self._folded is not None:
            mapper.begin_near_zero()
        return mapper


def matching_losses(
    config: MatchingConfig,
    mask_codec: Codec | FoldedMasks,
    predicted: dict[str, Tensor],
    target: Tensor | None,
    masks: Tensor,
    decoded_count: int | None = None,
    classes: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted loss terms, each a scalar, summed over the levels (GMS, Equation 5).

    Parameters
    ----------
    config
        The weights.
    mask_codec
        `Method.mask_codec`; the gradient of the pixel losses passes through its decoder, which is frozen.
    predicted
        Predicted mask latents `(B, C, h, w)`, by level.
    target
        Latents of the true masks, `(B, C, h, w)`; None where the latent loss has no weight.
    masks
        The true masks, `(B, 1, H, W)` in {0, 1}.
    decoded_count
        Decode only the first so many rows for the pixel losses, to save time; all where not given, and of
        folded masks, which take no decoder.
    classes
        The class of each row, `(B,)`, whole numbers; one class where not given. What the Dice loss is summed
        over with ``dice_over="batch"``.

    Returns
    -------
    dict
        ``"latent"`` where there is a target, and where a pixel is decoded ``"dice"`` and ``"cross_entropy"``
        (if it has a weight).
        To be minimised as a sum: ``"dice"`` carries the gradient of both pixel losses.
    """
    terms = {}
    if target is not None:
        latent_losses = [F.mse_loss(level.float(), target.float()) for level in predicted.values()]
        terms["latent"] = config.latent_weight * torch.stack(latent_losses).sum()
    if decoded_count is not None and config.mask_latents == "codec":
        predicted = {name: level[:decoded_count] for name, level in predicted.items()}
        masks = masks[:decoded_count]
    groups = None
    if config.dice_over == "batch":
        one_class = torch.zeros(len(masks), dtype=torch.long, device=masks.device)
        groups = one_class if classes is None else classes[: len(masks)]
    if not (config.dice_weight or config.cross_entropy_weight) or not len(masks):
        return terms
    dice, cross_entropy = zip(
        *(_pixel_losses(config, mask_codec, level, masks, groups) for level in predicted.values()),
        strict=True,
    )
    terms["dice"] = torch.stack(dice).sum()
    if config.cross_entropy_weight:
        terms["cross_entropy"] = torch.stack(cross_entropy).sum()
    return terms


def _pixel_losses(
    config: MatchingConfig,
    mask_codec: Codec | FoldedMasks,
    latents: Tensor,
    masks: Tensor,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Weighted Dice loss and cross-entropy of one level, each a scalar; the first carries both gradients.

    The gradient is computed at once, and what the frozen decoder keeps for it is released: with SD-VAE it is
    most of the memory of a step, and is held for one level at a time.
    """
    needs_gradient = torch.is_grad_enabled() and latents.requires_grad
    leaf = latents.detach().requires_grad_(needs_gradient)
    pixels = mask_codec.mask_pixels(leaf).float()
    dice = config.dice_weight * dice_loss(mask_codec.mask_probabilities(pixels), masks, groups=groups)
    cross_entropy = (
        config.cross_entropy_weight * pixel_cross_entropy(pixels, masks)
        if config.cross_entropy_weight
        else torch.zeros_like(dice)
    )
    if not needs_gradient:
        return dice, cross_entropy
    with torch.autocast(latents.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(dice + cross_entropy, leaf)
    carried: Tensor = _WithGradient.apply(latents, dice.detach(), gradient)  # type: ignore[no-untyped-call]
    return carried, cross_entropy.detach()


class _WithGradient(torch.autograd.Function):
    """A scalar loss whose gradient has been computed already."""

    @staticmethod
    def forward(context: Any, latents: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        context.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(context: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = context.saved_tensors
        return scale * gradient, None, None
