"""Sampling all tiles of a plane in batches, with smaller batches where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
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
    """Draws samples of a plane tile by tile.

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
        self._batch = BatchSize(settings.tiles_at_once, problem, self._note)

    def sample_tiles(
        self,
        augmented_plane: Tensor | LazyView,
        tiling: Tiling,
        blender: TileBlender | StripBlender,
        sample: int,
        conditioning_cache: ConditioningCache,
        on_encoded: Callable[[Tensor, Sequence[tuple[int, int]]], None] | None = None,
    ) -> Iterator[int]:
        """Draw one sample of every tile, batch by batch, and add the tiles to a blender.

        Where memory runs out, in encoding or in sampling, the batch is halved and tried again. A batch is
        blended only when all of its tiles are drawn. Conditioning is cached for the next sample if all
        samples see the same image through the same member.

        Parameters
        ----------
        augmented_plane
            The augmented plane, `(3, H, W)` in [0, 1].
        tiling, blender
            How it is cut into tiles, and what their probabilities are added to.
        sample
            Index of the sample, from 0.
        conditioning_cache
            Conditioning of an earlier sample of the same augmented plane; filled if empty.
        on_encoded
            Called once for each tile that is encoded here, with the conditioning of a batch and the tiles'
            corners.

        Yields
        ------
        int
            How many tiles are blended so far.

        Raises
        ------
        BadInput
            If the memory is too small for a single tile, or the network gives values that are not finite.
        """
        source, compute = self._settings.source, self._compute
        method = self._model.members[sample if source == "members" else 0]
        pending: list[tuple[list[tuple[int, int]], Tensor | None]] = list(conditioning_cache) or [
            (tiling.corners(), None)
        ]
        is_cached = bool(conditioning_cache)
        uses_noise = source in method.sampling_sources or not method.is_deterministic

        def sample_next(count: int) -> Tensor:
            """Sample the first `count` pending tiles at most; the rest stays pending."""
            corners, condition = pending[0]
            if len(corners) > count:
                rest = None if condition is None else condition[count:]
                condition = None if condition is None else condition[:count]
                pending[:1] = [(corners[:count], condition), (corners[count:], rest)]
                corners = corners[:count]
            if condition is None:
                condition = encode_tiles(method, augmented_plane, tiling, corners, compute)
                self._check_finite(condition)
                pending[0] = (corners, condition)
            noise = tile_noise(method, corners, self._settings.seed, sample) if uses_noise else None
            probabilities = sample_tiles(method, condition, compute, noise, self._class_indices)
            self._check_finite(probabilities)
            return probabilities

        done_count = 0
        while pending:
            tiles = self._batch.attempt(sample_next)
            corners, conditioning = pending.pop(0)
            blender.add_tiles(tiles, corners)
            if on_encoded is not None and not is_cached and conditioning is not None:
                on_encoded(conditioning, corners)
            if source not in ("augment", "members") and not is_cached and conditioning is not None:
                conditioning_cache.append((corners, conditioning))
            done_count += len(corners)
            yield done_count

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
