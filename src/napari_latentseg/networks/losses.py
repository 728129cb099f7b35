"""Pixel losses on decoded masks, shared by several methods."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["MASK_STEEPNESS", "dice_loss", "pixel_cross_entropy"]

# Logits per unit of pixel value. At 8, the pixel values 0 and 1 mean the probabilities 0.018 and 0.982, so
# that a correct pixel has nearly no loss; chosen by hand.
MASK_STEEPNESS = 8.0


def dice_loss(
    probability: Tensor, mask: Tensor, smooth: float = 1e-5, groups: Tensor | None = None
) -> Tensor:
    """Soft Dice loss (GMS, Equation 4), the mean over classes and images: a scalar in [0, 1].

    Parameters
    ----------
    probability, mask
        `(B, K, H, W)` in [0, 1].
    smooth
        Added to numerator and denominator, so that two empty masks have loss 0; MONAI's default, which the
        code of GMS uses.
    groups
        `(B,)`, whole numbers from 0: images of one number are scored as if they were one image, as by
        nnU-Net's batch Dice. Slices of volumes often lack a class, and the Dice loss of an empty mask has
        no gradient until the prediction is nearly empty too. By default each image is scored by itself.
    """
    p, m = probability.flatten(2), mask.flatten(2)
    overlap, total = (p * m).sum(2), p.sum(2) + m.sum(2)
    if groups is not None:
        present, rows = groups.unique(return_inverse=True)
        none = overlap.new_zeros(len(present), overlap.shape[1])
        overlap, total = (none.index_add(0, rows, values) for values in (overlap, total))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def pixel_cross_entropy(pixels: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of unclamped decoder output, with the logit `MASK_STEEPNESS` (pixel - 0.5); a scalar.

    The Dice loss is computed on values clamped to [0, 1], where the clamp has no gradient outside; this loss
    still has one there. It is this project's addition, in none of the papers.

    Parameters
    ----------
    pixels
        Channel mean of the decoder's output, `(B, 1, H, W)`, nominally in [0, 1].
    mask
        `(B, 1, H, W)` in {0, 1}.
    """
    return F.binary_cross_entropy_with_logits(MASK_STEEPNESS * (pixels - 0.5), mask)
