"""MedSegLatDiff against its equations, and what it learns where the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.learning import dice_to_nearest, falls, short_and_full
from tests.helpers.parameter_counts import parameter_counts
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff, MedSegLatDiffConfig
from napari_latentseg.methods.registry import build_method, method_class
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.folder import load_model_folder, save_model_folder
from napari_latentseg.training.config import TrainingConfig, load_config
from napari_latentseg.training.job import TrainingJob

AUTOENCODER = {"widths": (8, 16, 16), "layers_per_block": 1, "codes": 32, "norm_groups": 4}
DENOISER = {
    "widths": (16, 32), "attention": (False, False), "layers_per_block": 1, "norm_groups": 8, "head_width": 8,
}  # fmt: skip
WIDER = {"widths": (32, 64), "attention": (False, True)}
TINY = {"autoencoder": AUTOENCODER, "denoiser": DENOISER, "steps": 3}


@pytest.fixture
def make() -> Callable[..., MedSegLatDiff]:
    def of(**settings: object) -> MedSegLatDiff:
        torch.manual_seed(8)
        method = build_method("medseglatdiff", None, TINY | settings)
        assert isinstance(method, MedSegLatDiff)
        return method.eval()

    return of


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    masks = torch.zeros(3, 1, 32, 32)
    for number, side in enumerate((8, 14, 20)):
        masks[number, :, 4 : 4 + side, 6 : 6 + side] = 1
    images = 0.3 + 0.4 * masks + 0.05 * torch.randn(3, 3, 32, 32, generator=generator)
    return Batch(images.clamp(0, 1), masks)


@pytest.fixture
def begun(make, batch: Batch) -> Callable[..., MedSegLatDiff]:
    """With codes among the outputs and measured latents, as the diffusion finds them."""

    def of(**settings: object) -> MedSegLatDiff:
        method = make(**settings)
        for stage in method.stages():
            stage.on_start([batch])
        return method

    return of


def noise_of(seed: int, count: int) -> PositionalNoise:
    return PositionalNoise(seed, 0, [(8 * number, 0) for number in range(count)])


# --- the size ------------------------------------------------------------------------------------------


def test_the_published_size() -> None:
    with torch.device("meta"):
        counts = parameter_counts(MedSegLatDiff(None, MedSegLatDiffConfig()))
    assert counts == {
        "image_autoencoder": 13_852_271,
        "mask_autoencoder": 13_849_965,
        "denoiser": 14_409_988,
    }


@pytest.mark.parametrize(("widths", "factor", "multiple"), [((8, 8, 16), 4, 8), ((8, 8, 16, 16), 8, 16)])
def test_factor_and_multiple_go_by_the_widths(make, widths, factor: int, multiple: int) -> None:
    method = make(autoencoder=AUTOENCODER | {"widths": widths})
    assert (method.downsampling_factor, method.size_multiple) == (factor, multiple)


def test_it_draws_from_noise_and_has_no_codec() -> None:
    cls = method_class("medseglatdiff")
    assert cls.sampling_sources == ("noise",)
    assert not cls.is_deterministic
    with pytest.raises(BadInput, match="trains its own autoencoders; leave it out"):
        build_method("medseglatdiff", torch.nn.Identity(), {})  # type: ignore[arg-type]


# --- the objectives ------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_autoencoders_learn_by_squared_error_and_weighted_cross_entropy(make, batch: Batch) -> None:
    method = make(mask_weight=50)
    terms = method.autoencoder_loss(batch)
    signed = 2 * batch.images - 1
    image, image_tie = method.image_autoencoder(signed)
    logits, mask_tie = method.mask_autoencoder(batch.masks)
    p, m = torch.sigmoid(logits), batch.masks
    expected = {
        "image": (image - signed).square().mean(),
        "image codes": image_tie,
        "mask": -(50 * m * p.log() + (1 - m) * (1 - p).log()).mean(),
        "mask codes": mask_tie,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_diffusion_learns_the_noise_on_the_masks_latent_alone(begun, batch: Batch) -> None:
    method = begun()
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    hook = method.denoiser.register_forward_pre_hook(lambda _, args: seen.append(args))
    found = method.loss(batch, torch.Generator().manual_seed(5))
    hook.remove()
    ((z_t, t, condition),) = seen
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(t, torch.randint(0, 1000, (3,), generator=generator))
    epsilon = torch.randn(z_t.shape, generator=generator)
    kept = (
        (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[t].float()[:, None, None, None]
    )
    z0 = method.mask_autoencoder.encode(batch.masks)
    torch.testing.assert_close(z_t, kept.sqrt() * z0 + (1 - kept).sqrt() * epsilon, rtol=1e-4, atol=1e-4)
    assert torch.equal(condition, method.image_autoencoder.encode(2 * batch.images - 1))
    expected = (method.denoiser(z_t, t, condition) - epsilon).square().mean()
    torch.testing.assert_close(found, {"noise": expected})


@pytest.mark.parametrize("number", [0, 1], ids=["autoencoders", "diffusion"])
def test_a_stage_trains_its_parts_and_nothing_else(begun, batch: Batch, number: int) -> None:
    method = begun()
    stage = method.stages()[number]
    learn(method, stage, batch, steps=0)
    before = {k: v.clone() for k, v in method.trainable_modules.state_dict().items()}
    taught = {id(p): torch.zeros_like(p) for p in stage.trainable.parameters()}
    learn(method, stage, batch, steps=2, begin=False)
    changed = {k for k, v in method.trainable_modules.state_dict().items() if not torch.equal(v, before[k])}
    assert {k.partition(".")[0] for k in changed} == set(stage.trainable)
    named = dict(method.trainable_modules.named_parameters())
    assert changed == {k for k in named if id(named[k]) in taught} - {
        k
        for k in named
        if k.endswith("to_k.bias")  # a softmax does not see it
    } | {k for k in changed if k.endswith("to_k.bias")}


def test_the_objectives_of_the_two_autoencoders_do_not_touch(make, batch: Batch) -> None:
    method = make()
    terms = method.autoencoder_loss(batch)
    (terms["image"] + terms["image codes"]).backward()
    assert all(p.grad is None for p in method.mask_autoencoder.parameters())
    assert all(p.grad is not None for p in method.image_autoencoder.parameters())


@torch.no_grad()
def test_the_log_is_told_how_the_codes_are_used(make, batch: Batch) -> None:
    method = make()
    (stage, _) = method.stages()
    stage.on_start([batch])
    method.train()
    stage.loss(batch, None)
    told = stage.after_epoch()
    assert set(told) == {"image perplexity", "image restarted", "mask perplexity", "mask restarted"}
    assert all(1 < told[f"{part} perplexity"] <= 32 for part in ("image", "mask"))


@torch.no_grad()
def test_the_autoencoders_are_judged_by_the_way_back(begun, batch: Batch) -> None:
    method = begun()
    (stage, last) = method.stages()
    found = stage.validate(batch.images, batch.masks)
    logits, _ = method.mask_autoencoder(batch.masks)
    torch.testing.assert_close(found, torch.sigmoid(logits - math.log(5)), atol=1e-4, rtol=1e-3)
    assert last.validate is None


# --- the weight w --------------------------------------------------------------------------------------


@pytest.mark.parametrize("w", [0.5, 1.0, 5.0, 50.0])
@torch.no_grad()
def test_unshifting_takes_exactly_w_out(make, w: float) -> None:
    """What w teaches for a place that belongs to the mask with probability p, and back to p."""
    p = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
    logits = torch.zeros_like(p).requires_grad_()
    with torch.enable_grad():  # w p log q + (1 - p) log(1 - q) is greatest at the q of the docstring
        q = w * p / (w * p + 1 - p)
        logits = torch.logit(q).requires_grad_()
        both = [F.binary_cross_entropy_with_logits(logits, torch.full_like(p, m), pos_weight=torch.tensor(w),
                                                   reduction="none") for m in (1.0, 0.0)]  # fmt: skip
        (slope,) = torch.autograd.grad((p * both[0] + (1 - p) * both[1]).sum(), logits)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)
    found = make(mask_weight=w, unshift=True)._probability(logits.detach()).double()
    torch.testing.assert_close(found, p, atol=1e-6, rtol=1e-5)
    shifted = make(mask_weight=w, unshift=False)._probability(logits.detach()).double()
    torch.testing.assert_close(shifted, q.detach(), atol=1e-6, rtol=1e-5)
    # of a single sample, the published cut is one of the probability at 1 / (1 + w)
    clear = (p - 1 / (1 + w)).abs() > 1e-4
    assert torch.equal((shifted > 0.5)[clear], (found > 1 / (1 + w))[clear])


# --- samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 1.0])
@torch.inference_mode()
def test_samples_are_probabilities_settled_by_the_noise(begun, batch: Batch, eta: float) -> None:
    method = begun(eta=eta)
    condition = method.encode(batch.images)
    first = method.sample(condition, noise_of(1, 3))
    assert first.shape == batch.masks.shape
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, method.sample(condition, noise_of(1, 3)))
    assert not torch.equal(first, method.sample(condition, noise_of(2, 3)))


@torch.inference_mode()
def test_an_image_is_seen_alike_alone_and_in_a_batch(begun, batch: Batch) -> None:
    method = begun(eta=1.0)
    together = method.sample(method.encode(batch.images), noise_of(1, 3))
    for number in range(3):
        corners = [(8 * number, 0)]
        alone = method.sample(
            method.encode(batch.images[number : number + 1]), PositionalNoise(1, 0, corners)
        )
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-3, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.01


@torch.inference_mode()
def test_a_model_folder_gives_the_same_samples(begun, batch: Batch, tmp_path: Path) -> None:
    method = begun()
    assert not torch.equal(method.mask_autoencoder.spread, torch.ones(1, 4, 1, 1))
    card = ModelCard.model_validate(
        {
            "name": "tiny", "title": "Tiny", "method": "medseglatdiff",
            "variant": method.deviations_from_paper,
            "settings": TINY, "codec": None, "preprocess": {"mode": "whole", "size": 32}, "augment": {},
            "classes": [{"label": 1, "name": "target", "color": "#ffb000"}], "sources": ["noise"],
        }
    )  # fmt: skip
    save_model_folder(tmp_path / "tiny", method, card)
    other = load_model_folder(tmp_path / "tiny", lambda spec: pytest.fail("it has no codec")).method
    for part in ("image_autoencoder", "mask_autoencoder"):
        for name in ("mean", "spread"):
            stored = getattr(getattr(method, part), name).half().float()
            assert torch.equal(getattr(getattr(other, part), name), stored)
    method.trainable_modules.load_state_dict(
        {k: v.half().float() for k, v in method.trainable_modules.state_dict().items()}
    )
    found, again = (each.sample(each.encode(batch.images), noise_of(1, 3)) for each in (method, other))
    assert torch.equal(found, again)


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"unshift": False}, ""),
        ({"unshift": False, "mask_weight": 50}, ""),
        ({}, "probabilities corrected for the mask weight"),
        ({"unshift": False, "mask_weight": 2}, "mask weight 2"),
        ({"unshift": False, "steps": 50}, "50 steps"),
        ({"unshift": False, "steps": 20, "eta": 0}, "20 steps, DDIM"),
        ({"unshift": False, "eta": 0.5}, "eta 0.5"),
        ({"unshift": False, "autoencoder": {"codes": 64}}, "another autoencoder"),
        (
            {"unshift": False, "autoencoder": {"widths": [64, 128, 256, 256]}},
            "autoencoder widths 64-128-256-256",
        ),
        (
            {"unshift": False, "autoencoder": {"widths": [64, 128], "codes": 8}},
            "autoencoder widths 64-128 and other settings",
        ),
        (
            {"unshift": False, "denoiser": {"widths": [64, 128, 256], "attention": [False, False, True]}},
            "another denoiser",
        ),
    ],
    ids=str,
)
def test_what_differs_from_the_paper_is_said(settings: dict[str, object], expected: str) -> None:
    with torch.device("meta"):
        method = MedSegLatDiff(None, MedSegLatDiffConfig.model_validate(settings))
    assert method.deviations_from_paper == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_weight": 0}, "medseglatdiff settings, mask_weight: "),
        ({"steps": 1001}, "medseglatdiff settings, steps: "),
        ({"eta": -0.1}, "medseglatdiff settings, eta: "),
        ({"unshfit": True}, "medseglatdiff settings, unshfit: .*use one of autoencoder"),
        ({"autoencoder": {"widths": [64, 80]}}, r"medseglatdiff settings, autoencoder: .*norm_groups \(32\)"),
    ],
    ids=str,
)
def test_a_setting_that_is_wrong_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build_method("medseglatdiff", None, settings)


@pytest.mark.parametrize("name", ["cvc", "lidc", "small"])
def test_the_configurations_fit_the_method(name: str) -> None:
    config = load_config(f"medseglatdiff-{name}")
    assert config.codec is None
    with torch.device("meta"):
        method = build_method(config.method, None, config.settings)
    assert config.preprocess.size % method.size_multiple == 0
    assert set(config.stages) <= {stage.name for stage in method.stages()}
    assert (method.deviations_from_paper == "") == (name != "small")


# --- what it learns ------------------------------------------------------------------------------------


def learn(
    method: Method,
    stage: Stage,
    data: Batch,
    *,
    steps: int,
    rate: float = 1e-3,
    size: int = 3,
    begin: bool = True,
) -> list[float]:
    """What the trainer does, without a data set; gives the loss at each step."""
    generator = torch.Generator().manual_seed(0)
    method.eval()
    if begin:
        stage.on_start([data])
    method.requires_grad_(False)
    stage.trainable.requires_grad_(True)
    optimizer = torch.optim.AdamW(stage.trainable.parameters(), rate)
    stage.trainable.train()
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.randperm(len(data.images), generator=generator)[:size]
        terms = stage.loss(Batch(data.images[chosen], data.masks[chosen]), generator)
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(stage.trainable.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 20 == 0:
            stage.after_epoch()
    method.eval()
    return losses


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
def test_it_learns_shapes(make, full: bool) -> None:
    autoencoder = AUTOENCODER | {"widths": (16, 32, 32), "norm_groups": 8}
    method = make(autoencoder=autoencoder, denoiser=DENOISER | WIDER, steps=12)
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
def test_samples_fall_on_both_of_two_outlines(make, full: bool) -> None:
    """One image, and two experts who disagree: each sample takes a side, and the variance lies between."""
    away = (torch.arange(32.0) - 15.5).square()
    away = away[:, None] + away
    small, large = ((away < radius**2).float()[None, None] for radius in (6, 12))
    image = (0.3 + 0.3 * large + 0.2 * small).expand(-1, 3, -1, -1)
    data = Batch(image.repeat(16, 1, 1, 1), torch.cat([small, large]).repeat(8, 1, 1, 1))
    method = make(autoencoder=AUTOENCODER | {"codes": 16}, denoiser=DENOISER | WIDER, steps=12)
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
