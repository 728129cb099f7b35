"""`train --perceptual` and `train --class-texts`."""

from __future__ import annotations

from pathlib import Path

from tests.training.test_guided_files import config_file, folders, perceptual, texts

from napari_latentseg.models.card import read_card

assert all((config_file, folders, perceptual, texts))  # fixtures


def test_the_command_line_has_both(cli, folders: list[Path], config_file: Path, perceptual: list[Path],
                                   texts: Path, tmp_path: Path) -> None:  # fmt: skip
    ended = cli(
        "train", "--method", "guided", "--data", folders[0], "--data", folders[1], "--config", config_file,
        "--out", tmp_path / "m", "--device", "cpu", "--class-texts", texts,
        "--perceptual", perceptual[0], "--perceptual", perceptual[1],
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    assert read_card(tmp_path / "m").settings["class_embedding"] == "text"


def test_texts_for_another_number_of_classes_are_refused(
    refused, folders: list[Path], texts: Path, tmp_path: Path
) -> None:
    message = refused(
        "train", "--method", "guided", "--data", folders[0], "--config", "guided-abdomen",
        "--out", tmp_path / "m", "--class-texts", texts,
    )  # fmt: skip
    assert "has 3 vectors, but the model has 29 classes" in message
