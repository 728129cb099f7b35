"""Progress inside an epoch: steps, loss, speed and time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_latentseg.training.progress_events import TrainProgress

__all__ = ["REPORT_INTERVAL_S", "StageProgress"]

REPORT_INTERVAL_S = 1.0  # often enough to see it move; more lines would only fill a log


@dataclass
class StageProgress:
    """Reports the progress of a stage, at most once a second.

    Parameters
    ----------
    report
        Called with the events.
    stage
        Name of the stage.
    epochs, steps
        How many epochs it has, and how many batches an epoch has.
    batch_size
        Images of a batch, of all processes.
    clock
        Seconds; for tests.
    """

    report: Callable[[TrainProgress], None]
    stage: str
    epochs: int
    steps: int
    batch_size: int
    clock: Callable[[], float] = time.perf_counter
    _epoch: int = field(init=False, default=0)
    _step: int = field(init=False, default=0)
    _loss_sum: float = field(init=False, default=0.0)
    _images: int = field(init=False, default=0)
    _training_s: float = field(init=False, default=0.0)
    _epoch_began: float = field(init=False, default=0.0)
    _last_report: float | None = field(init=False, default=None)
    _began: float | None = field(init=False, default=None)

    def begin_epoch(self, epoch: int, step: int, loss_sum: float) -> None:
        """An epoch begins or is resumed.

        Parameters
        ----------
        epoch
            From 0.
        step
            Batches of it that are done.
        loss_sum
            Of these batches.
        """
        now = self.clock()
        if self._began is None or self._last_report is None:
            self._began = self._last_report = now
        self._epoch, self._step, self._loss_sum, self._epoch_began = epoch, step, loss_sum, now

    def images_done(self, images: int) -> None:
        """Note how many images of the present batch are done."""
        now = self.clock()
        if self._last_report is not None and now - self._last_report >= REPORT_INTERVAL_S:
            self._last_report = now
            self.report(self._event(images, now))

    def batch_done(self, loss: float) -> None:
        """The present batch is done, with this loss."""
        self._step += 1
        self._images += self.batch_size
        self._loss_sum += loss

    def end_epoch(self) -> None:
        """Note that the last batch of the epoch is done; a validation that follows does not count."""
        self._training_s += self.clock() - self._epoch_began

    def _event(self, images_of_batch: int, now: float) -> TrainProgress:
        images_seen = self._images + images_of_batch
        epoch_images = self.steps * self.batch_size
        done_of_epoch = self._step * self.batch_size + images_of_batch
        remaining = (self.epochs - self._epoch) * epoch_images - done_of_epoch
        training_s = self._training_s + now - self._epoch_began
        # with the validations so far, which will come again
        elapsed_s = now - (now if self._began is None else self._began)
        return TrainProgress(
            stage=self.stage,
            epoch=self._epoch + 1,
            epochs=self.epochs,
            step=self._step,
            steps=self.steps,
            fraction=min(1.0, (self._epoch * epoch_images + done_of_epoch) / (self.epochs * epoch_images)),
            loss=self._loss_sum / self._step if self._step else None,
            images_per_second=images_seen / training_s if training_s > 0 else 0.0,
            seconds_left=remaining * elapsed_s / images_seen if images_seen else None,
        )
