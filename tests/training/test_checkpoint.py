"""A training that is stopped or killed, and goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.toy_method import GMS, TOY, config_of, same_weights
from torch import Tensor

from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.training import memory_estimate
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.events import TrainEpoch
from napari_latentseg.training.members import MemberTraining
from napari_latentseg.training.snapshot import Snapshot
from napari_latentseg.utils.device import Compute

pytestmark = pytest.mark.usefixtures("toy_method")


@pytest.fixture(scope="module")
def data(ellipses_folder: Path) -> Dataset:
    return read_dataset(ellipses_folder, config_of({}))


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
        (GMS | {"members": 3, "member_parts": "predictor", "member_training": {"epochs": 2}}, 8, [3, 5, 8]),
        (GMS | {"ema_decay": 0, "cache_latents": True, "augment_variants": 2}, 4, [3]),
        (TOY | {"select": "last"}, 7, [2, 5, 6]),
        (TOY, 7, [3, 6]),
    ],
    ids=["gms", "members", "predictors", "cached", "two stages", "two stages, best"],
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
        assert same_weights(weights(resumed), weights(whole))
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
    assert same_weights(weights(resumed), weights(whole))


@pytest.mark.parametrize("question", [5, 6, 7, 8, 9])
def test_stopped_between_the_parts_of_a_batch_it_goes_on_bit_for_bit(
    course: Callable[..., MemberTraining], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, question: int
) -> None:
    """The size of the parts is in the checkpoint, whatever memory is free when it is resumed."""
    changes = GMS | {"batch_size": 2, "crops_per_image": 2, "augment": {}}
    monkeypatch.setattr(memory_estimate, "_CPU_PART_BYTES", 1)
    whole = course(changes, place=tmp_path / "whole")
    list(whole.run())
    asked = iter(range(1, 1000))
    stopped = course(changes, lambda: next(asked) >= question)
    list(stopped.run())
    assert stopped.stopped
    monkeypatch.setattr(memory_estimate, "_CPU_PART_BYTES", 2**40)
    sizes: list[int] = []
    resumed = course(changes)
    resumed.on_progress = lambda event: sizes.append(event.part_size) if event.event == "memory" else None
    list(resumed.run(resume=True))
    assert sizes == [1]
    assert same_weights(weights(resumed), weights(whole))


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
    assert same_weights(weights(part), weights(whole))


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
    assert same_weights(weights(resumed), weights(whole))


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
