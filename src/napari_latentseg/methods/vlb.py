"""The learned variance of a diffusion, and the variational bound that teaches it.

Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, ICML 2021, Sections 3.1 and 4, for a
network that predicts the latent itself. With alpha-bar of the step and of the one before it, the posterior's
mean is

    mu = sqrt(alpha-bar') beta / (1 - alpha-bar) z_0 + sqrt(alpha) (1 - alpha-bar') / (1 - alpha-bar) z_t,

which is Equation 9 of guided latent diffusion with its misprint mended: the paper has sqrt(alpha-bar) where
sqrt(alpha) belongs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_latentseg.methods.base import Noise

# Not diffusers' DDPMScheduler with `learned_range`: it has no variational loss, and draws its noise from a
# generator, where ours depends on the position, so that tiles that overlap agree.

__all__ = ["PosteriorStep", "ancestral_sample", "vlb_loss"]


@dataclass(frozen=True)
class PosteriorStep:
    """One step back from z_t, as the true posterior has it.

    Attributes
    ----------
    z0_coefficient, zt_coefficient
        What the posterior's mean takes of z_0 and of z_t.
    min_log_variance, max_log_variance
        Logarithms of the variances that the learned one lies between: the posterior's, and beta.
    """

    z0_coefficient: Tensor
    zt_coefficient: Tensor
    min_log_variance: Tensor
    max_log_variance: Tensor

    @classmethod
    def between(cls, alpha_bar: Tensor, previous_alpha_bar: Tensor) -> PosteriorStep:
        """From alpha-bar of a timestep and of the one that follows on the way back, 1 at the end.

        Parameters
        ----------
        alpha_bar, previous_alpha_bar
            Of any shape that latents can be multiplied by.
        """
        alpha_bar, previous_alpha_bar = alpha_bar.double(), previous_alpha_bar.double()
        alpha = alpha_bar / previous_alpha_bar
        beta = 1 - alpha
        posterior = beta * (1 - previous_alpha_bar) / (1 - alpha_bar)
        # the very last step's posterior has no variance; diffusers' floor, so that the logarithm exists
        floor = 1e-20
        return cls(
            (previous_alpha_bar.sqrt() * beta / (1 - alpha_bar)).float(),
            (alpha.sqrt() * (1 - previous_alpha_bar) / (1 - alpha_bar)).float(),
            posterior.clamp_min(floor).log().float(),
            beta.clamp_min(floor).log().float(),
        )

    def mean(self, z0: Tensor, z_t: Tensor) -> Tensor:
        """Of z one step back."""
        return self.z0_coefficient * z0 + self.zt_coefficient * z_t

    def log_variance(self, v: Tensor) -> Tensor:
        """What the network's `v`, nominally in [-1, 1], says between the smallest and the largest."""
        fraction = (v + 1) / 2
        return fraction * self.max_log_variance + (1 - fraction) * self.min_log_variance


def vlb_loss(
    z0: Tensor, z_t: Tensor, predicted_z0: Tensor, v: Tensor, alpha_bar: Tensor, t: Tensor
) -> Tensor:
    """One term of the bound for each latent, `(B,)`, in nats for each number of the latent.

    Between the true posterior and the model's, their divergence (Equation 5 of the source); at t = 0 the
    likelihood of z_0 under a normal distribution, for latents are no 8-bit pixels. The mean is cut off from
    the gradient: the bound teaches the variance alone.

    Parameters
    ----------
    z0, z_t, predicted_z0
        The latent, the disturbed latent and the predicted latent, `(B, C, h, w)`.
    v
        What the network says of the variance, `(B, C, h, w)`.
    alpha_bar
        alpha-bar of all timesteps, `(T,)`.
    t
        Timesteps, `(B,)`.
    """
    z0, z_t, predicted_z0, v = (x.float() for x in (z0, z_t, predicted_z0, v))
    is_first = t == 0
    step = _posterior_steps(alpha_bar, t)
    # the first step's posterior has no variance to begin the range with: that of the second stands in
    min_log_variance = torch.where(
        is_first[:, None, None, None],
        _posterior_steps(alpha_bar, t.clamp_min(1)).min_log_variance,
        step.min_log_variance,
    )
    step = replace(step, min_log_variance=min_log_variance)
    mean, log_variance = step.mean(predicted_z0.detach(), z_t), step.log_variance(v)
    squared_error = (step.mean(z0, z_t) - mean).square() * (-log_variance).exp()
    divergence = 0.5 * (
        log_variance - min_log_variance - 1 + (min_log_variance - log_variance).exp() + squared_error
    )
    likelihood = 0.5 * (
        math.log(2 * math.pi) + log_variance + squared_error
    )  # the first step's mean is z_0 itself
    return torch.where(is_first[:, None, None, None], likelihood, divergence).flatten(1).mean(1)


def _posterior_steps(alpha_bar: Tensor, t: Tensor) -> PosteriorStep:
    previous_alpha_bar = torch.where(t > 0, alpha_bar[(t - 1).clamp_min(0)], torch.ones_like(alpha_bar[t]))
    return PosteriorStep.between(alpha_bar[t][:, None, None, None], previous_alpha_bar[:, None, None, None])


def ancestral_sample(
    predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    alpha_bar: Tensor,
    shape: tuple[int, ...],
    noise: Noise,
    steps: int,
) -> Tensor:
    """A latent out of noise, each step with the variance that the network says.

    Fewer steps than timesteps are a process of their own, whose betas follow from the alpha-bars that are
    kept (Section 4 of the source); the timesteps are spread from the last on.

    Parameters
    ----------
    predict
        Gives z_0 and `v`, each `(B, C, h, w)`, from z_t and the timesteps `(B,)`.
    alpha_bar
        alpha-bar of all timesteps, `(T,)`.
    shape
        Of the latents, `(B, C, h, w)`.
    noise
        Its step 0 is the start; the others are what the steps add.
    steps
        How many.
    """
    total = len(alpha_bar)
    timesteps = [round(total - i * total / steps) - 1 for i in range(steps)]
    z: Tensor = noise(shape).to(alpha_bar.device)
    for step_index, t in enumerate(timesteps):
        z0, v = predict(z, torch.full((shape[0],), t, device=alpha_bar.device))
        is_last = step_index + 1 == steps
        step = PosteriorStep.between(
            alpha_bar[t], torch.ones_like(alpha_bar[t]) if is_last else alpha_bar[timesteps[step_index + 1]]
        )
        z = step.mean(z0.float(), z)
        if not is_last:
            std = (0.5 * step.log_variance(v.float())).exp()
            z = z + std * noise(shape, step_index + 1).to(z)
    return z
