"""Importance sampling of timesteps: those with a larger loss are drawn more often.

Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, ICML 2021, Section 3.3: the
second-moment resampler. Guided latent diffusion says only that its timesteps are "weighted according to the
average term they contribute to the denoising loss".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SecondMomentResampler"]


class SecondMomentResampler(nn.Module):
    """Draws timesteps with p proportional to sqrt(E[L^2]), and gives weights that keep the objective.

    Neighbouring timesteps share a bucket with one loss history, since with few images a history of each of
    1000 timesteps would never fill. Until every bucket has `history` losses, timesteps are drawn uniformly.

    Parameters
    ----------
    timesteps
        T.
    buckets
        Number of buckets, of nearly equal size; one per timestep where not given.
    history
        Latest losses kept per bucket; 10 as in improved DDPM.
    uniform_fraction
        Fraction of a uniform distribution that is mixed in, so that every timestep is drawn from time to
        time; 0.001 as in the code of improved DDPM.

    Attributes
    ----------
    losses
        Latest losses, `(buckets, history)`.
    counts
        Losses seen so far, `(buckets,)`.
    edges
        First timestep of each bucket, and T, `(buckets + 1,)`.
    """

    losses: Tensor
    counts: Tensor
    edges: Tensor

    def __init__(
        self, timesteps: int, buckets: int | None = None, history: int = 10, uniform_fraction: float = 1e-3
    ) -> None:
        super().__init__()
        count = min(timesteps, buckets or timesteps)
        self.uniform_fraction = uniform_fraction
        edges = torch.linspace(0, timesteps, count + 1).round().long()
        self.register_buffer("edges", edges, persistent=False)
        # saved in a checkpoint, so that a resumed training draws the same timesteps
        self.register_buffer("losses", torch.zeros(count, history))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.long))

    def probabilities(self) -> Tensor:
        """Probability of each timestep, `(T,)`; they add up to 1."""
        width = self.edges.diff()
        weights = width.double()  # timesteps per bucket: uniform over the timesteps
        p = weights / weights.sum()
        if bool((self.counts >= self.losses.shape[1]).all()):
            loss_weights = self.losses.double().square().mean(1).sqrt() * weights
            if bool(loss_weights.sum() > 0):
                p = (
                    1 - self.uniform_fraction
                ) * loss_weights / loss_weights.sum() + self.uniform_fraction * p
        return (p / weights).repeat_interleave(width)

    def sample_timesteps(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Timesteps `(count,)`, and the weights 1 / (T p) of their losses, `(count,)`."""
        p = self.probabilities()
        # the generator of a training is on the CPU, and multinomial needs both on one device
        timesteps = torch.multinomial(p.cpu(), count, replacement=True, generator=generator).to(p.device)
        return timesteps, (1 / (len(p) * p[timesteps])).float()

    @torch.no_grad()
    def update(self, timesteps: Tensor, losses: Tensor) -> None:
        """Record the unweighted losses `(B,)` of timesteps `(B,)`, in place of the oldest."""
        buckets = torch.bucketize(timesteps, self.edges, right=True) - 1
        for bucket, loss in zip(buckets.tolist(), losses.detach().float(), strict=True):
            slot = int(self.counts[bucket]) % self.losses.shape[1]
            self.losses[bucket, slot] = loss
            self.counts[bucket] += 1
