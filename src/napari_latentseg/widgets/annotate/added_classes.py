"""Classes that a person has added to a mask, and that the model does not know: warning and removal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_latentseg.widgets.annotate.correction import Correction
    from napari_latentseg.widgets.annotate.corrections import Corrections

__all__ = ["remove_added_class", "unknown_class_warning"]


def unknown_class_warning(correction: Correction) -> str:
    """The warning before a class is added."""
    result = correction.result
    model = f"{result.card.title} v{result.card.version}" if result is not None else "The model"
    return (
        f"{model} does not know it and cannot learn it: what is painted with it is saved and exported, and"
        " left out of training."
    )


def remove_added_class(
    corrections: Corrections, correction: Correction, label: int, on_removed: Callable[[], object]
) -> ThreadWorker:
    """Remove a class that a person has added, where nothing approved uses it.

    What is painted with it in open copies becomes background, which undo takes back.

    Parameters
    ----------
    corrections
        Of the viewer; all of the same model family lose the class.
    correction
        The one that is being worked on.
    label
        Of the class.
    on_removed
        Called in the GUI thread when it is done.

    Returns
    -------
    ThreadWorker
        Reads and writes the annotations.

    Raises
    ------
    BadInput
        If it is a class of the model.
    """
    if label not in correction.added_labels:
        raise BadInput("class", "belongs to the model", "remove one that was added")
    family = correction.family
    layers = [c.layer for c in corrections.corrections if c.family == family and c.layer is not None]
    arrays = [(layer, layer.data) for layer in layers]

    def remove() -> list[tuple[Labels, tuple[NDArray[np.intp], ...]]]:
        corrections.open_stores.remove_class(family, label)
        return [(layer, np.nonzero(np.asarray(data) == label)) for layer, data in arrays]

    def done(painted: list[tuple[Labels, tuple[NDArray[np.intp], ...]]]) -> None:
        for layer, where in painted:
            if len(where[0]):
                layer.data_setitem(where, 0)
        for related in corrections.corrections:
            if related.family == family:
                related.remove_class(label)
        on_removed()

    return run_in_thread(remove, done, show_exception)
