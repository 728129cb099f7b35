"""The model folder of a training that is stopped, and goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.toy_method import GMS, TOY, config_of, same_weights

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods import registry
from napari_latentseg.models.card import read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.store import open_codec
from napari_latentseg.training.job import TrainingJob
from napari_latentseg.training.output_dir import checkpoint_folder
from napari_latentseg.training.validation import Validation
from napari_latentseg.utils.weights import load_weights

pytestmark = pytest.mark.usefixtures("toy_method")


@pytest.fixture
def make(ellipses_folder: Path, tiny_codec_folder: Path) -> Callable[..., TrainingJob]:
    def made(out: Path, changes: dict[str, Any] | None = None, **more: Any) -> TrainingJob:
        config = config_of(GMS | (changes or {}))
        codec, spec = (None, None) if config.codec is None else open_codec(tiny_codec_folder.name)
        more = {"checkpoint_every": 0, "device": "cpu", "folder": ellipses_folder} | more
        return TrainingJob(more.pop("folder"), out, config, codec, spec, **more)

    return made


def stopping(batches: int) -> Callable[[], bool]:
    """Ask for a stop at the batch of this number; reading the five images asks too."""
    asked = iter(range(1, 10000))
    return lambda: next(asked) >= 5 + batches


def test_a_stopped_model_is_there_and_is_replaced_when_the_training_goes_on(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    last = {"select": "last"}  # the best weights may be those of an epoch before the stop
    list(make(tmp_path / "whole", last, name="m"))
    assert not checkpoint_folder(tmp_path / "whole").exists()
    *_, saved = make(tmp_path / "m", last, should_stop=stopping(6))
    assert saved.stopped
    assert json.loads((tmp_path / "m" / "training.json").read_text())["run"]["stopped"] is True
    half = read_card(tmp_path / "m").files["weights.safetensors"]
    *_, saved = make(tmp_path / "m", last, resume=True)
    assert not saved.stopped
    assert "stopped" not in json.loads((tmp_path / "m" / "training.json").read_text())["run"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "whole"]
    whole, resumed = read_card(tmp_path / "whole"), read_card(tmp_path / "m")
    assert half != resumed.files["weights.safetensors"] == whole.files["weights.safetensors"]
    assert resumed.metrics == whole.metrics


def test_a_model_that_came_out_of_something_else_is_never_replaced(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    out = tmp_path / "m"
    list(make(out, should_stop=stopping(6)))
    kept = Path(shutil.copytree(out, tmp_path / "kept"))
    spoil: list[Callable[[], object]] = [
        lambda: (out / "notes.txt").write_text("mine"),
        lambda: (out / "training.json").unlink(),
        lambda: (out / "training.json").write_text((out / "training.json").read_text().replace("true", "1")),
        lambda: (out / "weights.safetensors").write_bytes(b"mine"),
    ]
    for change in spoil:
        shutil.rmtree(out)
        shutil.copytree(kept, out)
        change()
        with pytest.raises(BadInput, match="m: already exists"):
            make(out, resume=True)
    shutil.rmtree(out)
    list(make(out, resume=True))  # gone altogether, it is written again
    assert read_card(out).name == "m"


@pytest.mark.parametrize("batches", [7, 4 * 3, 4 * 3 + 1])
def test_a_stop_before_the_second_stage_has_learnt_keeps_the_first(
    make: Callable[..., TrainingJob], tmp_path: Path, batches: int
) -> None:
    """There is no model yet, but what the first stage took is not lost."""
    slow = TOY | {"schedule_by": "epoch", "warmup_epochs": 2}

    with pytest.raises(Cancelled):
        list(make(tmp_path / "m", slow, should_stop=stopping(batches)))
    assert not (tmp_path / "m").exists()
    assert checkpoint_folder(tmp_path / "m").is_dir()


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        (
            {"learning_rate": 1e-3},
            {},
            "learning_rate: is 0.001, but was 0.005 in the training that was stopped",
        ),
        ({"settings": {"width": 32}}, {}, r"settings\.conditioner: is None, but was 'trained'"),
        ({"augment": {"rotate": 5}}, {}, r"augment\.rotate: is 5\.0, but was"),
        ({"members": 2}, {}, "members: is 2, but was 1"),
        ({}, {"name": "other"}, "name: is 'other', but was 'm'"),
    ],
)
def test_going_on_with_something_else_is_refused(
    make: Callable[..., TrainingJob], tmp_path: Path, changes: dict[str, Any], more: Any, message: str
) -> None:
    list(make(tmp_path / "m", should_stop=stopping(6)))
    with pytest.raises(BadInput, match=message):
        make(tmp_path / "m", changes, resume=True, **more)


def test_there_must_be_something_to_go_on_from_and_it_is_not_forgotten(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"m\.checkpoint: holds no stopped training to go on with; leave"):
        make(tmp_path / "m", resume=True)
    list(make(tmp_path / "m", should_stop=stopping(6)))
    with pytest.raises(
        BadInput, match=r"m\.checkpoint: holds a training that was stopped; go on with --resume"
    ):
        make(tmp_path / "m")


def test_another_codec_is_refused(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    list(make(tmp_path / "m", should_stop=stopping(6)))
    codec, spec = open_codec("tiny-codec")
    other = spec.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(BadInput, match="codec: is '0000"):
        TrainingJob(tmp_path, tmp_path / "m", config_of(GMS), codec, other, device="cpu", resume=True)


def test_the_member_files_are_those_of_the_members(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    list(make(tmp_path / "m", {"members": 3, "epochs": 2}))
    card = read_card(tmp_path / "m")
    assert (card.members, card.sources) == (3, ("members-augment", "members", "augment", "none"))
    assert [(m.source, m.samples) for m in card.metrics] == [
        ("none", 1), ("augment", 8), ("members", 3), ("members-augment", 5),
    ]  # fmt: skip
    names = ["weights.safetensors", "member-2.safetensors", "member-3.safetensors"]
    assert len({card.files[name] for name in names}) == 3
    head, *rows = (tmp_path / "m" / "training_log.csv").read_text().splitlines()
    assert head.startswith("member,epoch,")
    assert [row.split(",")[:2] for row in rows] == [[m, e] for m in "123" for e in "12"]
    run = json.loads((tmp_path / "m" / "training.json").read_text())["run"]
    assert sorted(run["seeds"]) == [2333, 2334, 2335]
    seed = run["seeds"][1]
    one = make(tmp_path / "one", {"epochs": 2, "seed": seed})  # the second member alone
    list(one)
    method = registry.build_method("gms", one.codec, GMS["settings"])
    load_weights(method.trainable_modules, tmp_path / "m" / "member-2.safetensors")
    alone = registry.build_method("gms", one.codec, GMS["settings"])
    load_weights(alone.trainable_modules, tmp_path / "one" / "weights.safetensors")
    assert same_weights([method.trainable_modules.state_dict()], [alone.trainable_modules.state_dict()])


def test_the_best_member_comes_first(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`none` and `augment` use it, whatever the order of training."""
    dsc = {2333: 0.2, 2334: 0.9, 2335: 0.5}
    monkeypatch.setattr(Validation, "mean_dice", lambda validation, stage: dsc[validation.config.seed])
    list(make(tmp_path / "m", {"members": 3, "epochs": 2}))
    card = read_card(tmp_path / "m")
    assert card.member_dsc == (0.9, 0.5, 0.2)
    assert "Dice 0.900, 0.500, 0.200 on the validation slices" in card_text(card)
    assert json.loads((tmp_path / "m" / "training.json").read_text())["run"]["seeds"] == [2334, 2335, 2333]
    list(make(tmp_path / "alone", {"epochs": 2, "seed": 2334}))
    first, alone = (read_card(tmp_path / name).files["weights.safetensors"] for name in ("m", "alone"))
    assert first == alone
