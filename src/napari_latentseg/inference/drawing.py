"""Drawing all tiles of a view, in smaller batches where memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.large import LargeCanvas, LargeView
from napari_latentseg.inference.plane import Conditions, conditions_of, draw_tiles, noise_of
from napari_latentseg.inference.request import Request
from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.models.folder import Model
from napari_latentseg.precision import Compute, is_out_of_memory

__all__ = ["Drawing"]


class Drawing:
    """Draws samples tile by tile.

    Parameters
    ----------
    model
        Whose members draw.
    compute
        Where.
    request
        Its source, seed and `tiles_at_once`.
    classes
        The positions of the classes that are drawn; None for all.
    notes
        Takes in what had to give way, in plain words.
    """

    def __init__(
        self,
        model: Model,
        compute: Compute,
        request: Request,
        classes: Sequence[int] | None,
        notes: list[str],
    ) -> None:
        self._notes = notes
        self._model = model
        self._compute = compute
        self._request = request
        self._classes = classes
        self._tiles_at_once = request.tiles_at_once

    def tiles(
        self,
        view: Tensor | LargeView,
        tiling: Tiling,
        canvas: Canvas | LargeCanvas,
        sample: int,
        kept: Conditions,
    ) -> Iterator[int]:
        """Draw every tile of a view and lay it, a batch at a time; gives how many lie there so far.

        Where memory runs out, in encoding or in drawing, the batch goes on in halves: a batch is laid only
        when all of it is drawn. What is encoded is kept for the next sample where all samples see the same,
        by the same predictor.

        Parameters
        ----------
        view, tiling, canvas
            What is seen, cut how, and where it is laid.
        sample
            Which one.
        kept
            What was encoded for an earlier sample of the same view; filled where it is empty.

        Raises
        ------
        BadInput
            Where there is not enough memory for a single tile.
        """
        source, compute = self._request.source, self._compute
        method = self._model.members[sample if source == "members" else 0]
        waiting: list[tuple[list[tuple[int, int]], Tensor | None]] = list(kept) or [(tiling.corners(), None)]
        encoded_before = bool(kept)
        is_noisy = source in method.own_sources or not method.is_deterministic
        laid = 0
        while waiting:
            corners, condition = waiting.pop(0)
            count = self._tiles_at_once
            if len(corners) > count:
                waiting.insert(0, (corners[count:], None if condition is None else condition[count:]))
                corners, condition = corners[:count], None if condition is None else condition[:count]
            tiles: Tensor | None = None
            try:
                if condition is None:
                    condition = conditions_of(method, view, tiling, corners, compute)
                noise = noise_of(method, corners, self._request.seed, sample) if is_noisy else None
                tiles = draw_tiles(method, condition, compute, noise, self._classes)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if tiles is None:  # and the error, which holds on to what was computed, is gone
                waiting.insert(0, (corners, condition))
                self._shrink()
                continue
            canvas.lay(tiles, corners)
            if source not in ("augment", "members") and not encoded_before and condition is not None:
                kept.append((corners, condition))
            laid += len(corners)
            yield laid

    def _shrink(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._tiles_at_once == 1:
            raise BadInput("memory", "is too small for a single tile of this model", "close other programs")
        self._tiles_at_once //= 2
        self._notes.append(f"memory ran out; went on with {self._tiles_at_once} tiles at once")
