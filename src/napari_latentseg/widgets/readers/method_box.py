"""The choice of how one mask is made of those of several readers."""

from __future__ import annotations

from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.consensus import METHODS, check_method
from napari_latentseg.widgets._shared.controls import elastic_combo
from napari_latentseg.widgets._shared.plain_text import plain_text

__all__ = ["consensus_box"]

_TITLES = {"majority": "majority", "staple": "STAPLE"}


def consensus_box() -> QComboBox:
    """Offers the methods, with their names as data; one that needs a missing package is greyed, with why."""
    box = elastic_combo(
        "majority: more than half of the readers."
        " STAPLE weights each reader by the reliability that it estimates"
    )
    model = box.model()
    for position, method in enumerate(METHODS):
        box.addItem(_TITLES[method], method)
        try:
            check_method(method)
        except BadInput as error:
            item = model.item(position) if isinstance(model, QStandardItemModel) else None
            if item is not None:
                item.setEnabled(False)
                item.setToolTip(plain_text(f"{error.why}: {error.remedy}"))
    return box
