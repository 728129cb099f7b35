"""Guided latent diffusion (Salsi et al.): one model for many structures, chosen by a class embedding.

Every class is a binary problem: a diffusion in the latents of a mask autoencoder, conditioned on the latent
of the image and on an embedding of the class. Equations and sections are those of the paper; docs/methods.md
says what differs here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Batch, FineTuneSpec, Method, Reconstruction, Stage
from napari_latentseg.methods.deviations import join_deviations
from napari_latentseg.methods.diffusion import Diffusion
from napari_latentseg.methods.guided_config import GuidedConfig
from napari_latentseg.methods.noise import Noise, random_noise
from napari_latentseg.methods.timestep_sampler import SecondMomentResampler
from napari_latentseg.methods.vlb import ancestral_sample, vlb_loss
from napari_latentseg.networks.autoencoder import Autoencoder, ChannelMoments
from napari_latentseg.networks.class_texts import ClassTextEmbeddings
from napari_latentseg.networks.denoiser import Denoiser, build_denoiser
from napari_latentseg.networks.efficientnet import PyramidConditioner
from napari_latentseg.networks.losses import dice_loss
from napari_latentseg.networks.perceptual import PerceptualDistance
from napari_latentseg.utils.batch_share import when_batch_is_complete

__all__ = ["GuidedConfig", "GuidedLatentDiffusion", "draw_training_classes"]

# Largest batch of the denoiser when sampling, in latents (one for each class of each image): it limits the
# memory with many classes.
_MAX_DENOISER_BATCH = 32


class GuidedLatentDiffusion(Method):
    """Two autoencoders trained first, and a diffusion conditioned on the image latent and the class.

    In the shapes below, K is the number of classes, f the downsampling factor of both autoencoders.

    Parameters
    ----------
    codec
        None: the method trains its own autoencoders.
    config
        See `GuidedConfig`.
    """

    name: ClassVar[str] = "guided"
    title: ClassVar[str] = "Guided latent diffusion"
    paper: ClassVar[str] = (
        "Salsi, Wang, Hu, Hu, Ren, Deng, Xie: Guided Latent Diffusion for Universal Medical Image"
        " Segmentation"
    )
    sampling_sources: ClassVar[tuple[str, ...]] = ("noise",)
    is_deterministic: ClassVar[bool] = False
    needs_codec: ClassVar[bool] = False
    stage_names: ClassVar[tuple[str, ...]] = ("autoencoders", "diffusion")
    network_functions: ClassVar[tuple[str, ...]] = ("encode", "denoise", "decode")
    config_class: ClassVar[type[BaseModel]] = GuidedConfig
    config: GuidedConfig

    def __init__(self, codec: Codec | None, config: GuidedConfig) -> None:
        super().__init__(codec, config)
        self.mask_autoencoder = Autoencoder(config.mask_autoencoder)
        self.image_autoencoder = Autoencoder(config.image_autoencoder)
        self.diffusion = Diffusion(config.diffusion)
        mask_channels, image_channels = config.mask_autoencoder.channels, config.image_autoencoder.channels
        is_text = config.class_embedding == "text"
        self.texts = ClassTextEmbeddings(config.classes, config.text_width) if is_text else None
        unet = build_denoiser(
            config.denoiser,
            mask_channels + image_channels,
            2 * mask_channels if config.learned_variance else mask_channels,
            classes=None if is_text else config.classes,
            class_vector=config.text_width if is_text else None,
        )
        self.denoiser = Denoiser(unet)
        self.conditioner: PyramidConditioner | None = None
        if config.conditioner == "pyramid":
            self.conditioner = PyramidConditioner(image_channels, backbone=config.backbone)
        # not a module of the method, of which it is no part after training
        self._perceptual: list[PerceptualDistance] = []
        self.resampler: SecondMomentResampler | None = None
        if config.timesteps == "importance":
            self.resampler = SecondMomentResampler(config.diffusion.timesteps, config.buckets)

    @property
    def deviations_from_paper(self) -> str:
        config = self.config
        return join_deviations(
            (not config.perceptual_weight, "no perceptual term in the image autoencoder"),
            (config.diffusion.prediction != "sample", "predicts the noise"),
            (not config.learned_variance, "no learned variance"),
            (config.timesteps != "importance", "uniform timesteps"),
            (config.pixel_weight > 0, "pixel losses"),
            (config.dice_over == "batch", "Dice over the batch"),
            (self.conditioner is not None, "image encoder over an ImageNet network"),
        )

    @property
    def downsampling_factor(self) -> int:
        return self.config.mask_autoencoder.downsampling_factor

    @property
    def size_multiple(self) -> int:
        latent_multiple = self.downsampling_factor * self.config.denoiser.size_multiple
        return (
            latent_multiple
            if self.conditioner is None
            else math.lcm(latent_multiple, PyramidConditioner.FACTOR)
        )

    @property
    def float32_functions(self) -> tuple[str, ...]:
        return ("denoise",) if self.diffusion.needs_float32 else ()

    @property
    def class_count(self) -> int:
        return self.config.classes

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        modules: dict[str, nn.Module] = {
            "mask_autoencoder": self.mask_autoencoder,
            "image_autoencoder": self.image_autoencoder,
            "denoiser": self.denoiser,
        }
        if self.texts is not None:
            modules["class_texts"] = self.texts
        if self.conditioner is not None:
            modules["conditioner"] = self.conditioner
        return nn.ModuleDict(modules)

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {} if self.texts is None else {"class-texts": self.texts}
        if self.conditioner is not None:
            modules[self.conditioner.backbone_name] = self.conditioner.backbone
        return modules

    def set_perceptual_network(self, network: PerceptualDistance) -> None:
        """Give the frozen network of the perceptual term, which training with that term needs."""
        self._perceptual = [network]

    def _perceptual_loss(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """Equation 4, the mean over images `(B, 1, H, W)`."""
        network = self._perceptual[0].to(images.device)
        distance: Tensor = network(images, reconstructions.clamp(0, 1))
        return distance.mean()

    def stages(self) -> list[Stage]:
        """First both autoencoders, then the diffusion in their latents."""
        diffusion_modules = self.trainable_modules
        autoencoders = nn.ModuleDict(
            {name: diffusion_modules.pop(name) for name in ("mask_autoencoder", "image_autoencoder")}
        )
        return [
            Stage("autoencoders", autoencoders, self._autoencoder_loss, validate=self._reconstruct_masks),
            Stage("diffusion", diffusion_modules, self.loss, on_start=self._standardise_latents),
        ]

    def _draw_class_masks(self, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """One class drawn for each image, `(B,)`, and the masks of these classes, `(B, 1, H, W)`."""
        classes = draw_training_classes(batch.masks, batch.annotated, self.config.active_share, generator)
        return classes, batch.masks[torch.arange(len(classes)), classes][:, None]

    def _autoencoder_loss(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Equations 1, 2 and 5; the weight decay of Equation 3 is done by the optimizer."""
        _, masks = self._draw_class_masks(batch, generator)
        logits = self.mask_autoencoder.decode_unscaled(self.mask_autoencoder.posterior(masks)[0])
        images = self._autoencoder_input(batch.images)
        mean, logvar = self.image_autoencoder.posterior(images)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        reconstruction = self.image_autoencoder.decode_unscaled(mean + (0.5 * logvar).exp() * noise)
        image_loss = (
            F.l1_loss(reconstruction, images)
            if self.config.image_loss == "l1"
            else 0.5 * F.mse_loss(reconstruction, images)
        )
        # summed over the latent but divided by the number of pixels, since the image loss is a mean over them
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum() / images.numel()
        losses = {
            "mask_cross_entropy": F.binary_cross_entropy_with_logits(logits, masks),
            "mask_dice": dice_loss(logits.sigmoid(), masks),
            "image": image_loss,
            "image_kl": self.config.kl_weight * divergence,
        }
        if weight := self.config.perceptual_weight:
            losses["image_perceptual"] = weight * self._perceptual_loss(images, reconstruction)
        return losses

    def reconstruct(self, images: Tensor, masks: Tensor) -> Reconstruction:
        """Images, in grey where the autoencoder sees grey ones, and masks through the two autoencoders."""
        originals, autoencoder = self._autoencoder_input(images), self.image_autoencoder
        decoded = autoencoder.decode_unscaled(autoencoder.posterior(originals)[0])
        return Reconstruction(decoded.clamp(0, 1), originals, self._reconstruct_masks(images, masks))

    def _reconstruct_masks(self, images: Tensor, masks: Tensor) -> Tensor:
        """Probabilities of encoded and decoded masks, `(B, K, H, W)`: the best the diffusion could reach."""
        autoencoder = self.mask_autoencoder
        probabilities = autoencoder.decode_unscaled(
            autoencoder.posterior(masks.flatten(0, 1)[:, None])[0]
        ).sigmoid()
        return probabilities.reshape(masks.shape)

    def _standardise_latents(self, batches: Iterable[Batch]) -> None:
        """Standardise both latents by the training images, since the diffusion expects unit scale."""
        generator = torch.Generator().manual_seed(0)
        mask_moments, image_moments = ChannelMoments(), ChannelMoments()
        for batch in batches:
            mask_moments.update(
                self.mask_autoencoder.posterior(self._draw_class_masks(batch, generator)[1])[0]
            )
            image_moments.update(self.image_autoencoder.posterior(self._autoencoder_input(batch.images))[0])
        self.mask_autoencoder.standardise(mask_moments)
        self.image_autoencoder.standardise(image_moments)

    def _class_conditioning(self, classes: Tensor) -> Tensor:
        """Class input of the denoiser for class indices `(B,)`: the indices, or their text embeddings."""
        return classes if self.texts is None else self.texts(classes)

    def denoise(self, z_t: Tensor, t: Tensor, conditioning: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction and variance output `v`, each `(B, C, h, w)`; see `PosteriorStep.log_variance`.

        If the variance is not learned, `v` is -1, which stands for the smallest variance.
        """
        with self.diffusion.network_precision(z_t.device):
            class_conditioning = self._class_conditioning(classes)
            output = self.denoiser(z_t.float(), t, conditioning.float(), class_conditioning).float()
        if not self.config.learned_variance:
            return output, torch.full_like(output, -1.0)
        prediction, v = output.chunk(2, dim=1)
        return prediction, v

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 10 and the variational bound, at one random timestep for each image.

        Timesteps that are drawn with probability p instead of 1/T have the weight 1/(T p).
        """
        classes, masks = self._draw_class_masks(batch, generator)
        with torch.no_grad():
            z0 = self.mask_autoencoder.encode(masks)
        return self._loss_terms(self.encode(batch.images), z0, masks, classes, generator, len(z0))

    def fine_tune_spec(self) -> FineTuneSpec:
        """The last block of the denoiser is trained, given the image latent."""
        autoencoder = self.mask_autoencoder

        def target(masks: Tensor) -> Tensor:
            latents: Tensor = autoencoder.encode(masks.flatten(0, 1)[:, None])
            return latents.reshape(*masks.shape[:2], *latents.shape[1:])

        def loss(
            conditioning: Tensor,
            latents: Tensor,
            masks: Tensor,
            annotated: Tensor | None,
            generator: torch.Generator | None,
            decoded_count: int,
        ) -> dict[str, Tensor]:
            classes = draw_training_classes(masks, annotated, self.config.active_share, generator)
            rows = torch.arange(len(classes), device=classes.device)
            z0, class_masks = latents[rows, classes], masks[rows, classes][:, None]
            return self._loss_terms(conditioning, z0, class_masks, classes, generator, decoded_count)

        return FineTuneSpec(self.denoiser.last_block, lambda condition: condition, target, loss, self.sample)

    def _loss_terms(
        self,
        conditioning: Tensor,
        z0: Tensor,
        masks: Tensor,
        classes: Tensor,
        generator: torch.Generator | None,
        decoded_count: int,
    ) -> dict[str, Tensor]:
        """The losses, for clean latents `(B, C, h, w)` of the masks `(B, 1, H, W)` of classes `(B,)`.

        `decoded_count`: of how many, the first, the decoded mask is compared, if it has a weight.
        """
        diffusion, batch_size = self.diffusion, len(classes)
        if self.resampler is None:
            t = diffusion.sample_timesteps(batch_size, generator)
            weight = torch.ones(batch_size, device=z0.device)
        else:
            t, weight = self.resampler.sample_timesteps(batch_size, generator)
        epsilon = torch.randn(z0.shape, generator=generator).to(z0)
        z_t = diffusion.add_noise(z0, epsilon, t)
        predicted, v = self.denoise(z_t, t, conditioning, classes)
        predicts_z0 = self.config.diffusion.prediction == "sample"
        sample_losses = (predicted - (z0 if predicts_z0 else epsilon)).square().flatten(1).mean(1)
        predicted_z0 = predicted if predicts_z0 else diffusion.predict_x0(z_t, predicted, t)
        terms = {"latent": (weight * sample_losses).mean()}
        if self.config.pixel_weight and decoded_count:
            terms |= self._pixel_losses(*(rows[:decoded_count] for rows in (predicted_z0, masks, classes)))
        if self.config.learned_variance and self.config.vlb_weight:
            alpha_bar = diffusion.alphas_cumprod
            # times T: the bound is a sum over timesteps, of which one was drawn
            vlb = vlb_loss(z0, z_t, predicted_z0, v, alpha_bar, t) * (self.config.vlb_weight * len(alpha_bar))
            terms["bound"] = (weight * vlb).mean()
            sample_losses = sample_losses + vlb
        if self.resampler is not None and self.training:
            when_batch_is_complete(self.resampler.update, t, sample_losses)
        return terms

    def _pixel_losses(self, z0: Tensor, masks: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """The losses of the mask autoencoder, of decoded latents `(B, C, h, w)` and `(B, 1, H, W)`."""
        groups = classes if self.config.dice_over == "batch" else None
        logits, weight = self.mask_autoencoder.decode(z0), self.config.pixel_weight
        return {
            "pixel_cross_entropy": weight * F.binary_cross_entropy_with_logits(logits, masks),
            "pixel_dice": weight * dice_loss(logits.sigmoid(), masks, groups=groups),
        }

    def encode(self, images: Tensor) -> Tensor:
        """The standardised image latent, plus what the pyramid adds to it: `(B, C, H/f, W/f)`."""
        with torch.no_grad():
            latent = self.image_autoencoder.encode(self._autoencoder_input(images))
        return latent if self.conditioner is None else latent + self.conditioner(images)

    def _autoencoder_input(self, images: Tensor) -> Tensor:
        """The images `(B, 3, H, W)`, or their mean over the colour channels `(B, 1, H, W)`."""
        sees_colours = self.config.image_autoencoder.image_channels == 3
        return images if sees_colours else images.mean(1, keepdim=True)

    def decode(self, latents: Tensor) -> Tensor:
        """Probabilities `(B, 1, H, W)` in [0, 1] of mask latents `(B, C, h, w)`."""
        probabilities: Tensor = self.mask_autoencoder.decode(latents).sigmoid()
        return probabilities

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """One sample of all classes from the same noise: probabilities `(B, K, H, W)` in [0, 1]."""
        return self.sample_classes(range(self.config.classes), conditioning, noise)

    def sample_classes(
        self, classes: Sequence[int], conditioning: Tensor, noise: Noise | None = None
    ) -> Tensor:
        """Probabilities of some of the classes only, `(B, len(classes), H, W)` in [0, 1].

        `classes` holds class indices, from 0.
        """
        # every class is sampled from the same noise, but `random_noise` draws anew at each call
        cached_noise = cache(noise or random_noise())
        classes_per_batch = max(1, _MAX_DENOISER_BATCH // len(conditioning))
        class_indices = torch.tensor(list(classes), device=conditioning.device)
        class_probabilities = [
            self._sample_class_batch(conditioning, cached_noise, class_batch)
            for class_batch in class_indices.split(classes_per_batch)
        ]
        return torch.cat(class_probabilities, dim=1)

    def _sample_class_batch(
        self, conditioning: Tensor, noise: Callable[..., Tensor], classes: Tensor
    ) -> Tensor:
        """Probabilities `(B, k, H, W)` of class indices `(k,)`, sampled in one batch of k B latents."""
        config, batch_size, class_count = self.config, len(conditioning), len(classes)
        latent_shape = (class_count * batch_size, config.mask_autoencoder.channels, *conditioning.shape[-2:])
        # class by class: all images with the first class, then all with the second
        repeated_conditioning = conditioning.repeat(class_count, 1, 1, 1)
        repeated_classes = classes.repeat_interleave(batch_size)

        def shared_noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
            return noise((batch_size, *shape[1:]), step).repeat(class_count, 1, 1, 1)

        def predict(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            return self.denoise(z, t, repeated_conditioning, repeated_classes)

        def predict_z0(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            predicted, v = predict(z, t)
            predicts_z0 = config.diffusion.prediction == "sample"
            return (predicted if predicts_z0 else self.diffusion.predict_x0(z, predicted, t)), v

        if config.learned_variance:
            alpha_bar, steps = self.diffusion.alphas_cumprod, config.diffusion.steps
            z = ancestral_sample(predict_z0, alpha_bar, latent_shape, shared_noise, steps)
        else:
            z = self.diffusion.sample(lambda z, t: predict(z, t)[0], latent_shape, shared_noise)
        probabilities = self.decode(z)
        return probabilities.reshape(class_count, batch_size, *probabilities.shape[-2:]).transpose(0, 1)


def draw_training_classes(
    masks: Tensor, annotated: Tensor | None, active_share: float, generator: torch.Generator | None = None
) -> Tensor:
    """One class index per image, `(B,)`, drawn from the classes annotated in its data set.

    Parameters
    ----------
    masks
        `(B, K, H, W)` in {0, 1}.
    annotated
        `(B, K)`, bool; None where every class was annotated.
    active_share
        Probability in [0, 1] that the class is one that is present in the image, if there is any.
    generator
        On the CPU; by default torch's global one.
    """
    annotated_classes = (
        torch.ones(masks.shape[:2], dtype=torch.bool) if annotated is None else annotated.cpu()
    )
    present_classes = masks.flatten(2).any(2).cpu() & annotated_classes
    prefer_present = torch.rand(len(masks), generator=generator) < active_share
    candidate_classes = torch.where(
        (prefer_present & present_classes.any(1))[:, None], present_classes, annotated_classes
    )
    return torch.multinomial(candidate_classes.float(), 1, generator=generator)[:, 0].to(masks.device)
