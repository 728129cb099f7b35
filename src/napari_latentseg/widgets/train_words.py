"""What a training tells, in words; and models of an earlier day that wait for a decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.widgets.train_process import Training

__all__ = ["apart_before", "apart_in_words", "progress_of", "waiting"]


def apart_before(cases: int | None) -> str:
    """What will be kept apart to judge by, before the training has said it.

    Parameters
    ----------
    cases
        How many there are; None where that is not known yet.
    """
    if cases is None:
        return "Kept apart: about a fifth of the cases, to judge by."
    if cases < 2:
        return (
            "Kept apart: nothing, for there is one case only. Whether the new model is better cannot be known"
            " then; approve a second scan to judge by."
        )
    return f"Kept apart: about a fifth of the {cases} scans, and one at least, to judge by."


def apart_in_words(data: dict[str, Any]) -> str:
    """What is kept apart, as the training said it."""
    apart, train = int(data.get("apart", 0)), int(data.get("train", 0))
    note = str(data.get("note") or "")
    told = note[:1].upper() + note[1:] + "." if note else ""
    if not apart:
        return told or "Kept apart: nothing."
    scans = "1 scan" if apart == 1 else f"{apart} scans"
    return f"Kept apart: {scans}, to judge by; {train} to learn from. {told}".strip()


def progress_of(training: Training, is_writing: bool) -> tuple[float, str]:
    """How far a training is, from 0 to 1, and the line that says so."""
    state = training.state
    if is_writing:
        return 0.0, "writing the layers"
    if state == "failed":
        return 0.0, training.error
    if state == "preparing":
        return 0.0, f"looking at the images, {training.done:.0%}" if training.done else "starting"
    if state == "stopping":
        return 1.0, "stopping; the best so far is kept and judged"
    if state == "judging":
        return training.done, "judging both models on the same cases"
    if state == "running" and training.epochs:
        last = training.epochs[-1]
        seconds, left = float(last.get("seconds", 0)), float(last.get("left", 0))
        parts = [f"about {_duration(left)} left"]
        if last.get("dsc") is not None:
            dice = f"Dice {last['dsc']:.3f}"
            if last.get("base_dsc") is not None:
                dice += f" (it began at {last['base_dsc']:.3f})"
            parts.insert(0, dice)
        return seconds / max(seconds + left, 1e-9), ", ".join(parts)
    return 0.0, ""


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a moment"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def waiting() -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest model that was taught and waits for a decision; reads files.

    Returns
    -------
    judged, saved
        As the training tells them; None where there is none.
    """
    from napari_latentseg.models.layout import COMPARISON
    from napari_latentseg.models.versions import candidates

    found: list[tuple[float, Path, dict[str, Any]]] = []
    try:
        for folder in candidates().values():
            path = folder / COMPARISON
            comparison = json.loads(path.read_text("utf-8"))
            found.append((path.stat().st_mtime, folder, comparison))
    except (OSError, ValueError, BadInput):
        return None
    if not found:
        return None
    _, folder, comparison = max(found, key=lambda one: one[0])
    judged = {"line": comparison.get("line", ""), "comparison": comparison}
    return judged, {"folder": str(folder), "name": folder.name, "stopped": False}
