"""A source whose samples are all the same is not offered, and the card says what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.sample_agreement import SampleAgreement, mean_pairwise_dice
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.methods import wave_gms
from napari_latentseg.models.card import read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.store import open_codec
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.job import TrainingJob

WAVE = {
    "method": "wave-gms",
    "settings": {"width": 16, "levels": ["out"]},
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "epochs": 1,
    "batch_size": 4,
    "warmup_epochs": 0,
    "schedule_by": "step",
    "card": {"threshold": 0.3},  # one epoch does not bring any pixel to 0.5
}


@pytest.mark.parametrize(
    ("log_variance", "sources", "has_collapsed"),
    [(-20.0, ("augment", "none"), True), (4.0, ("augment", "posterior", "none"), False)],
)
def test_a_posterior_without_width_is_not_offered(
    ellipses_folder: Path,
    tiny_codec_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_variance: float,
    sources: tuple[str, ...],
    has_collapsed: bool,
) -> None:
    monkeypatch.setattr(wave_gms, "_LOG_VARIANCE_RANGE", (log_variance, log_variance))
    codec, spec = open_codec(tiny_codec_folder.name)
    config = TrainingConfig.model_validate(WAVE)
    list(TrainingJob(ellipses_folder, tmp_path / "m", config, codec, spec, device="cpu"))
    card = read_card(tmp_path / "m")
    (measured,) = card.sample_agreement
    assert (measured.source, measured.samples, measured.has_collapsed) == ("posterior", 4, has_collapsed)
    assert (measured.dice > 0.99) == has_collapsed
    assert card.sources == sources
    assert f"posterior: two samples agree to a Dice of {measured.dice:.3f}" in card_text(card)
    if has_collapsed:
        with pytest.raises(BadInput, match="has no samples from 'posterior'; use one of augment, none"):
            InferenceSettings.for_model(card, source="posterior", samples=3)


def test_a_card_of_an_earlier_version_says_nothing_of_it(make_tiny_model: Callable[..., Path]) -> None:
    card = read_card(make_tiny_model("earlier"))
    assert (card.sample_agreement, card.member_dsc) == ((), ())
    assert "Agreement" not in card_text(card)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 0, 0], [0, 1, 1, 0], 0.5),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
        ([1, 0, 0, 0], [0, 0, 0, 0], 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], None),
    ],
)
def test_two_masks_agree_by_their_dice(first: list[int], second: list[int], expected: float | None) -> None:
    masks = np.array([first, second], dtype=bool).reshape(2, 1, 2, 2)
    assert mean_pairwise_dice(masks) == expected
    both_classes = np.concatenate([masks, np.zeros_like(masks)], axis=1)  # nobody marks the second class
    assert mean_pairwise_dice(both_classes) == expected


def test_a_source_is_offered_up_to_the_limit() -> None:
    at_limit = SampleAgreement(source="posterior", dice=0.99, slices=3, samples=4)
    assert not at_limit.has_collapsed
    assert "not offered" not in at_limit.describe()
    assert "on each of 3 validation slices), as good as equal: not offered" in (
        at_limit.replace(dice=0.9901).describe()
    )
