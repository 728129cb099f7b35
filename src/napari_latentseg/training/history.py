"""The log and the curve of a training, for the model folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from napari_latentseg.training.events import TrainEpoch
from napari_latentseg.training.plot import draw_curve

__all__ = ["training_curve", "training_log"]


def training_log(events: Sequence[TrainEpoch]) -> bytes:
    """A CSV table with a row for each epoch, UTF-8.

    Parameters
    ----------
    events
        Of all epochs, in their order. The columns ``member`` and ``stage`` are left out where there is one.
    """
    text = io.StringIO()
    epoch_values = [event.losses | event.measured for event in events]
    names = list(dict.fromkeys(name for values in epoch_values for name in values))
    position_columns = [name for name in ("member", "stage") if any(getattr(e, name) for e in events)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*position_columns, "epoch", *names, "learning_rate", "dsc", "seconds"])
    for event, values in zip(events, epoch_values, strict=True):
        row = [*(str(getattr(event, name)) for name in position_columns), str(event.epoch)]
        row += [f"{values[name]:.5f}" if name in values else "" for name in names]
        dsc = "" if event.dsc is None else f"{event.dsc:.4f}"
        row += [f"{event.learning_rate:.6g}", dsc, str(round(event.seconds, 1))]
        writer.writerow(row)
    return text.getvalue().encode()


def training_curve(events: Sequence[TrainEpoch]) -> bytes:
    """The curve as PNG; members follow one another as stages do."""
    titled = [
        event if event.member is None else event.replace(stage=f"member {event.member} {event.stage}".strip())
        for event in events
    ]
    return draw_curve(titled)
