"""Elastic deformation of an image and its mask in training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_latentseg.data.augmentation_config import AugmentationConfig

__all__ = ["draw_displacements"]

# Points along a side whose displacements are drawn; between them it is smooth. With fewer the deformation is
# nearly a shift, and with more it would fold the image where it is strong.
_FEWEST_NODES, _MOST_NODES = 3, 6


def draw_displacements(ranges: AugmentationConfig, rng: np.random.Generator, size: int) -> Tensor | None:
    """Smooth random displacements of each pixel: rows and columns in pixels, `(2, size, size)`, or None.

    Simard et al., "Best practices for convolutional neural networks", ICDAR 2003, with displacements on a
    coarse grid in place of a Gaussian filter, as in Ronneberger et al., "U-Net", MICCAI 2015.

    Parameters
    ----------
    ranges
        `AugmentationConfig.elastic` and `AugmentationConfig.deformation`.
    rng
        Draws nothing where the probability is 0, so that trainings without deformation do not change.
    size
        Side of the image in pixels.
    """
    if not ranges.elastic or rng.random() >= ranges.elastic:
        return None
    count = int(rng.integers(_FEWEST_NODES, _MOST_NODES + 1))
    deviation = rng.uniform(0, ranges.deformation) * size
    nodes = torch.from_numpy(rng.normal(0, deviation, (1, 2, count, count))).float()
    return F.interpolate(nodes, (size, size), mode="bicubic", align_corners=True)[0]
