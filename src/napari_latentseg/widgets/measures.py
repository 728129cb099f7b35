"""How large the classes are, with intervals, and how far a mask is from another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.scan import Geometry
from napari_latentseg.widgets.background import in_background
from napari_latentseg.widgets.layers import layer_matrix, role_of
from napari_latentseg.widgets.objects import show_objects

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.session import Result

__all__ = ["MeasuresPanel"]


class MeasuresPanel(QWidget):
    """Areas or volumes of the current result, its table of objects, and the comparison with a reference.

    Signals
    -------
    failed
        One sentence.
    """

    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._result: Result | None = None
        self._asked = 0
        self.sizes = QLabel()
        self.sizes.setWordWrap(True)
        self.sizes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.reference = ComboBox(
            choices=self._masks, nullable=True, tooltip="A mask to compare with: DSC, IoU, and HD95 in mm"
        )
        self.reference.native.setSizeAdjustPolicy(
            self.reference.native.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.agreement = QLabel()
        self.agreement.setWordWrap(True)
        self.agreement.hide()
        self.table = QPushButton("Table of objects")
        self.table.setToolTip("Number the objects in a layer of their own, with a table that can be sorted")
        compared = QHBoxLayout()
        compared.addWidget(QLabel("Compare with"))
        compared.addWidget(self.reference.native, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.sizes)
        layout.addWidget(self.about)
        layout.addLayout(compared)
        layout.addWidget(self.agreement)
        layout.addWidget(self.table)
        self.reference.changed.connect(self._compare)
        self.table.clicked.connect(self.show_table)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._reset)

    def _masks(self, *_: Any) -> list[tuple[str, Labels]]:
        ours = self._result.layers.mask if self._result is not None else None
        found = [layer for layer in self.viewer.layers if isinstance(layer, Labels) and layer is not ours]
        return [(layer.name, layer) for layer in found if role_of(layer) != "objects"]

    def _reset(self, event: Any = None) -> None:
        self.reference.reset_choices()

    def show_result(self, result: Result | None) -> None:
        """Measure a result in the background, and show it; nothing for None."""
        self._result = result
        self._asked += 1
        asked = self._asked
        self.reference.reset_choices()
        self.setEnabled(result is not None)
        if result is None or result.found is None:
            self.sizes.setText("")
            self.about.setText("")
            return
        found, painted = result.found, _painted(result)
        interval = result.card.volume_interval

        def work() -> Any:
            from napari_latentseg.measure import measure

            return measure(found, mask=painted, objects=False, interval=interval)

        def show(measured: Any) -> None:
            if asked != self._asked:
                return
            self.sizes.setText("\n".join(one.text() for one in measured))
            self.about.setText(_about(measured))
            self._compare()

        in_background(work, show, lambda error: self.failed.emit(str(error)), self)

    def _compare(self, *_: Any) -> None:
        result, other = self._result, self.reference.value
        self.agreement.setVisible(other is not None)
        if result is None or result.found is None or result.layers.mask is None or other is None:
            self.agreement.setText("")
            return
        found = result.found
        mask = result.layers.mask
        mine, theirs = np.asarray(mask.data), other.data
        geometry, n = found.geometry, other.ndim
        place = Geometry.from_matrix(
            layer_matrix(other), geometry.units[-n:], geometry.axis_labels[-n:], geometry.frame
        )

        def work() -> Any:
            from napari_latentseg.evaluation.compare import compare

            return compare(mine, np.asarray(theirs), found.geometry, found.classes, reference_geometry=place)

        def show(compared: Any) -> None:
            if result is self._result:
                self.agreement.setText("\n".join(one.text() for one in compared))

        def fail(error: BaseException) -> None:
            self.agreement.setText(str(error))

        in_background(work, show, fail, self)

    def show_table(self) -> Any:
        """Number the objects in a layer of their own, and fill its table; in the background."""
        result = self._result
        if result is None or result.found is None:
            return None
        self.table.setEnabled(False)

        def done(*_: Any) -> None:
            self.table.setEnabled(True)

        return show_objects(self.viewer, result, _painted(result), done, self.failed.emit, self)


def _painted(result: Result) -> Any:
    """The mask with what a person has painted in it; None where that is nothing."""
    mask = result.layers.mask
    return np.array(mask.data) if mask is not None and result.layers.edited else None


def _about(measured: Any) -> str:
    kinds = {one.interval_is for one in measured}
    if "calibrated" in kinds:
        return "90 % intervals, calibrated on images kept apart (see the model's card)."
    if "samples" in kinds:
        return "90 % intervals from the spread of the samples alone; not calibrated for this model."
    return "No interval: that needs three samples or more."
