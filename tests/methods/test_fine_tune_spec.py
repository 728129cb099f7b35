"""Every method can be taught a little more: its end learns, and what comes before is computed once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import METHODS, build_method

UNET = {"widths": (16, 32), "attention": (False, True), "layers_per_block": 1, "norm_groups": 8}
AUTOENCODER = {"widths": (8, 16, 16), "layers_per_block": 1, "norm_groups": 4}
FOLDED = {"widths": (16, 16), "layers": 1, "norm_groups": 8, "fold": 2}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gms": ("gms", {"width": 16}),
    "gms, two classes": ("gms", {"width": 16, "classes": 2, "cross_entropy_weight": 1.0}),
    "wave-gms": ("wave-gms", {"width": 16}),
    "sdseg": ("sdseg", {"denoiser": UNET | {"heads": 4}, "pixel_weight": 1.0}),
    "medseglatdiff": (
        "medseglatdiff",
        {"autoencoder": AUTOENCODER | {"codes": 32}, "denoiser": UNET | {"head_width": 8}, "steps": 2},
    ),
    "guided": (
        "guided",
        {
            "classes": 2, "mask_autoencoder": FOLDED, "image_autoencoder": FOLDED,
            "denoiser": UNET | {"scale_shift": True}, "buckets": 10,
            "diffusion": {"timesteps": 50, "prediction": "sample", "steps": 2},
        },
    ),
}  # fmt: skip


@pytest.fixture(params=SETTINGS)
def method(request: pytest.FixtureRequest) -> Method:
    name, settings = SETTINGS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(4)
        codec: Codec | None = None
        if METHODS[name].needs_codec:
            codec = build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1))
        built = build_method(name, codec, settings)
    # as they are when they learn: torch crashes on some layers in this layout where no gradient is asked for
    return built.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last)


def test_all_of_them_are_here() -> None:
    # a model that is pointed at has no class to be taught; it becomes a model of one by gms
    assert {name for name, _ in SETTINGS.values()} == set(METHODS) - {"prompted"}


def test_what_is_drawn_is_what_the_method_draws(method: Method, images: torch.Tensor) -> None:
    tuning = method.fine_tune_spec()
    with torch.no_grad():
        condition = method.encode(images)
        noise = None if method.is_deterministic else PositionalNoise(0, 0, [(0, 0)] * 3)
        expected = method.sample(condition, noise)
        found = tuning.sample(tuning.cache_features(condition), noise)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_only_its_parts_learn_and_they_do(method: Method, images: torch.Tensor) -> None:
    tuning = method.fine_tune_spec()
    own = {id(p) for p in method.trainable_modules.parameters()}
    assert {id(p) for p in tuning.trainable.parameters()} < own
    tuning.trainable.requires_grad_(True)
    masks = torch.zeros(3, method.class_count, 32, 32)
    masks[:, :, 8:24, 8:24] = 1
    with torch.no_grad():
        features, target = tuning.cache_features(method.encode(images)), tuning.encode_masks(masks)
    optimizer = torch.optim.AdamW(tuning.trainable.parameters(), 3e-3)
    totals = []
    for _ in range(25):
        generator = torch.Generator().manual_seed(3)
        terms = tuning.loss(
            features, target, masks, torch.ones(3, method.class_count, dtype=bool), generator, 1
        )
        total = torch.stack([t.float() for t in terms.values()]).sum()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(float(total.detach()))
    assert totals[-1] < totals[0]
    learning = {id(p) for p in tuning.trainable.parameters()}
    assert all(p.grad is None for p in method.parameters() if id(p) not in learning)


def test_a_method_that_offers_no_way_says_so() -> None:
    from napari_latentseg.errors import BadInput

    class Other(METHODS["gms"]):  # type: ignore[misc]
        fine_tune_spec = Method.fine_tune_spec

    codec = build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1))
    with pytest.raises(BadInput, match="cannot be fine-tuned"):
        Other(codec, Other.config_class.model_validate({"width": 16})).fine_tune_spec()


def test_the_names_of_its_stages_are_known_before_it_is_built(method: Method) -> None:
    names = [stage.name for stage in method.stages()]
    assert names == (list(method.stage_names) or [""])
