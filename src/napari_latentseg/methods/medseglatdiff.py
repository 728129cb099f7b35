"""MedSegLatDiff: a diffusion in the latents of two VQ-VAEs (Trinh, Nguyen, Luong, Tran).

One autoencoder compresses images, another masks. Then a U-Net is trained to denoise the latent of the mask,
conditioned on that of the image. Each sample starts from different noise; the prediction is the mean of the
samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.methods.base import Batch, FineTuneSpec, Method, Reconstruction, Stage
from napari_latentseg.methods.deviations import join_deviations
from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.methods.noise import Noise, random_noise
from napari_latentseg.networks.denoiser import Denoiser, DenoiserConfig, build_denoiser
from napari_latentseg.networks.vq import VQAutoencoder, VQConfig

__all__ = ["MedSegLatDiff", "MedSegLatDiffConfig"]

_TIMESTEPS = 1000  # "as in DDPM" (Ho et al., NeurIPS 2020, Section 4)
_PAPER_MASK_WEIGHTS = (5.0, 50.0)  # w for ISIC-2018 and CVC-ClinicDB; for the small nodules of LIDC-IDRI
_MIN_RANGE = 1 / 255  # of an image that is stretched: a constant one must not be divided by zero


class MedSegLatDiffConfig(FrozenModel):
    """Settings of MedSegLatDiff; except `unshift`, the defaults are the paper's where it gives them.

    The paper leaves much open. Development code of its first author (huynhspm/Generative-Model) answers it
    otherwise than the defaults; the configurations `medseglatdiff-cvc-code` and `medseglatdiff-lidc-code`
    have its settings. See docs/methods.md.

    Attributes
    ----------
    autoencoder
        Size of the autoencoders. Three widths downsample by 4, four by 8.
    mask_autoencoder
        Size of the mask autoencoder, where it is another; it must downsample as much.
    image_channels
        Channels of the image that the image autoencoder takes: 3, or 1, their mean.
    stretch_images
        Whether each image is stretched so that its least value is 0 and its greatest 1.
    denoiser
        The diffusion U-Net.
    prediction
        What the denoiser predicts: the noise (``"epsilon"``, as in the paper), or the latent of the mask
        (``"sample"``). At the last timestep an error of the noise is multiplied by 157 in the latent.
    standardise
        Whether latents are brought to mean 0 and standard deviation 1 before the diffusion.
    quantised_condition
        Whether the denoiser gets the quantised latent of the image, as in the paper, or the encoder's output.
    trained_encoder
        Whether the encoder of the images is trained further with the diffusion; in the paper it is frozen.
    mask_loss
        What the mask autoencoder is trained with: ``"cross_entropy"``, weighted by `mask_weight`, or the
        squared error of the probability, ``"mse"`` (Table I), which needs no correction for the weight.
    mask_weight
        w, the weight of foreground pixels in the cross-entropy of the mask autoencoder; in the paper 5, or 50
        for tiny targets.
    unshift
        Whether predicted probabilities are corrected for w. Where a pixel is foreground with probability p,
        an autoencoder trained with w predicts w p / (w p + 1 - p); subtracting log w from the logit gives p.
    steps, eta
        Sampling steps and their noise: 1000 and 1 are DDPM, as published; fewer steps with 0 are DDIM.
    clamp
        Bound of the absolute values of the latents that are predicted while sampling; None for no bound.
    quantise_samples
        Whether sampled latents are quantised before they are decoded.
    """

    autoencoder: VQConfig = VQConfig()
    mask_autoencoder: VQConfig | None = None
    image_channels: Literal[1, 3] = 3
    stretch_images: bool = False
    denoiser: DenoiserConfig = DenoiserConfig(widths=(64, 128, 256), attention=(False, False, False))
    prediction: Literal["epsilon", "sample"] = "epsilon"
    standardise: bool = True
    quantised_condition: bool = True
    trained_encoder: bool = False
    mask_loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    mask_weight: float = Field(5.0, gt=0)
    unshift: bool = True
    steps: int = Field(_TIMESTEPS, ge=1, le=_TIMESTEPS)
    eta: float = Field(1.0, ge=0, le=1)
    clamp: float | None = Field(None, gt=0, allow_inf_nan=False)
    quantise_samples: bool = True

    @model_validator(mode="after")
    def _check_factors(self) -> MedSegLatDiffConfig:
        if self.for_masks.downsampling_factor != self.autoencoder.downsampling_factor:
            raise ValueError("mask_autoencoder: must downsample as much as autoencoder")
        return self

    @property
    def for_masks(self) -> VQConfig:
        """Size of the mask autoencoder."""
        return self.mask_autoencoder or self.autoencoder


class MedSegLatDiff(Method):
    """Two VQ-VAEs, and a conditional diffusion between their latents.

    Parameters
    ----------
    codec
        None: the method trains its own autoencoders.
    config
        See `MedSegLatDiffConfig`.
    """

    name: ClassVar[str] = "medseglatdiff"
    title: ClassVar[str] = "MedSegLatDiff"
    paper: ClassVar[str] = (
        "Trinh, Nguyen, Luong, Tran: Diffusion Model in Latent Space for Medical Image Segmentation Task"
    )
    sampling_sources: ClassVar[tuple[str, ...]] = ("noise",)
    is_deterministic: ClassVar[bool] = False
    needs_codec: ClassVar[bool] = False
    stage_names: ClassVar[tuple[str, ...]] = ("autoencoders", "diffusion")
    network_functions: ClassVar[tuple[str, ...]] = ("encode", "denoise", "decode")
    config_class: ClassVar[type[BaseModel]] = MedSegLatDiffConfig
    config: MedSegLatDiffConfig

    def __init__(self, codec: Codec | None, config: MedSegLatDiffConfig) -> None:
        super().__init__(codec, config)
        image_channels, mask_channels = config.autoencoder.channels, config.for_masks.channels
        self.image_autoencoder = VQAutoencoder(
            config.autoencoder, config.image_channels, config.image_channels
        )
        self.mask_autoencoder = VQAutoencoder(config.for_masks, 1, 1)
        self.denoiser = Denoiser(
            build_denoiser(config.denoiser, mask_channels + image_channels, mask_channels)
        )
        self.diffusion = Diffusion(
            DiffusionConfig(
                timesteps=_TIMESTEPS,
                prediction=config.prediction,
                steps=config.steps,
                eta=config.eta,
                clamp=config.clamp,
            )
        )

    @property
    def deviations_from_paper(self) -> str:
        config, paper = self.config, MedSegLatDiffConfig()
        return join_deviations(
            _network_deviation("autoencoder", config.autoencoder, paper.autoencoder),
            (config.for_masks != config.autoencoder, "another mask autoencoder"),
            _network_deviation("denoiser", config.denoiser, paper.denoiser),
            (config.prediction == "sample", "predicts the latent instead of the noise"),
            (not config.quantised_condition, "image latent before quantisation"),
            (config.trained_encoder, "image encoder trained further with the diffusion"),
            (config.mask_loss == "mse", "squared error for masks"),
            (config.mask_weight not in _PAPER_MASK_WEIGHTS, f"mask weight {config.mask_weight:g}"),
            (config.unshift, "probabilities corrected for the mask weight"),
            (config.steps != paper.steps, f"{config.steps} steps"),
            (config.eta != paper.eta, "DDIM" if config.eta == 0 else f"eta {config.eta:g}"),
            (config.clamp is not None, "predicted latents clamped"),
        )

    @property
    def downsampling_factor(self) -> int:
        return self.config.autoencoder.downsampling_factor

    @property
    def size_multiple(self) -> int:
        """Height and width of an image must be multiples of this, as the denoiser halves latents too."""
        return self.downsampling_factor * self.config.denoiser.size_multiple

    @property
    def float32_functions(self) -> tuple[str, ...]:
        return ("denoise",) if self.diffusion.needs_float32 else ()

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                "image_autoencoder": self.image_autoencoder,
                "mask_autoencoder": self.mask_autoencoder,
                "denoiser": self.denoiser,
            }
        )

    def stages(self) -> list[Stage]:
        """First both autoencoders, independently in the same steps; then the diffusion in their latents."""
        autoencoders: dict[str, nn.Module] = {
            "image_autoencoder": self.image_autoencoder,
            "mask_autoencoder": self.mask_autoencoder,
        }
        diffusion: dict[str, nn.Module] = {"denoiser": self.denoiser}
        if self.config.trained_encoder:
            network = self.image_autoencoder.network
            diffusion["image_encoder"] = nn.ModuleList([network.encoder, network.quant_conv])
        return [
            Stage(
                "autoencoders",
                nn.ModuleDict(autoencoders),
                self.autoencoder_loss,
                on_start=self._initialise_codebooks,
                after_epoch=self._after_epoch,
                validate=lambda images, masks: self._probability(
                    self.mask_autoencoder.decode(self.mask_autoencoder.encode(masks))
                ),
            ),
            Stage(
                "diffusion",
                nn.ModuleDict(diffusion),
                self.loss,
                on_start=self._standardise_latents,
            ),
        ]

    def autoencoder_loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equations 7 to 10: squared error for images, weighted cross-entropy for masks.

        The two autoencoders share no weights, so a joint AdamW step trains them as if separately; only
        clipping of the gradient norm would couple them.
        """
        images = self._prepared(batch.images)
        reconstruction, image_commitment = self.image_autoencoder(images)
        logits, mask_commitment = self.mask_autoencoder(batch.masks)
        if self.config.mask_loss == "mse":
            mask_loss = F.mse_loss(torch.sigmoid(logits.float()), batch.masks)
        else:
            weight = torch.tensor(self.config.mask_weight, device=logits.device)
            mask_loss = F.binary_cross_entropy_with_logits(logits.float(), batch.masks, pos_weight=weight)
        return {
            "image": F.mse_loss(reconstruction.float(), images),
            "image codes": image_commitment,
            "mask": mask_loss,
            "mask codes": mask_commitment,
        }

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 4 for latents: mean squared error of the noise; the image latent has no noise.

        With the prediction ``"sample"`` it is that of the latent.
        """
        conditioning = (
            self._encode(batch.images) if self.config.trained_encoder else self.encode(batch.images)
        )
        with torch.no_grad():
            z0 = self.mask_autoencoder.encode(batch.masks)
        return self._loss_terms(conditioning, z0, generator)

    def reconstruct(self, images: Tensor, masks: Tensor) -> Reconstruction:
        """Images and masks through the two autoencoders (Table I)."""
        given_images = self._prepared(images)
        decoded_images, _ = self.image_autoencoder(given_images)
        logits, _ = self.mask_autoencoder(masks)
        return Reconstruction(
            ((decoded_images.float() + 1) / 2).clamp(0, 1), (given_images + 1) / 2, self._probability(logits)
        )

    def fine_tune_spec(self) -> FineTuneSpec:
        """The last block of the denoiser is trained, given the image latent."""
        return FineTuneSpec(
            self.denoiser.last_block,
            lambda condition: condition,
            self.mask_autoencoder.encode,
            lambda condition, z0, masks, annotated, generator, decoded: self._loss_terms(
                condition, z0, generator
            ),
            self.sample,
        )

    def _loss_terms(
        self, conditioning: Tensor, z0: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        t = self.diffusion.sample_timesteps(len(z0), generator)
        epsilon = torch.randn(z0.shape, generator=generator).to(z0)
        predicted = self.denoiser(self.diffusion.add_noise(z0, epsilon, t), t, conditioning)
        if self.config.prediction == "sample":
            return {"latent": F.mse_loss(predicted.float(), z0)}
        return {"noise": F.mse_loss(predicted.float(), epsilon)}

    def encode(self, images: Tensor) -> Tensor:
        """The standardised image latent, `(B, C, H/f, W/f)`; quantised or not by `quantised_condition`."""
        with torch.no_grad():
            return self._encode(images)

    def _encode(self, images: Tensor) -> Tensor:
        return self.image_autoencoder.encode(self._prepared(images), quantise=self.config.quantised_condition)

    def _prepared(self, images: Tensor) -> Tensor:
        """The input of the image autoencoder: `(B, image_channels, H, W)` in [-1, 1]."""
        if self.config.image_channels == 1:
            images = images.mean(1, keepdim=True)
        if self.config.stretch_images:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = (images - low) / (high - low).clamp_min(_MIN_RANGE)
        return 2 * images - 1

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """One sample `(B, 1, H, W)` in [0, 1]: a mask latent from noise (Equation 12, corrected), decoded."""
        batch_size, _, height, width = conditioning.shape
        latents = self.diffusion.sample(
            lambda z_t, t: self.denoise(z_t, t, conditioning),
            (batch_size, self.config.for_masks.channels, height, width),
            random_noise() if noise is None else noise,
        )
        return self.decode(latents)

    def denoise(self, z_t: Tensor, t: Tensor, conditioning: Tensor) -> Tensor:
        """The prediction of the U-Net, from noisy latents, timesteps `(B,)` and image latents."""
        with self.diffusion.network_precision(z_t.device):
            predicted: Tensor = self.denoiser(z_t.float(), t, conditioning.float())
        return predicted

    def decode(self, latents: Tensor) -> Tensor:
        """Probabilities `(B, 1, H, W)` in [0, 1] of mask latents `(B, C, h, w)`."""
        return self._probability(self.mask_autoencoder.decode(latents, quantise=self.config.quantise_samples))

    def _probability(self, logits: Tensor) -> Tensor:
        is_shifted = self.config.unshift and self.config.mask_loss == "cross_entropy"
        logit_shift = math.log(self.config.mask_weight) if is_shifted else 0.0
        return torch.sigmoid(logits.float() - logit_shift)

    def _initialise_codebooks(self, batches: Iterable[Batch]) -> None:
        image_latents, mask_latents = [], []
        for batch in batches:
            image_latents.append(self.image_autoencoder.sample_encoder_outputs(self._prepared(batch.images)))
            mask_latents.append(self.mask_autoencoder.sample_encoder_outputs(batch.masks))
        self.image_autoencoder.initialise_codebook(torch.cat(image_latents))
        self.mask_autoencoder.initialise_codebook(torch.cat(mask_latents))

    def _standardise_latents(self, batches: Iterable[Batch]) -> None:
        if not self.config.standardise:
            return
        image_code_counts, mask_code_counts = [], []
        for batch in batches:
            image_code_counts.append(self.image_autoencoder.code_counts(self._prepared(batch.images)))
            mask_code_counts.append(self.mask_autoencoder.code_counts(batch.masks))
        self.image_autoencoder.standardise(torch.stack(image_code_counts).sum(0))
        self.mask_autoencoder.standardise(torch.stack(mask_code_counts).sum(0))

    def _after_epoch(self) -> dict[str, float]:
        autoencoders = {"image": self.image_autoencoder, "mask": self.mask_autoencoder}
        return {
            f"{prefix} {name}": value
            for prefix, autoencoder in autoencoders.items()
            for name, value in autoencoder.after_epoch().items()
        }


def _network_deviation(
    component: str, config: VQConfig | DenoiserConfig, paper: VQConfig | DenoiserConfig
) -> tuple[bool, str]:
    """Whether and how a network's settings differ from the paper's, for `join_deviations`."""
    if config.widths == paper.widths:
        return config != paper, f"another {component}"
    others_differ = config.model_copy(update={"widths": paper.widths}) != paper
    widths = "-".join(map(str, config.widths))
    return True, f"{component} widths {widths}{' and other settings' if others_differ else ''}"
