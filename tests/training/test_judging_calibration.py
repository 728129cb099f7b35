"""A training ends with the calibration of its model, on the results that it is judged by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.toy_method import GMS, config_of

from napari_latentseg import api
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.models.store import open_codec
from napari_latentseg.training import judging_calibration
from napari_latentseg.training.job import TrainingJob

FIGURES = (
    "reliability", "temperature", "temperature_fit", "threshold", "volume_interval", "contour_band",
    "expected_dice", "bfloat16",
)  # fmt: skip


@pytest.fixture(scope="module")
def many(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("many") / "data", count=26)


@pytest.fixture
def make(many: Path, tiny_codec_folder: Path) -> Callable[..., TrainingJob]:
    def made(out: Path, changes: dict[str, Any] | None = None, **more: Any) -> TrainingJob:
        codec, spec = open_codec(tiny_codec_folder.name)
        config = config_of(GMS | {"epochs": 2, "split": {"fraction": 0.8}} | (changes or {}))
        data = more.pop("data", many)
        return TrainingJob(data, out, config, codec, spec, device="cpu", name="m", **more)

    return made


def figures_of(card: ModelCard) -> dict[str, Any]:
    return {name: getattr(card, name) for name in FIGURES}


def test_the_card_holds_what_calibrate_would_write(
    make: Callable[..., TrainingJob], many: Path, tmp_path: Path
) -> None:
    events = list(make(tmp_path / "m"))
    begun = [(e.source, e.samples) for e in events if e.event == "judging" and not e.done]
    assert begun == [("none", 1), ("augment", 5)]  # and no image is segmented again to calibrate
    card = read_card(tmp_path / "m")
    validation_images = card.metrics[0].images
    assert validation_images >= 20
    assert events[-1].notes == ()
    assert card.reliability.images == card.temperature_fit.images == validation_images
    assert card.reliability.ece < card.temperature_fit.ece_before
    assert card.volume_interval.threshold == card.contour_band.threshold == card.threshold
    assert card.raw_threshold == pytest.approx(0.5, abs=1e-4)
    assert card.expected_dice.classes
    again = api.calibrate(tmp_path / "m", many, device="cpu", out=tmp_path / "again")
    calibrated, trained = figures_of(again), figures_of(card)
    assert calibrated["temperature"].value == pytest.approx(trained["temperature"].value, rel=1e-3)
    assert calibrated["reliability"].ece == pytest.approx(trained["reliability"].ece, abs=1e-4)
    assert calibrated["threshold"] == pytest.approx(trained["threshold"], abs=1e-4)
    assert calibrated["volume_interval"].coverage == trained["volume_interval"].coverage
    assert calibrated["contour_band"].dimensions == trained["contour_band"].dimensions == 2
    assert calibrated["bfloat16"] == trained["bfloat16"]


def test_what_too_few_images_cannot_give_is_said(
    make: Callable[..., TrainingJob], ellipses_folder: Path, tmp_path: Path
) -> None:
    events = list(make(tmp_path / "m", {"split": {"fraction": 0.3}}, data=ellipses_folder))
    notes = events[-1].notes
    assert [note.partition(":")[0] for note in notes] == [
        "no temperature", "no interval", "no contours", "no expected Dice",
    ]  # fmt: skip
    assert events[-1].as_dict()["notes"] == list(notes)
    card = read_card(tmp_path / "m")
    assert card.reliability.images == card.metrics[0].images < 5
    assert card.temperature is card.volume_interval is card.contour_band is card.expected_dice is None
    assert card.threshold == 0.5


def test_too_few_samples_to_calibrate_are_said(
    make: Callable[..., TrainingJob], ellipses_folder: Path, tmp_path: Path
) -> None:
    changes = {"split": {"fraction": 0.3}, "card": {"default_samples": 2}}
    events = list(make(tmp_path / "m", changes, data=ellipses_folder))
    assert events[-1].notes[0].startswith("no calibration: samples: 2 from 'augment' are too few")
    assert read_card(tmp_path / "m").reliability is None
    assert not events[-1].stopped


@pytest.mark.parametrize("when", ["while images are segmented", "while bfloat16 is compared"])
def test_a_calibration_that_was_stopped_is_done_by_resuming(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    is_asked = threading.Event()

    class Stopping(judging_calibration.JudgingCalibration):
        def add(self, *args: Any) -> None:
            super().add(*args)
            if when.endswith("segmented"):
                is_asked.set()
                is_asked.wait(0.3)

        def compare_bfloat16(self) -> Any:
            is_asked.set()
            for _ in range(100):
                yield
                threading.Event().wait(0.02)

    with monkeypatch.context() as patch:
        patch.setattr("napari_latentseg.training.judging.JudgingCalibration", Stopping)
        events = list(make(tmp_path / "m", should_stop=is_asked.is_set))
    assert events[-1].stopped
    stopped = read_card(tmp_path / "m")
    assert stopped.unjudged
    assert stopped.reliability is None
    resumed = [e for e in make(tmp_path / "m", resume=True) if e.event == "judging" and not e.done]
    assert [e.source for e in resumed] == ["augment"]
    card = read_card(tmp_path / "m")
    assert card.unjudged == ""
    assert card.metrics[0] == stopped.metrics[0]
    assert [m.source for m in card.metrics] == ["none", "augment"]
    assert card.reliability is not None
    assert card.temperature_fit is not None


def test_a_calibration_that_was_done_is_not_done_again(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes while the training images are described, which is the last that is done."""
    is_asked = threading.Event()

    def stopped_meanwhile(*_: Any, **__: Any) -> None:
        is_asked.set()
        threading.Event().wait(0.5)

    def no_calibration(*_: Any) -> None:
        raise AssertionError("calibrated twice")

    with monkeypatch.context() as patch:
        patch.setattr("napari_latentseg.training.judging.fit_reference", stopped_meanwhile)
        list(make(tmp_path / "m", {"judge_planes": 8}, should_stop=is_asked.is_set))
    first = read_card(tmp_path / "m")
    assert first.unjudged
    assert first.reliability.images == 8
    monkeypatch.setattr("napari_latentseg.training.judging.JudgingCalibration", no_calibration)
    list(make(tmp_path / "m", {"judge_planes": 8}, resume=True))
    second = read_card(tmp_path / "m")
    assert second.unjudged == ""
    assert (figures_of(second), second.metrics) == (figures_of(first), first.metrics)
