"""Out of memory: continue the same computation with half the batch size."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.device import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BatchSize", "run_in_batches"]

T = TypeVar("T")


@dataclass
class BatchSize:
    """A batch size that is halved, permanently, whenever memory runs out.

    Parameters
    ----------
    rows
        The batch size to begin with, 1 or more.
    problem
        Message if memory is too small even for a batch of one, after ``"memory: "``.
    on_halved
        Called with the new batch size.
    remedy
        What to do about it, for the message.
    """

    rows: int
    problem: str = "is too small for one image"
    on_halved: Callable[[int], None] = lambda rows: None
    remedy: str = "close other programs"

    def attempt(self, compute: Callable[[int], T]) -> T:
        """Return ``compute(rows)``; retry with half the batch size whenever memory runs out.

        Parameters
        ----------
        compute
            Called again after each failure, so it must start from the same state each time.

        Raises
        ------
        BadInput
            If memory is too small even for a batch of one.
        """
        while True:
            try:
                return compute(self.rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # outside the except block: the exception keeps its frames alive, and with them the tensors
            gc.collect()
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self.rows < 2:
                raise BadInput("memory", self.problem, self.remedy)
            self.rows //= 2
            self.on_halved(self.rows)


def run_in_batches(compute: Callable[[Tensor], Tensor], rows: Tensor, at_once: int) -> Tensor:
    """Compute in batches along the first axis; halve the batch size whenever memory runs out.

    Parameters
    ----------
    compute
        Maps a batch `(B, ...)` to a batch of results `(B, ...)`.
    rows
        All inputs, `(N, ...)`, N at least 1.
    at_once
        B, the batch size to begin with.

    Returns
    -------
    Tensor
        All results, `(N, ...)`.

    Raises
    ------
    BadInput
        If memory is too small even for a batch of one.
    """
    import torch

    size = BatchSize(at_once)
    return size.attempt(lambda count: torch.cat([compute(batch) for batch in rows.split(count)]))
