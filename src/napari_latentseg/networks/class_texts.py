"""Text embeddings of class names, precomputed by a text encoder (CLIP in guided latent diffusion).

No text encoder comes with the package: the vectors are read from a file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import load_state

__all__ = ["ClassTextEmbeddings", "read_class_texts"]

_REMEDY = 'give a .safetensors file with the tensor "vectors", or a .pth file with that tensor'


def read_class_texts(path: Path) -> Tensor:
    """The embeddings of a file, float32 `(K, width)`; see `ClassTextEmbeddings.load`.

    Raises
    ------
    BadInput
        If the file is missing or damaged, or holds anything but one matrix of numbers.
    """
    if not path.is_file():
        raise BadInput(path, "no such file", _REMEDY)
    try:
        if path.suffix in (".pt", ".pth"):
            stored = torch.load(path, map_location="cpu", weights_only=True)
        else:
            stored = load_file(path)
    except Exception as error:  # a malicious or broken pickle can raise anything
        raise BadInput(path, "is damaged, or no file of tensors", _REMEDY) from error
    if isinstance(stored, dict):
        stored = stored.get("vectors") if stored.keys() == {"vectors"} else None
    if not isinstance(stored, Tensor) or stored.ndim != 2 or not stored.is_floating_point():
        raise BadInput(path, "does not hold one matrix of numbers, a row for each class", _REMEDY)
    return stored.float()


class ClassTextEmbeddings(nn.Module):
    """A frozen table of embeddings, one row for each class in the order of the model; saved with the weights.

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
        """Read the embeddings from a file.

        Parameters
        ----------
        path
            A safetensors file with the one tensor ``"vectors"``, `(K, width)`, or a `.pth` or `.pt` file with
            that tensor alone.

        Raises
        ------
        BadInput
            If the file is missing or damaged, or holds anything else, or two classes have the same vector.
        """
        vectors = read_class_texts(path)
        if vectors.shape != self.vectors.shape:
            rows, width = self.vectors.shape
            raise BadInput(
                path,
                f"has the shape {tuple(vectors.shape)}, not {(rows, width)}",
                f"give one vector of {width} values for each of the {rows} classes, in their order",
            )
        load_state(self, {"vectors": vectors}, path)
        if len(torch.unique(self.vectors, dim=0)) < len(self.vectors):
            raise BadInput(path, "has the same vector for two classes", "give each class a text of its own")

    def forward(self, classes: Tensor) -> Tensor:
        """Centred unit vectors `(B, width)` of class indices `(B,)`."""
        centred = self.vectors - self.vectors.mean(0)
        return nn.functional.normalize(centred, dim=1)[classes]
