"""A training that is stopped or killed, and goes on as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods import registry
from napari_latentseg.methods.base import Batch, Method, Noise, Stage
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import open_codec
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.events import TrainEpoch
from napari_latentseg.training.job import TrainingJob
from napari_latentseg.training.members import MemberTraining
from napari_latentseg.training.output_dir import checkpoint_folder
from napari_latentseg.training.snapshot import Snapshot
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.weights import load_weights

TINY = {
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "batch_size": 1,
    "epochs": 4,
    "warmup_epochs": 1,
    "schedule_by": "step",
    "learning_rate": 5e-3,
    "accumulate": 2,
    "ema_decay": 0.7,
    "clip_gradient": 1.0,
}
GMS = {"method": "gms", "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"}}
TOY = {"method": "toy", "codec": None, "stages": {"second": {"epochs": 3}}}


class Plain(BaseModel):
    """No settings."""


class Toy(Method):
    """Two stages, dropout, a running mean, and memories outside its weights."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    paper: ClassVar[str] = "none"
    needs_codec: ClassVar[bool] = False
    config_class: ClassVar[type[BaseModel]] = Plain
    brightness: Tensor

    def __init__(self, codec: None, config: Plain) -> None:
        super().__init__(codec, config)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout2d(0.3))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.PReLU(), nn.Conv2d(4, 1, 1))
        self.register_buffer("brightness", torch.zeros(1), persistent=False)
        self.weighting = 1.0
        self.latest: Tensor | None = None
        self.begun: list[str] = []

    @property
    def deviations_from_paper(self) -> str:
        return "a toy"

    @property
    def downsampling_factor(self) -> int:
        return 1

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        return nn.ModuleDict({"first": self.first, "second": self.second})

    def training_state(self) -> dict[str, Tensor]:
        return super().training_state() | {"weighting": torch.tensor(self.weighting, dtype=torch.float64)}

    def restore_training_state(self, state: dict[str, Tensor]) -> None:
        self.weighting = float(state["weighting"])
        super().restore_training_state({k: v for k, v in state.items() if k != "weighting"})

    def stages(self) -> list[Stage]:
        def begin(batches: Iterable[Batch]) -> None:
            self.begun.append("second")
            self.brightness = torch.stack([b.images.mean() for b in batches]).mean()[None]

        def after() -> dict[str, float]:
            assert self.latest is not None  # the last batch of an epoch is known when it ends
            self.weighting *= 0.9 + 0.1 * float(self.latest)
            self.latest = None
            return {"weighting": self.weighting}

        def judge(images: Tensor, masks: Tensor) -> Tensor:
            return self.first(images).mean(1, keepdim=True).sigmoid()

        return [
            Stage("first", nn.ModuleDict({"first": self.first}), self._early, validate=judge),
            Stage("second", nn.ModuleDict({"second": self.second}), self.loss, begin, after),
        ]

    def _early(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        found = self.first(batch.images + 0.1 * torch.randn(batch.images.shape, generator=generator))
        return {"early": (found.mean(1, keepdim=True) - batch.masks).square().mean()}

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        self.latest = batch.images.mean()
        dropped = nn.functional.dropout(self.first(batch.images - self.brightness), 0.2, self.training)
        return {"late": self.weighting * (self.second(dropped).sigmoid() - batch.masks).square().mean()}

    def encode(self, images: Tensor) -> Tensor:
        return self.first(images - self.brightness)

    def sample(self, condition: Tensor, noise: Noise | None = None) -> Tensor:
        return self.second(condition).sigmoid()


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METHODS, "toy", Toy)


def config_of(changes: dict[str, Any]) -> TrainingConfig:
    return TrainingConfig.model_validate(TINY | changes)


@pytest.fixture(scope="module")
def folder(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data", count=5)


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return read_dataset(folder, config_of({}))


@pytest.fixture
def course(data: Dataset, tiny_codec_folder: Path, tmp_path: Path) -> Callable[..., MemberTraining]:
    def made(
        changes: dict[str, Any],
        stop: Callable[[], bool] = lambda: False,
        data: Dataset = data,
        place: Path = tmp_path / "c",
    ) -> MemberTraining:
        codec = None if changes.get("codec", "") is None else load_codec(tiny_codec_folder)
        checkpoint = Checkpoint(place, interval_s=0)
        return MemberTraining(
            config_of(changes), data, codec, Compute("cpu", "float32"), stop, checkpoint, {}
        )

    return made


def weights(course: MemberTraining) -> list[dict[str, Tensor]]:
    return [
        {k: v.clone() for k, v in m.trainable_modules.state_dict().items()} for m in course.trained_methods
    ]


def equal(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())
        for a, b in zip(one, other, strict=True)
    )


