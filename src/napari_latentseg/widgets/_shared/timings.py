"""How long runs took on this machine, so that the next one can be told."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.paths import data_home

if TYPE_CHECKING:
    from napari_latentseg.core.record import RunRecord
    from napari_latentseg.widgets._shared.runner import RunJob

__all__ = ["RunTimings"]


class RunTimings:
    """Seconds that a model took for one sample of one slice, by its size; kept from one start to the next.

    Only names of models, sizes and seconds are kept, nothing of what was looked at.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, float]] | None = None

    @property
    def _path(self) -> Path:
        return data_home() / "timings.json"

    def _load(self) -> dict[str, dict[str, float]]:
        if self._seconds is None:
            self._seconds = {}
            with suppress(OSError, ValueError, AttributeError):
                content = json.loads(self._path.read_text("utf-8"))
                self._seconds = {k: {str(p): float(s) for p, s in v.items()} for k, v in content.items()}
        return self._seconds

    def record_run(self, job: RunJob, record: RunRecord, seconds: float) -> None:
        """Take in a run that was not cut short."""
        pixels = _pixels(record)
        count = max(1, record.samples * record.planes_done)
        model_timings = self._load().setdefault(f"{job.model} {job.settings.device}", {})
        model_timings[str(pixels)] = seconds / count
        with suppress(OSError, ValueError):  # a machine that cannot keep it learns it again
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path, ".json") as path:
                path.write_text(json.dumps(self._load()), "utf-8")

    def estimate(self, model: str, device: str, pixels: int, plane_samples: int) -> float | None:
        """Seconds for a run; None where nothing like it has been run.

        Parameters
        ----------
        model, device
            As they are chosen.
        pixels
            Of a slice.
        plane_samples
            Slices times samples.
        """
        timings = self._load().get(f"{model} {device}", {})
        if not timings:
            return None
        nearest = min(timings, key=lambda size: abs(int(size) - pixels))
        size_ratio = pixels / int(nearest) if int(nearest) else 1.0
        if not 0.25 <= size_ratio <= 4:
            return None
        return timings[nearest] * plane_samples


def _pixels(record: RunRecord) -> int:
    """Of what was worked on of a slice."""
    if record.box is not None:
        top, left, bottom, right = record.box
        return (bottom - top) * (right - left)
    spatial = record.input.shape[: len(record.input.spacing)]
    return math.prod(spatial) // max(1, record.planes)
