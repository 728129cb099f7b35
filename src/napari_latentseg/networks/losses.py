"""Loss terms that several papers share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["dice_loss", "pixel_cross_entropy"]


def dice_loss(probability: Tensor, mask: Tensor, smooth: float = 1e-5) -> Tensor:
    """Soft Dice loss of each class in each image, then the mean (GMS, Equation 4, with MONAI's smoothing).

    Parameters
    ----------
    probability, mask
        `(B, K, H, W)` in [0, 1].
    """
    p, m = probability.flatten(2), mask.flatten(2)
    return (1 - (2 * (p * m).sum(2) + smooth) / (p.sum(2) + m.sum(2) + smooth)).mean()


def pixel_cross_entropy(pixels: Tensor, mask: Tensor, steepness: float = 8.0) -> Tensor:
    """Cross-entropy on a decoder's unclamped pixels, read as logits around one half.

    A clamp has no gradient outside [0, 1]; this keeps one there. Not in the GMS paper.

    Parameters
    ----------
    pixels
        Channel mean of the decoder's output, nominally in [0, 1].
    mask
        In {0, 1}, of the same shape.
    steepness
        Logit for a step of one in pixel value.
    """
    return F.binary_cross_entropy_with_logits(steepness * (pixels - 0.5), mask)
