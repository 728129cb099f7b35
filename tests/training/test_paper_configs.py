"""The configurations of the papers' data sets and ablations: each loads, and its first step can be made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.registry import build_method, method_class
from napari_latentseg.models.store import open_codec
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config, named_configs

PAPER_CONFIGS = [
    name
    for name in named_configs()
    if not name.endswith("-small") and name.startswith(("gms", "wave", "sdseg", "medseg", "guided"))
]
DENOISER = {
    "widths": [16, 32], "attention": [False, True], "layers_per_block": 1, "norm_groups": 8, "head_width": 8,
}  # fmt: skip
AUTOENCODER = {"widths": [8, 16], "norm_groups": 8}
TINY: dict[str, dict[str, Any]] = {
    "gms": {"width": 16},
    "wave-gms": {"width": 16},
    "sdseg": {"denoiser": DENOISER},
    "medseglatdiff": {"autoencoder": AUTOENCODER | {"codes": 16}, "denoiser": DENOISER},
    "guided": {
        "mask_autoencoder": AUTOENCODER,
        "image_autoencoder": AUTOENCODER,
        "denoiser": DENOISER | {"scale_shift": True},
        "text_width": 8,
    },
}


@pytest.mark.parametrize("name", PAPER_CONFIGS)
def test_its_first_step_can_be_made(name: str, tiny_codec_folder: Path) -> None:
    """With the configuration's own settings, but for the sizes of the networks."""
    config = load_config(name)
    codec = open_codec(tiny_codec_folder.name)[0] if method_class(config.method).needs_codec else None
    torch.manual_seed(0)
    settings = config.settings | TINY[config.method]
    if config.method == "medseglatdiff" and "mask_autoencoder" in config.settings:
        settings["mask_autoencoder"] = config.settings["mask_autoencoder"] | AUTOENCODER | {"codes": 16}
    method = build_method(config.method, codec, settings)
    classes = method.class_count
    masks = torch.zeros(2, classes, 64, 64)
    masks[:, :, 16:40, 16:40] = 1
    batch = Batch(torch.rand(2, 3, 64, 64), masks, torch.ones(2, classes, dtype=torch.bool))
    for stage in method.stages():
        stage.on_start([batch, batch])
        method.train()
        loss = torch.stack(list(stage.loss(batch, torch.Generator().manual_seed(0)).values())).sum()
        loss.backward()
        assert bool(torch.isfinite(loss))
        gradients = [p.grad for p in stage.trainable.parameters() if p.grad is not None]
        assert any(bool(g.any()) for g in gradients)


