"""How many threads the computations use."""

from __future__ import annotations

import os
import sys

__all__ = ["limit_threads"]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def limit_threads(count: int) -> None:
    """Let torch and NumPy compute with so many threads, in this process and those that it starts.

    Parameters
    ----------
    count
        1 or more. What is loaded already, apart from torch, keeps its own number.
    """
    for name in _VARIABLES:
        os.environ[name] = str(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
