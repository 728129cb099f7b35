"""The learned variance of a diffusion, and the variational lower bound (VLB) that trains it.

Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, ICML 2021, Sections 3.1 and 4, for a
network that predicts the clean latent z_0. With alpha-bar of the timestep, alpha-bar' of the one before it,
alpha = alpha-bar / alpha-bar' and beta = 1 - alpha, the posterior q(z_(t-1) | z_t, z_0) has the mean

    mu = sqrt(alpha-bar') beta / (1 - alpha-bar) z_0 + sqrt(alpha) (1 - alpha-bar') / (1 - alpha-bar) z_t.

Equation 9 of guided latent diffusion prints sqrt(alpha-bar) in place of sqrt(alpha): a misprint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_latentseg.methods.noise import Noise

# Not diffusers' DDPMScheduler with `learned_range`: it has no variational loss, and draws its noise from a
# generator, while ours is a function of the position, so that overlapping tiles agree.

__all__ = ["PosteriorStep", "ancestral_sample", "vlb_loss"]


@dataclass(frozen=True)
class PosteriorStep:
    """The posterior q(z_(t-1) | z_t, z_0) of one step of the reverse process.

    Attributes
    ----------
    z0_coefficient, zt_coefficient
        Factors of z_0 and of z_t in the posterior mean.
    min_log_variance, max_log_variance
        Natural logarithms of the variances that the learned one interpolates between: that of the posterior
        (beta-tilde) and beta.
    """

    z0_coefficient: Tensor
    zt_coefficient: Tensor
    min_log_variance: Tensor
    max_log_variance: Tensor

    @classmethod
    def between(cls, alpha_bar: Tensor, previous_alpha_bar: Tensor) -> PosteriorStep:
        """The step from one timestep to an earlier one.

        Parameters
        ----------
        alpha_bar, previous_alpha_bar
            alpha-bar of the timestep and of the earlier one (1 for the clean latent), in a shape that
            broadcasts with latents `(B, C, h, w)`.
        """
        alpha_bar, previous_alpha_bar = alpha_bar.double(), previous_alpha_bar.double()
        alpha = alpha_bar / previous_alpha_bar
        beta = 1 - alpha
        posterior = beta * (1 - previous_alpha_bar) / (1 - alpha_bar)
        floor = 1e-20  # the posterior variance of the last step is 0; diffusers' floor for its logarithm
        return cls(
            (previous_alpha_bar.sqrt() * beta / (1 - alpha_bar)).float(),
            (alpha.sqrt() * (1 - previous_alpha_bar) / (1 - alpha_bar)).float(),
            posterior.clamp_min(floor).log().float(),
            beta.clamp_min(floor).log().float(),
        )

    def mean(self, z0: Tensor, z_t: Tensor) -> Tensor:
        """Posterior mean `(B, C, h, w)` from z_0 and z_t of the same shape."""
        return self.z0_coefficient * z0 + self.zt_coefficient * z_t

    def log_variance(self, v: Tensor) -> Tensor:
        """The learned log variance: `v`, nominally in [-1, 1], interpolates between minimum and maximum.

        Equation 15 of the improved DDPM, with (v + 1) / 2 as its fraction.
        """
        fraction = (v + 1) / 2
        return fraction * self.max_log_variance + (1 - fraction) * self.min_log_variance


def vlb_loss(
    z0: Tensor, z_t: Tensor, predicted_z0: Tensor, v: Tensor, alpha_bar: Tensor, t: Tensor
) -> Tensor:
    """The term of the variational bound at one timestep per latent, `(B,)`, in nats per latent value.

    For t > 0 the KL divergence of the model's step from the true posterior (L_(t-1) in Section 2.1 of the
    source); for t = 0 the negative log likelihood of z_0 under a normal distribution (the source discretises
    it, for 8-bit pixels, which latents are not). The mean is detached: the bound trains the variance alone
    (Section 3.1).

    Parameters
    ----------
    z0, z_t, predicted_z0
        Clean, noisy and predicted clean latents, `(B, C, h, w)`.
    v
        The network's output for the variance, `(B, C, h, w)`, nominally in [-1, 1].
    alpha_bar
        alpha-bar of all timesteps, `(T,)`.
    t
        Timesteps, `(B,)`.
    """
    z0, z_t, predicted_z0, v = (x.float() for x in (z0, z_t, predicted_z0, v))
    is_first = t == 0
    step = _posterior_steps(alpha_bar, t)
    # The posterior variance at t = 0 is 0, whose logarithm bounds nothing: that of t = 1 is used, as in the
    # source.
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
    # at t = 0 the posterior mean is z_0 itself, so the squared error is that of z_0
    likelihood = 0.5 * (math.log(2 * math.pi) + log_variance + squared_error)
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
    """Latents `(B, C, h, w)` sampled from noise with the learned variance.

    With fewer steps than timesteps, the betas follow from the alpha-bars of the timesteps that are kept
    (Section 4 of the improved DDPM); these are spread evenly from the last one down.

    Parameters
    ----------
    predict
        The network: from z_t and timesteps `(B,)` to z_0 and `v`, each `(B, C, h, w)`.
    alpha_bar
        alpha-bar of all timesteps, `(T,)`.
    shape
        Of the latents, `(B, C, h, w)`.
    noise
        Step 0 is the initial noise; steps 1, 2, ... are added after each sampling step.
    steps
        Number of sampling steps, at most T.
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
