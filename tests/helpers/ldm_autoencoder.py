"""Autoencoders of diffusers, and their weights as the code of latent diffusion stores them."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FULL_KL", "kl_autoencoder", "published_state", "with_discriminator"]

State = dict[str, Tensor]
KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "latent_channels": 4,
}
FULL_KL = KL | {"block_out_channels": (128, 256, 512, 512)}

# diffusers' name, as a pattern, and the published one; <n> is a level that is counted from the other end
PUBLISHED = [
    (r"(encoder)\.down_blocks\.(\d)\.resnets\.(\d)\.(.*)", r"\1.down.\2.block.\3.\4"),
    (r"(encoder)\.down_blocks\.(\d)\.downsamplers\.0\.conv\.(.*)", r"\1.down.\2.downsample.conv.\3"),
    (r"(decoder)\.up_blocks\.(\d)\.resnets\.(\d)\.(.*)", r"\1.up.<\2>.block.\3.\4"),
    (r"(decoder)\.up_blocks\.(\d)\.upsamplers\.0\.conv\.(.*)", r"\1.up.<\2>.upsample.conv.\3"),
    (r"(.*)\.mid_block\.resnets\.0\.(.*)", r"\1.mid.block_1.\2"),
    (r"(.*)\.mid_block\.resnets\.1\.(.*)", r"\1.mid.block_2.\2"),
    (r"(.*)\.mid_block\.attentions\.0\.group_norm\.(.*)", r"\1.mid.attn_1.norm.\2"),
    (r"(.*)\.mid_block\.attentions\.0\.to_([qkv])\.(.*)", r"\1.mid.attn_1.\2.\3"),
    (r"(.*)\.mid_block\.attentions\.0\.to_out\.0\.(.*)", r"\1.mid.attn_1.proj_out.\2"),
    (r"(.*)\.conv_norm_out\.(.*)", r"\1.norm_out.\2"),
]


def published_name(name: str) -> str:
    for pattern, published in PUBLISHED:
        if re.fullmatch(pattern, name):
            name = re.sub(pattern, published, name)
            break
    name = re.sub(r"<(\d)>", lambda match: str(3 - int(match[1])), name)
    return name.replace("conv_shortcut", "nin_shortcut")


def published_state(autoencoder: nn.Module) -> State:
    """The weights of an autoencoder of diffusers as latent diffusion's code stores them."""
    state = {}
    for name, value in autoencoder.state_dict().items():
        is_convolution = re.search(r"attentions\.0\.to_(q|k|v|out\.0)\.weight", name)
        state[published_name(name)] = value[..., None, None] if is_convolution else value
    return state


def kl_autoencoder(settings: dict[str, Any] = KL) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(11)
    return AutoencoderKL(**settings).eval()


def with_discriminator(state: State) -> Any:
    """As `kl-f8/model.ckpt`: the weights of its training's losses are beside it."""
    losses = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.ones(2)}
    return {"state_dict": state | losses}
