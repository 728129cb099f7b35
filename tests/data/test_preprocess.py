"""Bringing planes to working size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_latentseg.data.preprocess import Preprocess, resize, resize_labels


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
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocess.model_validate(fields)


def test_shrinking_takes_every_pixel_into_account() -> None:
    stripes = torch.arange(64).remainder(2).float().expand(1, 3, 64, 64)
    small = resize(stripes, (16, 16))
    assert small.shape == (1, 3, 16, 16)
    assert float((small - 0.5).abs().max()) < 0.1  # without antialiasing it would be all 0 or all 1
    assert resize(stripes, (64, 64)) is stripes


@pytest.mark.parametrize("size", [(6, 8), (24, 32), (3, 4), (5, 11)])
def test_labels_stay_labels(size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 8), dtype=np.uint8)
    found = resize_labels(labels, size)
    assert found.shape == size
    assert found.dtype == np.uint8
    assert set(np.unique(found)) <= set(np.unique(labels))


def test_labels_go_where_their_pixels_are() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 8), dtype=np.uint8)
    assert np.array_equal(resize_labels(labels, (18, 24)), labels.repeat(3, 0).repeat(3, 1))
    assert np.array_equal(resize_labels(labels.repeat(3, 0).repeat(3, 1), (6, 8)), labels)


@pytest.mark.parametrize("width", [1, 3])
def test_a_single_column_keeps_its_rows(width: int) -> None:
    column = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    found = resize(column, (4, width))[0, 0]
    assert torch.allclose(found, torch.tensor([0.0, 0.25, 0.75, 1.0])[:, None].expand(4, width))


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
