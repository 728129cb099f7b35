"""What a training tells, in words; and models of an earlier day that wait for a decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.widgets.train.process import TrainingProcess

__all__ = ["newest_candidate", "planned_validation_text", "training_progress", "validation_text"]


def planned_validation_text(cases: int | None) -> str:
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


def validation_text(data: dict[str, Any]) -> str:
    """What is kept apart, as the training said it."""
    validation_count, train_count = int(data.get("apart", 0)), int(data.get("train", 0))
    note = str(data.get("note") or "")
    note_text = note[:1].upper() + note[1:] + "." if note else ""
    if not validation_count:
        return note_text or "Kept apart: nothing."
    scans_text = "1 scan" if validation_count == 1 else f"{validation_count} scans"
    return f"Kept apart: {scans_text}, to judge by; {train_count} to learn from. {note_text}".strip()


def training_progress(training: TrainingProcess, is_writing: bool) -> tuple[float, str]:
    """How far a training is, from 0 to 1, and the line that says so."""
    state = training.state
    if is_writing:
        return 0.0, "writing the layers"
    if state == "failed":
        return 0.0, training.error
    if state == "preparing":
        return (
            0.0,
            f"looking at the images, {training.stage_fraction:.0%}"
            if training.stage_fraction
            else "starting",
        )
    if state == "stopping":
        return 1.0, "stopping; the best so far is kept and judged"
    if state == "judging":
        return training.stage_fraction, "judging both models on the same cases"
    if state == "running" and training.epochs:
        last_epoch = training.epochs[-1]
        seconds, seconds_left = float(last_epoch.get("seconds", 0)), float(last_epoch.get("left", 0))
        parts = [f"about {_duration(seconds_left)} left"]
        if last_epoch.get("dsc") is not None:
            dice = f"Dice {last_epoch['dsc']:.3f}"
            if last_epoch.get("base_dsc") is not None:
                dice += f" (it began at {last_epoch['base_dsc']:.3f})"
            parts.insert(0, dice)
        return seconds / max(seconds + seconds_left, 1e-9), ", ".join(parts)
    return 0.0, ""


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a moment"
    minutes, remaining_seconds = divmod(round(seconds), 60)
    return f"{minutes}:{remaining_seconds:02d} min" if minutes else f"{remaining_seconds} s"


def newest_candidate() -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest model that was taught and waits for a decision; reads files.

    Returns
    -------
    judged, saved
        As the training tells them; None where there is none.
    """
    from napari_latentseg.models.layout import COMPARISON_FILE
    from napari_latentseg.models.versions import list_candidates

    waiting_candidates: list[tuple[float, Path, dict[str, Any]]] = []
    try:
        for folder in list_candidates().values():
            path = folder / COMPARISON_FILE
            comparison = json.loads(path.read_text("utf-8"))
            waiting_candidates.append((path.stat().st_mtime, folder, comparison))
    except (OSError, ValueError, BadInput):
        return None
    if not waiting_candidates:
        return None
    _, folder, comparison = max(waiting_candidates, key=lambda candidate: candidate[0])
    comparison_event = {"line": comparison.get("line", ""), "comparison": comparison}
    return comparison_event, {"folder": str(folder), "name": folder.name, "stopped": False}
