"""`train` and `evaluate`."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_latentseg import api
from napari_latentseg.cli import train_lines
from napari_latentseg.errors import Cancelled
from napari_latentseg.models.card import read_card
from napari_latentseg.training import progress
from napari_latentseg.training.config import TrainingConfig

TINY = {
    "settings": {"width": 16, "levels": ["out"]},
    "codec": "tiny-codec",
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "epochs": 2,
    "batch_size": 4,
    "warmup_epochs": 0,
    "schedule_by": "step",
}


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data")


@pytest.fixture
def config(tmp_path: Path, tiny_codec_folder: Path) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "ellipses"


def test_a_training_tells_how_it_goes(cli, data: Path, config: Path, out: Path) -> None:
    ended = cli("train", "--data", data, "--out", out, "--config", config, "--device", "cpu", "--seed", 3)
    assert (ended.code, ended.errors) == (0, [])
    lines = ended.out.splitlines()
    assert re.fullmatch(r"batch of 4, about \d+\.\d GB", lines[0])
    assert [line.split(":")[0] for line in lines[1:3]] == ["epoch 1", "epoch 2"]
    assert "GMS variant" in lines[-1]
    assert "2 validation images" in lines[-1]
    assert read_card(out).name == "ellipses"
    assert json.loads((out / "training.json").read_text())["seed"] == 3


def test_a_log_has_a_line_a_minute_inside_an_epoch(
    cli, data: Path, config: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute and a second have passed at once here; where there is a terminal, the bar says it."""
    monkeypatch.setattr(progress, "REPORT_INTERVAL_S", 0.0)
    arguments = ("train", "--data", data, "--config", config, "--device", "cpu", "--batch-size", 2)
    monkeypatch.setattr(train_lines, "_LINE_INTERVAL_S", 0.0)
    lines = cli(*arguments, "--out", out).out.splitlines()
    expected = r"epoch 1 of 2, step 1 of \d, loss \d\.\d+, [\d.e+]+ images/s, about \d+ s left"
    assert any(re.fullmatch(expected, line) for line in lines), lines
    monkeypatch.setattr(train_lines, "_LINE_INTERVAL_S", 60.0)
    assert "images/s" not in cli(*arguments, "--out", out.with_name("other")).out
    monkeypatch.setattr(train_lines, "_LINE_INTERVAL_S", 0.0)
    monkeypatch.setattr(train_lines, "is_on_terminal", lambda: True)
    assert "images/s" not in cli(*arguments, "--out", out.with_name("third")).out


def test_one_epoch_of_a_warm_up_is_refused_before_the_first_step(
    cli, data: Path, tmp_path: Path, out: Path
) -> None:
    config = tmp_path / "warm.json"
    config.write_text(json.dumps(TINY | {"warmup_epochs": 5, "schedule_by": "epoch"}))
    ended = cli("train", "--data", data, "--out", out, "--config", config, "--epochs", 1)
    assert ended.code == 2
    assert "epochs: 1 would end before the learning rate rises from zero in the warm-up" in ended.errors[0]
    assert not out.parent.exists()


def test_a_number_of_epochs_goes_before_steps(cli, data: Path, tmp_path: Path, out: Path) -> None:
    config = tmp_path / "steps.json"
    config.write_text(json.dumps(TINY | {"steps": 1000}))
    ended = cli("train", "--data", data, "--out", out, "--config", config, "--device", "cpu", "--epochs", 1)
    assert ended.code == 0
    told = json.loads((out / "training.json").read_text())
    assert (told["epochs"], told["steps"], told["run"]["epochs"]) == (1, None, 1)


class Seen(Exception):
    """What was looked for has come."""


def test_a_number_of_epochs_is_that_of_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TrainingConfig] = []

    def job(folders: object, out: object, settings: TrainingConfig, *rest: object, **more: object) -> None:
        asked.append(settings)
        raise Seen

    monkeypatch.setattr("napari_latentseg.training.job.TrainingJob", job)
    monkeypatch.setattr("napari_latentseg.training.datasets.find_datasets", lambda *_: None)
    monkeypatch.setattr("napari_latentseg.training.named_classes.class_changes", lambda *_: {})
    monkeypatch.setattr("napari_latentseg.training.named_classes.unannotated_classes", lambda *_: [])
    with pytest.raises(Seen):
        api.train("data", "out", config="medseglatdiff-small", changes={"epochs": 3})
    assert {asked[0].for_stage(name).epochs for name in ("autoencoders", "diffusion")} == {3}
    assert asked[0].for_stage("autoencoders").learning_rate == 3e-3  # the rest of the stage stays


def test_a_line_says_its_stage(cli, data: Path, tmp_path: Path, out: Path) -> None:
    """What an autoencoder makes of masks that it was shown is no figure of the model."""
    widths = {"widths": [8, 8], "norm_groups": 8}
    config = tmp_path / "stages.json"
    settings = {
        "autoencoder": widths | {"layers_per_block": 1, "codes": 8},
        "denoiser": widths | {"layers_per_block": 1, "head_width": 8},
        "steps": 2,
    }
    config.write_text(
        json.dumps(TINY | {"method": "medseglatdiff", "codec": None, "settings": settings, "epochs": 1})
    )
    ended = cli("train", "--method", "medseglatdiff", "--data", data, "--out", out, "--config", config)
    assert (ended.code, ended.errors) == (0, [])
    starts = [line.split(":")[0].split(", about")[0] for line in ended.out.splitlines()[:4]]
    assert starts == [
        "autoencoders, batch of 4", "autoencoders, epoch 1", "diffusion, batch of 4", "diffusion, epoch 1",
    ]  # fmt: skip


