"""The model of a training is written before it is judged; judging is bounded, and hears a stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.guided import make as make_guided
from tests.helpers.made_ct import CT_CONFIG, write_ct_set
from tests.helpers.toy_method import GMS, config_of

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.models.card import read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.store import load_model, open_codec
from napari_latentseg.training import judging as judging_module
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.events import TrainJudging
from napari_latentseg.training.job import TrainingJob
from napari_latentseg.training.judging import JudgingSample, ThinnedCase, stops_networks
from napari_latentseg.training.output_dir import checkpoint_folder


@pytest.fixture
def make(ellipses_folder: Path, tiny_codec_folder: Path) -> Callable[..., TrainingJob]:
    def made(out: Path, changes: dict[str, Any] | None = None, **more: Any) -> TrainingJob:
        codec, spec = open_codec(tiny_codec_folder.name)
        config = config_of(GMS | {"epochs": 2} | (changes or {}))
        return TrainingJob(ellipses_folder, out, config, codec, spec, device="cpu", name="m", **more)

    return made


def stop_at_judging(number: int, job: Callable[..., TrainingJob], out: Path) -> list[Any]:
    """The events of a training that is asked to stop when judging begins for the n-th source."""
    is_asked = threading.Event()
    events = []
    for event in job(out, should_stop=is_asked.is_set):
        events.append(event)
        if sum(e.event == "judging" and not e.done for e in events) == number:
            is_asked.set()
    return events


def test_the_model_is_whole_on_the_disk_before_it_is_judged(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    events = iter(make(tmp_path / "m"))
    next(event for event in events if event.event == "judging")
    card = read_card(tmp_path / "m")
    assert card.metrics == ()
    assert "stopped before all of its validation images were segmented" in card.unjudged
    assert f"Not judged:    {card.unjudged}" in card_text(card)
    assert load_model(tmp_path / "m").card.name == "m"
    events.close()  # as where the program is killed
    assert load_model(tmp_path / "m").card.unjudged


def test_judging_that_was_stopped_goes_on_alone_to_the_same_figures(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    list(make(tmp_path / "whole"))
    whole = read_card(tmp_path / "whole")
    assert whole.unjudged == ""
    events = stop_at_judging(1, make, tmp_path / "m")
    assert events[-1].event == "saved"
    assert (events[-1].stopped, events[-1].dsc) == (True, None)
    assert read_card(tmp_path / "m").unjudged
    assert checkpoint_folder(tmp_path / "m").is_dir()
    with pytest.raises(BadInput, match="holds a training that was stopped; go on with --resume"):
        make(tmp_path / "m")
    weights = (tmp_path / "m" / "weights.safetensors").stat().st_mtime_ns
    resumed = list(make(tmp_path / "m", resume=True))
    assert {e.event for e in resumed} == {"data", "judging", "saved"}
    assert not resumed[-1].stopped
    card = read_card(tmp_path / "m")
    assert card.unjudged == ""
    assert (card.metrics, card.fit) == (whole.metrics, whole.fit)
    assert (tmp_path / "m" / "weights.safetensors").stat().st_mtime_ns == weights
    assert not checkpoint_folder(tmp_path / "m").exists()


def test_figures_that_are_complete_stay_and_are_not_measured_again(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    events = stop_at_judging(2, make, tmp_path / "m")
    first = read_card(tmp_path / "m")
    assert [m.source for m in first.metrics] == ["none"]
    assert events[-1].dsc == first.metrics[0].values["dsc"]
    assert first.unjudged
    resumed = [e for e in make(tmp_path / "m", resume=True) if e.event == "judging" and not e.done]
    assert [e.source for e in resumed] == ["augment"]
    assert read_card(tmp_path / "m").metrics[0] == first.metrics[0]


def test_a_model_whose_judging_was_stopped_is_not_replaced_where_it_was_changed(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    stop_at_judging(1, make, tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="m: already exists"):
        make(tmp_path / "m", resume=True)


def test_after_a_stopped_training_judging_does_not_go_on_for_long(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_latentseg.training.job.GRACE_S", -1)
    is_asked = threading.Event()
    events = []
    for event in make(tmp_path / "m", {"epochs": 50}, should_stop=is_asked.is_set):
        events.append(event)
        if event.event == "epoch":
            is_asked.set()
    assert events[-1].stopped
    assert read_card(tmp_path / "m").unjudged
    assert [e.event for e in make(tmp_path / "m", {"epochs": 50}, resume=True)].count("epoch") > 40
    assert read_card(tmp_path / "m").unjudged == ""


def test_progress_is_shown_while_images_are_segmented(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging_module, "_SECONDS_BETWEEN_EVENTS", 0)
    monkeypatch.setattr(judging_module, "_HEARTBEAT_S", 0.001)
    events = [e for e in make(tmp_path / "m") if e.event == "judging"]
    for source in ("none", "augment"):
        shares = [e.done for e in events if e.source == source]
        assert shares[0] == 0
        assert len(shares) > 1
        assert shares == sorted(shares)
        assert shares[-1] <= 1
    assert events[0].as_dict() == {"event": "judging", "source": "none", "samples": 1}
    assert TrainJudging(source="none", samples=1, done=0.5).as_dict()["done"] == 0.5


def test_a_network_stops_in_the_middle_of_a_sample() -> None:
    """All classes and steps of a large slice take minutes; a stop does not wait for them."""
    method = make_guided(diffusion={"timesteps": 100, "prediction": "sample", "steps": 100}).eval()
    is_asked = threading.Event()
    calls = []
    method.denoiser.register_forward_hook(lambda *_: calls.append(len(calls) == 3 and is_asked.set()))
    with torch.no_grad(), stops_networks([method], is_asked.is_set), pytest.raises(Cancelled):
        method.sample(method.encode(torch.rand(1, 3, 32, 32)))
    assert len(calls) == 4
    is_asked.set()
    with torch.no_grad():
        method.encode(torch.rand(1, 3, 32, 32))  # watched no longer


def test_an_error_of_the_images_is_raised_and_the_model_stays(
    make: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise BadInput("memory", "is too small", "use less")

    monkeypatch.setattr(judging_module, "Evaluation", broken)
    with pytest.raises(BadInput, match="memory: is too small"):
        list(make(tmp_path / "m"))
    assert load_model(tmp_path / "m").card.unjudged
    monkeypatch.undo()


# -- which images


def cases_of(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    cases = [SimpleNamespace(count=count) for count in counts]
    monkeypatch.setattr(judging_module, "_plane_count", lambda case: case.count)
    monkeypatch.setattr(ThinnedCase, "of", classmethod(lambda cls, case, every: (case, every)))
    return cases


@pytest.mark.parametrize(
    ("counts", "limit", "chosen", "every", "planes"),
    [
        ([1] * 6, None, [0, 1, 2, 3, 4, 5], 1, 6),
        ([1] * 6, 6, [0, 1, 2, 3, 4, 5], 1, 6),
        ([1] * 6, 3, [0, 2, 4], 1, 3),
        ([10, 20, 30, 40], 70, [0, 1, 2], 1, 60),
        ([10, 20, 30, 40], 45, [0, 2], 1, 40),
        ([50, 60], 50, [0], 1, 50),
        ([50, 60], 49, [0], 2, 25),
        ([50, 60], 1, [0], 50, 1),
    ],
)
def test_as_many_images_are_judged_as_the_limit_allows(
    monkeypatch: pytest.MonkeyPatch,
    counts: list[int], limit: int | None, chosen: list[int], every: int, planes: int,
) -> None:  # fmt: skip
    cases = cases_of(counts, monkeypatch)
    sample = JudgingSample.choose(cases, limit)
    taken = [case[0] if isinstance(case, tuple) else case for case in sample.cases]
    assert taken == [cases[i] for i in chosen]
    assert sample.every == every
    assert sample.case_count == len(counts)
    assert sample.planes == planes


def test_the_card_says_which_images_were_judged() -> None:
    def text(chosen: int, count: int, every: int = 1) -> str:
        return JudgingSample((SimpleNamespace(),) * chosen, count, every).describe()  # type: ignore[arg-type]

    assert text(5, 5) == "the 5 validation images"
    assert text(2, 5) == "2 of the 5 validation images"
    assert text(1, 5, 3) == "1 of every 3 slices of 1 of the 5 validation images"


def test_a_thinned_volume_is_every_nth_slice_with_its_mask_and_distance(tmp_path: Path) -> None:
    folder = write_ct_set(tmp_path / "btcv", 1, side=(40, 41), slices=(11, 12))
    (case,) = find_cases(folder)
    thin = ThinnedCase.of(case, 4)
    labels = LabelMap(tuple(ClassInfo(label=i, name=f"c{i}", color="#000000") for i in range(1, 14)),
                      {i: f"c{i}" for i in range(1, 14)})  # fmt: skip
    whole, kept = case.read_scan(), thin.read_scan()
    assert np.array_equal(kept.array, whole.array[::4])
    assert kept.geometry.spacing[0] == pytest.approx(4 * whole.geometry.spacing[0])
    assert np.allclose(kept.geometry.origin, whole.geometry.origin)
    assert np.array_equal(thin.read_class_numbers(labels), case.read_class_numbers(labels)[::4])
    assert len(Planes(kept, 0.0, 1.0)) == 3
    assert thin.content_sha256 == case.content_sha256


def test_a_bounded_judging_of_volumes_is_in_the_card(tmp_path: Path) -> None:
    folder = write_ct_set(tmp_path / "btcv", 3, side=(40, 50), slices=(9, 10))
    autoencoder = {"widths": [8, 8], "layers": 1, "norm_groups": 8, "fold": 2}
    settings = {
        "classes": 13, "mask_autoencoder": autoencoder, "image_autoencoder": autoencoder,
        "denoiser": {"widths": [8], "layers_per_block": 1, "norm_groups": 8, "head_width": 8},
        "diffusion": {"timesteps": 10, "prediction": "sample", "steps": 2}, "buckets": 2,
    }  # fmt: skip
    changes = {
        "settings": settings, "judge_planes": 4, "validate_planes": 2, "epochs": 1, "warmup_epochs": 0,
        "draw": {"planes": 8}, "schedule_by": "step", "split": {"fraction": 0.5},
        "card": {"default_samples": 2},
    }  # fmt: skip
    start = time.monotonic()
    job = TrainingJob(
        folder, tmp_path / "m", TrainingConfig.model_validate(CT_CONFIG | changes), None, None, device="cpu"
    )
    epochs = [e for e in job if e.event == "epoch"]
    # at 6 mm the slices have any size, also in the stage of the autoencoders
    assert [(e.stage, e.dsc is not None) for e in epochs] == [("autoencoders", True), ("diffusion", True)]
    assert time.monotonic() - start < 120
    card = read_card(tmp_path / "m")
    assert card.preprocess.window == (-175, 250)
    assert "1 of every 3 slices of 1 of the 2 validation images, never trained on" in card.metrics[0].data
    assert card.metrics[0].images == 1
    assert card.metrics[0].classes  # each organ that is in the three slices
    assert set(card.metrics[0].classes) <= {c.name for c in card.classes}
