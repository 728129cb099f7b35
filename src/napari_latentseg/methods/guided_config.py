"""The settings of guided latent diffusion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.methods.diffusion import DiffusionConfig
from napari_latentseg.networks.autoencoder import AutoencoderConfig
from napari_latentseg.networks.denoiser import DenoiserConfig
from napari_latentseg.networks.efficientnet import Backbone, PyramidConditioner

__all__ = ["GuidedConfig"]


class GuidedConfig(FrozenModel):
    """Settings of guided latent diffusion; the paper gives no sizes, so most defaults are choices made here.

    Attributes
    ----------
    classes
        K, the number of structures; 29 in the paper.
    mask_autoencoder, image_autoencoder
        Sizes of the two autoencoders; their latents must have the same resolution.
    image_loss
        The likelihood in Equation 5: Laplace (``"l1"``) or normal (``"gaussian"``).
    perceptual_weight
        alpha of Equation 5, of the perceptual term; 0 for none, since the weights of its network do not come
        with the package. 1 is the value of the latent diffusion models.
    kl_weight
        beta of Equation 5; the value of the latent diffusion models (Rombach et al., CVPR 2022).
    conditioner
        How the image latent is made. ``"autoencoder"``: by the image autoencoder alone, as published.
        ``"pyramid"``: that latent plus the output of a feature pyramid over an ImageNet network, trained with
        the diffusion. An autoencoder keeps what gives the image back, not what tells structures apart, and a
        small denoiser cannot make up for it. The autoencoders must downsample by 8 then.
    backbone
        The ImageNet network under the pyramid; without one it is of no effect.
    denoiser
        The U-Net.
    diffusion
        Noise schedule and sampler; predicts the clean latent (``"sample"``, Equation 10), with the cosine
        schedule of the improved DDPM, from which the paper takes learned variance and timestep sampling.
    learned_variance
        Whether the network also predicts the variance, is trained for it with the variational bound, and
        samples with it, as published. Otherwise samples are DDIM's.
    vlb_weight
        Weight of the variational bound: lambda in Section 3.1 of the improved DDPM, 0.001 there.
    pixel_weight
        Weight of the Dice loss and cross-entropy of the decoded mask, which the paper does not have. For
        small targets the squared error of latents is a weak signal until late in the training.
    dice_over
        ``"image"``: the Dice loss is that of each image; ``"batch"``: of a class over the images of a batch,
        for slices of volumes, which often lack a class. That of the mask autoencoder is of each image always.
    timesteps
        ``"importance"``: drawn by their share of the loss, as published; or ``"uniform"``.
    buckets
        Number of buckets of neighbouring timesteps in importance sampling; None for one per timestep.
    class_embedding
        ``"learnt"``: a trained table; ``"text"``: frozen text embeddings of the class names, of `text_width`
        values.
    text_width
        512 for CLIP ViT-B/32.
    active_share
        Probability that the class of a training image is drawn from those present in it, rather than from all
        that are annotated in its data set; 0.75 is a choice made here.
    """

    classes: int = Field(29, ge=1, le=254)
    mask_autoencoder: AutoencoderConfig = AutoencoderConfig()
    image_autoencoder: AutoencoderConfig = AutoencoderConfig()
    image_loss: Literal["l1", "gaussian"] = "l1"
    perceptual_weight: float = Field(0.0, ge=0)
    kl_weight: float = Field(1e-6, ge=0)
    conditioner: Literal["autoencoder", "pyramid"] = "autoencoder"
    backbone: Backbone = "efficientnet-lite0"
    denoiser: DenoiserConfig = DenoiserConfig(
        widths=(64, 128, 256), attention=(False, True, True), scale_shift=True
    )
    diffusion: DiffusionConfig = DiffusionConfig(beta_schedule="squaredcos_cap_v2", prediction="sample")
    learned_variance: bool = True
    vlb_weight: float = Field(1e-3, ge=0)
    pixel_weight: float = Field(0.0, ge=0)
    dice_over: Literal["image", "batch"] = "image"
    timesteps: Literal["importance", "uniform"] = "importance"
    buckets: int | None = Field(None, ge=1)
    class_embedding: Literal["learnt", "text"] = "learnt"
    text_width: int = Field(512, ge=1)
    active_share: float = Field(0.75, ge=0, le=1)

    @model_validator(mode="after")
    def _check_autoencoders(self) -> GuidedConfig:
        if self.mask_autoencoder.downsampling_factor != self.image_autoencoder.downsampling_factor:
            raise ValueError("mask_autoencoder and image_autoencoder must downsample by the same factor")
        if self.mask_autoencoder.image_channels != 1:
            raise ValueError("mask_autoencoder: a mask has one channel")
        factor = self.image_autoencoder.downsampling_factor
        if self.conditioner == "pyramid" and factor != PyramidConditioner.OUTPUT_FACTOR:
            raise ValueError(f"the pyramid needs autoencoders that downsample by 8, these do so by {factor}")
        return self

    @property
    def image_channels(self) -> int:
        """How many channels of an image the method sees: 1 for its grey values."""
        return 3 if self.conditioner == "pyramid" else self.image_autoencoder.image_channels
