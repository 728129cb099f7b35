"""The perceptual distance LPIPS (Zhang et al., CVPR 2018) on features of VGG16.

Written here, since torchvision and lpips are two dependencies for one loss. No weights come with the package:
they are read from files in the layouts of torchvision (`vgg16-397923af.pth`) and of lpips (`vgg.pth`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import load_state, read_torch_state

__all__ = ["PerceptualDistance"]

# widths of the convolutions of VGG16 between its poolings; the output of each row is compared
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# of images in [-1, 1]: mean and standard deviation of ImageNet, as lpips has them
_MEAN, _STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10  # as in lpips, for positions without any feature
_REMEDY = "give torchvision's vgg16-397923af.pth and lpips' weights/v0.1/vgg.pth"
_HEAD = re.compile(r"lins?\.?(\d)\.model\.1\.weight")


class PerceptualDistance(nn.Module):
    """LPIPS with VGG16: frozen features, compared at five depths.

    At each depth the features are scaled to unit length over the channels; their squared difference is
    weighted for each channel, summed, and averaged over the image (Equation 4 of guided latent diffusion).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.depths: list[int] = []
        channels = 3
        for block in _VGG16:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            self.depths.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Conv2d(block[-1], 1, 1, bias=False) for block in _VGG16)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.requires_grad_(False)

    mean: Tensor
    std: Tensor

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> PerceptualDistance:
        """Read the weights, in evaluation mode.

        Parameters
        ----------
        paths
            One or two files, `.pth` or `.safetensors`, which hold both together: the convolutions of VGG16 as
            torchvision names them (``features.0.weight``, its classifier is not needed), and the weights of
            the channels as lpips names them (``lin0.model.1.weight``).

        Raises
        ------
        BadInput
            If a file is missing or damaged, or they do not hold these weights.
        """
        state: dict[str, Tensor] = {}
        for path in paths:
            state |= _read(Path(path))
        subject = " and ".join(Path(path).name for path in paths)
        network = cls()
        for part, name in (("features.", "convolutions of VGG16"), ("heads.", "weights of the channels")):
            if not any(key.startswith(part) for key in state):
                raise BadInput(subject, f"holds no {name}", _REMEDY)
        load_state(network, state, Path(subject))
        if any(bool((weight < 0).any()) for weight in network.heads.parameters()):
            raise BadInput(subject, "weighs channels negatively, so it is no distance", _REMEDY)
        return network.eval()

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """The distance of each pair of images `(B, 1 or 3, H, W)` in [0, 1]; `(B,)`, 0 or more.

        H and W are 16 or more.
        """
        total = torch.zeros(len(images), device=images.device)
        x, y = ((2 * image.expand(-1, 3, -1, -1) - 1 - self.mean) / self.std for image in (images, others))
        start = 0
        for depth, head in zip(self.depths, self.heads, strict=True):
            block = self.features[start:depth]
            x, y, start = block(x), block(y), depth
            difference = (_unit_length(x) - _unit_length(y)).square()
            total = total + head(difference).mean((1, 2, 3)).float()
        return total


def _unit_length(features: Tensor) -> Tensor:
    norm = features.square().sum(1, keepdim=True).sqrt()
    return features / (norm + _EPSILON)


def _read(path: Path) -> dict[str, Tensor]:
    """The weights of a file that are needed, by their names here."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            raise BadInput(path, "no such file", _REMEDY)
        try:
            stored = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(path, "is damaged or not a safetensors file", _REMEDY) from error
    else:
        stored = read_torch_state(path)
    return _renamed(stored)


def _renamed(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {name: value for name, value in stored.items() if name.startswith("features.")}
    for name, value in stored.items():
        if match := _HEAD.fullmatch(name):
            renamed[f"heads.{match[1]}.weight"] = value
    return renamed
