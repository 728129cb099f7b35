"""The log of a training in the folder of a model, for its card."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.utils.counts import count_text

__all__ = ["CurvePoint", "TrainingLog", "read_training_log"]

_LOG_FILE = "training_log.csv"
_MAX_BYTES = 4 * 2**20  # 60,000 epochs; a foreign file is not read to its end


@dataclass(frozen=True)
class CurvePoint:
    """A validation during the training.

    Attributes
    ----------
    epoch
        Counted from 1 over all stages and members, which follow one another.
    dsc
        Dice on the validation slices.
    series
        Stage and member that it belongs to; empty for a training in one stage.
    """

    epoch: int
    dsc: float
    series: str = ""


@dataclass(frozen=True)
class TrainingLog:
    """The course of a training.

    Attributes
    ----------
    epochs, seconds
        Of all stages and members together.
    curve
        The validations, in their order.
    """

    epochs: int
    seconds: float
    curve: tuple[CurvePoint, ...]

    def describe(self) -> str:
        """One line for people.

        Examples
        --------
        >>> TrainingLog(60, 2460, (CurvePoint(5, 0.651), CurvePoint(60, 0.785))).describe()
        '60 epochs in 41 min; Dice on the validation slices 0.651 in epoch 5, best 0.785 in epoch 60'
        """
        text = f"{count_text(self.epochs, 'epoch')} in {_duration_text(self.seconds)}"
        if not self.curve:
            return text
        last = self.curve[-1].series  # the last stage trains the predictor
        curve = [point for point in self.curve if point.series == last]
        best = max(curve, key=lambda point: point.dsc)
        text += "; Dice on the validation slices"
        if curve[0] is not best:
            text += f" {curve[0].dsc:.3f} in epoch {curve[0].epoch}, best"
        return f"{text} {best.dsc:.3f} in epoch {best.epoch}"


def read_training_log(folder: Path) -> TrainingLog | None:
    """The log in the folder of a model; None where there is none, or none that can be read.

    Parameters
    ----------
    folder
        Of the model.
    """
    path = folder / _LOG_FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    curve = [
        CurvePoint(number, dsc, _series(row))
        for number, row in enumerate(rows, 1)
        if (dsc := _number(row.get("dsc"))) is not None and 0 <= dsc <= 1
    ]
    return TrainingLog(len(rows), _total_seconds(rows), tuple(curve)) if rows else None


def _series(row: Mapping[str, str | None]) -> str:
    member = f"member {row['member']}" if row.get("member") else ""
    return " ".join(filter(None, (member, row.get("stage") or "")))


def _total_seconds(rows: list[dict[str, str]]) -> float:
    """The column counts up within a stage or a member, and begins anew with the next."""
    total = last = 0.0
    for row in rows:
        seconds = _number(row.get("seconds")) or last
        total += seconds - last if seconds >= last else seconds
        last = seconds
    return total


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
