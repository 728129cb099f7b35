"""Which samples a run draws next, and when a plane has enough of them."""

from __future__ import annotations

from napari_latentseg.core.record import AUGMENTING_SOURCES, MEMBER_SOURCES
from napari_latentseg.inference.run_state import RunState

__all__ = ["SamplePlan"]

_UNDECIDED_SAMPLES = 2  # drawn at once while early stopping is undecided; one of them may be in vain


class SamplePlan:
    """The order in which a run draws its samples.

    Parameters
    ----------
    state
        Of the run; which planes are complete is noted there.
    tiles_per_batch
        How many tiles go through the networks together.
    """

    def __init__(self, state: RunState, tiles_per_batch: int) -> None:
        self._state = state
        self._tiles_per_batch = tiles_per_batch
        self._completed_planes: set[int] = set()
        self._samples_drawn = 0

    def begin(self) -> None:
        """Count the samples of `fraction_done` anew, as where a run that was stopped goes on."""
        self._samples_drawn = 0

    def plane_order(self) -> list[int]:
        """Indices of the planes in the order of segmentation: from `first_plane` outwards."""
        state = self._state
        first = min(max(state.settings.first_plane, state.plane_indices[0]), state.plane_indices[-1])
        return sorted(state.plane_indices, key=lambda i: (abs(i - first), i))

    def needs_samples(self, plane: int) -> bool:
        """Whether a plane still needs samples, as far as is known."""
        state = self._state
        is_waiting = (
            state.stopper is not None
            and state.stopper.final_sample_count is None
            and plane in self._completed_planes
        )
        return bool(state.ensemble.samples_per_plane[plane] < state.target_samples) and not is_waiting

    def fraction_done(self, partial: float = 0.0) -> float:
        """Fraction of the work that is done; `partial` is that of the sample being drawn. Both in [0, 1]."""
        state = self._state
        remaining = sum(
            max(0, state.target_samples - int(state.ensemble.samples_per_plane[i]))
            for i in state.plane_indices
        )
        return (self._samples_drawn + partial) / max(1, self._samples_drawn + remaining)

    def next_samples(self) -> list[tuple[int, int]]:
        """Index of the plane and of the sample of those to draw next, in order.

        Plane by plane from `first_plane` outwards, or in groups of planes where the samples of one plane do
        not fit into one batch.
        """
        state = self._state
        incomplete = [plane for plane in self.plane_order() if self.needs_samples(plane)]
        drawn, target = state.ensemble.samples_per_plane, state.target_samples
        if state.stopper is not None and state.early_stop_samples is None:
            # how many are enough is known when these are drawn; more of them might be in vain
            return [
                (plane, sample)
                for plane in incomplete[:1]
                for sample in range(int(drawn[plane]), min(target, int(drawn[plane]) + _UNDECIDED_SAMPLES))
            ]
        source, is_whole = state.settings.source, state.card.preprocess.mode == "whole"
        has_mixed_samples = source in MEMBER_SOURCES or (source in AUGMENTING_SOURCES and is_whole)
        size = self._tiles_per_batch if has_mixed_samples else 1
        rest = incomplete[1:]
        planned: list[tuple[int, int]] = []
        for group in [incomplete[:1], *(rest[i : i + size] for i in range(0, len(rest), size))]:
            pairs = [(plane, sample) for plane in group for sample in range(int(drawn[plane]), target)]
            # samples of other members need another network; the image as it is, the first sample, is smaller
            # than the augmented ones
            pairs.sort(key=lambda pair: pair[1] if source in MEMBER_SOURCES else pair[1] > 0)
            planned += pairs
        return planned

    def note_drawn(self, plane: int, sample_count: int, change: float | None) -> None:
        """Count a sample that was added; record whether its plane is complete, and whether all planes are.

        Parameters
        ----------
        plane
            Index of the plane.
        sample_count
            How many samples it has now.
        change
            How much the sample changed the mask of the plane, see `SampleStopper.update`.
        """
        self._samples_drawn += 1
        state = self._state
        if state.stopper is None:
            is_complete = sample_count >= state.requested_samples
        else:
            is_complete = state.stopper.update(plane, sample_count, change)
        if is_complete:
            state.completed_samples[plane] = sample_count
            self._completed_planes.add(plane)
        if state.stopper is not None and self._completed_planes.issuperset(state.plane_indices):
            state.stopper.finish(int(state.ensemble.samples_per_plane.max()))
