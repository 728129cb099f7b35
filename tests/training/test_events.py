"""Events as lines, and as what they were."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from napari_latentseg.training.events import (
    TrainData,
    TrainEpoch,
    TrainEvent,
    TrainJudging,
    TrainMemory,
    TrainProgress,
    TrainSaved,
    parse_train_event,
)

EPOCH = TrainEpoch(
    stage="", epoch=2, epochs=3, losses={"dice": 0.5}, learning_rate=1e-3, dsc=None, best=0.25, seconds=1.5
)
# The keys of version 7c12afb, in their order: programs that read `train --events` know them.
OF_EPOCH = ["stage", "epoch", "epochs", "losses", "learning_rate", "dsc", "best", "seconds", "measured"]
PROGRESS = TrainProgress(
    stage="", epoch=2, epochs=3, step=4, steps=9, fraction=0.5, loss=0.25, images_per_second=1.5,
    seconds_left=60,
)  # fmt: skip
OF_PROGRESS = [
    "stage", "epoch", "epochs", "step", "steps", "fraction", "loss", "images_per_second", "seconds_left",
]  # fmt: skip
KEYS = {
    "data": (
        TrainData(images=6, train=4, apart=2, note=""),
        ["event", "images", "train", "apart", "note"],
    ),
    "epoch": (EPOCH, ["event", *OF_EPOCH]),
    "epoch of a member": (EPOCH.replace(member=2), ["event", "member", *OF_EPOCH]),
    "memory": (
        TrainMemory(stage="", batch_size=8, part_size=2, total_bytes=5_000_000_000),
        ["event", "stage", "batch_size", "part_size", "total_bytes"],
    ),
    "progress": (PROGRESS, ["event", *OF_PROGRESS]),
    "progress of a member": (PROGRESS.replace(member=2), ["event", "member", *OF_PROGRESS]),
    "judging": (TrainJudging(source="none", samples=1), ["event", "source", "samples"]),
    "saved": (
        TrainSaved(folder="m", dsc=0.5, epochs=3, stopped=False),
        ["event", "folder", "dsc", "epochs", "stopped"],
    ),
}


@pytest.mark.parametrize(("event", "keys"), KEYS.values(), ids=KEYS.keys())
def test_an_event_comes_back_from_its_line(event: TrainEvent, keys: list[str]) -> None:
    line = json.dumps(event.as_dict())
    assert list(json.loads(line)) == keys
    assert parse_train_event(line) == event


@pytest.mark.parametrize("line", ["", "[]", '{"event": "party"}', '{"event": "judging", "source": "none"}'])
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        parse_train_event(line)
