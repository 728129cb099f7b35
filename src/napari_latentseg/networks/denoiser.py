"""The U-Nets that take noise off a latent, built by diffusers (`UNet2DModel`), as several papers need them.

The layout is that of Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021, and
of the latent diffusion models that follow it; SDSeg's, MedSegLatDiff's and guided latent diffusion's differ
by settings alone.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["Denoiser", "DenoiserConfig", "build_denoiser", "zero_input_channels"]


class DenoiserConfig(FrozenModel):
    """What makes a denoising U-Net.

    Attributes
    ----------
    widths
        Channels of each level, from the latent's own resolution down by halves.
    layers_per_block
        Residual blocks of a level on the way down; on the way up there is one more.
    attention
        Of each level, whether its blocks are followed by self-attention; empty for none.
    resample
        Between levels: a plain convolution (``"conv"``), or a residual block that also halves or doubles
        (``"resnet"``).
    scale_shift
        Whether the time scales and shifts inside a block (FiLM), and is not only added.
    heads
        Of every attention, whatever its width; None for as many as `head_width` makes.
    head_width
        Channels of a head where `heads` is None.
    dropout
        In the residual blocks.
    norm_groups
        Of every group normalisation; must divide all widths.
    mid_attention
        Whether the lowest level has attention between its two middle blocks.
    """

    widths: tuple[int, ...] = Field(min_length=1)
    attention: tuple[bool, ...] = Field((), validate_default=True)
    layers_per_block: int = Field(2, ge=1)
    resample: Literal["conv", "resnet"] = "conv"
    scale_shift: bool = False
    heads: int | None = Field(None, ge=1)
    head_width: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    norm_groups: int = Field(32, ge=1)
    mid_attention: bool = True

    @property
    def size_multiple(self) -> int:
        """What the sides of a latent must be multiples of."""
        return int(2 ** (len(self.widths) - 1))

    @field_validator("attention")
    @classmethod
    def _check_attention_levels(cls, attention: tuple[bool, ...], info: ValidationInfo) -> tuple[bool, ...]:
        levels = len(info.data.get("widths", attention))
        if attention and len(attention) != levels:
            raise ValueError(f"there are {levels} levels, and {len(attention)} entries")
        return attention or (False,) * levels

    @model_validator(mode="after")
    def _check_divisibility(self) -> DenoiserConfig:
        if wrong := [w for w in self.widths if w < 1 or w % self.norm_groups]:
            raise ValueError(f"widths: {wrong[0]} is no multiple of the {self.norm_groups} norm_groups")
        attention_widths = [
            w for w, has_attention in zip(self.widths, self.attention, strict=True) if has_attention
        ]
        if self.mid_attention:
            attention_widths.append(self.widths[-1])
        divisor, name = (self.head_width, "head_width") if self.heads is None else (self.heads, "heads")
        if wrong := [w for w in attention_widths if w % divisor]:
            raise ValueError(f"{name}: {divisor} does not divide the width {wrong[0]}")
        return self


def build_denoiser(
    config: DenoiserConfig,
    in_channels: int,
    out_channels: int,
    classes: int | None = None,
    class_vector: int | None = None,
) -> nn.Module:
    """A `diffusers.UNet2DModel` with random weights.

    Parameters
    ----------
    config
        See `DenoiserConfig`.
    in_channels, out_channels
        Of the latent that comes in, with the condition's channels, and of what goes out.
    classes
        Learn an embedding of so many classes, which is added to that of the time; the network is then given
        class numbers `(B,)`.
    class_vector
        Map class vectors of this length to the embedding of the time; the network is then given
        `(B, class_vector)`.

    Raises
    ------
    ValueError
        Where both kinds of class are asked for.
    """
    from diffusers import UNet2DModel

    if classes is not None and class_vector is not None:
        raise ValueError("a class comes as a number or as a vector, not as both")
    block_types = ("DownBlock2D", "UpBlock2D")
    if config.resample == "resnet":
        block_types = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    unet: Any = UNet2DModel(
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=config.widths,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple("AttnDownBlock2D" if has else block_types[0] for has in config.attention),
        up_block_types=tuple(
            "AttnUpBlock2D" if has else block_types[1] for has in reversed(config.attention)
        ),
        downsample_type=config.resample,
        upsample_type=config.resample,
        resnet_time_scale_shift="scale_shift" if config.scale_shift else "default",
        # without a number, the middle attention would silently have no norm beside scale_shift
        attn_norm_num_groups=config.norm_groups,
        norm_num_groups=config.norm_groups,
        add_attention=config.mid_attention,
        attention_head_dim=config.head_width if config.heads is None else None,
        dropout=config.dropout,
        num_class_embeds=classes,
        class_embed_type=None if class_vector is None else "identity",
    )
    if config.heads is not None:
        _set_heads(unet, config.heads)
    if class_vector is not None:
        unet.class_embedding = nn.Sequential(nn.Linear(class_vector, 4 * config.widths[0]), nn.SiLU())
    network: nn.Module = unet
    return network


def _set_heads(unet: nn.Module, heads: int) -> None:
    """The same number of heads everywhere; diffusers can only be told their width."""
    from diffusers.models.attention_processor import Attention

    for module in unet.modules():
        if isinstance(module, Attention):
            module.heads = module.sliceable_head_dim = heads
            module.scale = (module.inner_dim // heads) ** -0.5


def zero_input_channels(unet: Any, first_channel: int) -> None:
    """Set the first convolution's weights of the input channels from `first_channel` on to zero.

    A network then begins as if the condition were not there (SDSeg does so with the channels that it adds).
    """
    with torch.no_grad():
        unet.conv_in.weight[:, first_channel:].zero_()


class Denoiser(nn.Module):
    """A U-Net that is given the condition as further channels of its input.

    Parameters
    ----------
    unet
        From `build_denoiser`.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.last_block["up"].register_forward_pre_hook(_require_input_gradient)

    @property
    def last_block(self) -> nn.ModuleDict:
        """The last block and the layers after it: what learns where there is little to learn from."""
        unet: Any = self.unet
        return nn.ModuleDict({"up": unet.up_blocks[-1], "norm": unet.conv_norm_out, "out": unet.conv_out})

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Tensor, classes: Tensor | None = None) -> Tensor:
        """The prediction `(B, out, h, w)`.

        Parameters
        ----------
        z_t
            Latents with noise, `(B, C, h, w)`; the sides are multiples of the settings' `size_multiple`.
        t
            Timesteps `(B,)`.
        conditioning
            `(B, C', h, w)`, with `C + C'` the channels that the network takes.
        classes
            Numbers `(B,)` or vectors `(B, n)`, for a network that was built with classes.
        """
        predicted: Tensor = self.unet(torch.cat([z_t, conditioning], dim=1), t, class_labels=classes).sample
        return predicted


def _require_input_gradient(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Let a block's input ask for a gradient where only the block and what follows learns.

    torch (2.13) crashes in the backward pass of a GroupNorm in channels_last on the CPU whose input asks for
    none.
    """
    if not torch.is_grad_enabled() or inputs[0].requires_grad:
        return None
    return (inputs[0].detach().requires_grad_(), *inputs[1:])
