"""Shapes that methods learn within a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from napari_latentseg.methods.base import Batch

SIZE = 48


@pytest.fixture(scope="session")
def ellipses() -> Callable[..., Batch]:
    """Bright ellipses on a dark ground; the masks may be grown, about the same centres."""

    def of(count: int, seed: int, growth: float = 1.0) -> Batch:
        generator = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float) -> Tensor:
            return SIZE * (low + (high - low) * torch.rand(count, 1, 1, generator=generator))

        rows = torch.arange(SIZE, dtype=torch.float32)[None, :, None]
        y, x, a, b = uniform(0.4, 0.6), uniform(0.4, 0.6), uniform(0.2, 0.3), uniform(0.2, 0.3)
        distance = (((rows - y) / a) ** 2 + ((rows.mT - x) / b) ** 2).sqrt()[:, None]
        noise = 0.05 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
        images = 0.25 + 0.45 * (distance < 1) + noise
        return Batch(images.clamp(0, 1), (distance < growth).float())

    return of


@pytest.fixture(scope="session")
def mean_dice() -> Callable[[Tensor, Tensor], float]:
    """Mean Dice of probabilities, cut at 0.5, with masks, both `(B, 1, H, W)`."""

    def of(probability: Tensor, masks: Tensor) -> float:
        p = (probability > 0.5).float()
        both = 2 * (p * masks).sum((1, 2, 3))
        return float((both / (p.sum((1, 2, 3)) + masks.sum((1, 2, 3)))).mean())

    return of
