"""What is done when memory runs out: the same work goes on with half as many rows at once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.device import is_out_of_memory

__all__ = ["BatchSize", "run_in_batches"]

T = TypeVar("T")


@dataclass
class BatchSize:
    """How many rows are computed at once; halved for good whenever memory runs out.

    Parameters
    ----------
    rows
        To begin with, 1 or more.
    problem
        What is said where memory is too small even for one row, after "memory: ".
    on_halved
        Called with the new size.
    """

    rows: int
    problem: str = "is too small for one image"
    on_halved: Callable[[int], None] = lambda rows: None

    def attempt(self, compute: Callable[[int], T]) -> T:
        """Give `compute(rows)`, with half the rows as often as memory runs out.

        Parameters
        ----------
        compute
            Is called anew after each failure, so it must begin from the same state every time.

        Raises
        ------
        BadInput
            Where memory is too small even for one row.
        """
        while True:
            try:
                return compute(self.rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # only here: the error holds on to the frames, and so to what was computed in them
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self.rows < 2:
                raise BadInput("memory", self.problem, "close other programs")
            self.rows //= 2
            self.on_halved(self.rows)


def run_in_batches(compute: Callable[[Tensor], Tensor], rows: Tensor, at_once: int) -> Tensor:
    """Compute over the first axis a few rows at a time, and over half as many where memory runs out.

    Parameters
    ----------
    compute
        From some of the rows `(B, ...)` to as many of the result.
    rows
        All of them, `(N, ...)`, N at least 1.
    at_once
        B to begin with.

    Returns
    -------
    Tensor
        `(N, ...)`.

    Raises
    ------
    BadInput
        Where memory is too small even for one row.
    """
    size = BatchSize(at_once)
    return size.attempt(lambda count: torch.cat([compute(some) for some in rows.split(count)]))
