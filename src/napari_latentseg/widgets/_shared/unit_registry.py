"""pint's unit registry, which napari asks for with each layer, made beside the GUI thread."""

from __future__ import annotations

import pint
from superqt.utils import ensure_main_thread

__all__ = ["prepare_unit_registry"]


def prepare_unit_registry() -> None:
    """Make the unit registry of the application, which takes 0.3 s; called in a worker thread.

    pint would make it at its first use, and is not safe there: while one thread makes it, another finds a
    registry without any unit, and a layer could not be added. So a whole one is made here and handed over.
    """
    if is_waiting():
        _hand_over(pint.UnitRegistry())


def is_waiting() -> bool:
    """Whether the registry of the application has not been used yet."""
    return not isinstance(pint.get_application_registry().get(), pint.UnitRegistry)


@ensure_main_thread
def _hand_over(registry: pint.UnitRegistry) -> None:
    # in the GUI thread, where layers are made: one that has been made has its units in the registry of then
    if is_waiting():
        pint.set_application_registry(registry)
