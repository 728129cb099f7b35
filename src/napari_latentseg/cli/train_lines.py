"""What `train` prints: its events as lines or as JSON, and the model at the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.cli.console import is_on_terminal, json_text, print_line

if TYPE_CHECKING:
    from napari_latentseg.cli.console import ShowProgress
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.training.events import TrainEpoch, TrainEvent, TrainMemory, TrainProgress

__all__ = ["TrainReport", "print_trained"]

_LINE_INTERVAL_S = 60.0  # where no bar moves: a log tells how far it is, and stays readable


class TrainReport:
    """Takes the events of a training.

    Parameters
    ----------
    progress
        Takes the fraction that is done, and what is done at the moment.
    as_json
        Print every event as one JSON object a line, and nothing else.
    quiet
        Print no lines.

    Attributes
    ----------
    stopped_early
        Whether the model was written before the last epoch.
    left_out
        What could not be read, and was left out.
    """

    def __init__(self, progress: ShowProgress, *, as_json: bool, quiet: bool) -> None:
        self._progress, self._as_json, self._quiet = progress, as_json, quiet
        self._last_line_time = time.monotonic()
        self.stopped_early = False
        self.left_out: tuple[str, ...] = ()

    def __call__(self, event: TrainEvent) -> None:
        if event.event == "data":
            self.left_out = event.left_out
        elif event.event == "saved":
            self.stopped_early = event.stopped
        if self._as_json:
            sys.stdout.write(json_text(event.as_dict()) + "\n")
            sys.stdout.flush()
            return
        self._print_event(event)
        if event.event == "epoch":
            self._progress(event.epoch / event.epochs)
        elif event.event == "judging":
            source = f"{event.samples} from {event.source}"
            self._show(event.done, f"judging, {source}: {event.done:.0%} done")
        elif event.event == "progress":
            self._show(event.fraction, f"{_place(event)}{event.text}")

    def _show(self, done: float, text: str) -> None:
        self._progress(done, text)
        now = time.monotonic()
        if not is_on_terminal() and now - self._last_line_time >= _LINE_INTERVAL_S:
            self._last_line_time = now
            print_line(text, quiet=self._quiet)

    def _print_event(self, event: TrainEvent) -> None:
        """Print an event that a person wants to see, as one line."""
        if event.event == "data" and event.note:
            print_line(event.note, quiet=self._quiet)
        elif event.event == "memory":
            print_line(f"{_place(event)}{event.text}", quiet=self._quiet)
        elif event.event == "epoch" and event.dsc is not None:
            # in the stage of an autoencoder this is the Dice of its reconstruction, not of a segmentation
            line = f"{_place(event)}epoch {event.epoch}: Dice {event.dsc:.4f}"
            print_line(f"{line} on the validation images", quiet=self._quiet)
        elif event.event == "saved":
            for note in event.notes:
                print_line(note, quiet=self._quiet)


def print_trained(card: ModelCard, out: Path, *, stopped_early: bool, quiet: bool) -> None:
    """Print where the model is, its Dice on each data set, and what is to be known of its samples."""
    # one record for each data set and sampling source: print those of the first source
    for metric in card.metrics[: max(1, len(card.training_data))]:
        score = f"Dice {metric.values['dsc']:.4f} on {metric.images} validation images"
        data_set_text = f" of {metric.data.partition(':')[0]}" if len(card.training_data) > 1 else ""
        print_line(f"{out}: {card.method_title}, {score}{data_set_text}", quiet=quiet)
    for agreement in card.sample_agreement:
        if agreement.has_collapsed:
            print_line(agreement.describe(), quiet=quiet)
    if card.unjudged:
        print_line(f"{out}: {card.method_title}; not judged: {card.unjudged}", quiet=quiet)
    if stopped_early:
        print_line("stopped before the end; the same command with --resume continues", quiet=quiet)


def _place(event: TrainMemory | TrainProgress | TrainEpoch) -> str:
    """Member and stage of an event, before its text; empty where there is one of each."""
    member = "" if event.member is None else f"member {event.member}, "
    return f"{member}{event.stage}, " if event.stage else member
