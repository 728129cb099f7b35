"""The events of a running fine-tuning: validations, and the progress between them."""

from __future__ import annotations

import time
from collections.abc import Callable

from napari_latentseg.finetuning.config import ValidationResult
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.training.events import FineTuneEpoch, FineTuneProgress
from napari_latentseg.training.progress import REPORT_INTERVAL_S

__all__ = ["epoch_event", "progress_reports"]


def epoch_event(
    validation: ValidationResult, loop: Tuner, patch_count: int, start_time: float, minutes: float
) -> FineTuneEpoch:
    """The event of a validation.

    Parameters
    ----------
    validation, loop
        The validation, and the training that it is of.
    patch_count
        How many patches are trained on.
    start_time
        When the fine-tuning began, by `time.perf_counter`.
    minutes
        For the whole fine-tuning.
    """
    base, best = loop.base_validation, loop.best_validation
    per_epoch = max(1, patch_count // max(1, round(loop.config.batch * (1 - loop.config.replay_share))))
    return FineTuneEpoch(
        epoch=-(-validation.step // per_epoch),
        step=validation.step,
        steps=loop.steps,
        losses={name: round(value, 5) for name, value in validation.losses.items()},
        dsc=validation.dsc,
        base_dsc=base.dsc if base else None,
        replay_dsc=validation.replay,
        base_replay_dsc=base.replay if base else None,
        best=best.dsc if best else None,
        seconds=round(time.perf_counter() - start_time, 1),
        left=round(max(0.0, 60 * minutes - (time.perf_counter() - start_time)), 1),
    )


def progress_reports(
    loop: Tuner, report: Callable[[FineTuneProgress], object], start_time: float, minutes: float
) -> Callable[[], None]:
    """What is called after every step; it reports the progress at most once a second.

    Parameters
    ----------
    loop
        The training.
    report
        Is given the event.
    start_time, minutes
        As for `epoch_event`.
    """
    last_report = time.perf_counter()

    def step_done() -> None:
        nonlocal last_report
        now = time.perf_counter()
        if now - last_report < REPORT_INTERVAL_S:
            return
        last_report = now
        report(
            FineTuneProgress(
                step=loop.step,
                steps=loop.steps,
                loss=loop.recent_loss,
                images_per_second=loop.images_per_second,
                seconds=round(now - start_time, 1),
                left=round(max(0.0, 60 * minutes - (now - start_time)), 1),
            )
        )

    return step_done
