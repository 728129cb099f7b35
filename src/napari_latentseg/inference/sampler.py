"""Drawing the tiles of many samples in batches: one is computed while the next is read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.batch_size import tiles_per_batch
from napari_latentseg.inference.pipeline import computed_ahead
from napari_latentseg.inference.sample_job import SampleJob, Tile
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tile_inference import encode_images, sample_tiles, tile_noise
from napari_latentseg.methods.base import Method
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.oom import BatchSize

__all__ = ["Sampler"]


class Sampler:
    """Draws samples of planes tile by tile.

    Parameters
    ----------
    model
        The model; with the source ``"members"``, sample i comes from member i.
    compute
        Device and precision.
    settings
        Sampling source, seed and batch size (`tiles_at_once`).
    class_indices
        Indices of the requested classes; None for all.
    notes
        A message is added here each time the batch size is reduced.
    """

    def __init__(
        self,
        model: Model,
        compute: Compute,
        settings: InferenceSettings,
        class_indices: Sequence[int] | None,
        notes: list[str],
    ) -> None:
        self._notes = notes
        self._model = model
        self._compute = compute
        self._settings = settings
        self._class_indices = class_indices
        problem = "is too small for a single tile of this model"  # follows "memory: "
        self.tiles_per_batch = settings.tiles_at_once or tiles_per_batch(model.card, compute)
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
        return tile.job.tiling.size == other.job.tiling.size and self._member(tile) is self._member(other)

    def _member(self, tile: Tile) -> Method:
        return self._model.members[tile.job.sample if self._settings.source == "members" else 0]

    def _compute_batch(self, tiles: list[Tile]) -> list[Tensor]:
        """Probabilities of each tile, `(K, size, size)`."""
        probabilities: list[Tensor] = []
        while len(probabilities) < len(tiles):
            pending = tiles[len(probabilities) :]
            probabilities += self._batch.attempt(lambda count: self._draw_tiles(pending[:count]))  # noqa: B023
        return probabilities

    def _draw_tiles(self, tiles: list[Tile]) -> list[Tensor]:
        method = self._member(tiles[0])
        self._encode(method, tiles)
        conditioning = torch.stack([tile.conditioning for tile in tiles if tile.conditioning is not None])
        uses_noise = self._settings.source in method.sampling_sources or not method.is_deterministic
        noise = None
        if uses_noise:
            corners, samples = [tile.corner for tile in tiles], [tile.job.sample for tile in tiles]
            noise = tile_noise(method, corners, self._settings.seed, samples)
        probabilities = sample_tiles(method, conditioning, self._compute, noise, self._class_indices)
        self._check_finite(probabilities)
        return list(probabilities)

    def _encode(self, method: Method, tiles: list[Tile]) -> None:
        """Give each tile its conditioning: computed here, or shared with an earlier sample of the plane."""
        pending = [tile for tile in tiles if tile.image is not None and tile.conditioning is None]
        if pending:
            images = torch.stack([tile.image for tile in pending if tile.image is not None])
            encoded = encode_images(method, images, self._compute)
            self._check_finite(encoded)
            for tile, conditioning in zip(pending, encoded, strict=True):
                tile.conditioning = conditioning
                tile.image = None
                if tile.job.shared_conditioning is not None:
                    tile.job.shared_conditioning[tile.corner] = conditioning
        for tile in tiles:
            if tile.conditioning is None:
                assert tile.job.shared_conditioning is not None
                tile.conditioning = tile.job.shared_conditioning[tile.corner]

    def _check_finite(self, values: Tensor) -> None:
        """Refuse what overflowing weights give: nothing would be found, as in an empty image."""
        if not torch.isfinite(values).all():
            raise BadInput(
                f"model {self._model.card.name!r}",
                "gives values that are not finite (NaN or infinite)",
                "install it again, or use another model",
            )

    def _note(self, count: int) -> None:
        self._notes.append(f"memory ran out; continued with {count} tiles at once")


def _tiles(job: SampleJob) -> Iterator[Tile]:
    """The tiles of a sample; with pixels, unless the conditioning comes from an earlier sample."""
    for corner in job.tiling.corners():
        yield Tile(job, corner, job.tiling.crop_tile(job.image, corner) if job.is_encoded_here else None)
