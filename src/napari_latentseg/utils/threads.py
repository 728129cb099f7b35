"""How many threads the computations use."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["core_count", "limit_threads", "thread_count", "thread_variables"]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def limit_threads(count: int) -> None:
    """Let torch and NumPy compute with so many threads, in this process and those that it starts.

    Parameters
    ----------
    count
        1 or more. What is loaded already, apart from torch, keeps its own number.
    """
    os.environ.update(thread_variables(count))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def thread_count() -> int:
    """How many threads computations use: as torch has it, or will have it once it is loaded."""
    if torch := sys.modules.get("torch"):
        count: int = torch.get_num_threads()
        return count
    with suppress(KeyError, ValueError):
        return max(1, int(os.environ[_VARIABLES[0]]))
    return core_count()


def core_count() -> int:
    """How many processor cores this process may use."""
    import psutil

    cores = psutil.cpu_count(logical=False) or 1
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(cores)
    return max(1, min(cores, len(allowed)))


def thread_variables(count: int) -> dict[str, str]:
    """The variables of the environment that let a process compute with so many threads once it starts."""
    return dict.fromkeys(_VARIABLES, str(count))