def test_quiet_is_quiet(cli, data: Path, config: Path, out: Path) -> None:
    ended = cli(
        "train", "--data", data, "--out", out, "--config", config, "--quiet", "--epochs", 1, "--name", "E-1"
    )
    assert (ended.code, ended.out, ended.errors) == (0, "", [])
    assert read_card(out).name == "e-1"


def test_events_are_one_object_a_line_and_nothing_else(cli, data: Path, config: Path, out: Path) -> None:
    ended = cli("train", "--data", data, "--out", out, "--config", config, "--events")
    assert (ended.code, ended.errors) == (0, [])
    events = [json.loads(line) for line in ended.out.splitlines()]
    events = [e for e in events if e["event"] != "progress"]  # of a slow machine
    assert [e["event"] for e in events] == [
        "data", "memory", "epoch", "epoch", "judging", "judging", "saved",
    ]  # fmt: skip
    assert {"epoch", "epochs", "losses", "learning_rate", "dsc", "best", "seconds"} <= set(events[2])
    assert events[1]["part_size"] == events[1]["batch_size"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", 0], "epochs: must be 1 or more"),
        (["--batch-size", 0], "batch-size: must be 1 or more"),
        (["--member-epochs", 0, "--members", 2], "member-epochs: must be 1 or more"),
        (["--member-epochs", 2], "member-epochs: is for the further members, and the model has one"),
        (["--member-epochs", 2, "--members", 2], "give --member-parts predictor, or leave it out"),
        (["--member-parts", "all"], "member-parts: is for the further members, and the model has one"),
        (["--select-on", "nope"], "select-on: must be 'validation' or 'test'"),
        (["--threads", 10**20], "'--threads': must be at most 1024"),
        (["--begin-from", ""], "begin-from: is empty; give the name or the folder of a model"),
        (["--members-of", "m", "--method", "sdseg"], "--method: is that of the model with --members-of"),
        (["--config", "~/c.json"], "--config: '~/c.json' begins with ~, which stands for your folder in a"),
        (["--data", "~"], "--data: '~' begins with ~, which stands for your folder in a shell alone"),
        (["--labels", "7=a"], "masks: no mask holds a class of the model, only label 255; say what they"),
        (["--seed", -1], "seed: must be 0 or more"),
        (["--method", "magic", "--config", "gms-small"], "method: gms-small is a configuration of gms"),
        (["--config", "no-such"], "no-such: no such configuration"),
        (["--device", "tpu"], "device: 'tpu' is not known"),
        (["--config", ""], "config: '' is not a path"),
        (["--codec", ""], "codec: '' is not a path"),
        (["--name", ""], "name: is empty"),
        (["--name", "x" * 65], "name: has 65 characters, and 64 are the most"),
        (["--codec", "nowhere"], "codec: nowhere is not on this machine"),
        (["--name", "a name"], "name: 'a name' is not a valid model name"),
        (["--data", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    refused, data: Path, config: Path, out: Path, options: list[object], message: str
) -> None:
    assert message in refused("train", "--data", data, "--out", out, "--config", config, *options)
    assert not out.parent.exists()


def test_an_unknown_method_is_refused(refused, data: Path, out: Path) -> None:
    message = refused("train", "--data", data, "--out", out, "--method", "magic")
    assert message.startswith("method: no method 'magic'; use one of gms")


def test_a_folder_without_masks_is_refused(refused, tmp_path: Path, config: Path, out: Path) -> None:
    (tmp_path / "d" / "images").mkdir(parents=True)
    message = refused("train", "--data", tmp_path / "d", "--out", out, "--config", config)
    assert message.startswith(f"{tmp_path / 'd'}: has no folder masks/")


def test_a_folder_that_is_there_is_left_alone(refused, data: Path, config: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("mine")
    message = refused("train", "--data", data, "--out", out, "--config", config)
    assert message.startswith(f"{out}: already exists")
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_a_stop(
    cli, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked = []

    def train(*_: object, should_stop: Callable[[], bool], **__: object) -> None:
        asked.append(should_stop())
        signal.raise_signal(number)
        asked.append(should_stop())
        raise Cancelled

    monkeypatch.setattr("napari_latentseg.api.train", train)
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    ended = cli("train", "--data", data, "--out", out)
    assert (ended.code, ended.errors) == (130, ["error: stopped"])
    assert asked == [False, True]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


# -- evaluate


def test_scores_are_printed_and_written(cli, data: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "report.json"
    ended = cli(
        "evaluate", "--model", tiny_model_folder, "--data", data, "--out", file, "--samples", 3, "--seed", 4
    )
    assert (ended.code, ended.errors) == (0, [])
    report = json.loads(file.read_text())
    assert set(report["mean"]) == {"dsc", "iou", "hd95"}
    assert 0 <= report["mean"]["iou"] <= report["mean"]["dsc"] <= 1
    assert [image["name"] for image in report["images"]] == [f"case_{i}" for i in range(6)]
    for image in report["images"]:
        assert 0 <= image["dsc"] <= 1
        assert image["hd95"] >= 0
    mean = sum(image["dsc"] for image in report["images"]) / 6
    assert report["mean"]["dsc"] == pytest.approx(mean)
    assert {"dsc", "iou", "hd95", "size", "hd95_unit"} <= set(report["conventions"])
    assert (report["samples"], report["source"], report["seed"]) == (3, "augment", 4)
    assert f"Dice {mean:.4f}" in ended.out
    assert "(6 images, 3 samples from augment)" in ended.out
    quiet = cli("evaluate", "--model", tiny_model_folder, "--data", data, "--sampling", "none", "--quiet")
    assert (quiet.code, quiet.out, quiet.errors) == (0, "", [])


def test_images_that_were_trained_on_are_not_kept_silent(cli, data: Path, config: Path, out: Path) -> None:
    assert cli("train", "--data", data, "--out", out, "--config", config, "--epochs", 1).code == 0
    everything = cli("evaluate", "--model", out, "--data", data, "--sampling", "none")
    says = "the model was trained on 4 of 6 images, and validated on 2"
    assert everything.out.startswith(f"{says}: the scores are too high")  # before the figures
    apart = cli("evaluate", "--model", out, "--data", data, "--sampling", "none", "--subset", "validation")
    assert "(2 images" in apart.out
    assert "used to train" not in apart.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--subset", "test"], "subset: 'test' needs a list of images; give one with --split FILE"),
        (["--subset", "validation"], "holds none of the validation images of tiny-whole"),
        (["--samples", 0], "samples: must be 1 or more"),
        (["--precision", ""], "precision: '' is not known"),
        (["--events", "--json"], "events: and --json both print on the standard output"),
        (
            ["--reconstruction", "--threshold", 0.3],
            "reconstruction: scores the autoencoders, without samples",
        ),
        (["--reconstruction", "--sampling", "none"], "leave out --samples, --sampling, --seed, --threshold"),
        (["--reconstruction", "--seed", 4], "reconstruction: scores the autoencoders, without samples"),
        (["--reconstruction", "--patients", ""], "reconstruction: gives no scores of images to compare"),
        (["--threads", 10**20], "'--threads': must be at most 1024"),
        (["--data", __file__], "test_train.py: is a file; give a folder that holds images/ and masks/"),
        (["--model", __file__], "test_train.py: is a file, and no folder of a model"),
        (["--against", "~/m"], "--against: '~/m' begins with ~, which stands for your folder in a shell"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--out", "."], "does not end in .json"),
        (["--model", "no-such"], "no model 'no-such'"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(
    refused, data: Path, tiny_model_folder: Path, options: list[object], message: str
) -> None:
    assert message in refused("evaluate", "--model", tiny_model_folder, "--data", data, *options)


def test_a_mask_of_another_size_is_left_out_by_its_name(
    cli, refused, write_ellipses: Callable[..., Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    from PIL import Image

    folder = write_ellipses(tmp_path / "data", count=2)
    Image.new("L", (7, 5)).save(folder / "masks" / "case_1.png")
    file = tmp_path / "report.json"
    command = ("evaluate", "--model", tiny_model_folder, "--data", folder, "--out", file)
    ended = cli(*command)
    assert ended.code == 3
    (line,) = ended.errors
    assert line.startswith("error: left out: ")
    assert "case_1.png: has shape (1, 5, 7), its image (1, 48, 64)" in line
    report = json.loads(file.read_text())
    assert report["count"] == 1
    assert [image["name"] for image in report["left_out"]] == ["case_1"]
    file.unlink()
    Image.new("L", (7, 5)).save(folder / "masks" / "case_0.png")
    assert "case_0.png: has shape (1, 5, 7)" in refused(*command)  # nothing is left to score
    assert not file.exists()


def test_of_several_processes_the_main_one_says_what_is_wrong_with_the_command_line(
    cli, monkeypatch: pytest.MonkeyPatch, data: Path, out: Path
) -> None:
    said = []
    for rank in ("0", "1"):
        for name, value in (("RANK", rank), ("WORLD_SIZE", "2")):
            monkeypatch.setenv(name, value)
        ended = cli("train", "--data", data, "--out", out, "--batch-size", "many")
        assert ended.code == 2
        said.append(len(ended.errors))
    assert said == [1, 0]


def test_batches_can_be_accumulated(cli, data: Path, config: Path, out: Path) -> None:
    arguments = ["--config", config, "--device", "cpu", "--batch-size", 2, "--accumulate", 2, "--epochs", 1]
    ended = cli("train", "--data", data, "--out", out, *arguments)
    assert ended.code == 0
    record = json.loads((out / "training.json").read_text())
    assert (record["batch_size"], record["accumulate"]) == (2, 2)
