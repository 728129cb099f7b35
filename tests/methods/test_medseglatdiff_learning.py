"""What MedSegLatDiff learns where the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.helpers.learning import dice_to_nearest, falls, short_and_full
from tests.helpers.medseglatdiff import AUTOENCODER, DENOISER, TINY, learn, tiny_medseglatdiff
from torch import Tensor

from napari_latentseg.methods.base import Batch
from napari_latentseg.models.folder import load_model_folder
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.job import TrainingJob

WIDER = {"widths": (32, 64), "attention": (False, True)}


def shapes(count: int, seed: int) -> Batch:
    """A bright ellipse on a noisy ground each, and which pixels it covers."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 4, 1, 1, generator=generator)
    y, x = (32 * (0.35 + 0.3 * places[:, i]) for i in (0, 1))
    a, b = (32 * (0.18 + 0.12 * places[:, i]) for i in (2, 3))
    along = torch.arange(32.0)
    masks = (((along[:, None] - y) / a) ** 2 + ((along - x) / b) ** 2 < 1).float()[:, None]
    images = 0.25 + 0.5 * masks + 0.03 * torch.randn(masks.shape, generator=generator)
    return Batch(images.clamp(0, 1).expand(-1, 3, -1, -1), masks)


def dice_of(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Of each image, `(B,)`."""
    found = (probabilities > 0.5).float()
    return 2 * (found * masks).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + masks.sum((1, 2, 3)))


@pytest.mark.timeout(900)  # 40 s of one quiet core
@short_and_full
def test_it_learns_shapes(full: bool) -> None:
    autoencoder = AUTOENCODER | {"widths": (16, 32, 32), "norm_groups": 8}
    method = tiny_medseglatdiff(autoencoder=autoencoder, denoiser=DENOISER | WIDER, steps=12)
    known, new = shapes(24, 0), shapes(24, 1)
    autoencoders, diffusion = method.stages()

    def score() -> float:
        with torch.inference_mode():
            samples = method.sample_many(known.images, 3, torch.Generator().manual_seed(3))
            return float(dice_of(torch.stack(list(samples)).mean(0), known.masks).mean())

    before = score()
    assert falls(learn(method, autoencoders, known, steps=160 if full else 30, rate=5e-3, size=8))
    if not full:
        assert falls(learn(method, diffusion, known, steps=40, rate=4e-3, size=8))
        assert score() > before + 0.1
        return
    assert falls(learn(method, diffusion, known, steps=480, rate=4e-3, size=16))
    with torch.inference_mode():
        for data, least in ((known, 0.95), (new, 0.85)):
            samples = method.sample_many(data.images, 3, torch.Generator().manual_seed(3))
            assert dice_of(torch.stack(list(samples)).mean(0), data.masks).mean() > least


@short_and_full
def test_samples_fall_on_both_of_two_outlines(full: bool) -> None:
    """One image, and two experts who disagree: each sample takes a side, and the variance lies between."""
    away = (torch.arange(32.0) - 15.5).square()
    away = away[:, None] + away
    small, large = ((away < radius**2).float()[None, None] for radius in (6, 12))
    image = (0.3 + 0.3 * large + 0.2 * small).expand(-1, 3, -1, -1)
    data = Batch(image.repeat(16, 1, 1, 1), torch.cat([small, large]).repeat(8, 1, 1, 1))
    method = tiny_medseglatdiff(autoencoder=AUTOENCODER | {"codes": 16}, denoiser=DENOISER | WIDER, steps=12)
    autoencoders, diffusion = method.stages()

    def score() -> float:
        with torch.inference_mode():
            samples = next(iter(method.sample_many(data.images, 1, torch.Generator().manual_seed(7))))
        return dice_to_nearest(samples, (small[0], large[0]))

    before = score()
    assert falls(learn(method, autoencoders, data, steps=60 if full else 25, rate=5e-3, size=4))
    assert falls(learn(method, diffusion, data, steps=300 if full else 30, rate=4e-3, size=16))
    if not full:
        assert score() > before
        return
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(7)
        samples = next(iter(method.sample_many(image.repeat(24, 1, 1, 1), 1, generator)))
    sides = torch.stack([dice_of(samples, mask.expand_as(samples)) for mask in (small, large)])
    assert (sides.amax(0) > 0.8).float().mean() > 0.9
    assert 5 <= int((sides[0] > sides[1]).sum()) <= 19
    variance, ring = samples.var(0), (large > small)[0]
    assert variance[ring].mean() > 5 * variance[~ring].mean()


def test_a_training_ends_in_a_model(tmp_path: Path, write_ellipses: Callable[..., Path]) -> None:
    config = TrainingConfig.model_validate(
        {
            "method": "medseglatdiff", "settings": TINY, "codec": None, "seed": 1,
            "preprocess": {"mode": "whole", "size": 32}, "split": {"fraction": 0.34},
            "epochs": 2, "batch_size": 2, "warmup_epochs": 0, "schedule_by": "step", "select": "last",
            "validate_every": 2, "card": {"threshold": 0.25, "default_samples": 3},
        }
    )  # fmt: skip
    data = write_ellipses(tmp_path / "data")
    events = list(TrainingJob(data, tmp_path / "model", config, None, None, device="cpu"))
    epochs = [(e.stage, e.epoch) for e in events if e.event == "epoch"]
    assert epochs == [("autoencoders", 1), ("autoencoders", 2), ("diffusion", 1), ("diffusion", 2)]
    model = load_model_folder(tmp_path / "model", lambda spec: pytest.fail("it has no codec"))
    assert model.card.threshold == 0.25
    assert model.card.sources == ("noise",)
    assert [(record.source, record.samples) for record in model.card.metrics] == [("noise", 1), ("noise", 3)]
    assert "mask perplexity" in (tmp_path / "model" / "training_log.csv").read_text("utf-8").splitlines()[0]
