"""What is said of a training between the ends of its epochs."""

from __future__ import annotations

import pytest

from napari_latentseg.training.events import TrainProgress
from napari_latentseg.training.progress import StageProgress


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stage(events: list[TrainProgress], clock: Clock) -> StageProgress:
    """Ten epochs of four batches of eight images."""
    return StageProgress(events.append, "diffusion", 10, 4, 8, clock)


def test_speed_loss_and_time_left_inside_an_epoch(clock: Clock) -> None:
    events: list[TrainProgress] = []
    progress = stage(events, clock)
    progress.begin_epoch(0, 0, 0.0)
    for batch in range(2):
        for images in (4, 8):  # in two parts
            clock.now += 2
            progress.images_done(images)
        progress.batch_done(1.0 + batch)
    assert [(e.step, e.loss, e.images_per_second) for e in events] == [
        (0, None, 2),
        (0, None, 2),
        (1, 1, 2),
        (1, 1, 2),
    ]
    last = events[-1]
    assert (last.stage, last.epoch, last.epochs, last.steps) == ("diffusion", 1, 10, 4)
    assert last.fraction == pytest.approx(16 / 320)
    assert last.seconds_left == pytest.approx((320 - 16) / 2)


def test_it_speaks_once_a_second(clock: Clock) -> None:
    events: list[TrainProgress] = []
    progress = stage(events, clock)
    progress.begin_epoch(0, 0, 0.0)
    for _ in range(40):
        clock.now += 0.1
        progress.images_done(1)
    assert 3 <= len(events) <= 4


def test_validations_are_no_training_but_take_time(clock: Clock) -> None:
    events: list[TrainProgress] = []
    progress = stage(events, clock)
    for epoch in range(2):
        progress.begin_epoch(epoch, 0, 0.0)
        for _ in range(4):
            clock.now += 1
            progress.images_done(8)
            progress.batch_done(0.5)
        progress.end_epoch()
        clock.now += 4  # a validation
    last = events[-1]
    assert last.images_per_second == pytest.approx(8)
    assert last.loss == 0.5
    # 256 images are left after 64; these took 12 seconds with the validation after the first epoch
    assert last.seconds_left == pytest.approx(256 * 12 / 64)


def test_a_resumed_epoch_goes_on_where_it_was(clock: Clock) -> None:
    events: list[TrainProgress] = []
    progress = stage(events, clock)
    progress.begin_epoch(4, 3, 6.0)
    clock.now += 4
    progress.images_done(8)
    (event,) = events
    assert (event.epoch, event.step, event.loss) == (5, 3, 2.0)
    assert event.fraction == pytest.approx(0.5)
    assert event.images_per_second == pytest.approx(2)
    assert event.seconds_left == pytest.approx(160 / 2)
