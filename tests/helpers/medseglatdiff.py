"""A tiny MedSegLatDiff."""

from __future__ import annotations

import math

import torch

from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff
from napari_latentseg.methods.registry import build_method

AUTOENCODER = {"widths": (8, 16, 16), "layers_per_block": 1, "codes": 32, "norm_groups": 4}
DENOISER = {
    "widths": (16, 32), "attention": (False, False), "layers_per_block": 1, "norm_groups": 8, "head_width": 8,
}  # fmt: skip
TINY = {"autoencoder": AUTOENCODER, "denoiser": DENOISER, "steps": 3}


def tiny_medseglatdiff(**settings: object) -> MedSegLatDiff:
    """The method in evaluation mode, with the same weights each time."""
    torch.manual_seed(8)
    method = build_method("medseglatdiff", None, TINY | settings)
    assert isinstance(method, MedSegLatDiff)
    return method.eval()


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
