"""The tiny autoencoder of FLUX.2 with its published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.codecs.taef2 import Taef2Codec

NAMES = ("benign_1", "benign_100", "malignant_1", "malignant_100")
SIZE = (224, 224)


@pytest.fixture(scope="module")
def codec(data_dir: Path) -> Taef2Codec:
    return load_codec(data_dir / "weights")


def stack(folder: Path, mode: str, resample: Image.Resampling) -> Tensor:
    planes = []
    for name in NAMES:
        (path,) = folder.glob(f"{name}.*")
        with Image.open(path) as image:
            planes.append(np.asarray(image.convert(mode).resize(SIZE, resample), np.float32) / 255)
    return torch.from_numpy(np.stack(planes).reshape(len(NAMES), *SIZE, -1)).permute(0, 3, 1, 2)


@torch.inference_mode()
def test_masks_come_back(codec: Taef2Codec, data_dir: Path) -> None:
    masks = (stack(data_dir / "busi" / "masks", "L", Image.Resampling.NEAREST) > 0.5).float()
    assert masks.flatten(1).any(1).all()
    z = codec.encode_mask(masks)
    assert z.shape == (len(NAMES), 32, 28, 28)
    assert z.abs().mean() < 3
    found = (codec.decode_mask(z) > 0.5).float()
    dice = 2 * (found * masks).sum((1, 2, 3)) / (found + masks).sum((1, 2, 3))
    assert dice.mean() > 0.99
    assert dice.min() > 0.98


@torch.inference_mode()
def test_images_come_back(codec: Taef2Codec, data_dir: Path) -> None:
    images = stack(data_dir / "busi" / "images", "RGB", Image.Resampling.BILINEAR)[:2]
    error = (codec.decode(codec.encode(images)) - images).square().mean((1, 2, 3))
    assert (-10 * error.log10()).min() > 28  # dB


def test_gradients_pass_and_the_codec_stays(codec: Taef2Codec) -> None:
    z = torch.randn(1, 32, 4, 4).requires_grad_()
    codec.decode_mask(z).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert all(p.grad is None for p in codec.parameters())
