"""`train` that is stopped and goes on, and `train --members`."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_latentseg.models.card import read_card
from napari_latentseg.training.loop import TrainingStep

TINY = {
    "settings": {"width": 16, "levels": ["out"]},
    "codec": "tiny-codec",
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "epochs": 3,
    "batch_size": 2,
    "warmup_epochs": 0,
    "schedule_by": "step",
}


@pytest.fixture
def args(
    write_ellipses: Callable[..., Path], tiny_codec_folder: Path, tmp_path: Path
) -> Callable[..., list[object]]:
    """The command line of a training, but for what is given."""
    data = write_ellipses(tmp_path / "data")
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(TINY))

    def line(out: Path, *more: object) -> list[object]:
        return ["train", "--data", data, "--out", out, "--config", config, "--device", "cpu", *more]

    return line


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets Ctrl+C be pressed at a step of the optimizer, once."""

    def at(step: int) -> None:
        numbers = iter(range(1, 1000))
        whole = TrainingStep.update

        def stepped(*given: object) -> None:
            whole(*given)  # type: ignore[arg-type]
            if next(numbers) == step:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(TrainingStep, "update", stepped)

    return at


def hashes(folder: Path) -> list[str]:
    files = read_card(folder).files
    return [files[name] for name in sorted(files) if name.endswith(".safetensors")]


def test_ctrl_c_leaves_a_model_and_resume_goes_on_to_the_same_end(
    cli, refused, args: Callable[..., list[object]], interrupted: Callable[[int], None], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert cli(*args(whole, "--name", "m")).code == 0
    assert f"{tmp_path / 'new'}.checkpoint: holds no stopped training" in refused(
        *args(tmp_path / "new", "--resume")
    )
    interrupted(3)  # in the middle of the second epoch
    ended = cli(*args(out, "--name", "m"))
    assert (ended.code, ended.errors) == (0, [])
    assert ended.out.splitlines()[-1] == "stopped before the end; the same command with --resume continues"
    assert json.loads((out / "training.json").read_text())["run"]["stopped"] is True
    assert hashes(out) != hashes(whole)
    assert "go on with --resume, or delete that folder" in refused(*args(out, "--name", "m"))
    assert refused(*args(out, "--name", "m", "--resume", "--seed", 5)).startswith("seed: is 5, but was 2333")
    ended = cli(*args(out, "--name", "m", "--resume", "--events"))
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [e["epoch"] for e in events if e["event"] == "epoch"] == [2, 3]
    assert events[-1]["stopped"] is False
    assert hashes(out) == hashes(whole)
    assert not out.with_name("out.checkpoint").exists()


def test_members_are_trained_and_give_samples(
    cli, refused, args: Callable[..., list[object]], interrupted: Callable[[int], None], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    ended = cli(*args(whole, "--members", 3, "--epochs", 2))
    lines = [line.split(":")[0] for line in ended.out.splitlines()]
    assert [line for line in lines if ", epoch " in line] == [
        f"member {member}, epoch {epoch}" for member in (1, 2, 3) for epoch in (1, 2)
    ]
    assert len(set(hashes(whole))) == 4  # three members, and the replay of the first
    interrupted(6)  # the second member's
    assert cli(*args(out, "--members", 3, "--epochs", 2)).code == 0
    assert read_card(out).members == 2
    assert cli(*args(out, "--members", 3, "--epochs", 2, "--resume")).code == 0
    assert hashes(out) == hashes(whole)
    scan = tmp_path / "data" / "images" / "case_0.png"
    told = [
        "segment",
        scan,
        "--model",
        out,
        "--out",
        tmp_path / "r",
        "--device",
        "cpu",
        "--sampling",
        "members",
    ]
    assert cli(*told).code == 0
    record = json.loads((tmp_path / "r" / "case_0_run.json").read_text())
    assert (record["samples"], record["source"]) == (3, "members")
    assert "out has 3 members, and each of them gives one sample" in refused(*told, "--samples", 4)
    report = tmp_path / "report.json"
    cli("evaluate", "--model", out, "--data", tmp_path / "data", "--out", report, "--samples", 3)
    assert json.loads(report.read_text())["source"] == "members-augment"


@pytest.mark.parametrize("number", [0, -1, 101])
def test_a_number_of_members_that_makes_no_sense_is_refused(
    refused, args: Callable[..., list[object]], tmp_path: Path, number: int
) -> None:
    assert refused(*args(tmp_path / "m", "--members", number)).startswith("members: must be ")


def test_members_of_a_model_are_trained_on_its_conditioner(
    cli, refused, args: Callable[..., list[object]], tmp_path: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    assert cli(*args(base)).code == 0
    line = ["train", "--members-of", base, "--data", tmp_path / "data", "--out", out, "--device", "cpu"]
    ended = cli(*line, "--members", 2, "--member-epochs", 1)
    assert ended.code == 0
    assert "member 2, epoch 1: Dice" in ended.out
    card = read_card(out)
    assert (card.members, card.member_parts) == (2, "predictor")
    assert card.files["weights.safetensors"] == read_card(base).files["weights.safetensors"]
    again = [*line[:-3], tmp_path / "again", *line[-2:]]
    why = "is that of the model with --members-of"
    assert refused(*again, "--epochs", 2) == f"--epochs: {why}; give --member-epochs"
    assert refused(*again, "--classes", "a,b") == f"--classes: {why}; leave it out"
    assert "no model 'nothing'" in refused("train", "--members-of", "nothing", *again[3:])
    assert "member-parts" in refused(*args(tmp_path / "x", "--members", 2, "--member-parts", "half"))
    assert not (tmp_path / "again").exists()
