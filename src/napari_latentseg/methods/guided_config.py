"""The settings of guided latent diffusion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.methods.diffusion import DiffusionConfig
from napari_latentseg.networks.autoencoder import AutoencoderConfig
from napari_latentseg.networks.denoiser import DenoiserConfig

__all__ = ["GuidedConfig"]


class GuidedConfig(FrozenModel):
    """What makes a guided latent diffusion model; the defaults stand in where the paper is silent.

    Attributes
    ----------
    classes
        K, how many structures there are.
    mask_autoencoder, image_autoencoder
        Sizes of the two; the paper names none.
    image_loss
        The likelihood of Equation 5: of a Laplace (``"l1"``) or a normal distribution (``"gaussian"``).
    kl_weight
        beta of Equation 5, on sums over an image, as in the latent diffusion models.
    denoiser, diffusion
        The U-Net and the process.
    learned_variance
        Whether the network tells its variance too, is taught it by the bound, and samples with it.
    vlb_weight
        lambda of the improved DDPM.
    timesteps
        Drawn by importance, as published, or uniformly.
    buckets
        Into which importance sampling gathers the timesteps; None for one each.
    class_embedding
        A table that is ``"learnt"``, or frozen vectors of each name's ``"text"``, of length `text_width`.
    active_share
        How often an image's class is drawn from those that are seen in it, rather than from all that were
        looked for.
    """

    classes: int = Field(29, ge=1, le=254)
    mask_autoencoder: AutoencoderConfig = AutoencoderConfig()
    image_autoencoder: AutoencoderConfig = AutoencoderConfig()
    image_loss: Literal["l1", "gaussian"] = "l1"
    kl_weight: float = Field(1e-6, ge=0)
    denoiser: DenoiserConfig = DenoiserConfig(
        widths=(64, 128, 256), attention=(False, True, True), scale_shift=True
    )
    diffusion: DiffusionConfig = DiffusionConfig(beta_schedule="squaredcos_cap_v2", prediction="sample")
    learned_variance: bool = True
    vlb_weight: float = Field(1e-3, ge=0)
    timesteps: Literal["importance", "uniform"] = "importance"
    buckets: int | None = Field(None, ge=1)
    class_embedding: Literal["learnt", "text"] = "learnt"
    text_width: int = Field(512, ge=1)
    active_share: float = Field(0.75, ge=0, le=1)

    @model_validator(mode="after")
    def _check_equal_factors(self) -> GuidedConfig:
        if self.mask_autoencoder.downsampling_factor != self.image_autoencoder.downsampling_factor:
            raise ValueError("mask_autoencoder and image_autoencoder: their latents must be of one size")
        return self
