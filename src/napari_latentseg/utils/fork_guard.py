"""Refuse to compute in a process that was forked from one in which torch had computed: it would never end.

The threads of OpenMP, with which torch computes, do not exist in a forked child, and the child waits for them
for ever.
"""

from __future__ import annotations

import os

from napari_latentseg.errors import BadInput

__all__ = ["check_not_forked", "note_computation"]

_has_computed = False
_is_forked_after_computing = False


def note_computation(threads: int) -> None:
    """Remember that torch has computed in this process with so many threads; one alone does no harm."""
    global _has_computed
    _has_computed = _has_computed or threads > 1


def check_not_forked() -> None:
    """Refuse to go on in a forked child of a process in which torch had computed.

    Raises
    ------
    BadInput
        If this is such a child.
    """
    if _is_forked_after_computing:
        raise BadInput(
            "process",
            "was forked after torch had computed in its parent, and would never end",
            "start processes with multiprocessing.get_context('spawn')",
        )


def _note_fork() -> None:
    global _is_forked_after_computing
    _is_forked_after_computing = _is_forked_after_computing or _has_computed


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_note_fork)
