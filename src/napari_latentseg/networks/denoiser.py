"""The denoising U-Net of SDSeg, MedSegLatDiff and guided latent diffusion, built by diffusers' `UNet2DModel`.

The architecture is that of Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021,
and of the latent diffusion models that follow it; the three methods differ in settings alone.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["Denoiser", "DenoiserConfig", "build_denoiser", "zero_input_channels", "zero_last_layers"]


class DenoiserConfig(FrozenModel):
    """Settings of a denoising U-Net.

    Attributes
    ----------
    widths
        Channels of each level, from the latent's resolution down by halves.
    layers_per_block
        Residual blocks per level in the encoder; the decoder has one more.
    attention
        For each level, whether its blocks are followed by self-attention; empty for none.
    resample
        Down- and upsampling between levels: a convolution (``"conv"``) or a residual block (``"resnet"``).
    scale_shift
        Whether the timestep embedding scales and shifts the features of a block (FiLM) instead of being
        added.
    heads
        Attention heads everywhere; None for one head per `head_width` channels.
    head_width
        Channels per attention head where `heads` is None.
    dropout
        Dropout rate in the residual blocks.
    norm_groups
        Groups of every group normalisation; must divide all widths.
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
        """Height and width of a latent must be multiples of this."""
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
            raise ValueError(f"widths: {wrong[0]} is not a multiple of the {self.norm_groups} norm_groups")
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
        Input channels, of the noisy latent and the conditioning together, and output channels.
    classes
        Number of classes whose embedding is learned and added to that of the timestep; the network then takes
        class indices `(B,)`.
    class_vector
        Length of class vectors that are projected and added to the timestep embedding; the network then takes
        vectors `(B, class_vector)`.

    Raises
    ------
    ValueError
        If both `classes` and `class_vector` are given.
    """
    from diffusers import UNet2DModel

    if classes is not None and class_vector is not None:
        raise ValueError("classes and class_vector: give only one of them")
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
        # given explicitly, for with scale_shift diffusers would silently leave out the norm of the middle
        # attention
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
    """Set the number of heads of every attention; diffusers takes only their width."""
    from diffusers.models.attention_processor import Attention

    for module in unet.modules():
        if isinstance(module, Attention):
            module.heads = module.sliceable_head_dim = heads
            module.scale = (module.inner_dim // heads) ** -0.5


def zero_input_channels(unet: Any, first_channel: int) -> None:
    """Zero the first convolution's weights for the input channels from `first_channel` on.

    Training then starts from a network that ignores its conditioning, as in SDSeg's code, which adds these
    channels to a pretrained U-Net.
    """
    with torch.no_grad():
        unet.conv_in.weight[:, first_channel:].zero_()


def zero_last_layers(unet: Any) -> None:
    """Zero the last convolution of each residual block, the output of each attention, and the last layer.

    The latent diffusion models' code begins so (`zero_module`): every block then starts as the identity, and
    the network predicts 0. diffusers' network begins with random weights there.
    """
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D

    layers = [unet.conv_out]
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D):
            layers.append(module.conv2)
        elif isinstance(module, Attention):
            layers.append(module.to_out[0])
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()
            layer.bias.zero_()


class Denoiser(nn.Module):
    """A U-Net whose conditioning is concatenated to its input along the channels.

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
        """The last decoder block and the output layers, which are trained in fine-tuning."""
        unet: Any = self.unet
        return nn.ModuleDict({"up": unet.up_blocks[-1], "norm": unet.conv_norm_out, "out": unet.conv_out})

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Tensor, classes: Tensor | None = None) -> Tensor:
        """The prediction `(B, out_channels, h, w)`: noise or clean latent, perhaps with a variance output.

        Parameters
        ----------
        z_t
            Noisy latents, `(B, C, h, w)`; h and w are multiples of `DenoiserConfig.size_multiple`.
        t
            Timesteps `(B,)`.
        conditioning
            `(B, C', h, w)`; C + C' are the `in_channels` of the U-Net.
        classes
            Class indices `(B,)` or vectors `(B, class_vector)`, for a U-Net that was built with classes.
        """
        predicted: Tensor = self.unet(torch.cat([z_t, conditioning], dim=1), t, class_labels=classes).sample
        return predicted


def _require_input_gradient(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Make a block's input require a gradient, where only this block and the layers after it are trained.

    Works around a crash of torch 2.13: on the CPU, the backward pass of a channels_last GroupNorm fails if
    its input requires no gradient.
    """
    if not torch.is_grad_enabled() or inputs[0].requires_grad:
        return None
    return (inputs[0].detach().requires_grad_(), *inputs[1:])
