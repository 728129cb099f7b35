"""A small guided latent diffusion."""

from __future__ import annotations

from typing import Any

import torch

from napari_latentseg.methods.guided import GuidedLatentDiffusion
from napari_latentseg.methods.registry import build_method

AUTOENCODER = {"widths": (16, 16), "layers": 1, "norm_groups": 8, "fold": 2}


TINY: dict[str, Any] = {
    "classes": 2,
    "mask_autoencoder": AUTOENCODER,
    "image_autoencoder": AUTOENCODER,
    "denoiser": {
        "widths": (32, 32), "attention": (False, True), "layers_per_block": 1, "norm_groups": 8,
        "scale_shift": True,
    },
    "diffusion": {
        "timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "prediction": "sample", "steps": 5,
    },
    "buckets": 10,
}  # fmt: skip


def make(**changes: Any) -> GuidedLatentDiffusion:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = build_method("guided", None, TINY | changes)
    assert isinstance(found, GuidedLatentDiffusion)
    return found