def timeless(events: Iterable[TrainEpoch]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.as_dict().items() if k not in ("seconds", "event")} for e in events]


def killed_after(events: Iterator[TrainEpoch], count: int) -> None:
    """Take so many events and no more; the checkpoint of the last of them is not written any more."""
    for _ in range(count):
        next(events)


@pytest.mark.parametrize(
    ("changes", "epochs", "cuts"),
    [
        (GMS, 4, [2]),
        (GMS | {"members": 2, "epochs": 3}, 6, [5]),
        (GMS | {"ema_decay": 0, "cache_latents": True, "augment_variants": 2}, 4, [3]),
        (TOY | {"select": "last"}, 7, [2, 5, 6]),
        (TOY, 7, [3, 6]),
    ],
    ids=["gms", "members", "cached", "two stages", "two stages, best"],
)
def test_killed_at_any_epoch_it_goes_on_bit_for_bit(
    course: Callable[..., MemberTraining],
    changes: dict[str, Any],
    epochs: int,
    cuts: list[int],
    tmp_path: Path,
) -> None:
    whole = course(changes, place=tmp_path / "whole")
    events = timeless(whole.run())
    assert len(events) == epochs
    for cut in cuts:
        place = tmp_path / f"cut-{cut}"
        killed_after(course(changes, place=place).run(), cut)
        torch.manual_seed(cut)  # another program would stand elsewhere
        resumed = course(changes, place=place)
        # the last epoch before the end was not in the checkpoint any more, and is done again
        assert timeless(resumed.run(resume=True)) == events[cut - 1 :]
        assert equal(weights(resumed), weights(whole))
        assert timeless(resumed.events) == events
        assert resumed.best_epochs == whole.best_epochs


@pytest.mark.parametrize(
    ("changes", "batches"),
    [(GMS, 4), (TOY, 2), (TOY, 3), (TOY, 5), (TOY, 17), (TOY, 21), (TOY | {"validate_every": 2}, 3)],
)
def test_stopped_at_any_batch_it_goes_on_bit_for_bit(
    course: Callable[..., MemberTraining], changes: dict[str, Any], batches: int, tmp_path: Path
) -> None:
    """An epoch has three batches; with the last of them it is complete, and is not done again."""
    whole = course(changes, place=tmp_path / "whole")
    events = timeless(whole.run())
    asked = iter(range(1, 1000))
    stopped = course(changes, lambda: next(asked) >= batches)
    early = timeless(stopped.run())
    assert stopped.stopped
    assert early[-1]["dsc"] is not None  # looked at, though its turn had not come
    resumed = course(changes)
    rest = timeless(resumed.run(resume=True))
    told = (early if batches % 3 == 0 else early[:-1]) + rest
    if "validate_every" in changes:
        told[0] = told[0] | {"dsc": None, "best": None}
    assert told == events
    assert equal(weights(resumed), weights(whole))


def test_stopped_again_and_again_it_comes_to_the_same_end(
    course: Callable[..., MemberTraining], tmp_path: Path
) -> None:
    whole = course(TOY, place=tmp_path / "whole")
    list(whole.run())
    rounds = 0
    while True:
        asked = iter(range(1, 1000))
        part = course(TOY, lambda asked=asked: next(asked) >= 5)
        list(part.run(resume=rounds > 0))
        rounds += 1
        if not part.stopped:
            break
    assert rounds > 3
    assert equal(weights(part), weights(whole))


def test_a_stage_that_had_begun_does_not_begin_again(course: Callable[..., MemberTraining]) -> None:
    killed_after(course(TOY).run(), 6)
    resumed = course(TOY)
    list(resumed.run(resume=True))
    assert resumed.trained_methods[0].begun == []
    assert float(resumed.trained_methods[0].brightness) > 0


