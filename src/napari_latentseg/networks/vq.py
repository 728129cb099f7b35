"""The VQ-VAE of MedSegLatDiff, for images and for masks (van den Oord et al., NeurIPS 2017).

A wrapper over diffusers' `VQModel` (the network of Rombach et al., CVPR 2022). It adds the initialisation of
the codebook from encoder outputs, the restart of unused codes, and latents standardised for a diffusion.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.utils.batch_share import when_batch_is_complete

__all__ = ["VQAutoencoder", "VQConfig"]

# lower bound of the standard deviation: a nearly constant channel must not be amplified to unit scale
_MIN_STD = 1e-3


class VQConfig(FrozenModel):
    """Size of a VQ-VAE; the widths are MedSegLatDiff's, which gives no other sizes.

    Attributes
    ----------
    widths
        Channels at each resolution, from full resolution down by halves: three widths downsample by 4.
    layers_per_block
        Residual blocks at each resolution; the decoder has one more.
    channels
        Latent channels.
    codes
        Entries K of the codebook; 512 as in van den Oord et al.
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
        """Pixels per latent position along each side."""
        return int(2 ** (len(self.widths) - 1))


class VQAutoencoder(nn.Module):
    """Encoder, codebook and decoder.

    Parameters
    ----------
    config
        See `VQConfig`.
    in_channels, out_channels
        Channels of the input and of the decoded output.

    Attributes
    ----------
    mean, spread
        Mean and standard deviation of each channel of the quantised latents over the training images,
        `(1, C, 1, 1)`; 0 and 1 until `standardise` is called. Saved with the weights, under these names.
    usage
        How often each code was used in training since the last `after_epoch`, `(K,)`.
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
        # otherwise diffusers puts its beta of 1/4 on the codebook term, not on the commitment (Equation 9)
        self.network.quantize.legacy = False
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("spread", torch.ones(1, config.channels, 1, 1))
        self.register_buffer("usage", torch.zeros(config.codes), persistent=False)
        self._last_outputs: Tensor | None = None

    @property
    def codebook(self) -> nn.Parameter:
        """The code vectors, `(K, C)`."""
        weights: nn.Parameter = self.network.quantize.embedding.weight
        return weights

    def encode(self, x: Tensor, *, quantise: bool = True) -> Tensor:
        """Standardised latents `(B, C, H/f, W/f)` of `(B, in_channels, H, W)`.

        Parameters
        ----------
        x
            The input.
        quantise
            Whether each is replaced by the nearest code; otherwise they are the encoder's output.
        """
        latents = self._encode_continuous(x)
        return ((self._quantise(latents) if quantise else latents) - self.mean) / self.spread

    def decode(self, latents: Tensor, *, quantise: bool = True) -> Tensor:
        """Decode standardised latents `(B, C, h, w)` to `(B, out_channels, H, W)`.

        Parameters
        ----------
        latents
            The latents.
        quantise
            Whether each is replaced by the nearest code before it is decoded. The decoder was trained on
            codes alone.
        """
        latents = latents.float() * self.spread + self.mean
        return self._decode_quantised(self._quantise(latents) if quantise else latents)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct `(B, in_channels, H, W)`, with the codebook loss.

        Returns
        -------
        tuple of Tensor
            The reconstruction `(B, out_channels, H, W)`, with a straight-through gradient from the codes to
            the encoder; and the sum of MedSegLatDiff's Equations 8 and 9, a scalar (means over all values,
            with the commitment weight beta = 1/4 of van den Oord et al.).
        """
        z = self._encode_continuous(x)
        quantised, commitment_loss, (_, _, code_indices) = self.network.quantize(z)
        if self.training:
            when_batch_is_complete(self._note_codes, _flatten_positions(z), code_indices.flatten())
        return self._decode_quantised(quantised), commitment_loss

    def _note_codes(self, outputs: Tensor, code_indices: Tensor) -> None:
        """Remember the encoder outputs `(N, C)` of a batch, and count their codes `(N,)`."""
        self._last_outputs = outputs
        self.usage += torch.bincount(code_indices, minlength=len(self.usage))

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
        """Encoder outputs of `(B, in_channels, H, W)` at up to K random positions, `(N, C)`."""
        rows = _flatten_positions(self._encode_continuous(x))
        return rows[torch.randperm(len(rows))[: self.config.codes].to(rows.device)]

    @torch.no_grad()
    def initialise_codebook(self, outputs: Tensor) -> None:
        """Initialise the codes with random encoder outputs, of `(N, C)`.

        diffusers draws them from +-1/K, where few are ever the nearest to an encoder output.
        """
        self._set_codes(torch.arange(self.config.codes), outputs)

    @torch.no_grad()
    def code_counts(self, x: Tensor) -> Tensor:
        """How often each code is used for `(B, in_channels, H, W)`: `(K,)`, integers."""
        code_indices = self.network.quantize(self._encode_continuous(x))[2][2]
        return torch.bincount(code_indices, minlength=self.config.codes)

    @torch.no_grad()
    def standardise(self, counts: Tensor) -> None:
        """Set mean and standard deviation of the latents from how often each code is used, `(K,)`."""
        frequency = (counts / counts.sum()).to(self.codebook)[:, None]
        mean = (frequency * self.codebook).sum(0)
        variance = (frequency * (self.codebook - mean).square()).sum(0)
        self.mean.copy_(mean.reshape_as(self.mean))
        self.spread.copy_(variance.sqrt().clamp(min=_MIN_STD).reshape_as(self.spread))

    @torch.no_grad()
    def after_epoch(self) -> dict[str, float]:
        """Restart the codes that were not used in the epoch, where the quantisation error is large.

        Without restarts most codes are never used. New values are drawn from the last batch, with probability
        proportional to the squared distance to the nearest code (as in k-means++).

        Returns
        -------
        dict
            ``"perplexity"``: the exponential of the entropy of code use, an effective number of codes in [1,
            K]. ``"restarted"``: the number of codes that were restarted. Empty where nothing was encoded in
            training.
        """
        if not bool(self.usage.any()):
            return {}
        frequency = self.usage / self.usage.sum()
        perplexity = torch.special.entr(frequency).sum().exp()
        unused_codes = (self.usage < 1).nonzero().flatten().cpu()
        restarted_count = 0
        # the last batch is not in a checkpoint: a resumed training may have none yet
        if self._last_outputs is not None and len(unused_codes):
            nearest_distance = torch.cdist(self._last_outputs, self.codebook).amin(1)
            if bool(nearest_distance.any()):
                self._set_codes(unused_codes, self._last_outputs, nearest_distance.square())
                restarted_count = len(unused_codes)
        self.usage.zero_()
        self._last_outputs = None
        return {"perplexity": float(perplexity), "restarted": float(restarted_count)}

    def _set_codes(self, codes: Tensor, rows: Tensor, weights: Tensor | None = None) -> None:
        """Set codes (indices) to values drawn from `rows` `(N, C)`, with `weights` `(N,)` or uniformly."""
        weights = torch.ones(len(rows)) if weights is None else weights.cpu()
        # drawn on the CPU, so that a seed gives the same codes on every device
        with_replacement = int(weights.count_nonzero()) < len(codes)
        row_indices = torch.multinomial(weights, len(codes), replacement=with_replacement)
        self.codebook[codes.to(rows.device)] = rows[row_indices.to(rows.device)]


def _flatten_positions(z: Tensor) -> Tensor:
    """Latents `(B, C, h, w)` as rows, `(B h w, C)`."""
    return z.movedim(1, -1).flatten(0, -2)
