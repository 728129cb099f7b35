"""MedSegLatDiff against its equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.medseglatdiff import (
    AUTOENCODER,
    TINY,
    begun_on,
    learn,
    noise_of,
    three_squares,
    tiny_medseglatdiff,
)
from tests.helpers.parameter_counts import parameter_counts
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff, MedSegLatDiffConfig
from napari_latentseg.methods.registry import build_method, method_class
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.folder import load_model_folder, save_model_folder
from napari_latentseg.training.config_files import load_config


@pytest.fixture
def batch() -> Batch:
    return three_squares()


@pytest.fixture
def begun(batch: Batch) -> Callable[..., MedSegLatDiff]:
    return partial(begun_on, batch)


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
def test_factor_and_multiple_go_by_the_widths(widths, factor: int, multiple: int) -> None:
    method = tiny_medseglatdiff(autoencoder=AUTOENCODER | {"widths": widths})
    assert (method.downsampling_factor, method.size_multiple) == (factor, multiple)


def test_it_draws_from_noise_and_has_no_codec() -> None:
    cls = method_class("medseglatdiff")
    assert cls.sampling_sources == ("noise",)
    assert not cls.is_deterministic
    with pytest.raises(BadInput, match="trains its own autoencoders; leave it out"):
        build_method("medseglatdiff", torch.nn.Identity(), {})  # type: ignore[arg-type]


# --- the objectives ------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_autoencoders_learn_by_squared_error_and_weighted_cross_entropy(batch: Batch) -> None:
    method = tiny_medseglatdiff(mask_weight=50)
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


def test_the_objectives_of_the_two_autoencoders_do_not_touch(batch: Batch) -> None:
    method = tiny_medseglatdiff()
    terms = method.autoencoder_loss(batch)
    (terms["image"] + terms["image codes"]).backward()
    assert all(p.grad is None for p in method.mask_autoencoder.parameters())
    assert all(p.grad is not None for p in method.image_autoencoder.parameters())


@torch.no_grad()
def test_the_log_is_told_how_the_codes_are_used(batch: Batch) -> None:
    method = tiny_medseglatdiff()
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
def test_unshifting_takes_exactly_w_out(w: float) -> None:
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
    found = tiny_medseglatdiff(mask_weight=w, unshift=True)._probability(logits.detach()).double()
    torch.testing.assert_close(found, p, atol=1e-6, rtol=1e-5)
    shifted = tiny_medseglatdiff(mask_weight=w, unshift=False)._probability(logits.detach()).double()
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
        ({"unshfit": True}, "medseglatdiff settings, unshfit: is not known; did you mean 'unshift'"),
        ({"autoencoder": {"widths": [64, 80]}}, r"medseglatdiff settings, autoencoder: .*norm_groups \(32\)"),
    ],
    ids=str,
)
def test_a_setting_that_is_wrong_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build_method("medseglatdiff", None, settings)


@pytest.mark.parametrize(
    "name", ["cvc", "lidc", "cvc-code", "lidc-code", "small", "lidc-small", "lidc-readers-small"]
)
def test_the_configurations_fit_the_method(name: str) -> None:
    config = load_config(f"medseglatdiff-{name}")
    assert config.codec is None
    with torch.device("meta"):
        method = build_method(config.method, None, config.settings)
    assert config.preprocess.size % method.size_multiple == 0
    assert set(config.stages) <= {stage.name for stage in method.stages()}
    assert (method.deviations_from_paper == "") == (name in ("cvc", "lidc"))
