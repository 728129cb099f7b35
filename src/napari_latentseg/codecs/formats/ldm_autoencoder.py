"""Autoencoders in a single checkpoint of the latent diffusion models' code (CompVis, Stability AI).

`kl-f8/model.ckpt`, `768-v-ema-first-stage-VAE.ckpt` and `vae-ft-mse-840000-ema-pruned.ckpt` hold the
autoencoder alone; a whole Stable Diffusion checkpoint holds it under `first_stage_model.`. The network is
diffusers' `AutoencoderKL` layer by layer; attention is stored as 1 x 1 convolutions, there it is linear.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LDM_WRAPPERS", "read_ldm_autoencoder"]

LDM_WRAPPERS = ("state_dict",)
"""Keys under which a checkpoint holds the state dict."""

# SHA-256 of the files in which SDXL's autoencoder is published in this layout: nothing in them says that its
# latents have another scale than those of Stable Diffusion 1 and 2.
_SDXL_FILES = {
    "63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e",  # sdxl_vae.safetensors, 1.0
    "235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1",  # sdxl_vae.safetensors, 0.9
}
_SD_SCALE, _SDXL_SCALE = 0.18215, 0.13025

_PREFIX = "first_stage_model."
_SDXL_PREFIX = "conditioner."  # of the text encoders, in a whole SDXL checkpoint
# Parts of a training's checkpoint beside the autoencoder: discriminator and perceptual loss, moving averages.
_IGNORED_PREFIXES = ("loss.", "model_ema.")
_LEVELS = 4  # downsampling by 8
_LATENT_CHANNELS = 4
_REMEDY = "give a checkpoint of kl-f8 or of Stable Diffusion 1 or 2, or a folder of diffusers"

_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_SAME_NAME = ("norm1", "conv1", "norm2", "conv2")


def read_ldm_autoencoder(
    state: Mapping[str, Tensor], path: Path, sha256: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of diffusers' `AutoencoderKL`.

    Parameters
    ----------
    state
        State dict of the checkpoint.
    path, sha256
        The file and its hash; SDXL's autoencoder is known by it.

    Returns
    -------
    config, weights
        The settings follow from the names and shapes of the weights, but for the scale of the latents:
        0.18215, and 0.13025 where the checkpoint is SDXL's.

    Raises
    ------
    BadInput
        If a weight is missing or unknown, or it is another autoencoder than one that downsamples by 8 to 4
        channels.
    """
    is_sdxl = sha256 in _SDXL_FILES or any(name.startswith(_SDXL_PREFIX) for name in state)
    published = _autoencoder_part(state)
    config = _config(published, path) | {"scaling_factor": _SDXL_SCALE if is_sdxl else _SD_SCALE}
    names = _names(config, published.keys())
    missing, extra = sorted(names.keys() - published.keys()), sorted(published.keys() - names.keys())
    if missing or extra:
        raise BadInput(
            path,
            f"is not the autoencoder kl-f8: {len(missing)} weights missing, {len(extra)} unknown"
            f" (first: {(missing + extra)[0]})",
            _REMEDY,
        )
    return config, {own: _as_linear(own, published[name]) for name, own in names.items()}


def _autoencoder_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the autoencoder, without the prefix that they have in a larger checkpoint."""
    part = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)} or dict(state)
    return {name: value for name, value in part.items() if not name.startswith(_IGNORED_PREFIXES)}


def _config(published: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    def channels(name: str, dimension: int = 0) -> int:
        """Channels of a weight."""
        weight = published.get(name)
        if weight is None or weight.ndim <= dimension:
            raise BadInput(path, f"holds no autoencoder of latent diffusion: it has no {name}", _REMEDY)
        return int(weight.shape[dimension])

    level_pattern = re.compile(r"encoder\.down\.(\d+)\.block\.(\d+)\.conv1\.weight")
    places = {(int(m[1]), int(m[2])) for m in map(level_pattern.fullmatch, published) if m}
    levels = 1 + max((level for level, _ in places), default=-1)
    layers = 1 + max((layer for _, layer in places), default=-1)
    # each stored twice in the encoder's output: mean and log variance
    latent_channels = channels("encoder.conv_out.weight") // 2
    if (levels, latent_channels) != (_LEVELS, _LATENT_CHANNELS):
        raise BadInput(
            path,
            f"is another autoencoder: {levels} levels and {latent_channels} latent channels,"
            f" where kl-f8 has {_LEVELS} and {_LATENT_CHANNELS}",
            _REMEDY,
        )
    return {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(
            channels(f"encoder.down.{i}.block.0.conv1.weight") for i in range(levels)
        ),
        "layers_per_block": layers,
        "latent_channels": latent_channels,
        "in_channels": channels("encoder.conv_in.weight", 1),
        "out_channels": channels("decoder.conv_out.weight"),
        "norm_num_groups": 32,  # everywhere in that code
    }


def _names(config: Mapping[str, Any], published: Collection[str]) -> dict[str, str]:
    """From each published name to that of diffusers.

    A block whose number of channels changes has one more convolution, on its shortcut; which blocks do is
    read from the names that are there, and checked when the weights are loaded.
    """
    modules = {name: name for name in ("encoder.conv_in", "encoder.conv_out", "decoder.conv_in")}
    modules |= {name: name for name in ("decoder.conv_out", "quant_conv", "post_quant_conv")}
    modules |= {f"{half}.norm_out": f"{half}.conv_norm_out" for half in ("encoder", "decoder")}

    def add_block(name: str, own: str) -> None:
        modules.update({f"{name}.{layer}": f"{own}.{layer}" for layer in _SAME_NAME})
        if f"{name}.nin_shortcut.weight" in published:
            modules[f"{name}.nin_shortcut"] = f"{own}.conv_shortcut"

    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    for level in range(levels):
        # the published decoder counts its levels from the image's resolution, diffusers from the latent's
        up = levels - 1 - level
        for layer in range(layers):
            add_block(f"encoder.down.{level}.block.{layer}", f"encoder.down_blocks.{level}.resnets.{layer}")
        for layer in range(layers + 1):
            add_block(f"decoder.up.{level}.block.{layer}", f"decoder.up_blocks.{up}.resnets.{layer}")
        if level < levels - 1:
            downsampler = f"encoder.down_blocks.{level}.downsamplers.0.conv"
            modules[f"encoder.down.{level}.downsample.conv"] = downsampler
        if level > 0:
            modules[f"decoder.up.{level}.upsample.conv"] = f"decoder.up_blocks.{up}.upsamplers.0.conv"
    for half in ("encoder", "decoder"):
        for number in (1, 2):
            add_block(f"{half}.mid.block_{number}", f"{half}.mid_block.resnets.{number - 1}")
        for name, own_name in _ATTENTION.items():
            modules[f"{half}.mid.attn_1.{name}"] = f"{half}.mid_block.attentions.0.{own_name}"
    return {f"{name}.{leaf}": f"{own}.{leaf}" for name, own in modules.items() for leaf in ("weight", "bias")}


def _as_linear(own_name: str, weight: Tensor) -> Tensor:
    """The weight, of a linear layer of the attention without the two dimensions of a 1 x 1 convolution."""
    is_linear = ".attentions." in own_name and weight.ndim == 4 and weight.shape[2:] == (1, 1)
    return weight[:, :, 0, 0] if is_linear else weight
