"""A whole training, from a folder of images to a model that can be used."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_latentseg.api import evaluate
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.models.card import read_card
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model, open_codec
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.job import TrainingJob

TINY = {
    "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"},
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "epochs": 3,
    "batch_size": 4,
    "warmup_epochs": 0,
    "schedule_by": "step",
    "card": {"title": "Ellipses", "class_name": "ellipse", "data_name": "made ellipses"},
}
STILL = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data")


@pytest.fixture(scope="module")
def make(data: Path, tiny_codec_folder: Path) -> Callable[..., TrainingJob]:
    def made(
        out: Path, *, folder: Path = data, changes: dict[str, Any] | None = None, **more: Any
    ) -> TrainingJob:
        codec, spec = open_codec(tiny_codec_folder.name)
        config = TrainingConfig.model_validate(TINY | (changes or {}))
        return TrainingJob(folder, out, config, codec, spec, device="cpu", **more)

    return made


@pytest.fixture(scope="module")
def done(
    make: Callable[..., TrainingJob], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """One training that others look at."""
    out = tmp_path_factory.mktemp("trained") / "My Ellipses 1"
    return out, [event.as_dict() for event in make(out)]


def test_the_events_tell_the_story(done: tuple[Path, list[dict[str, Any]]]) -> None:
    out, events = done
    assert [e["event"] for e in events] == ["data", "epoch", "epoch", "epoch", "judging", "judging", "saved"]
    assert events[0] == {"event": "data", "images": 6, "train": 4, "apart": 2, "note": ""}
    assert [e["epoch"] for e in events[1:4]] == [1, 2, 3]
    assert events[-1]["folder"] == str(out)
    assert events[-1]["epochs"] == 3
    json.dumps(events)


def test_the_folder_is_a_model_with_its_papers(done: tuple[Path, list[dict[str, Any]]]) -> None:
    out, _ = done
    assert {p.name for p in out.iterdir()} == {
        "card.json", "weights.safetensors", "training.json", "training_log.csv", "training_curve.png",
        "split.json", "replay.safetensors",
    }  # fmt: skip
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    assert (out / "training_curve.png").read_bytes().startswith(b"\x89PNG")
    with (out / "training_log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["latent"]) > 0 and 0 <= float(row["dsc"]) <= 1 for row in rows)
    training = json.loads((out / "training.json").read_text())
    assert training["codec"] == "tiny-codec"
    assert training["run"]["epochs"] == 3
    assert TrainingConfig.model_validate({k: v for k, v in training.items() if k != "run"}).epochs == 3


def test_the_card_says_how_good_it_is_and_on_what(
    done: tuple[Path, list[dict[str, Any]]], data: Path
) -> None:
    out, events = done
    card = read_card(out)
    assert card.name == "my-ellipses-1"
    assert card.title == "Ellipses"
    assert (
        card.deviations_from_paper
        == "trained conditioner, width 16, supervised at out, compact codec in place of SD-VAE"
    )
    assert card.sources == ("augment", "none")
    assert card.classes[0].name == "ellipse"
    (trained_on,) = card.training_data
    assert (trained_on.images, trained_on.validation_images) == (4, 2)
    assert [(m.source, m.samples, m.images) for m in card.metrics] == [("none", 1, 2), ("augment", 5, 2)]
    for metric in card.metrics:
        assert set(metric.values) == {"dsc", "iou", "hd95"}
        assert "never trained on" in metric.data
        assert "were selected on them" in metric.data
    assert events[-1]["dsc"] == card.metrics[0].values["dsc"]
    keys = {p.content_sha256 for p in find_cases(data)}
    split = json.loads((out / "split.json").read_text())
    assert set(split["train"]) | set(split["validation"]) == keys
    assert (len(split["train"]), len(split["validation"])) == (4, 2)


def test_nothing_in_the_folder_tells_a_path_or_a_file(
    done: tuple[Path, list[dict[str, Any]]], data: Path, tiny_codec_folder: Path
) -> None:
    out, _ = done
    for path in out.iterdir():
        content = path.read_bytes()
        for word in (str(data), str(out.parent), str(tiny_codec_folder), "case_0", "case_5"):
            assert word.encode() not in content, path.name


def test_the_figures_are_those_of_the_model_that_is_loaded(
    done: tuple[Path, list[dict[str, Any]]], data: Path
) -> None:
    """Its weights are stored in 16 bits; what was judged must be what they give."""
    out, _ = done
    card = read_card(out)
    report = evaluate(str(out), data, source="none", subset="validation", device="cpu")
    assert report.training_count == 0
    assert report.image_count == 2
    assert {k: round(v, 4) for k, v in report.mean.model_dump().items()} == card.metrics[0].values


def test_the_model_loads_and_is_a_model(done: tuple[Path, list[dict[str, Any]]]) -> None:
    model = load_model(done[0])
    assert isinstance(model, Model)
    assert model.method.deviations_from_paper == model.card.deviations_from_paper


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({"augment": STILL}, [("none", 1)]),
        ({"augment": STILL | {"horizontal_flip": 0.5}}, [("none", 1), ("augment", 5)]),
    ],
)
def test_samples_are_offered_where_training_varied_the_images(
    make: Callable[..., TrainingJob], tmp_path: Path, changes: dict[str, Any], ways: list[tuple[str, int]]
) -> None:
    list(make(tmp_path / "m", changes=changes | {"epochs": 1}))
    card = read_card(tmp_path / "m")
    assert [(m.source, m.samples) for m in card.metrics] == ways
    assert ("augment" in card.sources) == (len(ways) == 2)


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_a_stop_keeps_what_was_learnt(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    stop = {"now": False}
    events = []
    for event in make(
        tmp_path / "m", changes={"epochs": 500, "validate_every": 100}, should_stop=lambda: stop["now"]
    ):
        events.append(event)
        stop["now"] |= event.event == "epoch"
    assert events[-1].event == "saved"
    assert sum(e.event == "epoch" for e in events) == 2
    assert json.loads((tmp_path / "m" / "training.json").read_text())["run"]["epochs"] == 2


@pytest.mark.parametrize(
    "changes", [{}, {"warmup_epochs": 5, "schedule_by": "epoch"}], ids=["while reading", "before a step"]
)
def test_stopped_before_anything_was_learnt_nothing_is_left(
    make: Callable[..., TrainingJob], tmp_path: Path, changes: dict[str, Any]
) -> None:
    asked = iter([False] * 6 if changes else [])
    with pytest.raises(Cancelled):
        list(make(tmp_path / "deep" / "m", changes=changes, should_stop=lambda: next(asked, True)))
    assert left(tmp_path) == []


def test_too_short_to_learn_anything_is_said(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    """By epochs, the first of a warm-up stands at zero."""
    with pytest.raises(BadInput, match="would end before the learning rate rises from zero"):
        list(make(tmp_path / "m", changes={"epochs": 1, "warmup_epochs": 5, "schedule_by": "epoch"}))
    assert left(tmp_path) == []


def test_abandoned_midway_nothing_is_left(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    for event in make(tmp_path / "m"):
        if event.event == "epoch":
            break
    assert left(tmp_path) == []


def test_a_failure_leaves_nothing(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_latentseg.models.folder as module

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_weights", full)
    with pytest.raises((OSError, BadInput)):
        list(make(tmp_path / "m", changes={"epochs": 1}))
    assert left(tmp_path) == []


def test_a_folder_that_is_there_is_left_alone(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"m: already exists"):
        make(tmp_path / "m")
    with pytest.raises(BadInput, match=r"notes\.txt: already exists"):
        make(tmp_path / "m" / "notes.txt")
    assert left(tmp_path) == ["m", "notes.txt"]


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("m", {"name": "a name with blanks"}, "name: 'a name with blanks' is not a valid model name"),
        ("…", {}, "name: '' is not a valid model name"),
        ("file.txt/m", {}, r"cannot be the output folder: file.txt above it is a file"),
        ("m", {"changes": {"settings": {"width": 17}}}, "gms settings, width: must be a multiple of 16"),
        ("m", {"changes": {"method": "magic"}}, "method: no method 'magic'"),
        ("m", {"folder": Path("nowhere")}, "nowhere: no such folder"),
        ("m", {"changes": {"stages": {"one": {}}}}, "stages.one: gms is trained in one stage; leave it out"),
    ],
)
def test_what_can_be_known_before_is_said_before(
    make: Callable[..., TrainingJob], tmp_path: Path, out: str, more: dict[str, Any], message: str
) -> None:
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(BadInput, match=message):
        next(iter(make(tmp_path / out, **more)))
    assert left(tmp_path) == ["file.txt"]
