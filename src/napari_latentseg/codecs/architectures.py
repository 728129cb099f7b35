"""The published codecs that the papers use, without weights: to count parameters and check settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import CODEC_CONFIG, build_codec
from napari_latentseg.utils.json_text import load_json

__all__ = ["KNOWN_CODECS", "meta_codec", "meta_codec_from_folder"]

# The autoencoder of Stable Diffusion 1 and 2 (Rombach et al., CVPR 2022): 83,653,863 parameters.
_SD_VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
# TAESD has the default settings of diffusers' AutoencoderTiny: 2,445,063 parameters.
_TAESD: dict[str, Any] = {}

KNOWN_CODECS: dict[str, tuple[str, dict[str, Any]]] = {
    "stabilityai/sd-vae-ft-mse": ("kl", _SD_VAE),
    "madebyollin/taesd": ("tiny", _TAESD),
}
"""Codec kind and diffusers settings of published codecs, by their repository on the Hugging Face hub."""


def meta_codec(name: str) -> Codec | None:
    """A published codec on torch's meta device (shapes, no memory for weights); None if `name` is unknown.

    Parameters
    ----------
    name
        A key of `KNOWN_CODECS`.
    """
    if name not in KNOWN_CODECS:
        return None
    kind, settings = KNOWN_CODECS[name]
    with torch.device("meta"):
        return build_codec(kind, **settings).freeze()


def meta_codec_from_folder(folder: Path) -> Codec:
    """The codec of a folder in this project's layout (`codec.json`), on torch's meta device."""
    settings = load_json((folder / CODEC_CONFIG).read_text("utf-8"))
    with torch.device("meta"):
        return build_codec(settings["kind"], **settings["network"]).freeze()
