"""Text embeddings of class names, precomputed by a text encoder (CLIP in guided latent diffusion).

No text encoder comes with the package: the vectors are read from a file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from napari_latentseg.utils.weights import load_weights

__all__ = ["ClassTextEmbeddings"]


class ClassTextEmbeddings(nn.Module):
    """A frozen table of embeddings, one row per class; saved with the weights.

    Embeddings of prompts that differ in one word are nearly the same and would hardly tell classes apart. So
    their mean is subtracted and each is scaled to unit length.

    Parameters
    ----------
    classes
        Number of classes K.
    width
        Length of an embedding; 512 for CLIP ViT-B/32.
    """

    vectors: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(classes, width))

    def load(self, path: Path) -> None:
        """Read the embeddings from a safetensors file with the one tensor ``"vectors"``, `(K, width)`.

        Raises
        ------
        BadInput
            If the file is missing or damaged, or holds anything else.
        """
        load_weights(self, path)

    def forward(self, classes: Tensor) -> Tensor:
        """Centred unit vectors `(B, width)` of class indices `(B,)`."""
        centred = self.vectors - self.vectors.mean(0)
        return nn.functional.normalize(centred, dim=1)[classes]
