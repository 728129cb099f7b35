"""Drawing all tiles of a view, in smaller batches where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from napari_latentseg.inference.large import LargeCanvas, LargeView
from napari_latentseg.inference.plane import Conditions, conditions_of, draw_tiles, noise_of
from napari_latentseg.inference.request import Request
from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.models.folder import Model
from napari_latentseg.oom import BatchSize
from napari_latentseg.precision import Compute

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
        problem = "is too small for a single tile of this model"
        self._batch = BatchSize(request.tiles_at_once, problem, self._note)

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

        def draw_next(count: int) -> Tensor:
            """Draw the first of the waiting tiles, `count` at most; what is encoded is put beside them."""
            corners, condition = waiting[0]
            if len(corners) > count:
                rest = None if condition is None else condition[count:]
                condition = None if condition is None else condition[:count]
                waiting[:1] = [(corners[:count], condition), (corners[count:], rest)]
                corners = corners[:count]
            if condition is None:
                condition = conditions_of(method, view, tiling, corners, compute)
                waiting[0] = (corners, condition)
            noise = noise_of(method, corners, self._request.seed, sample) if is_noisy else None
            return draw_tiles(method, condition, compute, noise, self._classes)

        laid = 0
        while waiting:
            tiles = self._batch.attempt(draw_next)
            corners, condition = waiting.pop(0)
            canvas.lay(tiles, corners)
            if source not in ("augment", "members") and not encoded_before and condition is not None:
                kept.append((corners, condition))
            laid += len(corners)
            yield laid

    def _note(self, count: int) -> None:
        self._notes.append(f"memory ran out; went on with {count} tiles at once")
