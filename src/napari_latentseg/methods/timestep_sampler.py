"""Timesteps drawn the more often, the more they add to the loss.

Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, ICML 2021, Section 3.3: the
second-moment resampler. Guided latent diffusion says only that its timesteps are "weighted according to the
average term they contribute to the denoising loss".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SecondMomentResampler"]


class SecondMomentResampler(nn.Module):
    """Draws timesteps by p proportional to sqrt(E[L^2]), and tells the weight that keeps the objective.

    Timesteps are gathered in buckets, for with few images a history of every one of them is never complete.
    While a bucket has fewer than `history` losses, all are equally likely.

    Parameters
    ----------
    timesteps
        T.
    buckets
        T' of them, of equal size as nearly as can be; at most T.
    history
        How many of a bucket's last losses count.
    uniform_fraction
        Share of the uniform distribution that is mixed in, so that no timestep is forgotten.
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
        # a checkpoint that is to go on as if nothing had happened holds these too
        self.register_buffer("losses", torch.zeros(count, history))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.long))

    def probabilities(self) -> Tensor:
        """How likely each timestep is, `(T,)`; they add up to one."""
        width = self.edges.diff()
        weights = width.double()  # as many as a bucket holds: uniform over the timesteps
        p = weights / weights.sum()
        if bool((self.counts >= self.losses.shape[1]).all()):
            loss_weights = self.losses.double().square().mean(1).sqrt() * weights
            if bool(loss_weights.sum() > 0):
                p = (
                    1 - self.uniform_fraction
                ) * loss_weights / loss_weights.sum() + self.uniform_fraction * p
        return (p / weights).repeat_interleave(width)

    def sample_timesteps(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Timesteps `(count,)`, and 1 / (T p) of each, which its loss is to be multiplied by."""
        p = self.probabilities()
        # a generator belongs to one device, and that of a training is the CPU's
        timesteps = torch.multinomial(p.cpu(), count, replacement=True, generator=generator).to(p.device)
        return timesteps, (1 / (len(p) * p[timesteps])).float()

    @torch.no_grad()
    def update(self, timesteps: Tensor, losses: Tensor) -> None:
        """Take in the unweighted losses `(B,)` of timesteps `(B,)`; the oldest are dropped."""
        buckets = torch.bucketize(timesteps, self.edges, right=True) - 1
        for bucket, loss in zip(buckets.tolist(), losses.detach().float(), strict=True):
            slot = int(self.counts[bucket]) % self.losses.shape[1]
            self.losses[bucket, slot] = loss
            self.counts[bucket] += 1
