"""Durations of earlier runs on this machine, to estimate the next one."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.paths import data_home

if TYPE_CHECKING:
    from napari_latentseg.core.record import RunRecord
    from napari_latentseg.widgets._shared.runner import RunJob

__all__ = ["RunTimings"]


class RunTimings:
    """Seconds per sample and slice, by model, device and slice size; stored between sessions.

    Only model names, sizes and seconds are stored, nothing about the images.
    """

    def __init__(self) -> None:
        # by "model device", then by the pixels of a slice
        self._seconds: dict[str, dict[int, float]] | None = None

    @property
    def _path(self) -> Path:
        return data_home() / "timings.json"

    def _load(self) -> dict[str, dict[int, float]]:
        if self._seconds is None:
            self._seconds = {}
            with suppress(OSError, ValueError, TypeError, AttributeError):  # a damaged file counts as none
                content = load_json(self._path.read_text("utf-8"))
                self._seconds = {
                    key: {int(pixels): float(seconds) for pixels, seconds in timings.items()}
                    for key, timings in content.items()
                }
        return self._seconds

    def record_run(self, job: RunJob, record: RunRecord, seconds: float) -> None:
        """Store the duration of a complete run, in seconds, in place of the former one of that size."""
        pixels = _pixels(record)
        count = max(1, record.samples * record.planes_done)
        model_timings = self._load().setdefault(f"{job.model} {job.settings.device}", {})
        model_timings[pixels] = seconds / count
        # without a writable folder it is measured again in the next session
        with suppress(OSError, ValueError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path, ".json") as path:
                path.write_text(json.dumps(self._load()), "utf-8")

    def estimate(self, model: str, device: str, pixels: int, plane_samples: int) -> float | None:
        """Estimate the duration of a run in seconds; None if no similar run was timed.

        Parameters
        ----------
        model, device
            Names of the model and the device.
        pixels
            Number of pixels of a slice.
        plane_samples
            Number of slices times samples.
        """
        timings = self._load().get(f"{model} {device}", {})
        if not timings:
            return None
        nearest_size = min(timings, key=lambda size: abs(size - pixels))
        size_ratio = pixels / nearest_size if nearest_size else 1.0
        # Within a factor of 2 along each side the time is taken as equal, since most models resize the slice;
        # beyond it the number of tiles may differ too much.
        if not 0.25 <= size_ratio <= 4:
            return None
        return timings[nearest_size] * plane_samples


def _pixels(record: RunRecord) -> int:
    """Number of pixels of a slice that were segmented."""
    if record.box is not None:
        top, left, bottom, right = record.box
        return (bottom - top) * (right - left)
    spatial = record.input.shape[: len(record.input.spacing)]
    return math.prod(spatial) // max(1, record.planes)
