"""Guided latent diffusion: one universal model for many structures, each found by its name.

Every class is a binary problem of its own: a diffusion in the latents of a mask autoencoder, guided by the
latent of the image and by an embedding of the class. Equations and sections are those of the paper
(docs/methods.md names it and says what is different here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Batch, Method, Noise, Stage, Tuning, fresh_noise
from napari_latentseg.methods.diffusion import Diffusion
from napari_latentseg.methods.guided_config import GuidedConfig
from napari_latentseg.methods.timesteps import SecondMomentResampler
from napari_latentseg.methods.vlb import ancestral_sample, variational_term
from napari_latentseg.networks.autoencoder import Autoencoder, ChannelMoments
from napari_latentseg.networks.class_texts import ClassTexts
from napari_latentseg.networks.denoiser import Denoiser, build_denoiser
from napari_latentseg.networks.losses import dice_loss

__all__ = ["GuidedConfig", "GuidedLatentDiffusion", "draw_classes"]

# rows that the denoiser is given at once: many classes of few images, or few classes of many
_AT_ONCE = 32


class GuidedLatentDiffusion(Method):
    """Two autoencoders of its own, and a diffusion that is told the image and the class.

    Parameters
    ----------
    codec
        None: it trains its own.
    config
        See `GuidedConfig`.
    """

    name: ClassVar[str] = "guided"
    title: ClassVar[str] = "Guided latent diffusion"
    paper: ClassVar[str] = (
        "Salsi, Wang, Hu, Hu, Ren, Deng, Xie: Guided Latent Diffusion for Universal Medical Image"
        " Segmentation"
    )
    own_sources: ClassVar[tuple[str, ...]] = ("noise",)
    is_deterministic: ClassVar[bool] = False
    needs_codec: ClassVar[bool] = False
    config_class: ClassVar[type[BaseModel]] = GuidedConfig
    config: GuidedConfig

    def __init__(self, codec: Codec | None, config: GuidedConfig) -> None:
        super().__init__(codec, config)
        self.mask_autoencoder = Autoencoder(config.mask_autoencoder)
        self.image_autoencoder = Autoencoder(config.image_autoencoder)
        self.diffusion = Diffusion(config.diffusion)
        z, y = config.mask_autoencoder.channels, config.image_autoencoder.channels
        is_text = config.class_embedding == "text"
        self.texts = ClassTexts(config.classes, config.text_width) if is_text else None
        unet = build_denoiser(
            config.denoiser,
            z + y,
            2 * z if config.learned_variance else z,
            classes=None if is_text else config.classes,
            class_vector=config.text_width if is_text else None,
        )
        self.denoiser = Denoiser(unet)
        self.resampler: SecondMomentResampler | None = None
        if config.timesteps == "importance":
            self.resampler = SecondMomentResampler(config.diffusion.timesteps, config.buckets)

    @property
    def variant(self) -> str:
        config = self.config
        found = ["no perceptual term in the image autoencoder"]
        if config.diffusion.prediction != "sample":
            found.append("predicts the noise")
        if not config.learned_variance:
            found.append("no learned variance")
        if config.timesteps != "importance":
            found.append("uniform timesteps")
        return ", ".join(found)

    @property
    def factor(self) -> int:
        return self.config.mask_autoencoder.factor

    @property
    def size_multiple(self) -> int:
        return self.factor * self.config.denoiser.size_multiple

    @property
    def class_count(self) -> int:
        return self.config.classes

    @property
    def trained(self) -> nn.ModuleDict:
        parts: dict[str, nn.Module] = {
            "mask_autoencoder": self.mask_autoencoder,
            "image_autoencoder": self.image_autoencoder,
            "denoiser": self.denoiser,
        }
        if self.texts is not None:
            parts["class_texts"] = self.texts
        return nn.ModuleDict(parts)

    @property
    def published_parts(self) -> dict[str, nn.Module]:
        return {} if self.texts is None else {"class-texts": self.texts}

    def stages(self) -> list[Stage]:
        """First the two autoencoders, then the diffusion in the latents that they give."""
        parts = self.trained
        both = nn.ModuleDict({name: parts.pop(name) for name in ("mask_autoencoder", "image_autoencoder")})
        return [
            Stage("autoencoders", both, self._autoencoder_loss, judge=self._round_trip),
            Stage("diffusion", parts, self.loss, begin=self._measure),
        ]

    def _chosen(self, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """One class for each image, `(B,)`, and the masks of it, `(B, 1, H, W)`."""
        classes = draw_classes(batch.masks, batch.annotated, self.config.active_share, generator)
        return classes, batch.masks[torch.arange(len(classes)), classes][:, None]

    def _autoencoder_loss(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Equations 1, 2 and 5; the weight decay of Equation 3 is the optimizer's."""
        _, masks = self._chosen(batch, generator)
        logits = self.mask_autoencoder.reconstructed(self.mask_autoencoder.posterior(masks)[0])
        grey = _grey(batch.images)
        mean, logvar = self.image_autoencoder.posterior(grey)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        seen = self.image_autoencoder.reconstructed(mean + (0.5 * logvar).exp() * noise)
        apart = F.l1_loss(seen, grey) if self.config.image_loss == "l1" else 0.5 * F.mse_loss(seen, grey)
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum() / grey.numel()
        return {
            "mask_cross_entropy": F.binary_cross_entropy_with_logits(logits, masks),
            "mask_dice": dice_loss(logits.sigmoid(), masks),
            "image": apart,
            "image_kl": self.config.kl_weight * divergence,
        }

    def _round_trip(self, images: Tensor, masks: Tensor) -> Tensor:
        """What is left of masks `(B, K, H, W)` when they come back: no diffusion can be better."""
        auto = self.mask_autoencoder
        found = auto.reconstructed(auto.posterior(masks.flatten(0, 1)[:, None])[0]).sigmoid()
        return found.reshape(masks.shape)

    def _measure(self, batches: Iterable[Batch]) -> None:
        """Standardise the latents by those of the training images: weight decay gives them no unit scale."""
        generator = torch.Generator().manual_seed(0)
        of_masks, of_images = ChannelMoments(), ChannelMoments()
        for batch in batches:
            of_masks.add(self.mask_autoencoder.posterior(self._chosen(batch, generator)[1])[0])
            of_images.add(self.image_autoencoder.posterior(_grey(batch.images))[0])
        self.mask_autoencoder.standardise(of_masks)
        self.image_autoencoder.standardise(of_images)

    def _codes(self, classes: Tensor) -> Tensor:
        """What the denoiser is told of classes `(B,)`."""
        return classes if self.texts is None else self.texts(classes)

    def _predicted(self, z_t: Tensor, t: Tensor, condition: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and what is said of the variance, `(B, C, h, w)` each."""
        found = self.denoiser(z_t, t, condition, self._codes(classes)).float()
        if not self.config.learned_variance:
            return found, torch.full_like(found, -1.0)
        prediction, v = found.chunk(2, dim=1)
        return prediction, v

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 10 and the variational bound, at timesteps drawn by importance and weighted back."""
        classes, masks = self._chosen(batch, generator)
        with torch.no_grad():
            z0 = self.mask_autoencoder.encode(masks)
        return self._terms(self.encode(batch.images), z0, classes, generator)

    def tuning(self) -> Tuning:
        """The last block of the denoiser learns, from the image's latent."""
        auto = self.mask_autoencoder

        def target(masks: Tensor) -> Tensor:
            latents: Tensor = auto.encode(masks.flatten(0, 1)[:, None])
            return latents.reshape(*masks.shape[:2], *latents.shape[1:])

        def loss(
            condition: Tensor,
            latents: Tensor,
            masks: Tensor,
            annotated: Tensor | None,
            generator: torch.Generator | None,
            decoded: int,
        ) -> dict[str, Tensor]:
            classes = draw_classes(masks, annotated, self.config.active_share, generator)
            rows = torch.arange(len(classes), device=classes.device)
            return self._terms(condition, latents[rows, classes], classes, generator)

        return Tuning(self.denoiser.last, lambda condition: condition, target, loss, self.draw)

    def _terms(
        self, condition: Tensor, z0: Tensor, classes: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        process, count = self.diffusion, len(classes)
        if self.resampler is None:
            t, weight = process.draw_timesteps(count, generator), torch.ones(count, device=z0.device)
        else:
            t, weight = self.resampler.draw(count, generator)
        epsilon = torch.randn(z0.shape, generator=generator).to(z0)
        z_t = process.disturbed(z0, epsilon, t)
        found, v = self._predicted(z_t, t, condition, classes)
        is_latent = self.config.diffusion.prediction == "sample"
        each = (found - (z0 if is_latent else epsilon)).square().flatten(1).mean(1)
        terms = {"latent": (weight * each).mean()}
        if self.config.learned_variance and self.config.vlb_weight:
            guess = found if is_latent else process.start_of(z_t, found, t)
            bar = process.alphas_cumprod
            bound = variational_term(z0, z_t, guess, v, bar, t) * (self.config.vlb_weight * len(bar))
            terms["bound"] = (weight * bound).mean()
            each = each + bound
        if self.resampler is not None and self.training:
            self.resampler.remember(t, each)
        return terms

    def encode(self, images: Tensor) -> Tensor:
        """The image's standardised latent."""
        with torch.no_grad():
            return self.image_autoencoder.encode(_grey(images))

    def draw(self, condition: Tensor, noise: Noise | None = None) -> Tensor:
        """One sample: all classes out of the same noise, each decoded to a probability of its own."""
        return self.draw_only(range(self.config.classes), condition, noise)

    def draw_only(self, classes: Sequence[int], condition: Tensor, noise: Noise | None = None) -> Tensor:
        """Some of the classes; nothing is computed for the others."""
        given = cache(noise or fresh_noise())  # noise that is drawn anew would differ from class to class
        at_once = max(1, _AT_ONCE // len(condition))
        wanted = torch.tensor(list(classes), device=condition.device)
        found = [self._draw_classes(condition, given, some) for some in wanted.split(at_once)]
        return torch.cat(found, dim=1)

    def _draw_classes(self, condition: Tensor, noise: Callable[..., Tensor], classes: Tensor) -> Tensor:
        """Probabilities `(B, k, H, W)` of some of the classes."""
        config, count, k = self.config, len(condition), len(classes)
        whole = (k * count, config.mask_autoencoder.channels, *condition.shape[-2:])
        repeated, each = condition.repeat(k, 1, 1, 1), classes.repeat_interleave(count)

        def same(shape: tuple[int, ...], step: int = 0) -> Tensor:
            return noise((count, *shape[1:]), step).repeat(k, 1, 1, 1)

        def predict(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            return self._predicted(z, t, repeated, each)

        def start(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            found, v = predict(z, t)
            is_latent = config.diffusion.prediction == "sample"
            return (found if is_latent else self.diffusion.start_of(z, found, t)), v

        if config.learned_variance:
            bar, steps = self.diffusion.alphas_cumprod, config.diffusion.steps
            z = ancestral_sample(start, bar, whole, same, steps)
        else:
            z = self.diffusion.sample(lambda z, t: predict(z, t)[0], whole, same)
        pixels = self.mask_autoencoder.decode(z).sigmoid()
        return pixels.reshape(k, count, *pixels.shape[-2:]).transpose(0, 1)


def draw_classes(
    masks: Tensor, annotated: Tensor | None, active_share: float, generator: torch.Generator | None = None
) -> Tensor:
    """One class for each image, of those that were looked for in it: `(B,)`.

    Parameters
    ----------
    masks
        `(B, K, H, W)` in {0, 1}.
    annotated
        `(B, K)`; None where every class was looked for.
    active_share
        How often the class is one that is seen in the image, where there is any.
    """
    looked_for = torch.ones(masks.shape[:2], dtype=torch.bool) if annotated is None else annotated.cpu()
    seen = masks.flatten(2).any(2).cpu() & looked_for
    wanted = torch.rand(len(masks), generator=generator) < active_share
    pool = torch.where((wanted & seen.any(1))[:, None], seen, looked_for)
    return torch.multinomial(pool.float(), 1, generator=generator)[:, 0].to(masks.device)


def _grey(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True)