def test_killed_while_it_writes_the_former_checkpoint_is_whole(
    course: Callable[..., MemberTraining], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = course(GMS, place=tmp_path / "whole")
    list(whole.run())
    run = course(GMS).run()
    killed_after(run, 3)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "replace", die
        )  # the tensors are written, and the step that makes them count is not
        with pytest.raises(KeyboardInterrupt):
            next(run)
    assert len(list((tmp_path / "c").glob("tensors-*"))) == 2
    resumed = course(GMS)
    list(resumed.run(resume=True))
    assert equal(weights(resumed), weights(whole))


def test_it_is_written_when_its_time_has_come(course: Callable[..., MemberTraining]) -> None:
    slow = course(GMS)
    slow.checkpoint.interval_s = 3600
    list(slow.run())
    assert not slow.checkpoint.exists


def test_a_damaged_checkpoint_is_refused(course: Callable[..., MemberTraining], tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c")
    checkpoint.write(Snapshot({"a": torch.zeros(3)}, {}))
    assert checkpoint.read().tensors["a"].shape == (3,)
    (file,) = (tmp_path / "c").glob("tensors-*")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"safetensors: is missing or damaged; delete that folder"):
        checkpoint.read()
    (tmp_path / "c" / "state.json").write_text("{")
    with pytest.raises(BadInput, match=r"state\.json: is not readable"):
        checkpoint.read()


def test_other_data_are_refused(course: Callable[..., MemberTraining], data: Dataset) -> None:
    killed_after(course(GMS).run(), 2)
    with pytest.raises(BadInput, match="data: are other images or masks than those of the stopped training"):
        list(course(GMS, data=Dataset(data.train[::-1], data.validation)).run(resume=True))


# --- with the model folder ----------------------------------------------------------------------------


@pytest.fixture
def make(folder: Path, tiny_codec_folder: Path) -> Callable[..., TrainingJob]:
    def made(out: Path, changes: dict[str, Any] | None = None, **more: Any) -> TrainingJob:
        codec, spec = open_codec(tiny_codec_folder.name)
        config = config_of(GMS | (changes or {}))
        more = {"checkpoint_every": 0, "device": "cpu", "folder": folder} | more
        return TrainingJob(more.pop("folder"), out, config, codec, spec, **more)

    return made


def stopping(batches: int) -> Callable[[], bool]:
    """Ask for a stop at the batch of this number; reading the five images asks too."""
    asked = iter(range(1, 10000))
    return lambda: next(asked) >= 5 + batches


def test_a_stopped_model_is_there_and_is_replaced_when_the_training_goes_on(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    list(make(tmp_path / "whole", name="m"))
    assert not checkpoint_folder(tmp_path / "whole").exists()
    *_, saved = make(tmp_path / "m", should_stop=stopping(6))
    assert saved.stopped
    assert json.loads((tmp_path / "m" / "training.json").read_text())["run"]["stopped"] is True
    half = read_card(tmp_path / "m").files["weights.safetensors"]
    *_, saved = make(tmp_path / "m", resume=True)
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
        with pytest.raises(BadInput, match="m: is there already"):
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

    def job(**more: Any) -> TrainingJob:
        one = make(tmp_path / "m", slow, **more)
        one.codec = one.spec = None
        one._identity["codec"] = None
        return one

    with pytest.raises(Cancelled):
        list(job(should_stop=stopping(batches)))
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
    assert (card.members, card.sources) == (3, ("members", "augment", "none"))
    assert [(m.source, m.samples) for m in card.metrics] == [("none", 1), ("augment", 8), ("members", 3)]
    names = ["weights.safetensors", "member-2.safetensors", "member-3.safetensors"]
    assert len({card.files[name] for name in names}) == 3
    head, *rows = (tmp_path / "m" / "training_log.csv").read_text().splitlines()
    assert head.startswith("member,epoch,")
    assert [row.split(",")[:2] for row in rows] == [[m, e] for m in "123" for e in "12"]
    one = make(tmp_path / "one", {"epochs": 2, "seed": 2334})  # the second member alone
    list(one)
    method = registry.build_method("gms", one.codec, GMS["settings"])
    load_weights(method.trainable_modules, tmp_path / "m" / "member-2.safetensors")
    alone = registry.build_method("gms", one.codec, GMS["settings"])
    load_weights(alone.trainable_modules, tmp_path / "one" / "weights.safetensors")
    assert equal([method.trainable_modules.state_dict()], [alone.trainable_modules.state_dict()])
