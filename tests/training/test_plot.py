"""The picture of a training."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from napari_latentseg.training.events import TrainEpoch
from napari_latentseg.training.plot import draw_curve


def events(count: int, every: int = 1) -> list[TrainEpoch]:
    return [
        TrainEpoch(
            stage="",
            epoch=e,
            epochs=count,
            losses={"a": 1 / e, "b": 1.0},
            learning_rate=1e-3,
            dsc=1 - 1 / (e + 1) if e % every == 0 else None,
            best=None,
            seconds=e,
        )
        for e in range(1, count + 1)
    ]


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def coloured(image: np.ndarray) -> np.ndarray:
    """Where the blue of the Dice lies."""
    return np.argwhere((image == (0, 0x60, 0xC0)).all(axis=-1))


@pytest.mark.parametrize(("count", "every"), [(1, 1), (2, 1), (40, 5), (3, 10)])
def test_it_is_a_small_picture(count: int, every: int) -> None:
    content = draw_curve(events(count, every))
    assert pixels(content).shape == (360, 640, 3)
    assert len(content) < 20_000
    assert len(coloured(pixels(content))) == 0 if every > count else len(coloured(pixels(content))) > 20


def test_a_rising_score_rises() -> None:
    blue = coloured(pixels(draw_curve(events(30))))
    left, right = blue[blue[:, 1] < 200], blue[blue[:, 1] > 500]
    assert right[:, 0].mean() < left[:, 0].mean() - 20


def test_an_epoch_that_was_stopped_in_its_first_batch_has_no_point_on_the_losses() -> None:
    all_events = events(6)
    all_events[-1] = all_events[-1].replace(losses={}, dsc=None)
    grey = np.argwhere((pixels(draw_curve(all_events)) == 0x99).all(axis=-1))
    lowest, floor = grey[:, 0].max(), 360 - 32
    assert lowest < floor - 20
