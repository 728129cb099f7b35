"""What GMS learns on synthetic shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.helpers.learning import falls, short_and_full

from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.gms import GMS, GMSConfig


@short_and_full
def test_it_learns_shapes(
    ellipses: Callable[..., Batch], mean_dice: Callable[..., float], full: bool
) -> None:
    """On the package's own codec, frozen on both sides."""
    from napari_latentseg.models.store import open_codec

    own, _ = open_codec("embedded")
    torch.manual_seed(0)
    method = GMS(own, GMSConfig(width=16, levels=("out",), cross_entropy_weight=1.0)).train()
    seen, new = ellipses(24, seed=1), ellipses(12, seed=2)
    steps = 150 if full else 20
    optimizer = torch.optim.AdamW(method.trainable_modules.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(3)

    def scores() -> list[float]:
        method.eval()
        with torch.inference_mode():
            return [mean_dice(method.sample(method.encode(b.images)), b.masks) for b in (seen, new)]

    before, before_unseen = scores()
    method.train()
    losses = []
    for _ in range(steps):
        chosen = torch.randperm(len(seen.images), generator=generator)[:6]
        terms = method.loss(Batch(seen.images[chosen], seen.masks[chosen]), generator)
        optimizer.zero_grad()
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
    found, unseen = scores()
    assert falls(losses)
    if not full:
        assert found > before + 0.1
        assert unseen > before_unseen + 0.1
        return
    assert found > 0.95
    assert unseen > 0.85
