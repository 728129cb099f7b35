"""What SDSeg learns on synthetic shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tests.helpers.learning import dice_to_nearest, falls, short_and_full

from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.noise import random_noise
from napari_latentseg.methods.sdseg import SDSeg, SDSegConfig
from napari_latentseg.models.store import open_codec

LEARNER = {
    "denoiser": {"widths": (48, 96), "attention": (False, True), "layers_per_block": 1, "heads": 4,
                 "norm_groups": 8},
    "prediction": "sample",
    "conditioner_dropout": 0,
    "scaled_condition": True,
}  # fmt: skip


def learn(draw: Callable[[torch.Generator], Batch], steps: int) -> tuple[SDSeg, list[float]]:
    """Teach a small SDSeg on the embedded codec; with the loss at each step."""
    torch.manual_seed(0)
    codec, _ = open_codec("latentseg-compact")
    method = SDSeg(codec, SDSegConfig.model_validate(LEARNER))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        method.stages()[0].on_start([draw(generator)])
    optimizer = torch.optim.AdamW(method.trainable_modules.parameters(), 2e-3)
    method.train()
    losses = []
    for step in range(steps):
        rate = 2e-3 * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = torch.stack(list(method.loss(draw(generator), generator).values())).sum()
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(method.trainable_modules.parameters(), 1.0)
        optimizer.step()
    return method.eval(), losses


def ellipses(count: int, seed: int, size: int = 48) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    y, x = ((0.3 + 0.4 * torch.rand(2, count, generator=generator)) * size)[..., None, None]
    a, b = ((0.14 + 0.14 * torch.rand(2, count, generator=generator)) * size)[..., None, None]
    masks = ((((rows - y) / a) ** 2 + ((columns - x) / b) ** 2) < 1).float()[:, None]
    grey = 0.25 + 0.45 * masks + 0.05 * torch.randn(masks.shape, generator=generator)
    return Batch(grey.clamp(0, 1).expand(-1, 3, -1, -1).contiguous(), masks)


def mean_dice(method: SDSeg, batch: Batch) -> float:
    with torch.inference_mode():
        found = method.sample(method.encode(batch.images), random_noise(torch.Generator().manual_seed(3)))
    pairs = zip(found, batch.masks, strict=True)
    return sum(dice((p > 0.5).numpy(), m.numpy() > 0.5) for p, m in pairs) / len(found)


@short_and_full
def test_it_learns_shapes_and_finds_them_in_one_step(full: bool) -> None:
    shapes = ellipses(24, seed=0)

    def draw(generator: torch.Generator) -> Batch:
        chosen = torch.randint(0, 24, (8,), generator=generator)
        return Batch(shapes.images[chosen], shapes.masks[chosen])

    method, losses = learn(draw, steps=120 if full else 30)
    assert falls(losses)
    if not full:
        assert mean_dice(method, shapes) > mean_dice(learn(draw, steps=0)[0], shapes) + 0.1
        return
    assert mean_dice(method, shapes) > 0.95
    assert mean_dice(method, ellipses(12, seed=9)) > 0.85


@short_and_full
def test_samples_fall_on_both_of_two_outlines_and_differ_between_them(full: bool) -> None:
    """One image, of which one reader drew the small disc, another the large one."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    radius = ((rows - 15.5) ** 2 + (columns - 15.5) ** 2).sqrt()
    outlines = torch.stack([(radius < 6).float(), (radius < 12).float()])[:, None]
    images = (0.8 - 0.6 * (radius / 16).clamp(max=1)).expand(16, 3, -1, -1).contiguous()
    batch = Batch(images, outlines.repeat(8, 1, 1, 1))

    def score(method: SDSeg) -> float:
        with torch.inference_mode():
            found = method.sample(method.encode(images), random_noise(torch.Generator().manual_seed(5)))
        return dice_to_nearest(found, outlines)

    method, losses = learn(lambda _: batch, steps=100 if full else 25)
    assert falls(losses)
    if not full:
        assert score(method) > score(learn(lambda _: batch, steps=0)[0])
        return

    with torch.inference_mode():
        z_c = method.encode(images)
        for steps in (1, 5):
            method.diffusion.config = method.diffusion.config.model_copy(update={"steps": steps})
            found = method.sample(z_c, random_noise(torch.Generator().manual_seed(5)))
            masks = found[:, 0] > 0.5
            scores = torch.tensor([[dice(m.numpy(), o[0].numpy() > 0.5) for o in outlines] for m in masks])
            near = scores.max(1).values > 0.9
            # a single step leaves some samples between the two, five leave none
            assert near.sum() >= (16 if steps == 5 else 10)
            on_each = torch.bincount(scores.argmax(1)[near], minlength=2)
            assert on_each.min() >= 2
            variance = found.var(0, correction=0)[0]
            between = variance[(radius > 7) & (radius < 11)].mean()
            assert between > 0.1
            assert variance[radius < 5].mean() < 0.02 < between
            assert variance[radius > 14].mean() < 0.02
