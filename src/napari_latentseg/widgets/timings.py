"""How long runs took on this machine, so that the next one can be told."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.files import atomic_path
from napari_latentseg.models.store import home

if TYPE_CHECKING:
    from napari_latentseg.record import RunRecord
    from napari_latentseg.widgets.runner import Job

__all__ = ["Timings"]


class Timings:
    """Seconds that a model took for one sample of one slice, by its size; kept from one start to the next.

    Only names of models, sizes and seconds are kept, nothing of what was looked at.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, float]] | None = None

    @property
    def _place(self) -> Path:
        return home() / "timings.json"

    def _known(self) -> dict[str, dict[str, float]]:
        if self._seconds is None:
            self._seconds = {}
            with suppress(OSError, ValueError, AttributeError):
                found = json.loads(self._place.read_text("utf-8"))
                self._seconds = {k: {str(p): float(s) for p, s in v.items()} for k, v in found.items()}
        return self._seconds

    def note(self, job: Job, record: RunRecord, seconds: float) -> None:
        """Take in a run that was not cut short."""
        pixels = _pixels(record)
        count = max(1, record.samples * record.planes_done)
        of_model = self._known().setdefault(f"{job.model} {job.request.device}", {})
        of_model[str(pixels)] = seconds / count
        with suppress(OSError, ValueError):  # a machine that cannot keep it learns it again
            self._place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._place, ".json") as path:
                path.write_text(json.dumps(self._known()), "utf-8")

    def estimate(self, model: str, device: str, pixels: int, draws: int) -> float | None:
        """Seconds for a run; None where nothing like it has been run.

        Parameters
        ----------
        model, device
            As they are chosen.
        pixels
            Of a slice.
        draws
            Slices times samples.
        """
        known = self._known().get(f"{model} {device}", {})
        if not known:
            return None
        nearest = min(known, key=lambda size: abs(int(size) - pixels))
        growth = pixels / int(nearest) if int(nearest) else 1.0
        if not 0.25 <= growth <= 4:
            return None
        return known[nearest] * draws


def _pixels(record: RunRecord) -> int:
    """Of what was worked on of a slice."""
    if record.box is not None:
        top, left, bottom, right = record.box
        return (bottom - top) * (right - left)
    spatial = record.input.shape[: len(record.input.spacing)]
    return math.prod(spatial) // max(1, record.planes)