EXPECTED = {
    "gms-bus": {"method": "gms", "epochs": 1000, "batch_size": 8},
    "gms-glas": {"epochs": 1000, "batch_size": 8},
    "gms-ham10000": {"epochs": 150, "batch_size": 8},
    "gms-kvasir-instrument": {"epochs": 1000},
    "gms-busi-taesd": {"method": "gms", "codec": "madebyollin/taesd", "batch_size": 12},
    "wave-gms-bus": {"method": "wave-gms", "epochs": 1000, "batch_size": 12, "codec": "madebyollin/taesd"},
    "wave-gms-ham10000": {"epochs": 300, "batch_size": 12},
    "wave-gms-busi-batch-2": {"batch_size": 2},
    "wave-gms-busi-batch-4": {"batch_size": 4},
    "sdseg-kseg": {"steps": 100_000, "batch_size": 4, "learning_rate": 4e-5, "warmup_steps": 10_000},
    "sdseg-refuge2": {"steps": 100_000, "ema_decay": 0.9999},
    "sdseg-btcv": {"steps": 100_000, "batch_size": 4},
    "sdseg-sts": {"steps": 100_000, "batch_size": 4},
    "medseglatdiff-isic": {"batch_size": 32, "learning_rate": 1e-4},
    "guided-abdomen-text": {"batch_size": 16},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_it_has_the_papers_values(name: str) -> None:
    config = load_config(name)
    assert {field: getattr(config, field) for field in EXPECTED[name]} == EXPECTED[name]
    assert config.extends in named_configs()


@pytest.mark.parametrize(
    ("name", "window"), [("sdseg-btcv", (-125, 275)), ("sdseg-sts", (-100, 1100)), ("sdseg-cvc", None)]
)
def test_ct_is_seen_through_the_window_of_the_papers_code(
    name: str, window: tuple[float, float] | None
) -> None:
    assert load_config(name).preprocess.window == window


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gms-busi-latent-loss", {"dice_weight": 0}),
        ("gms-busi-mask-loss", {"latent_weight": 0}),
        ("gms-busi-one-level", {"levels": ["out"]}),
        ("wave-gms-busi-no-align", {"align_weight": 0.0}),
        ("sdseg-refuge2-no-latent-loss", {"latent_weight": 0}),
        ("sdseg-refuge2-frozen-encoder", {"latent_weight": 0, "conditioner": "frozen"}),
        ("sdseg-btcv-no-latent-loss", {"latent_weight": 0}),
        ("sdseg-btcv-frozen-encoder", {"latent_weight": 0, "conditioner": "frozen"}),
        ("sdseg-btcv-ddim-10", {"steps": 10, "eta": 1.0}),
        ("medseglatdiff-lidc-mask-mse", {"mask_loss": "mse"}),
        ("guided-abdomen-text", {"classes": 29, "class_embedding": "text"}),
    ],
)
def test_an_ablation_differs_from_its_base_in_its_own_settings(name: str, settings: dict[str, Any]) -> None:
    config = load_config(name)
    base = load_config(config.extends)
    assert config.settings == base.settings | settings
    assert config.settings != base.settings
    assert config.ablation
    assert not base.ablation
    same = config.replace(settings=base.settings, name=base.name, extends=base.extends, ablation="")
    assert same == base


def test_every_configuration_that_extends_another_says_what_it_is() -> None:
    for name in PAPER_CONFIGS:
        config = load_config(name)
        assert not config.extends or config.ablation or config.card.data_name != "your images", name


def write(folder: Path, name: str, **fields: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(fields), "utf-8")
    return path


def test_a_file_changes_single_fields_of_what_it_extends(tmp_path: Path) -> None:
    base = {"settings": {"width": 16}, "preprocess": {"mode": "whole", "size": 64}, "name": "old"}
    (tmp_path / "base.json").write_text(json.dumps(base), "utf-8")
    path = write(
        tmp_path, "mine.json", extends="base.json", settings={"levels": ["out"]}, preprocess={"size": 96}
    )
    config = load_config(path)
    assert config.settings == {"width": 16, "levels": ["out"]}
    assert (config.preprocess.mode, config.preprocess.size) == ("whole", 96)
    assert (config.name, config.extends) == ("mine", "base.json")
    assert load_config(write(tmp_path, "third.json", extends="gms-busi", epochs=3)) == load_config(
        "gms-busi"
    ).replace(name="third", extends="gms-busi", epochs=3)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"extends": "no-such"}, "mine.json, extends: no configuration 'no-such'"),
        ({"extends": "mine.json"}, "extends itself"),
        ({"extends": "gms-busi", "epochs": 0}, "mine.json, epochs: must be 1 or more"),
        ({"extends": "list.json"}, "list.json, the whole file: must be a set of names and values"),
    ],
)
def test_what_cannot_be_extended_is_one_line(tmp_path: Path, fields: dict[str, Any], why: str) -> None:
    (tmp_path / "list.json").write_text("[1]", "utf-8")
    with pytest.raises(BadInput, match=why):
        load_config(write(tmp_path, "mine.json", **fields))


def test_a_configuration_knows_itself_again() -> None:
    config = load_config("gms-ham10000")
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
