"""`evaluate` by a paper's protocol, with lists, several numbers of samples, and of reconstructions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def evaluated(
    cli: Cli, tiny_model_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> Callable[..., Any]:
    data = write_ellipses(tmp_path / "data", 3)

    def run(*options: object) -> Any:
        return cli("evaluate", "-m", tiny_model_folder, "--data", data, "--device", "cpu", *options)

    return run


def test_a_protocol_is_said_with_its_size(evaluated: Callable[..., Any]) -> None:
    ended = evaluated("--protocol", "gms")
    assert ended.code == 0, ended
    assert "soft Dice" in ended.out
    assert "(protocol gms at 224 x 224, 3 images, 1 sample from none)" in ended.out
    report = json.loads(evaluated("--protocol", "gms", "--json").out)
    assert report["protocol"]["name"] == "gms"
    assert report["protocol"]["mean"] == report["mean"]


def test_pooled_figures_come_first_where_they_are_the_papers(evaluated: Callable[..., Any]) -> None:
    line = evaluated("--protocol", "medseglatdiff").out.splitlines()[0]
    assert line.index("pooled over all pixels") < line.index("as means over images")


def test_several_numbers_of_samples_are_a_table(evaluated: Callable[..., Any]) -> None:
    ended = evaluated("-n", "1,2,3", "--sampling", "augment", "--stability")
    assert ended.code == 0, ended
    lines = ended.out.splitlines()
    table = lines.index(next(line for line in lines if line.startswith("samples  Dice")))
    assert [line.split()[0] for line in lines[table + 1 : table + 4]] == ["1", "2", "3"]
    assert any(line.startswith("samples against the first: masks PSNR") for line in lines)


def test_objects_are_matched(evaluated: Callable[..., Any], tmp_path: Path) -> None:
    ended = evaluated("--objects", "--out", tmp_path / "r.json", "--report", tmp_path / "r.html")
    assert ended.code == 0, ended
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    ((name, objects),) = report["objects"].items()
    assert objects["matched"] + objects["missed"] >= 3  # each image has an ellipse
    line = f"objects of {name}: AP {objects['average_precision']:.4f} at an IoU above 0.5 (over 3 images)"
    assert line in ended.out
    assert "IoU is above 0.5" in report["conventions"]["objects"]
    assert "Objects" in (tmp_path / "r.html").read_text("utf-8")
    assert "objects" not in json.loads(evaluated("--json").out)


def test_a_reconstruction_is_a_table(evaluated: Callable[..., Any], tmp_path: Path) -> None:
    ended = evaluated("--reconstruction", "--out", tmp_path / "r.json")
    assert ended.code == 0, ended
    *table, written = ended.out.splitlines()
    assert [line.split()[0] for line in table] == ["count", "images", "masks"]
    assert written == str(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["slice_count"] == 3


def test_lists_choose_the_images(evaluated: Callable[..., Any], tmp_path: Path) -> None:
    test = tmp_path / "test.txt"
    test.write_text("case_1.png\n", "utf-8")
    ended = evaluated("--split", test, "--subset", "test", "--sampling", "none")
    assert ended.code == 0, ended
    assert "1 image, 1 sample from none" in ended.out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--protocol", "gsm"), "protocol: 'gsm' is not known; did you mean 'gms'"),
        (("--protocol", "guided"), "is a single image, and the protocol guided scores volumes"),
        (("--samples", "1,x"), "samples: '1,x' is not a whole number; write 5, or 1,2,5,10"),
        (("--reconstruction", "--protocol", "gms"), "reconstruction: scores the autoencoders"),
        (("--reconstruction", "--objects"), "reconstruction: scores the autoencoders"),
        (("--subset", "test"), "subset: 'test' needs a list of images"),
        (("--split", "lost.json"), "lost.json: cannot be read"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    evaluated: Callable[..., Any], options: tuple[object, ...], why: str
) -> None:
    ended = evaluated(*options)
    assert ended.code == 2, ended
    assert len(ended.errors) == 1
    assert why in ended.errors[0]


def test_a_training_on_the_test_list_says_so(
    cli: Cli, write_ellipses: Callable[..., Path], tiny_codec_folder: Path, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "data", 6)
    lists = tmp_path / "names.json"
    lists.write_text(
        json.dumps({"train": [f"case_{i}" for i in range(4)], "test": ["case_4", "case_5"]}), "utf-8"
    )
    config = tmp_path / "tiny.json"
    config.write_text(
        json.dumps(
            {
                "extends": "gms-small", "epochs": 1, "batch_size": 2, "warmup_epochs": 0, "select": "best",
                "settings": {"width": 16}, "preprocess": {"mode": "whole", "size": 32},
            }
        ),
        "utf-8",
    )  # fmt: skip
    ended = cli(
        "train", "--data", data, "--config", config, "--codec", tiny_codec_folder.name, "--split", lists,
        "--select-on", "test", "--out", tmp_path / "m", "--device", "cpu",
    )  # fmt: skip
    assert ended.code == 0, ended
    assert "the weights are selected on the 2 images of the test list of data" in ended.out
    card = json.loads((tmp_path / "m" / "card.json").read_text("utf-8"))
    assert "the 2 validation images, never trained on; they are the test list" in card["metrics"][0]["data"]
    assert "so this figure is optimistic" in card["metrics"][0]["data"]
    training = json.loads((tmp_path / "m" / "training.json").read_text("utf-8"))
    assert training["split"]["lists"] == ["names.json"]
    assert "case_4" not in json.dumps(training) + json.dumps(card)
