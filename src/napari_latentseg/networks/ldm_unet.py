"""The weights of a U-Net of the latent diffusion models' code, under the names of diffusers' `UNet2DModel`.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022; the network is that
of Dhariwal and Nichol, 2021. SDSeg begins from its checkpoint for LSUN churches. The published network
counts its blocks in the order in which they are computed; diffusers counts them by level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from napari_latentseg.errors import BadInput
from napari_latentseg.networks.denoiser import DenoiserConfig

__all__ = ["LDM_UNET_PREFIX", "ldm_unet_state"]

LDM_UNET_PREFIX = "model.diffusion_model."
"""Of the names of the U-Net's weights, in a checkpoint that holds more."""

_REMEDY = "give a checkpoint of latent diffusion with the same U-Net, such as lsun_churches256/model.ckpt"

_LAYERS = {
    "residual": {
        "in_layers.0": "norm1",
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2",
        "out_layers.3": "conv2",
        "skip_connection": "conv_shortcut",  # where the number of channels changes
    },
    "attention": {"norm": "group_norm", "proj_out": "to_out.0"},  # and qkv, see _attention_rows
}
_OUTER_LAYERS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_QUERY_KEY_VALUE = ("to_q", "to_k", "to_v")  # in this order in the published qkv


class _Block(NamedTuple):
    """A block under its published name and that of diffusers."""

    published: str
    own: str
    kind: Literal["residual", "attention"]


def ldm_unet_state(
    published: Mapping[str, Tensor], unet: nn.Module, config: DenoiserConfig, path: Path
) -> dict[str, Tensor]:
    """The weights of a published U-Net, for a network of `build_denoiser`.

    Parameters
    ----------
    published
        State dict of a checkpoint, or of its U-Net alone; what is beside the U-Net is not looked at.
    unet
        Has the names and shapes that are needed. It may take more input channels than the published one; the
        weights of these are 0, as in SDSeg's code.
    config
        Its settings.
    path
        The file, for messages.

    Raises
    ------
    BadInput
        If the checkpoint holds no U-Net, or one with other layers or shapes.
    """
    if config.resample != "resnet" or not config.mid_attention:
        raise BadInput(
            "pretrained_unet",
            "is for a U-Net that resamples by residual blocks, with attention in its middle",
            "leave it out, or use the U-Net of sdseg-cvc",
        )
    weights = _without_prefix(published, path)
    expected = unet.state_dict()
    state, used = {}, set()
    for own_name, (name, rows) in _sources(config, expected).items():
        if name not in weights:
            raise BadInput(path, f"is not the U-Net that is trained: it has no weight {name}", _REMEDY)
        shape = _published_shape(own_name, expected[own_name], weights[name], is_qkv=rows is not None)
        if weights[name].shape != shape:
            raise BadInput(
                path,
                f"is not the U-Net that is trained: weight {name} has the shape {tuple(weights[name].shape)},"
                f" not {tuple(shape)}",
                _REMEDY,
            )
        value = weights[name] if rows is None else weights[name][rows]
        state[own_name] = _fitted(value, expected[own_name])
        used.add(name)
    if unknown := sorted(weights.keys() - used):
        raise BadInput(
            path,
            f"is not the U-Net that is trained: {len(unknown)} weights are unknown (first: {unknown[0]})",
            _REMEDY,
        )
    return state


def _without_prefix(published: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    prefix = LDM_UNET_PREFIX
    weights = {k.removeprefix(prefix): v for k, v in published.items() if k.startswith(prefix)}
    if not weights and "input_blocks.0.0.weight" in published:
        weights = dict(published)
    if not weights:
        raise BadInput(path, f"holds no U-Net: no weight's name starts with {prefix}", _REMEDY)
    return weights


def _sources(config: DenoiserConfig, expected: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor | None]]:
    """For each weight of diffusers' network the published name, and the rows to take where not all."""
    sources: dict[str, tuple[str, Tensor | None]] = {}

    def add(published: str, own: str) -> None:
        for leaf in ("weight", "bias"):
            if f"{own}.{leaf}" in expected:
                sources[f"{own}.{leaf}"] = (f"{published}.{leaf}", None)

    for published, own in _OUTER_LAYERS.items():
        add(published, own)
    for block in _blocks(config):
        for layer, own_layer in _LAYERS[block.kind].items():
            add(f"{block.published}.{layer}", f"{block.own}.{own_layer}")
        if block.kind == "attention":
            width = len(expected[f"{block.own}.to_q.weight"])
            rows = _attention_rows(width, config.heads or width // config.head_width)
            for own_layer, own_rows in zip(_QUERY_KEY_VALUE, rows, strict=True):
                for leaf in ("weight", "bias"):
                    sources[f"{block.own}.{own_layer}.{leaf}"] = (f"{block.published}.qkv.{leaf}", own_rows)
    return sources


def _blocks(config: DenoiserConfig) -> Iterator[_Block]:
    """Every block of residual layers or attention, in the order in which they are computed."""
    levels = len(config.widths)
    number = 1  # input block 0 is the first convolution
    for level in range(levels):
        own = f"down_blocks.{level}"
        for layer in range(config.layers_per_block):
            yield _Block(f"input_blocks.{number}.0", f"{own}.resnets.{layer}", "residual")
            if config.attention[level]:
                yield _Block(f"input_blocks.{number}.1", f"{own}.attentions.{layer}", "attention")
            number += 1
        if level < levels - 1:
            yield _Block(f"input_blocks.{number}.0", f"{own}.downsamplers.0", "residual")
            number += 1
    yield _Block("middle_block.0", "mid_block.resnets.0", "residual")
    yield _Block("middle_block.1", "mid_block.attentions.0", "attention")
    yield _Block("middle_block.2", "mid_block.resnets.1", "residual")
    number = 0
    for level in reversed(range(levels)):
        own = f"up_blocks.{levels - 1 - level}"
        for layer in range(config.layers_per_block + 1):
            modules = [(f"{own}.resnets.{layer}", "residual")]
            if config.attention[level]:
                modules.append((f"{own}.attentions.{layer}", "attention"))
            if level > 0 and layer == config.layers_per_block:
                modules.append((f"{own}.upsamplers.0", "residual"))
            for position, (name, kind) in enumerate(modules):
                yield _Block(f"output_blocks.{number}.{position}", name, kind)  # type: ignore[arg-type]
            number += 1


def _attention_rows(width: int, heads: int) -> Tensor:
    """Rows of query, key and value in the published qkv, `(3, width)`.

    There each head has its own query, key and value together: `(heads, 3, width / heads)`.
    """
    rows = torch.arange(3 * width).reshape(heads, 3, width // heads)
    return rows.transpose(0, 1).reshape(3, width)


def _published_shape(own_name: str, own: Tensor, published: Tensor, *, is_qkv: bool) -> torch.Size:
    """The shape that a published weight must have; attention is stored as convolutions of length 1."""
    shape = list(own.shape)
    if is_qkv:
        shape[0] *= 3
    if ".attentions." in own_name and own.ndim == 2:
        shape.append(1)
    if own_name == "conv_in.weight" and published.ndim == own.ndim:
        shape[1] = min(shape[1], published.shape[1])
    return torch.Size(shape)


def _fitted(value: Tensor, own: Tensor) -> Tensor:
    """A weight in the shape of diffusers' network, further input channels filled with zeros."""
    if value.ndim == own.ndim + 1:
        value = value[..., 0]
    if value.shape != own.shape:
        padded = torch.zeros(own.shape, dtype=value.dtype)
        padded[:, : value.shape[1]] = value
        return padded
    return value
