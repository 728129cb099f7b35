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
    TrainSaved,
    parse_train_event,
)

EPOCH = TrainEpoch(
    stage="", epoch=2, epochs=3, losses={"dice": 0.5}, learning_rate=1e-3, dsc=None, best=0.25, seconds=1.5
)
# The keys of version 7c12afb, in their order: programs that read `train --events` know them.
OF_EPOCH = ["stage", "epoch", "epochs", "losses", "learning_rate", "dsc", "best", "seconds", "measured"]
KEYS = {
    "data": (
        TrainData(images=6, train=4, apart=2, note=""),
        ["event", "images", "train", "apart", "note"],
    ),
    "epoch": (EPOCH, ["event", *OF_EPOCH]),
    "epoch of a member": (EPOCH.replace(member=2), ["event", "member", *OF_EPOCH]),
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
