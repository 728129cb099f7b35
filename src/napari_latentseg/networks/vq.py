"""The VQ-VAE that MedSegLatDiff compresses images and masks with (van den Oord et al., NeurIPS 2017).

A wrapper over diffusers' `VQModel` (the network of Rombach et al., CVPR 2022) that adds what it leaves out:
codes that begin where the encoder's outputs lie, new places for codes that nothing uses, and latents of unit
scale for a diffusion.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["VQAutoencoder", "VQConfig"]

# a channel that is the same everywhere carries nothing, and must not be blown up to unit scale
_MIN_STD = 1e-3


class VQConfig(FrozenModel):
    """The size of an autoencoder; the defaults are MedSegLatDiff's where it names them (widths).

    Attributes
    ----------
    widths
        One for each resolution, each half the one before: three of them make latents of a quarter of the
        side.
    layers_per_block
        Residual blocks at each resolution; the decoder has one more.
    channels
        Of a latent.
    codes
        Entries of the codebook, K.
    norm_groups
        Groups of every group normalisation; must divide every width.
    """

    widths: tuple[int, ...] = Field((64, 128, 256), min_length=1)
    layers_per_block: int = Field(2, ge=1)
    channels: int = Field(4, ge=1)
    codes: int = Field(512, ge=2)
    norm_groups: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _check_group_norm(self) -> VQConfig:
        if any(width < 1 or width % self.norm_groups for width in self.widths):
            raise ValueError(f"widths: every width must be a multiple of norm_groups ({self.norm_groups})")
        return self

    @property
    def downsampling_factor(self) -> int:
        """Pixels for one position of the latent, along each side."""
        return int(2 ** (len(self.widths) - 1))


class VQAutoencoder(nn.Module):
    """Encoder, codebook and decoder.

    Parameters
    ----------
    config
        See `VQConfig`.
    in_channels, out_channels
        Of what is encoded, and of what is decoded.

    Attributes
    ----------
    mean, spread
        Of each channel of the quantised latents, `(1, C, 1, 1)`; 0 and 1 until `standardise` was called. They
        are stored with the weights.
    usage
        How often each code was taken in training since the last `after_epoch`.
    """

    network: Any
    mean: Tensor
    spread: Tensor
    usage: Tensor

    def __init__(self, config: VQConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        from diffusers import VQModel

        levels = len(config.widths)
        self.config = config
        self.network = VQModel(
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.layers_per_block,
            latent_channels=config.channels,
            num_vq_embeddings=config.codes,
            norm_num_groups=config.norm_groups,
        )
        # Otherwise its factor of 1/4 is on the wrong one of the two terms: on that which moves the codes.
        self.network.quantize.legacy = False
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("spread", torch.ones(1, config.channels, 1, 1))
        self.register_buffer("usage", torch.zeros(config.codes), persistent=False)
        self._last_outputs: Tensor | None = None

    @property
    def codebook(self) -> nn.Parameter:
        """The codes, `(K, C)`."""
        weights: nn.Parameter = self.network.quantize.embedding.weight
        return weights

    def encode(self, x: Tensor) -> Tensor:
        """Standardised quantised latents `(B, C, H/factor, W/factor)` of `(B, in_channels, H, W)`."""
        quantised = self._quantise(self._encode_continuous(x))
        return (quantised - self.mean) / self.spread

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents, each made its nearest code first, to `(B, out_channels, H, W)`."""
        return self._decode_quantised(self._quantise(latents.float() * self.spread + self.mean))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The way there and back, with the term that ties encoder and codebook to each other.

        Returns
        -------
        tuple of Tensor
            The reconstruction `(B, out_channels, H, W)`, through which the gradient passes straight from the
            code to the encoder, and the sum of MedSegLatDiff's Equations 8 and 9 (means over elements; the
            commitment's weight is 1/4).
        """
        z = self._encode_continuous(x)
        quantised, commitment_loss, (_, _, code_indices) = self.network.quantize(z)
        if self.training:
            self._last_outputs = _flatten_positions(z.detach())
            self.usage += torch.bincount(code_indices, minlength=len(self.usage))
        return self._decode_quantised(quantised), commitment_loss

    def _encode_continuous(self, x: Tensor) -> Tensor:
        latents: Tensor = self.network.encode(x).latents
        return latents.float()

    def _quantise(self, z: Tensor) -> Tensor:
        quantised: Tensor = self.network.quantize(z)[0]
        return quantised

    def _decode_quantised(self, quantised: Tensor) -> Tensor:
        decoded: Tensor = self.network.decode(quantised, force_not_quantize=True).sample
        return decoded

    @torch.no_grad()
    def sample_encoder_outputs(self, x: Tensor) -> Tensor:
        """What the encoder makes of `(B, in_channels, H, W)`, `(N, C)`; some K of its positions at random."""
        rows = _flatten_positions(self._encode_continuous(x))
        return rows[torch.randperm(len(rows))[: self.config.codes].to(rows.device)]

    @torch.no_grad()
    def initialise_codebook(self, outputs: Tensor) -> None:
        """Put the codes where the encoder's outputs `(N, C)` lie; by diffusers they lie in one small heap."""
        self._set_codes(torch.arange(self.config.codes), outputs)

    @torch.no_grad()
    def code_counts(self, x: Tensor) -> Tensor:
        """How often each code is taken for `(B, in_channels, H, W)`; `(K,)`."""
        code_indices = self.network.quantize(self._encode_continuous(x))[2][2]
        return torch.bincount(code_indices, minlength=self.config.codes)

    @torch.no_grad()
    def standardise(self, counts: Tensor) -> None:
        """Take mean and spread of the latents from how often each code was taken, `(K,)`."""
        frequency = (counts / counts.sum()).to(self.codebook)[:, None]
        mean = (frequency * self.codebook).sum(0)
        variance = (frequency * (self.codebook - mean).square()).sum(0)
        self.mean.copy_(mean.reshape_as(self.mean))
        self.spread.copy_(variance.sqrt().clamp(min=_MIN_STD).reshape_as(self.spread))

    @torch.no_grad()
    def after_epoch(self) -> dict[str, float]:
        """Move the codes that no latent of the epoch was given to where latents are coded badly.

        Returns
        -------
        dict
            ``"perplexity"``, the exponential of the entropy of how often each code was taken: the number of
            codes in use, were they used alike. ``"restarted"``, how many codes were moved. Empty where
            nothing was encoded in training.
        """
        if not bool(self.usage.any()):
            return {}
        frequency = self.usage / self.usage.sum()
        perplexity = torch.special.entr(frequency).sum().exp()
        unused_codes = (self.usage < 1).nonzero().flatten().cpu()
        restarted_count = 0
        if self._last_outputs is not None and len(
            unused_codes
        ):  # it is lost where a training was taken up again
            nearest_distance = torch.cdist(self._last_outputs, self.codebook).amin(1)
            if bool(nearest_distance.any()):
                self._set_codes(unused_codes, self._last_outputs, nearest_distance.square())
                restarted_count = len(unused_codes)
        self.usage.zero_()
        self._last_outputs = None
        return {"perplexity": float(perplexity), "restarted": float(restarted_count)}

    def _set_codes(self, codes: Tensor, rows: Tensor, weights: Tensor | None = None) -> None:
        """Give these codes the values of rows `(N, C)`, drawn alike or by weight."""
        weights = torch.ones(len(rows)) if weights is None else weights.cpu()
        # drawn on the CPU, so that a seed means the same on every device
        with_replacement = int(weights.count_nonzero()) < len(codes)
        row_indices = torch.multinomial(weights, len(codes), replacement=with_replacement)
        self.codebook[codes.to(rows.device)] = rows[row_indices.to(rows.device)]


def _flatten_positions(z: Tensor) -> Tensor:
    """Latents `(B, C, h, w)` one below the other, `(B h w, C)`."""
    return z.movedim(1, -1).flatten(0, -2)
