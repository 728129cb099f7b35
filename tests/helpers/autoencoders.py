"""Folders of autoencoders with random weights, as this project and diffusers write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_latentseg.codecs.compact import CompactCodec

COMPACT: dict[str, Any] = {"channels": 8, "widths": [8, 8], "blocks": [1, 1]}
SMALL_KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
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


def write_small_kl(folder: Path) -> Path:
    """An `AutoencoderKL` with SD-VAE's latents and little else."""
    import diffusers
    import torch

    torch.manual_seed(3)
    diffusers.AutoencoderKL(**SMALL_KL).save_pretrained(folder)
    return folder


def write_compact(folder: Path, seed: int) -> CompactCodec:
    """This project's own autoencoder, small."""
    import torch

    from napari_latentseg.codecs.compact import CompactCodec
    from napari_latentseg.utils.weights import save_weights

    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    codec = CompactCodec(COMPACT["channels"], tuple(COMPACT["widths"]), tuple(COMPACT["blocks"]))
    save_weights(codec.state_dict(), folder / "codec.safetensors")
    text = json.dumps({"kind": "compact", "name": folder.name, "network": COMPACT})
    (folder / "codec.json").write_text(text, "utf-8")
    return codec
