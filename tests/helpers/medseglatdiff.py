"""A tiny MedSegLatDiff, its images, its training."""

from __future__ import annotations

import math

import torch

from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff
from napari_latentseg.methods.registry import build_method

AUTOENCODER = {"widths": (8, 16, 16), "layers_per_block": 1, "codes": 32, "norm_groups": 4}
DENOISER = {
    "widths": (16, 32), "attention": (False, False), "layers_per_block": 1, "norm_groups": 8, "head_width": 8,
}  # fmt: skip
TINY = {"autoencoder": AUTOENCODER, "denoiser": DENOISER, "steps": 3}
_WIDTHS = {"widths": [8, 8], "norm_groups": 8, "layers_per_block": 1}
TINY_TRAINING = {
    "method": "medseglatdiff", "codec": None, "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3}, "epochs": 1, "batch_size": 2, "warmup_epochs": 0,
    "schedule_by": "step", "select": "last",
    "settings": {
        "autoencoder": _WIDTHS | {"codes": 8}, "denoiser": _WIDTHS | {"head_width": 8}, "steps": 2,
    },
    "card": {"default_samples": 3},
}  # fmt: skip
"""A configuration that is trained in a second."""


def tiny_medseglatdiff(**settings: object) -> MedSegLatDiff:
    """The method in evaluation mode, with the same weights each time."""
    torch.manual_seed(8)
    method = build_method("medseglatdiff", None, TINY | settings)
    assert isinstance(method, MedSegLatDiff)
    return method.eval()


def three_squares() -> Batch:
    """Images of 32 x 32 with a square of 8, 14 and 20 pixels, brighter than what is around it."""
    generator = torch.Generator().manual_seed(9)
    masks = torch.zeros(3, 1, 32, 32)
    for number, side in enumerate((8, 14, 20)):
        masks[number, :, 4 : 4 + side, 6 : 6 + side] = 1
    images = 0.3 + 0.4 * masks + 0.05 * torch.randn(3, 3, 32, 32, generator=generator)
    return Batch(images.clamp(0, 1), masks)


def begun_on(batch: Batch, **settings: object) -> MedSegLatDiff:
    """With codes among the outputs and measured latents, as the diffusion finds them."""
    method = tiny_medseglatdiff(**settings)
    for stage in method.stages():
        stage.on_start([batch])
    return method


def noise_of(seed: int, count: int) -> PositionalNoise:
    """Noise for so many images, each from another place."""
    return PositionalNoise(seed, 0, [(8 * number, 0) for number in range(count)])


def learn(
    method: Method,
    stage: Stage,
    data: Batch,
    *,
    steps: int,
    rate: float = 1e-3,
    size: int = 3,
    begin: bool = True,
) -> list[float]:
    """What the trainer does, without a data set; gives the loss at each step."""
    generator = torch.Generator().manual_seed(0)
    method.eval()
    if begin:
        stage.on_start([data])
    method.requires_grad_(False)
    stage.trainable.requires_grad_(True)
    optimizer = torch.optim.AdamW(stage.trainable.parameters(), rate)
    stage.trainable.train()
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.randperm(len(data.images), generator=generator)[:size]
        terms = stage.loss(Batch(data.images[chosen], data.masks[chosen]), generator)
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(stage.trainable.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 20 == 0:
            stage.after_epoch()
    method.eval()
    return losses
