"""What a model folder keeps of how its training went."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from napari_latentseg.training.plot import draw_curve

__all__ = ["training_curve", "training_log"]


def training_log(events: Sequence[dict[str, Any]]) -> bytes:
    """A CSV table with a row for each epoch.

    Parameters
    ----------
    events
        Of `Trainer.run`, as dictionaries; those of a training of several members have a ``"member"``.
    """
    text = io.StringIO()
    epoch_values = [e["losses"] | e["measured"] for e in events]
    names = list(dict.fromkeys(name for values_of_epoch in epoch_values for name in values_of_epoch))
    position_columns = [name for name in ("member", "stage") if any(e.get(name) for e in events)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*position_columns, "epoch", *names, "learning_rate", "dsc", "seconds"])
    for e, values in zip(events, epoch_values, strict=True):
        row = [*(str(e[name]) for name in position_columns), str(e["epoch"])]
        row += [f"{values[n]:.5f}" if n in values else "" for n in names]
        dsc = "" if e["dsc"] is None else f"{e['dsc']:.4f}"
        row += [f"{e['learning_rate']:.6f}", dsc, str(round(e["seconds"], 1))]
        writer.writerow(row)
    return text.getvalue().encode()


def training_curve(events: Sequence[dict[str, Any]]) -> bytes:
    """The curve as PNG; members follow one another as stages do."""
    return draw_curve(
        [e | {"stage": f"member {e['member']} {e['stage']}".strip()} if "member" in e else e for e in events]
    )
