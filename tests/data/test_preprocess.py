"""Bringing planes to working size."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from napari_latentseg.data.preprocess import Preprocess


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1411, 1411), (960, 960)),
        ((480, 960), (480, 960)),
        ((100, 50), (960, 480)),
        ((8, 20000), (1, 960)),
        ((1, 1), (960, 960)),
    ],
)
def test_tiles_keep_the_shape(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    tiles = Preprocess(mode="tiles", size=256, long_side=960, overlap=64)
    assert tiles.working_size(*shape) == expected
    assert Preprocess(size=160).working_size(*shape) == (160, 160)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "tiles"},
        {"long_side": 500},
        {"overlap": 8},
        {"mode": "tiles", "size": 64, "long_side": 500, "overlap": 64},
        {"size": 100},
        {"size": 0},
        {"mode": "half"},
        {"window": [100, 100]},
        {"window": [250, -175]},
        {"window": [0]},
        {"window": [0, float("inf")]},
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocess.model_validate(fields)


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((512, 512), (0.7, 0.7), (448, 448)),
        ((100, 300), (2.0, 0.5), (250, 188)),
        ((10, 10), (0.001, 0.001), (1, 1)),
        ((480, 240), None, (960, 480)),
    ],
)
def test_a_spacing_of_its_own(shape, spacing, expected) -> None:
    tiles = Preprocess(mode="tiles", size=256, long_side=960, overlap=64, spacing=0.8)
    assert tiles.working_size(*shape, spacing) == expected
    assert tiles.model_copy(update={"spacing": None}).working_size(*shape, spacing) == (
        tiles.working_size(*shape)
    )
    assert Preprocess(size=160).working_size(*shape, spacing) == (160, 160)


@pytest.mark.parametrize("fields", [{"spacing": 0.5}, {"mode": "tiles", "long_side": 99, "spacing": 0}])
def test_a_spacing_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocess.model_validate(fields)


def test_it_is_said_in_words() -> None:
    assert Preprocess(size=160).describe() == "whole slices at 160 x 160 pixels"
    tiles = Preprocess(mode="tiles", size=256, long_side=960, overlap=64)
    assert tiles.describe() == "tiles of 256 x 256 pixels at 960 pixels on the longer side"
    windowed = tiles.model_copy(update={"spacing": 1.5, "window": (-175.0, 250.0)})
    assert windowed.describe() == "tiles of 256 x 256 pixels at 1.5 mm; values from -175 to 250"


def test_cards_of_earlier_versions_have_no_window() -> None:
    assert Preprocess.model_validate({"mode": "whole", "size": 64}).window is None
