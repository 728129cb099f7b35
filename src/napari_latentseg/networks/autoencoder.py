"""The small autoencoders that guided latent diffusion trains: one for masks, one for grey images.

The architecture is that of the latent diffusion models (Rombach et al., CVPR 2022), built by diffusers'
`AutoencoderKL`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["Autoencoder", "AutoencoderConfig", "ChannelMoments"]

# lower bound of the standard deviation: a nearly constant channel must not be amplified to unit scale
_MIN_STD = 1e-3


class AutoencoderConfig(FrozenModel):
    """Size of an autoencoder; the paper gives none.

    Attributes
    ----------
    widths
        Channels at each resolution, each half of the former: four widths downsample by 8, times `fold`.
    layers
        Residual blocks at each resolution.
    channels
        Latent channels.
    norm_groups
        Groups of every group normalisation; must divide every width.
    fold
        Pixel-unshuffle factor before the first convolution (and pixel shuffle after the last): blocks of fold
        x fold pixels become channels, so that no layer works at full resolution, which is faster. 1 for none.
    image_channels
        1 for grey images and masks, 3 for colours or neighbouring slices.
    """

    widths: tuple[int, ...] = Field((32, 64, 128, 128), min_length=1)
    layers: int = Field(2, ge=1)
    channels: int = Field(4, ge=1)
    norm_groups: int = Field(32, ge=1)
    fold: int = Field(1, ge=1)
    image_channels: Literal[1, 3] = 1

    @model_validator(mode="after")
    def _check_group_norm(self) -> AutoencoderConfig:
        if any(width < 1 or width % self.norm_groups for width in self.widths):
            raise ValueError(f"widths: every width must be a multiple of norm_groups ({self.norm_groups})")
        return self

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent position along each side."""
        return int(self.fold * 2 ** (len(self.widths) - 1))


class Autoencoder(nn.Module):
    """KL autoencoder with standardised latents.

    In the shapes below, f is `AutoencoderConfig.downsampling_factor`, C the number of latent channels and I
    the number of channels of an image.

    Parameters
    ----------
    config
        See `AutoencoderConfig`.

    Attributes
    ----------
    mean, spread
        Mean and standard deviation of each latent channel over the training images, `(1, C, 1, 1)`; 0 and 1
        until `standardise` is called. Saved with the weights, under these names.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        levels = len(config.widths)
        self.config = config
        self.network: Any = AutoencoderKL(
            in_channels=config.image_channels * config.fold**2,
            out_channels=config.image_channels * config.fold**2,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            latent_channels=config.channels,
            norm_num_groups=config.norm_groups,
        )
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("spread", torch.ones(1, config.channels, 1, 1))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents of `(B, I, H, W)` in [0, 1], before standardisation.

        Each is `(B, C, H/f, W/f)`, float32; the logarithm is natural.
        """
        distribution = self.network.encode(F.pixel_unshuffle(2 * x - 1, self.config.fold)).latent_dist
        return distribution.mean.float(), distribution.logvar.float()

    def decode_unscaled(self, latents: Tensor) -> Tensor:
        """Decode latents `(B, C, h, w)` that were not standardised, to unbounded values `(B, I, H, W)`."""
        folded_image: Tensor = self.network.decode(latents).sample
        return F.pixel_shuffle(folded_image.float(), self.config.fold)

    def encode(self, x: Tensor) -> Tensor:
        """Standardised mean latents `(B, C, H/f, W/f)` of `(B, I, H, W)` in [0, 1]."""
        return (self.posterior(x)[0] - self.mean) / self.spread

    def decode(self, latents: Tensor) -> Tensor:
        """Decode standardised latents `(B, C, h, w)` to values (logits for masks) `(B, I, H, W)`."""
        return self.decode_unscaled(latents * self.spread + self.mean)

    def standardise(self, moments: ChannelMoments) -> None:
        """Set the standardisation, so that latents with these moments get mean 0 and standard deviation 1."""
        mean, std = moments.mean_and_std()
        self.mean.copy_(mean.reshape_as(self.mean))
        self.spread.copy_(std.clamp_min(_MIN_STD).reshape_as(self.spread))


class ChannelMoments:
    """Running mean and standard deviation of each latent channel over batches."""

    def __init__(self) -> None:
        self.count = 0
        self.value_sum: Tensor | float = 0.0
        self.square_sum: Tensor | float = 0.0

    def update(self, latents: Tensor) -> None:
        """Add a batch of latents `(B, C, h, w)`."""
        rows = latents.movedim(1, -1).flatten(0, -2).double().cpu()
        self.count += len(rows)
        self.value_sum = self.value_sum + rows.sum(0)
        self.square_sum = self.square_sum + rows.square().sum(0)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Mean and (population) standard deviation, each `(C,)`, float64 on the CPU.

        Raises
        ------
        ValueError
            If no batch was added.
        """
        if not isinstance(self.value_sum, Tensor) or not isinstance(self.square_sum, Tensor):
            raise ValueError("no latents were added")
        mean = self.value_sum / self.count
        return mean, (self.square_sum / self.count - mean.square()).clamp_min(0).sqrt()
