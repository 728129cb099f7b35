"""Vectors of the names of classes, computed once by a text encoder elsewhere (CLIP's, in the paper)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from napari_latentseg.utils.weights import load_weights

__all__ = ["ClassTextEmbeddings"]


class ClassTextEmbeddings(nn.Module):
    """A frozen table, one row a class; it is stored with the weights.

    Prompts that differ in one word have nearly the same vectors, and would make a poor code of the class: so
    what they have in common is taken away, and each is brought to length one.

    Parameters
    ----------
    classes
        K.
    width
        Length of a vector; 512 for CLIP ViT-B/32.
    """

    vectors: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(classes, width))

    def load(self, path: Path) -> None:
        """Take the vectors from a safetensors file that holds nothing but ``"vectors"``, `(K, width)`.

        Raises
        ------
        BadInput
            Where the file is missing or damaged, or holds anything else.
        """
        load_weights(self, path)

    def forward(self, classes: Tensor) -> Tensor:
        """The vectors of classes `(B,)`, `(B, width)`."""
        centred = self.vectors - self.vectors.mean(0)
        return nn.functional.normalize(centred, dim=1)[classes]
