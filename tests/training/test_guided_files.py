"""Files that only guided latent diffusion is trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.helpers.perceptual_files import write_perceptual_files
from tests.helpers.two_sets import TWO_SETS_CONFIG, write_two_sets

from napari_latentseg.api import train
from napari_latentseg.errors import BadInput
from napari_latentseg.models.store import load_model
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.guided_files import guided_file_changes


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_two_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_perceptual_files(tmp_path_factory.mktemp("vgg"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    save_file({"vectors": torch.randn(3, 7)}, tmp_path / "texts.safetensors")
    return tmp_path / "texts.safetensors"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    config = TrainingConfig.model_validate(TWO_SETS_CONFIG)
    (tmp_path / "tiny.json").write_text(config.model_dump_json())
    return tmp_path / "tiny.json"


def test_a_model_is_trained_with_both_and_says_so(
    folders: list[Path], config_file: Path, perceptual: list[Path], texts: Path, tmp_path: Path
) -> None:
    events: list[Any] = []
    card = train(
        folders, tmp_path / "m", config=config_file, perceptual=perceptual, class_texts=texts,
        on_event=events.append, device="cpu",
    )  # fmt: skip
    first = next(e for e in events if e.event == "epoch")
    assert first.losses["image_perceptual"] > 0
    assert card.settings["perceptual_weight"] == 1
    assert (card.settings["class_embedding"], card.settings["text_width"]) == ("text", 7)
    assert "perceptual" not in card.deviations_from_paper
    training = (tmp_path / "m" / "training.json").read_text()
    assert '"vgg16.pth"' in training
    assert str(perceptual[0].parent) not in training
    model = load_model(tmp_path / "m")  # needs neither file any more
    assert model.method.texts is not None
    assert not any("perceptual" in name for name in model.method.state_dict())


def test_without_the_files_nothing_changes(config_file: Path) -> None:
    config = TrainingConfig.model_validate(TWO_SETS_CONFIG)
    assert guided_file_changes(config) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"perceptual": ["none.pth"]}, r"none\.pth: no such file; give the files of VGG16"),
        ({"class_texts": "none.safetensors"}, r"none\.safetensors: no such file"),
        ({"class_texts": "two.safetensors"}, "has 2 vectors, but the model has 3 classes; give one for each"),
        ({"class_texts": "flat.safetensors"}, "does not hold one matrix of numbers"),
        ({"method": "gms", "class_texts": "two.safetensors"}, "class_texts: is for the method guided"),
        ({"method": "gms", "perceptual": ["x.pth"]}, "perceptual: is for the method guided, but this is gms"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"vectors": torch.randn(2, 7)}, "two.safetensors")
    save_file({"vectors": torch.randn(21)}, "flat.safetensors")
    config = TrainingConfig.model_validate(TWO_SETS_CONFIG)
    if method := change.pop("method", None):
        config = config.replace(method=method)
    with pytest.raises(BadInput, match=message):
        guided_file_changes(config, **change)


def test_a_perceptual_term_without_its_network_is_refused(
    folders: list[Path], config_file: Path, tmp_path: Path
) -> None:
    changes = {"settings": TWO_SETS_CONFIG["settings"] | {"perceptual_weight": 0.5}}
    with pytest.raises(BadInput, match="its network is not given; give the files of VGG16 and LPIPS with"):
        train(folders, tmp_path / "m", config=config_file, changes=changes, device="cpu")
    assert not (tmp_path / "m").exists()
