"""Folders of autoencoders with random weights, as diffusers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TINY = {
    "encoder_block_out_channels": (8, 8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8, 8),
    "num_encoder_blocks": (1, 1, 1, 1),
    "num_decoder_blocks": (1, 1, 1, 1),
}
SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 256,
}


def write_tiny(folder: Path, seed: int = 3, **changes: Any) -> Path:
    """An `AutoencoderTiny`, of TAESD's layout and little else; of its full size with empty settings."""
    import diffusers
    import torch

    torch.manual_seed(seed)
    diffusers.AutoencoderTiny(**(TINY | changes)).save_pretrained(folder)
    return folder


def write_taesd(folder: Path) -> Path:
    """TAESD in its full size."""
    import diffusers

    diffusers.AutoencoderTiny().save_pretrained(folder)
    return folder


def write_sd_vae(folder: Path) -> Path:
    """SD-VAE in its full size, 335 MB."""
    import diffusers

    diffusers.AutoencoderKL(**SD_VAE).save_pretrained(folder)
    return folder
