"""A model that is pointed at is judged by the clicks of a simulated person, and its card says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.click_scores import click_scores, objects_of
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import load_model, open_codec
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.job import TrainingJob

CONFIG = {
    "method": "prompted",
    "settings": {"width": 16, "prompt_channels": 16, "levels": ["out"], "corrections": 1},
    "preprocess": {"mode": "whole", "size": 64},
    "split": {"fraction": 0.3},
    "epochs": 1,
    "warmup_epochs": 0,
    "published_weights": "none",
    "batch_size": 4,
    "card": {"title": "Anything", "data_name": "made ellipses", "default_samples": 3},
}


@pytest.fixture
def job(tiny_codec_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path) -> TrainingJob:
    codec, spec = open_codec(tiny_codec_folder.name)
    data = write_ellipses(tmp_path / "data")
    config = TrainingConfig.model_validate(CONFIG)
    return TrainingJob(data, tmp_path / "anything", config, codec, spec, device="cpu")


def test_its_card_has_the_figures_after_one_three_and_five_clicks(job: TrainingJob) -> None:
    events = list(job)
    card = read_card(job.out)
    assert card.takes_prompts
    assert [c.name for c in card.classes] == ["structure"]
    assert card.sources == ("readings",)
    assert [m.data.rsplit(", ", 1)[1] for m in card.metrics] == [
        "1 click each",
        "3 clicks each",
        "5 clicks each",
    ]
    assert all(m.samples == 3 and m.images == 2 and 0 <= m.values["dsc"] <= 1 for m in card.metrics)
    assert card.unjudged == ""
    assert card.reliability is None
    assert events[-1].as_dict()["dsc"] == card.metrics[0].values["dsc"]
    assert not (job.out / "replay.safetensors").exists()


def test_a_stop_while_it_is_judged_leaves_a_model_that_says_so(job: TrainingJob) -> None:
    is_judging = False
    job.should_stop = lambda: is_judging
    for event in job:
        is_judging = is_judging or event.as_dict()["event"] == "judging"
    card = read_card(job.out)
    assert card.metrics == ()
    assert "stopped" in card.unjudged


def test_the_person_clicks_where_the_answer_is_most_wrong() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:31, 10:51] = True
    asked: list[Prompts] = []

    def answer(prompts: Prompts) -> np.ndarray:
        asked.append(prompts)
        answered = mask.copy()
        if len(asked) == 1:
            answered[:, 40:] = False  # misses the right end
        elif len(asked) == 2:
            answered[0:7, 0:7] = True  # and adds a corner
        return answered.astype(np.float32)

    scores = click_scores(answer, mask, clicks=5)
    assert asked[0].positive[0][0] == 20
    assert asked[1].positive[1][1] > 40
    assert asked[2].negative == ((3, 3),)
    assert len(asked) == 3
    assert scores[0] < scores[1] < 1
    assert scores[2:] == [1, 1, 1]


def test_the_three_largest_objects_of_an_image_count() -> None:
    mask = np.zeros((64, 64), bool)
    for i, side in enumerate((4, 6, 5, 8, 10)):
        mask[12 * i : 12 * i + side, 3 : 3 + side] = True
    assert [int(found.sum()) for found in objects_of(mask)] == [100, 64, 36]


def test_the_quality_of_answers_can_be_trained_alone(
    job: TrainingJob, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    """The stage before it is left out: what answers keeps the weights of the model that it begins from."""
    list(job)
    codec, spec = open_codec(tiny_codec_folder.name)
    settings = CONFIG["settings"] | {"quality": True}  # type: ignore[operator]
    stages = {"answers": {"epochs": 0}, "quality": {"epochs": 2, "learning_rate": 0.01}}
    changes = {"settings": settings, "stages": stages, "begin_from": str(job.out)}
    config = TrainingConfig.model_validate(CONFIG | changes)
    data = tmp_path / "data"
    events = list(TrainingJob(data, tmp_path / "judging", config, codec, spec, device="cpu"))
    assert {getattr(event, "stage", "quality") for event in events} == {"quality"}
    began, ended = (load_model(folder).method for folder in (job.out, tmp_path / "judging"))
    for name, value in began.trainable_modules.state_dict().items():
        assert torch.equal(value, ended.trainable_modules.state_dict()[name]), name
    assert ended.config.quality
    assert not began.config.quality

    alone = TrainingConfig.model_validate(CONFIG | changes | {"begin_from": ""})
    with pytest.raises(BadInput, match=r"stages.answers.epochs: is 0, .* give --begin-from"):
        TrainingJob(data, tmp_path / "alone", alone, codec, spec, device="cpu")
    assert not (tmp_path / "alone").exists()
