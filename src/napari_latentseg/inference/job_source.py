"""Reading planes and making the samples to draw of them, ahead of the networks."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from napari_latentseg.core.record import AUGMENTING_SOURCES, MEMBER_SOURCES
from napari_latentseg.inference.fit import LatentSums
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.inference.sample_job import Corner, SampleJob
from napari_latentseg.inference.tiles import make_tiling
from napari_latentseg.inference.working_plane import WorkingPlane, open_plane

__all__ = ["JobSource"]


class JobSource:
    """Makes samples to draw: reads each plane once, and augments it for each of its samples.

    Parameters
    ----------
    state
        Of the run; only read.
    planned
        Index of the plane and of the sample, in the order in which they are drawn.
    downsampling_factor
        Pixels per latent position.

    Attributes
    ----------
    reading
        Index of the plane that is being read and the fraction that is read; None between two planes. Another
        thread may look at it.
    """

    def __init__(self, state: RunState, planned: Sequence[tuple[int, int]], downsampling_factor: int) -> None:
        self.reading: tuple[int, float] | None = None
        self._state = state
        self._planned = list(planned)
        self._downsampling_factor = downsampling_factor
        self._is_stopped = threading.Event()
        self._planes: dict[int, WorkingPlane] = {}
        self._conditioning: dict[int, dict[Corner, Any]] = {}

    def stop(self) -> None:
        """Make no more samples; a plane that is being read is given up at the next band of rows."""
        self._is_stopped.set()

    def jobs(self) -> Iterator[SampleJob]:
        """The samples, in order."""
        last_use = {plane: i for i, (plane, _) in enumerate(self._planned)}
        for i, (plane, sample) in enumerate(self._planned):
            is_first_use = plane not in self._planes
            for fraction in self._read(plane, sample):
                self.reading = (plane, fraction)
                if self._is_stopped.is_set():
                    return
            self.reading = None
            yield self._make_job(plane, sample, is_first_use)
            if last_use[plane] == i:
                del self._planes[plane]
                self._conditioning.pop(plane, None)

    def _read(self, plane: int, sample: int) -> Iterator[float]:
        """Read what a sample needs of its plane; yields the fraction that is done."""
        if plane not in self._planes:
            yield 0.0
            self._planes[plane] = yield from self._open(plane)
        yield from self._planes[plane].prepare(self._state.tta_transforms[sample])

    def _open(self, plane: int) -> Generator[float, None, WorkingPlane]:
        state = self._state
        return open_plane(state.planes, plane, state.working_size, len(state.classes), state.max_bytes)

    def _make_job(self, plane: int, sample: int, is_first_use: bool) -> SampleJob:
        state, working_plane = self._state, self._planes[plane]
        transform = state.tta_transforms[sample]
        image = working_plane.augment(transform)
        tiling = make_tiling(image.shape, state.card.preprocess)
        source = state.settings.source
        has_own_encoders = source in MEMBER_SOURCES and state.card.member_parts == "all"
        all_see_the_same = source not in AUGMENTING_SOURCES and not has_own_encoders
        shares = all_see_the_same and working_plane.can_cache
        has_sums = sample == 0 and state.fit_check.needs_latents  # the first augmentation is the identity
        return SampleJob(
            plane=plane,
            sample=sample,
            transform=transform,
            working_plane=working_plane,
            image=image,
            tiling=tiling,
            blender=working_plane.new_blender(tiling),
            shared_conditioning=self._conditioning.setdefault(plane, {}) if shares else None,
            is_encoded_here=is_first_use or not shares,
            sums=LatentSums(tiling.height, self._downsampling_factor) if has_sums else None,
        )
