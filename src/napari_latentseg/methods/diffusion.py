"""The diffusion process that SDSeg, MedSegLatDiff and guided latent diffusion have in common.

Ho et al., Denoising Diffusion Probabilistic Models (DDPM), NeurIPS 2020; Song et al., Denoising Diffusion
Implicit Models (DDIM), ICLR 2021. Sampling steps are those of diffusers' `DDIMScheduler`; with `eta` 1 over
all timesteps they are DDPM's ancestral sampling. alpha-bar_t is the cumulative product of 1 - beta up to
timestep t. Where MedSegLatDiff (Equations 5 and 12) and guided latent diffusion (Equation 9) print other
coefficients, these are misprints: see docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.methods.noise import Noise

__all__ = ["Diffusion", "DiffusionConfig"]

# bfloat16 rounds to 2^-9 of a value: times 5, a noise of standard deviation 1 then puts the latent off by a
# hundredth of its own standard deviation.
_MAX_ERROR_GAIN = 5.0


class DiffusionConfig(FrozenModel):
    """Noise schedule and sampler.

    Attributes
    ----------
    timesteps
        T, the number of timesteps of the forward process; 1000 as in DDPM.
    beta_schedule, beta_start, beta_end
        Variance of the noise that each timestep adds, by diffusers' names of the schedules; the defaults are
        DDPM's (Section 4). The cosine schedule ``"squaredcos_cap_v2"`` (improved DDPM, Section 3.2) ignores
        start and end.
    prediction
        What the network predicts: the noise (``"epsilon"``) or the clean latent z_0 (``"sample"``).
    steps
        Sampling steps, spread evenly over the timesteps from T - 1 down ("trailing" in diffusers); a single
        step is at T - 1.
    eta
        Noise that each sampling step adds, from 0 (DDIM: only the initial noise is random) to 1 (DDPM).
    clamp
        Bound of the absolute values of the clean latent that each sampling step predicts; None for no
        bound. It must fit the range of the latents.
    """

    timesteps: int = Field(1000, ge=2)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
    prediction: Literal["epsilon", "sample"] = "epsilon"
    steps: int = Field(50, ge=1)
    eta: float = Field(0.0, ge=0, le=1)
    clamp: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_step_count(self) -> DiffusionConfig:
        if self.steps > self.timesteps:
            raise ValueError(f"steps: {self.steps} are more than the {self.timesteps} timesteps")
        return self


class Diffusion(nn.Module):
    """Forward process (adds noise to latents) and sampling (latents from noise); it has no weights.

    Parameters
    ----------
    config
        See `DiffusionConfig`.

    Attributes
    ----------
    alphas_cumprod
        alpha-bar of all timesteps, `(T,)`, decreasing in (0, 1).
    """

    alphas_cumprod: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        # not saved with the weights: it follows from the settings
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
            # latents are not bounded by [-1, 1], which diffusers' default would clip them to
            clip_sample=config.clamp is not None,
            clip_sample_range=config.clamp or 1.0,
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        )

    def sample_timesteps(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps drawn uniformly from 0 to T - 1, `(count,)`, on the device of the process."""
        timesteps = torch.randint(0, self.config.timesteps, (count,), generator=generator)
        return timesteps.to(self.alphas_cumprod.device)

    def sqrt_alpha_bar(self, t: Tensor) -> Tensor:
        """sqrt(alpha-bar_t), the factor of the clean latent, at timesteps `(B,)`: `(B, 1, 1, 1)`."""
        return self.alphas_cumprod[t].sqrt()[:, None, None, None]

    def sqrt_one_minus_alpha_bar(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha-bar_t), the factor of the noise, at timesteps `(B,)`: `(B, 1, 1, 1)`."""
        return (1 - self.alphas_cumprod[t]).sqrt()[:, None, None, None]

    def latent_to_noise_error_ratio(self, t: Tensor) -> Tensor:
        """Error of z_0 computed from a predicted noise, divided by the error of that noise, `(B, 1, 1, 1)`.

        This is sqrt((1 - alpha-bar_t) / alpha-bar_t), the inverse square root of the signal-to-noise ratio.
        """
        return self.sqrt_one_minus_alpha_bar(t) / self.sqrt_alpha_bar(t)

    @cached_property
    def error_gain(self) -> float:
        """Largest factor by which sampling multiplies an error of the network's prediction in z_0.

        It is 1 where the network predicts z_0. Of a predicted noise it is `latent_to_noise_error_ratio` at
        T - 1, where sampling begins: 157 with DDPM's schedule, 39 with SDSeg's.
        """
        if self.config.prediction == "sample":
            return 1.0
        last = torch.tensor([self.config.timesteps - 1], device=self.alphas_cumprod.device)
        return float(self.latent_to_noise_error_ratio(last))

    @property
    def needs_float32(self) -> bool:
        """Whether the network must not run in half precision, since its errors are amplified.

        Examples
        --------
        >>> noise, clean = DiffusionConfig(), DiffusionConfig(prediction="sample")
        >>> Diffusion(noise).needs_float32, Diffusion(clean).needs_float32
        (True, False)
        """
        return self.error_gain > _MAX_ERROR_GAIN

    def network_precision(self, device: torch.device) -> AbstractContextManager[None]:
        """The context in which the network predicts: without autocast where `needs_float32`.

        Parameters
        ----------
        device
            Of the network; its inputs must be float32 then.
        """
        return torch.autocast(device.type, enabled=False) if self.needs_float32 else nullcontext()

    def add_noise(self, z0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """Noisy latents z_t `(B, C, h, w)` from clean latents and noise, at timesteps `(B,)`."""
        return self.sqrt_alpha_bar(t) * z0 + self.sqrt_one_minus_alpha_bar(t) * epsilon

    def predict_x0(self, z_t: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """The clean latent z_0 `(B, C, h, w)` that a predicted noise implies (SDSeg, Equation 2)."""
        return (z_t - self.sqrt_one_minus_alpha_bar(t) * epsilon) / self.sqrt_alpha_bar(t)

    def sample(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        shape: tuple[int, ...],
        noise: Noise,
        *,
        steps: int | None = None,
    ) -> Tensor:
        """Latents sampled from noise, `(B, C, h, w)`.

        Parameters
        ----------
        predict
            The network: from z_t `(B, C, h, w)` and timesteps `(B,)` to its prediction, noise or z_0.
        shape
            Shape of the latents, `(B, C, h, w)`.
        noise
            Its step 0 is the initial noise; the i-th sampling step adds the noise of step i if `eta` is above
            0.
        steps
            Number of sampling steps, instead of the configuration's.
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
        # If `steps` does not divide T, diffusers' last step ends at a timestep above 0, with a little noise
        # left: the z_0 predicted in that step is the sample.
        return torch.as_tensor(step.pred_original_sample)
