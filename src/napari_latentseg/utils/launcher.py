"""Whether a launcher (`accelerate launch`, `torchrun`) started this process, and which of several it is.

Reads environment variables alone, so that the command line can ask before torch is loaded.
"""

from __future__ import annotations

import os

__all__ = [
    "is_launched",
    "is_launched_on_cpu",
    "is_main_process",
    "is_true",
    "local_process_count",
    "note_meeting",
    "process_count",
    "says_errors",
]

# the names that accelerate reads too: torchrun's, then those of MPI libraries
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNT = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LOCAL_COUNT = (
    "LOCAL_WORLD_SIZE",
    "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_LOCAL_SIZE",
)
_have_met = False


def is_launched() -> bool:
    """Whether a launcher started this process."""
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ  # set by it in every process
    return by_accelerate or ("RANK" in os.environ and _number(_COUNT, 1) > 1)


def process_count() -> int:
    """How many processes the launcher started, on all machines."""
    return _number(_COUNT, 1) if is_launched() else 1


def local_process_count() -> int:
    """How many processes the launcher started on this machine."""
    return _number(_LOCAL_COUNT, 1) if is_launched() else 1


def is_main_process() -> bool:
    """Whether this process writes and reports: the first, or the only one."""
    return not is_launched() or _number(_RANK, 0) == 0


def is_launched_on_cpu() -> bool:
    """Whether the launcher was told to leave GPUs alone."""
    return is_true("ACCELERATE_USE_CPU")


def is_true(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "y", "t", "on")


def note_meeting() -> None:
    """Note that the processes have met, so that they can agree on who says an error."""
    global _have_met
    _have_met = True


def says_errors() -> bool:
    """Whether this process prints its errors.

    Until the processes meet, all of them read the same command line and have the same errors.
    """
    return _have_met or is_main_process()


def _number(names: tuple[str, ...], default: int) -> int:
    texts = (os.environ.get(name, "") for name in names)
    return next((int(text) for text in texts if text.isdecimal()), default)
