"""The process that SDSeg, MedSegLatDiff and guided latent diffusion have in common.

Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020; Song et al., Denoising Diffusion Implicit
Models, ICLR 2021. The steps are those of diffusers' `DDIMScheduler`, whose `eta` of 1 over all timesteps is
the ancestral sampling of DDPM. Where MedSegLatDiff (Equations 5 and 12) and guided latent diffusion
(Equation 9) print other coefficients, these are misprints: see docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.methods.base import Noise

__all__ = ["Diffusion", "DiffusionConfig"]


class DiffusionConfig(FrozenModel):
    """How noise is added, and how it is taken away again.

    Attributes
    ----------
    timesteps
        T.
    beta_schedule, beta_start, beta_end
        As diffusers has them; start and end do not matter for the cosine schedule
        (``"squaredcos_cap_v2"``).
    prediction
        What the network predicts: the noise (``"epsilon"``) or the latent itself (``"sample"``).
    steps
        How many steps a sample takes, spread over the timesteps from the last on ("trailing"), so that a
        single step is one at T - 1.
    eta
        Share of the noise that each step adds: 0 is DDIM, where the start alone is random, 1 is DDPM.
    """

    timesteps: int = Field(1000, ge=2)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
    prediction: Literal["epsilon", "sample"] = "epsilon"
    steps: int = Field(50, ge=1)
    eta: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check_step_count(self) -> DiffusionConfig:
        if self.steps > self.timesteps:
            raise ValueError(f"steps: {self.steps} are more than the {self.timesteps} timesteps")
        return self


class Diffusion(nn.Module):
    """Noise on latents, and latents out of noise.

    Parameters
    ----------
    config
        See `DiffusionConfig`.
    """

    alphas_cumprod: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        # not part of a model's weights: the settings give it again
        self.register_buffer("alphas_cumprod", self._scheduler().alphas_cumprod.float(), persistent=False)

    def _scheduler(self) -> Any:
        from diffusers import DDIMScheduler

        config = self.config
        return DDIMScheduler(
            num_train_timesteps=config.timesteps,
            beta_schedule=config.beta_schedule,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            prediction_type=config.prediction,
            clip_sample=False,  # the default would cut latents to [-1, 1]
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        )

    def sample_timesteps(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform timesteps, `(count,)`."""
        timesteps = torch.randint(0, self.config.timesteps, (count,), generator=generator)
        return timesteps.to(self.alphas_cumprod.device)

    def sqrt_alpha_bar(self, t: Tensor) -> Tensor:
        """sqrt(alpha-bar) at the timesteps, `(B, 1, 1, 1)`."""
        return self.alphas_cumprod[t].sqrt()[:, None, None, None]

    def sqrt_one_minus_alpha_bar(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha-bar) at the timesteps, `(B, 1, 1, 1)`."""
        return (1 - self.alphas_cumprod[t]).sqrt()[:, None, None, None]

    def latent_to_noise_error_ratio(self, t: Tensor) -> Tensor:
        """How much larger an error of the latent is than that of the noise it is computed from."""
        return self.sqrt_one_minus_alpha_bar(t) / self.sqrt_alpha_bar(t)

    def add_noise(self, z0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t: latents `(B, C, h, w)` with the noise of their timesteps."""
        return self.sqrt_alpha_bar(t) * z0 + self.sqrt_one_minus_alpha_bar(t) * epsilon

    def predict_x0(self, z_t: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_0 as a predicted noise has it (SDSeg, Equation 2)."""
        return (z_t - self.sqrt_one_minus_alpha_bar(t) * epsilon) / self.sqrt_alpha_bar(t)

    def sample(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        shape: tuple[int, ...],
        noise: Noise,
        *,
        steps: int | None = None,
    ) -> Tensor:
        """A latent out of noise.

        Parameters
        ----------
        predict
            Gives the network's prediction `(B, C, h, w)` from z_t and the timesteps `(B,)`.
        shape
            Of the latents, `(B, C, h, w)`.
        noise
            Its step 0 is the start; the others are what the steps add where `eta` is above 0.
        steps
            In place of the configuration's.
        """
        scheduler = self._scheduler()
        scheduler.set_timesteps(self.config.steps if steps is None else steps)
        device = self.alphas_cumprod.device
        z: Tensor = noise(shape).to(device)
        for step_index, t in enumerate(scheduler.timesteps.tolist()):
            predicted = predict(z, torch.full((shape[0],), t, device=device)).float()
            step_noise = noise(shape, step_index + 1).to(device) if self.config.eta else None
            step = scheduler.step(predicted, t, z, eta=self.config.eta, variance_noise=step_noise)
            z = step.prev_sample
        # where the steps do not divide T, diffusers' last one ends a little before the latent itself
        return torch.as_tensor(step.pred_original_sample)
