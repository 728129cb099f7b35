"""`train --perceptual` and `train --class-texts`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.helpers.perceptual_files import write_perceptual_files
from tests.helpers.two_sets import TWO_SETS_CONFIG, write_two_sets

from napari_latentseg.models.card import read_card


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return write_two_sets(tmp_path)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "tiny.json").write_text(json.dumps(TWO_SETS_CONFIG))
    return tmp_path / "tiny.json"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    save_file({"vectors": torch.randn(3, 7)}, tmp_path / "texts.safetensors")
    return tmp_path / "texts.safetensors"


def test_the_command_line_has_both(
    cli, folders: list[Path], config_file: Path, texts: Path, tmp_path: Path
) -> None:
    vgg16, lpips = write_perceptual_files(tmp_path)
    ended = cli(
        "train", "--method", "guided", "--data", folders[0], "--data", folders[1], "--config", config_file,
        "--out", tmp_path / "m", "--device", "cpu", "--class-texts", texts,
        "--perceptual", vgg16, "--perceptual", lpips,
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    card = read_card(tmp_path / "m")
    assert card.settings["class_embedding"] == "text"
    assert "perceptual" not in card.deviations_from_paper


def test_a_perceptual_file_that_is_missing_is_refused(
    refused, folders: list[Path], config_file: Path, tmp_path: Path
) -> None:
    message = refused(
        "train", "--method", "guided", "--data", folders[0], "--config", config_file,
        "--out", tmp_path / "m", "--perceptual", tmp_path / "vgg16.pth",
    )  # fmt: skip
    assert "vgg16.pth: no such file" in message
    assert not (tmp_path / "m").exists()


def test_texts_for_another_number_of_classes_are_refused(
    refused, folders: list[Path], config_file: Path, texts: Path, tmp_path: Path
) -> None:
    """Of the first set alone, whose classes are two of the three."""
    message = refused(
        "train", "--method", "guided", "--data", folders[0], "--config", config_file,
        "--out", tmp_path / "m", "--class-texts", texts,
    )  # fmt: skip
    assert "has 3 vectors, but the model has 2 classes" in message
    assert not (tmp_path / "m").exists()
