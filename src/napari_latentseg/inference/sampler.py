"""Drawing all tiles of a view, in smaller batches where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from napari_latentseg.inference.out_of_core import LazyView, StripBlender
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tile_inference import (
    ConditioningCache,
    encode_tiles,
    sample_tiles,
    tile_noise,
)
from napari_latentseg.inference.tiles import TileBlender, Tiling
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.oom import BatchSize

__all__ = ["Sampler"]


class Sampler:
    """Draws samples tile by tile.

    Parameters
    ----------
    model
        Whose members draw.
    compute
        Where.
    settings
        Its source, seed and `tiles_at_once`.
    class_indices
        The positions of the classes that are drawn; None for all.
    notes
        Takes in what had to give way, in plain words.
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
        problem = "is too small for a single tile of this model"
        self._batch = BatchSize(settings.tiles_at_once, problem, self._note)

    def sample_tiles(
        self,
        view: Tensor | LazyView,
        tiling: Tiling,
        blender: TileBlender | StripBlender,
        sample: int,
        conditioning_cache: ConditioningCache,
    ) -> Iterator[int]:
        """Draw every tile of a view and lay it, a batch at a time; gives how many lie there so far.

        Where memory runs out, in encoding or in drawing, the batch goes on in halves: a batch is laid only
        when all of it is drawn. What is encoded is kept for the next sample where all samples see the same,
        by the same predictor.

        Parameters
        ----------
        view, tiling, blender
            What is seen, cut how, and where it is laid.
        sample
            Which one.
        conditioning_cache
            What was encoded for an earlier sample of the same view; filled where it is empty.

        Raises
        ------
        BadInput
            Where there is not enough memory for a single tile.
        """
        source, compute = self._settings.source, self._compute
        method = self._model.members[sample if source == "members" else 0]
        pending: list[tuple[list[tuple[int, int]], Tensor | None]] = list(conditioning_cache) or [
            (tiling.corners(), None)
        ]
        is_cached = bool(conditioning_cache)
        uses_noise = source in method.sampling_sources or not method.is_deterministic

        def draw_next(count: int) -> Tensor:
            """Draw the first of the waiting tiles, `count` at most; what is encoded is put beside them."""
            corners, condition = pending[0]
            if len(corners) > count:
                rest = None if condition is None else condition[count:]
                condition = None if condition is None else condition[:count]
                pending[:1] = [(corners[:count], condition), (corners[count:], rest)]
                corners = corners[:count]
            if condition is None:
                condition = encode_tiles(method, view, tiling, corners, compute)
                pending[0] = (corners, condition)
            noise = tile_noise(method, corners, self._settings.seed, sample) if uses_noise else None
            return sample_tiles(method, condition, compute, noise, self._class_indices)

        done_count = 0
        while pending:
            tiles = self._batch.attempt(draw_next)
            corners, conditioning = pending.pop(0)
            blender.add_tiles(tiles, corners)
            if source not in ("augment", "members") and not is_cached and conditioning is not None:
                conditioning_cache.append((corners, conditioning))
            done_count += len(corners)
            yield done_count

    def _note(self, count: int) -> None:
        self._notes.append(f"memory ran out; went on with {count} tiles at once")
