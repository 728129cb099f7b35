"""Areas or volumes of the classes, with intervals, and the comparison with a reference mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.person_mask import describe_mask
from napari_latentseg.measure import sizes_note
from napari_latentseg.widgets._shared.controls import let_combo_shrink
from napari_latentseg.widgets._shared.layers import exact_matrix, role_of
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import keep_units
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread
from napari_latentseg.widgets.review.objects import show_objects

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.evaluation.compare import Comparison
    from napari_latentseg.measure import Measurement
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["MeasuresPanel"]


class MeasuresPanel(QWidget):
    """Areas or volumes of a result, its table of objects, and the comparison with a reference mask.

    Signals
    -------
    failed
        One sentence.
    """

    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._result: RunResult | None = None
        self._request_id = self._comparison_id = 0
        self.mask_text = PlainLabel()
        self.mask_text.setWordWrap(True)
        self.size_text = PlainLabel()
        self.size_text.setWordWrap(True)
        self.size_text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.interval_note = PlainLabel()
        self.interval_note.setWordWrap(True)
        self.reference = ComboBox(
            choices=self._mask_choices,
            nullable=True,
            tooltip="A reference mask to compare with: Dice, IoU and HD95",
        )
        let_combo_shrink(self.reference.native)
        self.comparison = PlainLabel()
        self.comparison.setWordWrap(True)
        self.comparison.hide()
        self.objects_button = QPushButton("Table of objects")
        self.objects_button.setToolTip("List the connected objects in a table, and outline each in the image")
        compared = QHBoxLayout()
        compared.addWidget(PlainLabel("Compare with"))
        compared.addWidget(self.reference.native, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.mask_text)
        layout.addWidget(self.size_text)
        layout.addWidget(self.interval_note)
        layout.addLayout(compared)
        layout.addWidget(self.comparison)
        layout.addWidget(self.objects_button)
        self.reference.changed.connect(self._compare)
        self.objects_button.clicked.connect(self.show_table)

    def _mask_choices(self, *_: Any) -> list[tuple[str, Labels]]:
        result = self._result
        shown = result.shown_mask(copy=False).layer if result is not None and result.segmentation else None
        cases = session_of(self.viewer).cases
        label_layers = [
            layer for layer in self.viewer.layers if isinstance(layer, Labels) and layer is not shown
        ]
        return [
            (layer.name, layer)
            for layer in label_layers
            if role_of(layer) != "objects" and cases.may_be_of_case(layer)
        ]

    def reset_references(self, event: Any = None) -> None:
        """List the Labels layers of the viewer again."""
        self.reference.reset_choices()

    def show_result(self, result: RunResult | None) -> None:
        """Measure a result in a worker, and show the measurements; clear them for None."""
        self._result = result
        self._request_id += 1
        request_id = self._request_id
        self.reference.reset_choices()
        self.setEnabled(result is not None)
        if result is None or result.segmentation is None:
            self.mask_text.setText("")
            self.size_text.setText("")
            self.interval_note.setText("")
            return
        shown, card = result.shown_mask(), result.card

        def compute() -> tuple[tuple[Measurement, ...], str, str]:
            from napari_latentseg.measure import class_sizes

            segmentation = shown.segmentation
            sizes = class_sizes(segmentation, card)
            return sizes, describe_mask(segmentation.record), sizes_note(segmentation, card)

        def show(answer: tuple[tuple[Measurement, ...], str, str]) -> None:
            if request_id != self._request_id:
                return
            measurements, whose, note = answer
            self.mask_text.setText(f"Mask: {whose}.")
            self.mask_text.setToolTip(plain_text(shown.layer.name) if shown.layer is not None else "")
            sizes = "\n".join(measurement.describe() for measurement in measurements)
            self.size_text.setText(keep_units(sizes))
            self.interval_note.setText(keep_units(note))
            self._compare()

        run_in_thread(compute, show, lambda error: self.failed.emit(str(error)), self)

    def _compare(self, *_: Any) -> None:
        self._comparison_id += 1
        comparison_id = self._comparison_id
        result, reference_layer = self._result, self.reference.value
        self.comparison.setVisible(reference_layer is not None)
        if result is None or result.segmentation is None or reference_layer is None:
            self.comparison.setText("")
            return
        segmentation = result.segmentation
        mask_data, reference_data = result.shown_mask().data, reference_layer.data
        geometry, n = segmentation.geometry, reference_layer.ndim
        reference_geometry = Geometry.from_matrix(
            exact_matrix(reference_layer), geometry.units[-n:], geometry.axis_labels[-n:], geometry.frame
        )

        def compute() -> tuple[Comparison, ...]:
            from napari_latentseg.core.segmented_region import segmented_voxels
            from napari_latentseg.evaluation.compare import compare

            mask = np.asarray(mask_data)
            segmented = segmented_voxels(segmentation.record, mask, segmentation.geometry)
            return compare(
                mask,
                np.asarray(reference_data),
                segmentation.geometry,
                segmentation.classes,
                reference_geometry=reference_geometry,
                segmented=segmented,
                segmented_text="" if segmented is None else segmentation.segmented_region.describe(),
            )

        def show_text(text: str) -> None:
            # otherwise another reference or another result was chosen meanwhile
            if comparison_id == self._comparison_id and result is self._result:
                self.comparison.setText(text)

        def show(comparisons: tuple[Comparison, ...]) -> None:
            show_text("\n".join(comparison.describe() for comparison in comparisons))

        def fail(error: BaseException) -> None:
            show_text(str(error))

        run_in_thread(compute, show, fail, self)

    def show_table(self) -> ThreadWorker | None:
        """Measure the objects in a worker, and show them in a table and as outlines."""
        result = self._result
        if result is None or result.segmentation is None:
            return None
        self.objects_button.setEnabled(False)

        def done(*_: Any) -> None:
            self.objects_button.setEnabled(True)

        return show_objects(self.viewer, result, done, self.failed.emit, self)
