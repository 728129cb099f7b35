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

__all__ = ["Step", "ancestral_sample", "variational_term"]


@dataclass(frozen=True)
class Step:
    """One step back from z_t, as the true posterior has it.

    Attributes
    ----------
    from_z0, from_zt
        What the posterior's mean takes of z_0 and of z_t.
    smallest, largest
        Logarithms of the variances that the learned one lies between: the posterior's, and beta.
    """

    from_z0: Tensor
    from_zt: Tensor
    smallest: Tensor
    largest: Tensor

    @classmethod
    def between(cls, bar: Tensor, before: Tensor) -> Step:
        """From alpha-bar of a timestep and of the one that follows on the way back, 1 at the end.

        Parameters
        ----------
        bar, before
            Of any shape that latents can be multiplied by.
        """
        bar, before = bar.double(), before.double()
        alpha = bar / before
        beta = 1 - alpha
        posterior = beta * (1 - before) / (1 - bar)
        # the very last step's posterior has no variance; diffusers' floor, so that the logarithm exists
        floor = 1e-20
        return cls(
            (before.sqrt() * beta / (1 - bar)).float(),
            (alpha.sqrt() * (1 - before) / (1 - bar)).float(),
            posterior.clamp_min(floor).log().float(),
            beta.clamp_min(floor).log().float(),
        )

    def mean(self, z0: Tensor, z_t: Tensor) -> Tensor:
        """Of z one step back."""
        return self.from_z0 * z0 + self.from_zt * z_t

    def log_variance(self, v: Tensor) -> Tensor:
        """What the network's `v`, nominally in [-1, 1], says between the smallest and the largest."""
        share = (v + 1) / 2
        return share * self.largest + (1 - share) * self.smallest


def variational_term(z0: Tensor, z_t: Tensor, found: Tensor, v: Tensor, bar: Tensor, t: Tensor) -> Tensor:
    """One term of the bound for each latent, `(B,)`, in nats for each number of the latent.

    Between the true posterior and the model's, their divergence (Equation 5 of the source); at t = 0 the
    likelihood of z_0 under a normal distribution, for latents are no 8-bit pixels. The mean is cut off from
    the gradient: the bound teaches the variance alone.

    Parameters
    ----------
    z0, z_t, found
        The latent, the disturbed latent and the predicted latent, `(B, C, h, w)`.
    v
        What the network says of the variance, `(B, C, h, w)`.
    bar
        alpha-bar of all timesteps, `(T,)`.
    t
        Timesteps, `(B,)`.
    """
    z0, z_t, found, v = (x.float() for x in (z0, z_t, found, v))
    is_first = t == 0
    step = _steps(bar, t)
    # the first step's posterior has no variance to begin the range with: that of the second stands in
    smallest = torch.where(is_first[:, None, None, None], _steps(bar, t.clamp_min(1)).smallest, step.smallest)
    step = replace(step, smallest=smallest)
    mean, log_variance = step.mean(found.detach(), z_t), step.log_variance(v)
    apart = (step.mean(z0, z_t) - mean).square() * (-log_variance).exp()
    divergence = 0.5 * (log_variance - smallest - 1 + (smallest - log_variance).exp() + apart)
    likelihood = 0.5 * (math.log(2 * math.pi) + log_variance + apart)  # the first step's mean is z_0 itself
    return torch.where(is_first[:, None, None, None], likelihood, divergence).flatten(1).mean(1)


def _steps(bar: Tensor, t: Tensor) -> Step:
    before = torch.where(t > 0, bar[(t - 1).clamp_min(0)], torch.ones_like(bar[t]))
    return Step.between(bar[t][:, None, None, None], before[:, None, None, None])


def ancestral_sample(
    predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    bar: Tensor,
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
    bar
        alpha-bar of all timesteps, `(T,)`.
    shape
        Of the latents, `(B, C, h, w)`.
    noise
        Its step 0 is the start; the others are what the steps add.
    steps
        How many.
    """
    total = len(bar)
    kept = [round(total - i * total / steps) - 1 for i in range(steps)]
    z: Tensor = noise(shape).to(bar.device)
    for number, t in enumerate(kept):
        z0, v = predict(z, torch.full((shape[0],), t, device=bar.device))
        last = number + 1 == steps
        step = Step.between(bar[t], torch.ones_like(bar[t]) if last else bar[kept[number + 1]])
        z = step.mean(z0.float(), z)
        if not last:
            spread = (0.5 * step.log_variance(v.float())).exp()
            z = z + spread * noise(shape, number + 1).to(z)
    return z
