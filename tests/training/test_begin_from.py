"""Trainings that begin with the weights of a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.toy_method import GMS, config_of

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model, open_codec
from napari_latentseg.training.job import TrainingJob

TINY = GMS | {
    "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"},
    "epochs": 2,
    "card": {"data_name": "ellipses"},
}
Train = Callable[..., ModelCard]


@pytest.fixture(scope="module")
def train(ellipses_folder: Path, tiny_codec_folder: Path) -> Train:
    def trained(out: Path, changes: dict[str, Any] | None = None, folder: Path | None = None) -> ModelCard:
        codec, spec = open_codec(tiny_codec_folder.name)
        config = config_of(TINY | (changes or {}))
        list(TrainingJob(folder or ellipses_folder, out, config, codec, spec, device="cpu"))
        return read_card(out)

    return trained


@pytest.fixture(scope="module")
def first(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that others begin from."""
    out = tmp_path_factory.mktemp("models") / "first"
    train(out)
    return out


def test_it_begins_with_the_weights_of_the_model(train: Train, first: Path, tmp_path: Path) -> None:
    # steps so small that the weights stay where they began, but for rounding
    train(tmp_path / "more", {"begin_from": str(first), "learning_rate": 1e-7, "weight_decay": 0})
    began = load_model(first).method.trainable_modules.state_dict()
    ended = load_model(tmp_path / "more").method.trainable_modules.state_dict()
    parameters = [name for name in began if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(began[name], ended[name], atol=1e-3) for name in parameters)


def test_with_other_latents_of_masks_the_last_layers_begin_anew(
    train: Train, first: Path, tmp_path: Path
) -> None:
    settings = TINY["settings"] | {"mask_latents": "folded"}
    train(tmp_path / "folded", {"settings": settings, "begin_from": str(first), "learning_rate": 1e-7})
    began, ended = (load_model(folder).method.trainable_modules for folder in (first, tmp_path / "folded"))
    assert torch.allclose(began.mapper.stem.weight, ended.mapper.stem.weight, atol=1e-3)
    assert torch.allclose(began.mapper.up[-1][0].conv2.weight, ended.mapper.up[-1][0].conv2.weight, atol=1e-3)
    assert ended.mapper.heads["out"][2].weight.shape[0] == 64


def test_with_another_width_the_mapper_begins_anew(train: Train, first: Path, tmp_path: Path) -> None:
    settings = TINY["settings"] | {"width": 32}
    train(tmp_path / "wider", {"settings": settings, "begin_from": str(first), "learning_rate": 1e-7})
    assert load_model(tmp_path / "wider").method.trainable_modules.mapper.stem.weight.shape[0] == 32


def test_a_share_of_the_weights_that_it_began_with_is_kept(train: Train, first: Path, tmp_path: Path) -> None:
    changes = {"begin_from": str(first), "learning_rate": 0.05, "select": "last"}
    train(tmp_path / "trained", changes)
    train(tmp_path / "blended", changes | {"begin_share": 0.75})
    began, trained, blended = (
        load_model(folder).method.trainable_modules.state_dict()
        for folder in (first, tmp_path / "trained", tmp_path / "blended")
    )
    floats = [name for name, value in began.items() if value.is_floating_point()]
    assert any(not torch.allclose(began[name], trained[name], atol=0.05) for name in floats)
    for name in floats:
        expected = 0.75 * began[name] + 0.25 * trained[name]
        assert torch.allclose(blended[name], expected, rtol=2e-3, atol=2e-3), name


def test_the_folder_says_what_it_began_from_and_not_where_it_lay(
    train: Train, first: Path, tmp_path: Path
) -> None:
    card = train(tmp_path / "more", {"begin_from": str(first)})
    record = json.loads((tmp_path / "more" / "training.json").read_text())
    assert record["begin_from"] == "first 1"
    assert [data.name for data in card.training_data] == ["ellipses"]


def test_what_the_model_has_learnt_from_stays_known(
    train: Train, first: Path, tmp_path: Path, write_ellipses: Callable[..., Path]
) -> None:
    other = write_ellipses(tmp_path / "others", seed=5)
    changes = {"begin_from": str(first), "card": {"data_name": "other ellipses", "licence": "CC0"}}
    card = train(tmp_path / "more", changes, other)
    assert [data.name for data in card.training_data] == ["other ellipses", "ellipses"]
    assert read_split(first).train < read_split(tmp_path / "more").train


def test_validation_images_that_it_has_learnt_from_are_refused(
    train: Train, first: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"begin_from first: has learnt from \d+ of the validation images"):
        train(tmp_path / "more", {"begin_from": str(first), "split": {"fraction": 0.3, "seed": 7}})
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"begin_from": "nobody"}, "nobody"),
        (
            {"method": "wave-gms", "settings": {"levels": ["out"]}},
            "begin_from first: is a model of gms, not of wave-gms",
        ),
        ({"settings": {"width": 32, "levels": ["out"]}}, "begin_from first: does not fit the settings"),
    ],
)
def test_another_model_is_refused(
    train: Train, first: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        train(tmp_path / "more", {"begin_from": str(first)} | changes)
    assert not (tmp_path / "more").exists()


def test_another_codec_is_refused(first: Path, ellipses_folder: Path, tmp_path: Path) -> None:
    codec, spec = open_codec("embedded")
    with pytest.raises(BadInput, match="begin_from first: has another codec"):
        TrainingJob(
            ellipses_folder, tmp_path / "more", config_of(TINY | {"begin_from": str(first)}), codec, spec
        )
