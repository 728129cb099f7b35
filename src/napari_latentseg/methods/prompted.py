"""Prompted latent mapping: any structure, pointed at.

Guided latent diffusion (Salsi et al.) chooses a structure by a class; here it is chosen by a place. As in GMS
(Huo et al., AAAI 2025) a mapper predicts the latent of the mask, from the latent of the image and that of the
prompts: ``[z_image, z_prompt] -> z_mask``. The image is encoded once, and a click costs one mapper, and one
decoder where the latents of masks are those of a codec. This combination is this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.core.record import PROMPT_SOURCE
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch, FineTuneSpec, Stage
from napari_latentseg.methods.clicked_views import ClickedView, clicked_view
from napari_latentseg.methods.deviations import codec_deviation, join_deviations
from napari_latentseg.methods.latent_matching import Level, MatchingConfig, MatchingMethod, matching_losses
from napari_latentseg.methods.noise import Noise
from napari_latentseg.methods.simulated_prompts import (
    PromptMaps,
    choose_object,
    deepest_point,
    sampling_grid,
    view_around,
)
from napari_latentseg.networks.answer_quality import AnswerQuality
from napari_latentseg.networks.efficientnet import Backbone, PyramidConditioner
from napari_latentseg.networks.prompt_encoder import PromptEncoder

__all__ = ["PromptedMapping", "PromptedMappingConfig"]

_LARGEST_SEED = 2**31


class PromptedMappingConfig(MatchingConfig):
    """Settings of prompted latent mapping. See also `MatchingConfig`.

    Attributes
    ----------
    classes
        Of the annotated images that it learns from; each is pointed at, and none is a class of the model.
    backbone
        The ImageNet network under the image's feature pyramid.
    prompt_channels
        Of the latent of the prompts.
    corrections
        Clicks after the first, at most, of a training step; their number is drawn.
    first_click_share
        Share of the training steps without any of them. None: as many as of each other number.
    detail
        Times the working size at which images are kept in training, so that close views show what is in the
        image rather than an enlargement, as where the model is used.
    readings
        How many answers there may be where the prompts leave room: each has a learnt code, and of those that
        are drawn for an image the best alone is taught (multiple choice learning, Guzman-Rivera et al., NIPS
        2012). 1: one answer.
    invert, grey
        Shares of the training images whose values are inverted, and whose colours are taken away, so that an
        answer depends on edges rather than on what is bright in one modality.
    single_share
        Share of the classes with several objects of which one object alone is meant, and not all of them. Of
        an answer only what is pointed at is kept, so 1 teaches what is used.
    quality
        Whether a further network predicts how good the answers to a click are in a view, by which the scale
        of a first click is chosen. It is trained in a stage of its own, ``"quality"``, after the stage
        ``"answers"``.
    """

    levels: tuple[Level, ...] = ("out",)
    classes: int = Field(1, ge=1, le=254)
    backbone: Backbone = "efficientnet-lite0"
    prompt_channels: int = Field(32, ge=16, multiple_of=16)
    corrections: int = Field(3, ge=0, le=20)
    first_click_share: float | None = Field(None, ge=0, le=1)
    detail: int = Field(1, ge=1, le=4)
    readings: int = Field(1, ge=1, le=16)
    invert: float = Field(0.0, ge=0, le=1)
    grey: float = Field(0.0, ge=0, le=1)
    single_share: float = Field(0.5, ge=0, le=1)
    quality: bool = False


class PromptedMapping(MatchingMethod):
    """Feature pyramid for the image, encoder for prompts, latent mapping model, decoder where there is one.

    Parameters
    ----------
    codec
        The frozen autoencoder.
    config
        See `PromptedMappingConfig`.
    """

    name: ClassVar[str] = "prompted"
    title: ClassVar[str] = "Prompted latent mapping"
    paper: ClassVar[str] = (
        "After Huo et al., Generative Medical Segmentation, AAAI 2025, and Salsi et al., Guided Latent"
        " Diffusion for Universal Medical Image Segmentation"
    )
    network_functions: ClassVar[tuple[str, ...]] = ("encode", "encode_prompt", "predict_masks")
    config_class: ClassVar[type[BaseModel]] = PromptedMappingConfig
    takes_prompts: ClassVar[bool] = True
    stage_names: ClassVar[tuple[str, ...]] = ("answers", "quality")
    config: PromptedMappingConfig
    codec: Codec

    def __init__(self, codec: Codec, config: PromptedMappingConfig) -> None:
        super().__init__(codec, config)
        self.conditioner = self._make_pyramid(config.backbone)
        self.prompt_encoder = PromptEncoder(config.prompt_channels, codec.downsampling_factor)
        self.mapper = self._make_mapper(codec.channels + config.prompt_channels)
        # small at first, so that the readings begin alike and part where the data ask for it
        self.readings = nn.Embedding(config.readings, config.prompt_channels)
        nn.init.normal_(self.readings.weight, std=0.1 if config.readings > 1 else 0.0)
        self.quality = AnswerQuality(codec.channels, codec.downsampling_factor) if config.quality else None

    @property
    def deviations_from_paper(self) -> str:
        return join_deviations(
            (True, "prompts in place of classes"),
            *self.config.deviations_from_paper(),
            codec_deviation(self.codec, "kl", "SD-VAE"),
        )

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        modules = self._answering_modules
        if self.quality is not None:
            modules["quality"] = self.quality
        return modules

    @property
    def _answering_modules(self) -> nn.ModuleDict:
        """The modules that answer prompts, without the one that predicts how good the answers are."""
        return nn.ModuleDict(
            {
                "conditioner": self.conditioner,
                "prompt_encoder": self.prompt_encoder,
                "mapper": self.mapper,
                "readings": self.readings,
            }
        )

    @property
    def size_multiple(self) -> int:
        return PyramidConditioner.FACTOR

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        return {self.conditioner.backbone_name: self.conditioner.backbone}

    @property
    def class_count(self) -> int:
        return self.config.classes

    def available_sources(
        self, *, has_augmentation: bool = True, members: int = 1, collapsed: Sequence[str] = ()
    ) -> tuple[str, ...]:
        return (PROMPT_SOURCE,)

    def fine_tune_spec(self) -> FineTuneSpec:
        raise BadInput(
            "method", "prompted has no class to be taught", "name the structure (finetune --structure NAME)"
        )

    def stages(self) -> list[Stage]:
        if self.quality is None:
            return [Stage("", self.trainable_modules, self.loss, validate=self.answer_clicks)]
        quality = nn.ModuleDict({"quality": self.quality})
        return [
            Stage("answers", self._answering_modules, self.loss, validate=self.answer_clicks),
            Stage("quality", quality, self.quality_loss, validate=self.answer_clicks),
        ]

    def encode(self, images: Tensor) -> Tensor:
        """The image latent, `(B, C, H/f, W/f)`; with skips, these follow in further channels."""
        with torch.no_grad():
            z = self.codec.encode(images)
        return self.conditioner.condition(z, images)

    def encode_prompt(self, maps: Tensor, readings: Tensor) -> Tensor:
        """The prompt latent `(B, P, H/f, W/f)`.

        Parameters
        ----------
        maps
            `(B, 4, H, W)`, see `PROMPT_CHANNELS`.
        readings
            Which reading, `(B,)`.
        """
        latent: Tensor = self.prompt_encoder(maps) + self.readings(readings)[:, :, None, None]
        return latent

    def draw(self, conditioning: Tensor, maps: Tensor, readings: Tensor) -> Tensor:
        """The answer to prompts: probabilities `(B, 1, H, W)` in [0, 1].

        Parameters
        ----------
        conditioning
            From `encode`.
        maps, readings
            As for `encode_prompt`.
        """
        return self.predict_masks(self._with_prompt(conditioning, self.encode_prompt(maps, readings)))

    def _with_prompt(self, conditioning: Tensor, prompt: Tensor) -> Tensor:
        """The input of the mapper: the latents of image and prompt, and the skips after both."""
        channels = self.codec.channels
        return torch.cat([conditioning[:, :channels], prompt, conditioning[:, channels:]], dim=1)

    def predict_masks(self, latents: Tensor) -> Tensor:
        """The decoded masks `(B, 1, H, W)` of image and prompt latents `(B, C + P, h, w)`, and skips."""
        masks: Tensor = self.mask_codec.decode_mask(self.mapper(latents)["out"])
        return masks

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """The answer to no prompt at all."""
        height, width = (n * self.downsampling_factor for n in conditioning.shape[-2:])
        maps = conditioning.new_zeros(len(conditioning), 4, height, width)
        return self.draw(conditioning, maps, torch.zeros(len(conditioning), dtype=torch.long))

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """An imagined person points at an object and corrects; the last answer is taught."""
        seeds = torch.randint(_LARGEST_SEED, (len(batch.images),), generator=generator)
        corrections = self._draw_corrections(generator)
        rngs = [np.random.default_rng(int(seed)) for seed in seeds]
        images, masks = self._views(batch, rngs)
        targets = masks[:, 0].cpu().numpy() > 0.5
        prompts = [PromptMaps(mask.shape) for mask in targets]
        for prompt, mask, rng in zip(prompts, targets, rngs, strict=True):
            prompt.begin(mask, rng)
        with torch.no_grad():
            target_latents = self.mask_codec.encode_mask(masks) if self.config.latent_weight else None
        conditioning = self.encode(images)
        for _ in range(corrections):
            answers = self._answers(conditioning, prompts)
            for prompt, mask, answer, rng in zip(prompts, targets, answers, rngs, strict=True):
                prompt.correct(mask, answer, rng)
        return self._reading_losses(conditioning, prompts, target_latents, masks, rngs)

    def answer_clicks(self, images: Tensor, masks: Tensor) -> Tensor:
        """The answers to one click on each class, at its deepest point: `(B, K, H, W)` in [0, 1].

        A class that is not there is not pointed at, and its answer is empty.
        """
        size = masks.shape[-2:]
        if self.config.detail > 1:
            images, masks = (F.avg_pool2d(values, self.config.detail) for values in (images, masks))
        conditioning = self.encode(images)
        answers = torch.zeros_like(masks)
        height, width = masks.shape[-2:]
        for i, k in (masks.flatten(2).any(2)).nonzero().tolist():
            prompt = PromptMaps((height, width))
            prompt.add_click(deepest_point(masks[i, k].cpu().numpy() > 0.5), is_positive=True)
            maps = torch.from_numpy(prompt.maps)[None].to(images)
            reading = torch.zeros(1, dtype=torch.long, device=images.device)
            answers[i, k] = self.draw(conditioning[i, None], maps, reading)[0, 0].to(answers)
        return answers if self.config.detail == 1 else F.interpolate(answers, size, mode="bilinear")

    def predict_quality(self, conditioning: Tensor, readings: Tensor, maps: Tensor) -> Tensor:
        """The Dice that the mean of all readings of a view is expected to have, `(B,)` in [0, 1].

        Parameters
        ----------
        conditioning
            From `encode`.
        readings
            Probabilities of the answers, `(B, R, H, W)`, each without objects that nothing points at.
        maps
            Of the prompts, as for `encode_prompt`.

        Raises
        ------
        ValueError
            If the model has no network for it.
        """
        return torch.sigmoid(self._quality_logits(conditioning, readings, maps))

    def _quality_logits(self, conditioning: Tensor, readings: Tensor, maps: Tensor) -> Tensor:
        if self.quality is None:
            raise ValueError("the model does not predict the quality of its answers")
        logits: Tensor = self.quality(conditioning[:, : self.codec.channels], readings, maps)
        return logits

    def quality_loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Cross-entropy of the predicted quality, for a click on an object in a view of any scale."""
        seeds = torch.randint(_LARGEST_SEED, (len(batch.images),), generator=generator)
        views = [self._clicked_view(batch, i, int(seed)) for i, seed in enumerate(seeds)]
        images = torch.cat([view.image for view in views]).contiguous(memory_format=torch.channels_last)
        maps = torch.from_numpy(np.stack([view.prompt.maps for view in views])).to(images)
        with torch.no_grad():
            conditioning = self.encode(images)
            drawn = self._all_readings(conditioning, maps)
        readings = np.stack([view.only_pointed_at(of) for view, of in zip(views, drawn, strict=True)])
        dice = [view.dice(of.mean(0) > 0.5) for view, of in zip(views, readings, strict=True)]
        logits = self._quality_logits(conditioning, torch.from_numpy(readings).to(images), maps).float()
        target = torch.tensor(dice, dtype=torch.float32, device=logits.device)
        return {"quality": F.binary_cross_entropy_with_logits(logits, target)}

    def _clicked_view(self, batch: Batch, i: int, seed: int) -> ClickedView:
        """A click on an object of an image of a batch, in a view whose scale is drawn."""
        rng = np.random.default_rng(seed)
        mask = choose_object(_annotated_masks(batch, i), rng, self.config.single_share)
        with torch.autocast(batch.images.device.type, enabled=False):
            image = self._recoloured(batch.images[i, None].float(), rng)
            return clicked_view(image, mask, rng, self.config.detail)

    def _all_readings(self, conditioning: Tensor, maps: Tensor) -> np.ndarray:
        """Every reading of prompts, `(B, R, H, W)` in [0, 1]."""
        answers = [
            self.draw(conditioning, maps, torch.full((len(maps),), number, device=maps.device))
            for number in range(self.config.readings)
        ]
        all_readings: np.ndarray = torch.cat(answers, dim=1).float().cpu().numpy()
        return all_readings

    def _draw_corrections(self, generator: torch.Generator | None) -> int:
        """How many clicks follow the first in a training step."""
        most, share = self.config.corrections, self.config.first_click_share
        if share is None or not most:
            return int(torch.randint(most + 1, (), generator=generator))
        if float(torch.rand((), generator=generator)) < share:
            return 0
        return int(torch.randint(1, most + 1, (), generator=generator))

    def _views(self, batch: Batch, rngs: list[np.random.Generator]) -> tuple[Tensor, Tensor]:
        """For each image the part that is shown, at working size, and the mask of what is meant."""
        images, masks = [], []
        for i, rng in enumerate(rngs):
            mask = choose_object(_annotated_masks(batch, i), rng, self.config.single_share)
            view = view_around(mask, rng)
            with torch.autocast(batch.images.device.type, enabled=False):
                grid = sampling_grid(view, mask.shape[0], self.config.detail).to(batch.images.device)
                image = self._recoloured(batch.images[i, None].float(), rng)
                images.append(F.grid_sample(image, grid, padding_mode="border", align_corners=False))
                shown = torch.from_numpy(mask)[None, None].to(batch.masks)
                masks.append((F.grid_sample(shown, grid, align_corners=False) > 0.5).float())
        return torch.cat(images).contiguous(memory_format=torch.channels_last), torch.cat(masks)

    def _recoloured(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """An image `(1, 3, H, W)`, or a grey or inverted one in its place."""
        if rng.random() < self.config.grey:
            image = image.mean(dim=1, keepdim=True).expand_as(image)
        return 1 - image if rng.random() < self.config.invert else image

    @torch.no_grad()
    def _answers(self, conditioning: Tensor, prompts: list[PromptMaps]) -> np.ndarray:
        """The first reading of each image, `(B, H, W)`."""
        maps = torch.from_numpy(np.stack([p.maps for p in prompts])).to(conditioning.device)
        readings = torch.zeros(len(prompts), dtype=torch.long, device=conditioning.device)
        answer: np.ndarray = self.draw(conditioning.detach(), maps, readings)[:, 0].float().cpu().numpy()
        return answer

    def _reading_losses(
        self,
        conditioning: Tensor,
        prompts: list[PromptMaps],
        target_latents: Tensor | None,
        masks: Tensor,
        rngs: list[np.random.Generator],
    ) -> dict[str, Tensor]:
        maps = torch.from_numpy(np.stack([p.maps for p in prompts])).to(conditioning.device)
        readings = self._best_readings(conditioning, maps, masks, rngs)
        latents = self._with_prompt(conditioning, self.encode_prompt(maps, readings))
        predicted = self.mapper(latents, self.config.levels)
        return matching_losses(self.config, self.mask_codec, predicted, target_latents, masks)

    @torch.no_grad()
    def _best_readings(
        self, conditioning: Tensor, maps: Tensor, masks: Tensor, rngs: list[np.random.Generator]
    ) -> Tensor:
        """Of two readings that are drawn for each image, the one whose answer is nearer to the mask."""
        count = self.config.readings
        if count == 1:
            return torch.zeros(len(maps), dtype=torch.long, device=maps.device)
        pairs = np.stack([rng.choice(count, 2, replace=False) for rng in rngs])
        candidates = [torch.from_numpy(pairs[:, i]).to(maps.device) for i in range(2)]
        errors = []
        for readings in candidates:
            answer = self.draw(conditioning.detach(), maps, readings).float()
            overlap = (answer * masks).sum((1, 2, 3))
            errors.append(1 - 2 * overlap / (answer.sum((1, 2, 3)) + masks.sum((1, 2, 3))).clamp(min=1))
        return torch.where(errors[0] <= errors[1], candidates[0], candidates[1])


def _annotated_masks(batch: Batch, i: int) -> np.ndarray:
    """The masks of the classes that were annotated in an image of a batch, bool `(K, H, W)`."""
    masks: np.ndarray = batch.masks[i].cpu().numpy() > 0.5
    return masks if batch.annotated is None else masks[batch.annotated[i].cpu().numpy()]
