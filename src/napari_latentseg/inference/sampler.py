"""Drawing the tiles of many samples in batches: one is computed while the next is read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.record import MEMBER_SOURCES
from napari_latentseg.engines.base import Engine
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.pipeline import computed_ahead
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.inference.sample_job import SampleJob, Tile
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.utils.counts import count_text
from napari_latentseg.utils.oom import BatchSize

__all__ = ["Sampler"]


class Sampler:
    """Draws samples of planes tile by tile.

    Parameters
    ----------
    model_name
        For messages.
    engines
        One for each member of the model; with the sources of `MEMBER_SOURCES` they draw the samples in turn.
    tiles_per_batch
        How many tiles go through the networks together, where memory suffices.
    settings
        Sampling source and seed.
    class_indices
        Indices of the requested classes; None for all.
    notes
        A message is added here each time the batch size is reduced.
    """

    def __init__(
        self,
        model_name: str,
        engines: Sequence[Engine],
        tiles_per_batch: int,
        settings: InferenceSettings,
        class_indices: Sequence[int] | None,
        notes: list[str],
    ) -> None:
        self._notes = notes
        self._model_name = model_name
        self._engines = engines
        self._settings = settings
        self._class_indices = class_indices
        problem = "is too small for a single tile of this model"  # follows "memory: "
        self.tiles_per_batch = tiles_per_batch
        self._batch = BatchSize(self.tiles_per_batch, problem, self._note)

    def draw(self, jobs: Iterable[SampleJob]) -> Generator[list[Tile] | None, None, None]:
        """Draw samples, and blend their tiles.

        A batch holds tiles of as many samples and planes as it has room for. Where memory runs out, in
        encoding or in sampling, the batch is halved and tried again.

        Parameters
        ----------
        jobs
            The samples, in order; taken in another thread, one batch ahead of what is computed.

        Yields
        ------
        list of Tile or None
            The tiles of a batch, in the order of the jobs, when they are blended; None every tenth of a
            second while a batch is computed.

        Raises
        ------
        BadInput
            If the memory is too small for a single tile, or the network gives values that are not finite.
        """
        for computed in computed_ahead(self._batches(jobs), self._compute_batch):
            if computed is None:
                yield None
                continue
            tiles, probabilities = computed
            for tile, tile_probabilities in zip(tiles, probabilities, strict=True):
                tile.job.blend(tile, tile_probabilities)
                tile.conditioning = None
            yield tiles

    def _batches(self, jobs: Iterable[SampleJob]) -> Iterator[list[Tile]]:
        """The tiles in batches of one size of tile and one member each, with their pixels."""
        batch: list[Tile] = []
        for tile in chain.from_iterable(map(_tiles, jobs)):
            if batch and (len(batch) >= self._batch.rows or not self._fits(tile, batch[0])):
                yield batch
                batch = []
            batch.append(tile)
        if batch:
            yield batch

    def _fits(self, tile: Tile, other: Tile) -> bool:
        """Whether two tiles can be in one batch."""
        return tile.job.tiling.size == other.job.tiling.size and self._engine(tile) is self._engine(other)

    def _engine(self, tile: Tile) -> Engine:
        uses_members = self._settings.source in MEMBER_SOURCES
        return self._engines[tile.job.sample % len(self._engines) if uses_members else 0]

    def _compute_batch(self, tiles: list[Tile]) -> list[NDArray[np.float32]]:
        """Probabilities of each tile, `(K, size, size)`."""
        probabilities: list[NDArray[np.float32]] = []
        while len(probabilities) < len(tiles):
            pending = tiles[len(probabilities) :]
            probabilities += self._batch.attempt(lambda count: self._draw_tiles(pending[:count]))  # noqa: B023
        return probabilities

    def _draw_tiles(self, tiles: list[Tile]) -> list[NDArray[np.float32]]:
        engine = self._engine(tiles[0])
        self._encode(engine, tiles)
        noise = None
        if engine.uses_noise(self._settings.source):
            factor = engine.downsampling_factor
            corners = [(tile.corner[0] // factor, tile.corner[1] // factor) for tile in tiles]
            noise = PositionalNoise(self._settings.seed, [tile.job.sample for tile in tiles], corners)
        conditioning = [tile.conditioning for tile in tiles]
        probabilities = engine.sample(conditioning, noise, self._class_indices)
        self._check_finite(probabilities)
        return list(probabilities)

    def _encode(self, engine: Engine, tiles: list[Tile]) -> None:
        """Give each tile its conditioning: computed here, or shared with an earlier sample of the plane."""
        pending = [tile for tile in tiles if tile.image is not None and tile.conditioning is None]
        if pending:
            images = np.stack([tile.image for tile in pending if tile.image is not None])
            for tile, conditioning in zip(pending, engine.encode(images), strict=True):
                tile.conditioning = conditioning
                tile.image = None
                if tile.job.sums is not None:
                    latents = engine.as_array(conditioning)
                    self._check_finite(latents)
                    tile.job.sums.add(latents[None], [tile.corner])
                if tile.job.shared_conditioning is not None:
                    tile.job.shared_conditioning[tile.corner] = conditioning
        for tile in tiles:
            if tile.conditioning is None:
                assert tile.job.shared_conditioning is not None
                tile.conditioning = tile.job.shared_conditioning[tile.corner]

    def _check_finite(self, values: NDArray[np.float32]) -> None:
        """Refuse what overflowing weights give: nothing would be found, as in an empty image."""
        if not np.isfinite(values).all():
            raise BadInput(
                f"model {self._model_name!r}",
                "gives values that are not finite (NaN or infinite)",
                "install it again, or use another model",
            )

    def _note(self, count: int) -> None:
        self._notes.append(f"memory ran out; continued with {count_text(count, 'tile')} at once")


def _tiles(job: SampleJob) -> Iterator[Tile]:
    """The tiles of a sample; with pixels, unless the conditioning comes from an earlier sample."""
    for corner in job.tiling.corners():
        yield Tile(job, corner, job.tiling.crop_tile(job.image, corner) if job.is_encoded_here else None)
