"""What may be asked of a run."""

from __future__ import annotations

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.settings import MAX_SAMPLES, InferenceSettings
from napari_latentseg.models.card import ModelCard, read_card


@pytest.fixture(scope="module")
def card(tiny_model_folder) -> ModelCard:
    return read_card(tiny_model_folder)


def test_the_card_fills_in_what_is_not_given(card: ModelCard) -> None:
    request = InferenceSettings.for_model(card)
    assert (request.samples, request.source, request.threshold) == (4, "augment", 0.5)
    assert InferenceSettings.for_model(card, source="none").samples == 1
    assert InferenceSettings.for_model(card, samples=None, threshold=None, source=None) == request


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": 0}, "samples: must be 1 or more"),
        ({"samples": -3}, "samples: must be 1 or more"),
        ({"samples": MAX_SAMPLES + 1}, f"samples: must be {MAX_SAMPLES} or less"),
        ({"samples": 2.5}, "samples: 2.5 is not a whole number"),
        ({"samples": "many"}, "samples: 'many' is not a whole number"),
        ({"seed": -1}, "seed: must be 0 or more"),
        ({"seed": 2**63}, f"seed: must be less than {2**63}"),
        ({"threshold": 0}, "threshold: must lie between 0 and 1"),
        ({"threshold": 1.0}, "threshold: must lie between 0 and 1"),
        ({"threshold": -0.5}, "threshold: must lie between 0 and 1"),
        ({"threshold": float("nan")}, "threshold: must lie between 0 and 1"),
        ({"source": "magic"}, "source: 'magic' is not known; use one of augment, none"),
        ({"source": "noise"}, "source: tiny-whole has no samples from 'noise'; use one of augment, none"),
        ({"source": "none", "samples": 2}, "samples: tiny-whole gives the same answer every time"),
        ({"source": "none", "samples": 0}, "samples: must be 1 or more"),
        ({"device": "tpu"}, "device: 'tpu' is not known; use one of auto, cpu, cuda, mps"),
        ({"precision": "int8"}, "precision: 'int8' is not known; use one of auto, float32, bfloat16"),
        ({"tiles_at_once": 0}, "tiles_at_once: must be 1 or more"),
        ({"first_plane": -1}, "first_plane: must be 0 or more"),
        ({"sample": 3}, "sample: is not known"),
    ],
)
def test_what_makes_no_sense_is_refused_in_plain_words(
    card: ModelCard, given: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        InferenceSettings.for_model(card, **given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_samples_that_would_all_be_equal_are_refused(card: ModelCard) -> None:
    still = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
    fixed = card.model_copy(update={"augment": card.augment.model_copy(update=still)})
    with pytest.raises(BadInput, match="all samples would be equal"):
        InferenceSettings.for_model(fixed)
    assert InferenceSettings.for_model(fixed, source="none").samples == 1
