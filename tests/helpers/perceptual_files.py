"""Random weights in the layouts of torchvision's VGG16 and of LPIPS."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

__all__ = ["VGG16_CONVOLUTIONS", "perceptual_states", "write_perceptual_files"]

# indices of the convolutions in torchvision's `vgg16().features`, and their widths
VGG16_CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512,
                24: 512, 26: 512, 28: 512}  # fmt: skip


def perceptual_states() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random weights under the names and in the shapes of torchvision's file and of lpips'."""
    generator = torch.Generator().manual_seed(0)
    vgg, channels = {"classifier.6.bias": torch.zeros(1000)}, 3
    for index, width in VGG16_CONVOLUTIONS.items():
        scale = (2 / (9 * channels)) ** 0.5
        vgg[f"features.{index}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
        vgg[f"features.{index}.bias"] = 0.01 * torch.randn(width, generator=generator)
        channels = width
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for i, width in enumerate((64, 128, 256, 512, 512))
    }
    return vgg, heads


def write_perceptual_files(folder: Path) -> list[Path]:
    """`vgg16.pth` and `vgg.pth`."""
    files = [folder / "vgg16.pth", folder / "vgg.pth"]
    for file, state in zip(files, perceptual_states(), strict=True):
        torch.save(state, file)
    return files
