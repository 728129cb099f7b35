"""`finetune`, `replay`, and what is done with the models that they make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_latentseg.cli import main
from napari_latentseg.models.card import read_card
from napari_latentseg.models.layout import REPLAY_FILE
from napari_latentseg.models.store import data_home, find_model


@pytest.fixture(scope="module")
def base(
    write_ellipses: Callable[..., Path], tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model, and what it learned from."""
    from napari_latentseg.models.store import open_codec
    from napari_latentseg.training.config import TrainingConfig
    from napari_latentseg.training.job import TrainingJob

    folder = tmp_path_factory.mktemp("base")
    data = write_ellipses(folder / "data", 5)
    codec, spec = open_codec(tiny_codec_folder.name)
    config = TrainingConfig.model_validate(
        {"settings": {"width": 16}, "preprocess": {"mode": "whole", "size": 32}, "epochs": 1,
         "split": {"fraction": 0.3}, "warmup_epochs": 0, "schedule_by": "step"}
    )  # fmt: skip
    list(TrainingJob(data, folder / "tiny-base", config, codec, spec, device="cpu"))
    return folder / "tiny-base", data


def test_teach_adopt_revert_export(
    base: tuple[Path, Path], write_ellipses: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = str(write_ellipses(tmp_path / "new", 3, seed=8))
    assert main(["models", "install", str(base[0])]) == 0
    assert main(["finetune", "tiny-base", "--data", data, "--minutes", "0.05", "--name", "tiny-new"]) == 0
    told = capsys.readouterr().out
    assert "2 training cases, 1 validation case;" in told
    assert "models adopt" in told
    assert main(["models", "candidates"]) == 0
    assert "tiny-new" in capsys.readouterr().out
    assert main(["models", "adopt", "tiny-new"]) == 0
    assert main(["models", "history", "tiny-base", "--json"]) == 0
    told = capsys.readouterr().out
    versions = json.loads(told[told.index("[") :])
    assert [(v["version"], v["current"]) for v in versions] == [("1", False), ("2", True)]
    assert main(["models", "export", "tiny-base", str(tmp_path / "m.zip"), "--with-replay"]) == 0
    assert "encoded patches of its training images" in capsys.readouterr().out
    assert main(["models", "install", str(tmp_path / "m.zip"), "--name", "from-zip"]) == 0
    assert main(["models", "revert", "tiny-base"]) == 0
    assert find_model("tiny-base") == data_home() / "models" / "tiny-base"
    for name in ("tiny-base", "from-zip"):
        assert main(["models", "remove", name]) == 0


def test_events_and_a_stop_by_a_line(
    base: tuple[Path, Path], write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "new", 3, seed=8)
    out = tmp_path / "candidate"
    command = [sys.executable, "-m", "napari_latentseg", "finetune", str(base[0]), "--data", str(data),
               "--minutes", "0.5", "--out", str(out), "--events"]  # fmt: skip
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ),
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    events = []
    for line in child.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "epoch" and events[-1]["step"] > 0 and not child.stdin.closed:
            child.stdin.write("stop\n")
            child.stdin.close()
    assert child.wait() == 0
    child.stdout.close()
    assert child.stderr is not None
    child.stderr.close()
    assert events[-1]["event"] == "saved"
    assert events[-1]["stopped"] is True
    assert read_card(out).parent == "tiny-base 1"
    assert out.with_name("candidate.checkpoint").is_dir()


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, why in (
        (["finetune", "no-such-model", "--data", str(tmp_path)], "no model 'no-such-model'"),
        (["finetune", "breast-ultrasound", "--data", str(tmp_path), "--name", ""], "name: is empty"),
        (["finetune", "breast-ultrasound", "--data", str(tmp_path), "--name", "x" * 65], "64 are the most"),
        (["models", "adopt", "nothing"], "no candidate 'nothing'"),
        (["models", "revert", "breast-ultrasound"], "is at its first version"),
        (["models", "discard", "nothing"], "no candidate"),
        (["models", "install", str(tmp_path / "no.zip")], "no such file"),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert why in told
        assert told.count("\n") == 1


def test_replay_is_made_from_what_the_model_learned(
    base: tuple[Path, Path], tmp_path: Path, write_ellipses: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, data = base
    before = (folder / REPLAY_FILE).read_bytes()
    assert main(["add-replay", str(folder), "--data", str(data), "--count", "12"]) == 0
    assert "12 patches" in capsys.readouterr().out
    assert (folder / REPLAY_FILE).read_bytes() != before
    other = write_ellipses(tmp_path / "other", 3, seed=77)
    assert main(["add-replay", str(folder), "--data", str(other)]) == 2
    assert "holds no image that the model was trained on" in capsys.readouterr().err


def test_a_taught_model_claims_nothing_of_its_base_and_can_be_calibrated(
    base: tuple[Path, Path], write_ellipses: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What was measured with the weights of the base does not hold for those of the taught model."""
    # of this tiny model all probabilities are nearly alike, and another threshold is another model
    monkeypatch.setattr("napari_latentseg.finetuning.job.choose_threshold", lambda tuner: tuner.threshold)
    whole, taught = tmp_path / "whole", tmp_path / "taught"
    learned, fresh = (
        write_ellipses(tmp_path / "new", 3, seed=8),
        write_ellipses(tmp_path / "fresh", 22, seed=9),
    )
    calibrate = ["-n", "3", "--device", "cpu"]
    arguments = ["calibrate", str(base[0]), "--data", str(fresh), "--subset", "all", "--out", str(whole)]
    assert main([*arguments, *calibrate]) == 0
    before = read_card(whole)
    assert before.fit is not None
    assert None not in (before.reliability, before.volume_interval, before.contour_band, before.expected_dice)
    arguments = ["finetune", str(whole), "--data", str(learned), "--minutes", "0.05", "--out", str(taught)]
    assert main([*arguments, "--name", "tiny-taught-on"]) == 0
    card = read_card(taught)
    assert (card.reliability, card.volume_interval, card.contour_band, card.expected_dice) == (None,) * 4
    assert card.bfloat16 is None
    assert card.fit is not None
    assert card.fit.images == before.fit.images + 2

    capsys.readouterr()
    assert main(["calibrate", str(taught), "--data", str(learned), *calibrate]) == 0
    assert "stays as it is: the folder holds 2 of 5 of them" in capsys.readouterr().out.replace("\n", " ")
    assert read_card(taught).fit == card.fit  # the two taught images alone do not say what fits

    arguments = ["calibrate", str(taught), "--data", str(fresh), "--subset", "all"]
    assert main([*arguments, *calibrate]) == 0
    after = read_card(taught)
    assert None not in (after.reliability, after.volume_interval, after.contour_band, after.expected_dice)
    assert after.fit == card.fit
    image = fresh / "images" / "case_0.png"
    arguments = ["segment", str(image), "--model", str(taught), "-n", "3", "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main([*arguments, "--device", "cpu"]) == 0
    assert "Expected Dice about" in capsys.readouterr().out
