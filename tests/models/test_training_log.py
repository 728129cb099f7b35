"""The log of a training is read for the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_latentseg.models.training_log import CurvePoint, TrainingLog, read_training_log

ONE_STAGE = (
    "epoch,latent,learning_rate,dsc,seconds\n1,0.4,0.1,,40.0\n2,0.3,0.1,0.7,80.0\n3,0.2,0.1,0.65,121.5\n"
)
STAGES = """stage,epoch,latent,dsc,seconds
codes,1,0.4,0.9,30
codes,2,0.4,,60
diffusion,1,0.4,0.5,40
diffusion,2,0.3,0.6,90
"""
MEMBERS = "member,epoch,dsc,seconds\n1,1,0.5,10\n1,2,0.6,20\n2,1,0.7,12\n"


def curve(*points: tuple[int, float, str]) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(*point) for point in points)


def write(folder: Path, text: str) -> Path:
    (folder / "training_log.csv").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("text", "log", "words"),
    [
        (
            ONE_STAGE,
            TrainingLog(3, 121.5, (CurvePoint(2, 0.7), CurvePoint(3, 0.65))),
            "3 epochs in 2 min; Dice on the validation slices 0.700 in epoch 2",
        ),
        (
            STAGES,
            TrainingLog(
                4, 150, curve((1, 0.9, "codes"), (3, 0.5, "diffusion"), (4, 0.6, "diffusion"))
            ),
            "4 epochs in 2 min; Dice on the validation slices 0.500 in epoch 3, best 0.600 in epoch 4",
        ),
        (
            MEMBERS,
            TrainingLog(
                3, 32, curve((1, 0.5, "member 1"), (2, 0.6, "member 1"), (3, 0.7, "member 2"))
            ),
            "3 epochs in 32 s; Dice on the validation slices 0.700 in epoch 3",
        ),
        ("epoch,loss,dsc,seconds\n1,0.5,,7200\n", TrainingLog(1, 7200, ()), "1 epoch in 2.0 h"),
    ],
)  # fmt: skip
def test_epochs_time_and_curve(tmp_path: Path, text: str, log: TrainingLog, words: str) -> None:
    assert read_training_log(write(tmp_path, text)) == log
    assert log.describe() == words


@pytest.mark.parametrize("text", ["", "epoch,dsc\n", "\x00"])
def test_what_is_no_log_is_none(tmp_path: Path, text: str) -> None:
    assert read_training_log(write(tmp_path, text)) is None


def test_foreign_numbers_are_left_out(tmp_path: Path) -> None:
    log = read_training_log(write(tmp_path, "epoch,dsc,seconds\n1,nan,inf\n2,7,x\n3,0.5,\n"))
    assert log == TrainingLog(3, 0.0, (CurvePoint(3, 0.5),))


def test_a_folder_without_a_log_and_one_that_is_no_text(tmp_path: Path) -> None:
    assert read_training_log(tmp_path) is None
    (tmp_path / "training_log.csv").write_bytes(b"\xff\xfe\x00")
    assert read_training_log(tmp_path) is None
