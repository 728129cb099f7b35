"""The spacing of an image whose file states none: as a number, or by a line along a scale in the image."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.given_spacing import spacing_from_ruler
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.controls import WrappedLabel
from napari_latentseg.widgets._shared.image_spacing import give_spacing_to_image, spacing_text
from napari_latentseg.widgets._shared.layers import METADATA_KEY, spatial_arguments
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_error, show_info

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["SpacingDialog", "SpacingRow"]

_DECIMALS = 5  # of a number in mm: 0.01 micrometres


class SpacingRow(QWidget):
    """The spacing of an image in words, and a button to give one where the file states none.

    Signals
    -------
    spacing_given
        The image has got a spacing.
    """

    spacing_given = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._image: weakref.ref[Image] | None = None
        self.dialog: SpacingDialog | None = None
        self.text = PlainLabel()
        self.button = QPushButton("Set…")
        self.button.setToolTip("Give the size of a pixel, so that sizes are in mm instead of pixels")
        self.button.clicked.connect(self.ask)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.button)

    def show_for_image(self, image: Image | None) -> None:
        """Show the spacing of an image; the button where it has none."""
        self._image = None if image is None else weakref.ref(image)
        text, is_missing = spacing_text(image)
        self.text.setText(text)
        self.button.setVisible(is_missing)

    def ask(self) -> None:
        """Open the dialog for the image, or bring it to the front."""
        image = self._image() if self._image is not None else None
        if image is None:
            return
        if self.dialog is not None and self.dialog.isVisible():
            self.dialog.raise_()
            return
        self.dialog = SpacingDialog(self._viewer, image, self)
        self.dialog.accepted.connect(self._on_given)
        self.dialog.show()

    def _on_given(self) -> None:
        self.show_for_image(self._image() if self._image is not None else None)
        self.spacing_given.emit()


class SpacingDialog(QDialog):
    """Asks for the size of a pixel; does not block the viewer, so that a line can be drawn on the image.

    Parameters
    ----------
    viewer
        The viewer of the image.
    image
        An image in pixels.
    """

    def __init__(self, viewer: ViewerModel, image: Image, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Spacing of {image.name}")
        self.setObjectName("spacing")
        self._viewer, self.image = viewer, image
        self._ruler: Shapes | None = None
        self.pixel_size = _millimetres("Distance between the centres of neighbouring pixels")
        self.slice_distance = _millimetres("Distance between the centres of neighbouring slices")
        self.length = _millimetres("Length of the line that you draw, as written beside the scale")
        self.length.setDecimals(2)
        self.length.setValue(10.0)
        self.ruler_button = QPushButton("Draw a line on the image")
        self.ruler_button.setToolTip("Press at one end of a scale bar or calliper, and release at the other")
        self.ruler_text = WrappedLabel()
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Apply | QDialogButtonBox.StandardButton.Cancel
        )
        self._lay_out()
        self.resize(360, self.sizeHint().height())  # pixels: the explanation on two lines
        self.ruler_button.clicked.connect(self.draw_ruler)
        self.length.valueChanged.connect(self._on_ruler)
        self.pixel_size.valueChanged.connect(self._refresh)
        self.slice_distance.valueChanged.connect(self._refresh)
        self.apply_button.clicked.connect(self.apply)
        self.buttons.rejected.connect(self.reject)
        self.finished.connect(self._remove_ruler)
        self._refresh()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Pixel size", self.pixel_size)
        self._has_slices = self.image.ndim > 2 and str(self.image.axis_labels[-3]) != "t"
        if self._has_slices:
            form.addRow("Between slices", self.slice_distance)
        ruler_form = QFormLayout()
        ruler_form.addRow("Length of the line", self.length)
        explanation = WrappedLabel()
        explanation.setText("Type the size of a pixel, or measure it along a scale in the image:")
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(explanation)
        layout.addLayout(ruler_form)
        layout.addWidget(self.ruler_button)
        layout.addWidget(self.ruler_text)
        layout.addWidget(self.buttons)

    @property
    def apply_button(self) -> QPushButton:
        """The button that gives the spacing to the image."""
        button = self.buttons.button(QDialogButtonBox.StandardButton.Apply)
        assert button is not None
        return button

    def draw_ruler(self) -> None:
        """Add a layer on which one line can be drawn, with napari's tool for lines selected."""
        self._remove_ruler()
        ruler = Shapes(
            ndim=self.image.ndim,
            name="scale",
            edge_color="yellow",
            edge_width=max(1.0, min(self.image.data.shape[:2]) / 200) if not self.image.multiscale else 2.0,
            metadata={METADATA_KEY: {"role": "ruler", "image": str(self.image.unique_id)}},
            **spatial_arguments(self.image),
        )
        self._viewer.add_layer(ruler)
        self._viewer.layers.selection.active = ruler
        ruler.mode = "add_line"
        ruler.events.data.connect(self._on_ruler)
        self._ruler = ruler
        self.ruler_text.setText("Press at one end of the scale, and release at the other.")

    def _on_ruler(self, event: Any = None) -> None:
        """Compute the size of a pixel from the last line that was drawn."""
        if self._ruler is None or not len(self._ruler.data):
            return
        line = np.asarray(self._ruler.data[-1])
        start, end = line[0][-2:], line[-1][-2:]
        try:
            spacing = spacing_from_ruler(start, end, self.length.value())
        except BadInput as error:
            self.ruler_text.setText(f"This line cannot be used: {error.why}.")
            return
        pixels = float(np.linalg.norm(end - start))
        self.ruler_text.setText(f"{pixels:.1f} pixels are {self.length.value():g} mm.")
        self.pixel_size.setValue(spacing)

    def _spacing(self) -> list[float]:
        pixel_size = self.pixel_size.value()
        return [self.slice_distance.value(), pixel_size, pixel_size] if self._has_slices else [pixel_size]

    def _refresh(self, *_: Any) -> None:
        is_complete = all(value > 0 for value in self._spacing())
        self.apply_button.setEnabled(is_complete)
        self.apply_button.setToolTip("" if is_complete else "Enter sizes above zero first")

    def apply(self) -> None:
        """Give the spacing to the image and to its results."""
        try:
            give_spacing_to_image(self._viewer, self.image, self._spacing())
        except BadInput as error:
            show_error(str(error))
            return
        show_info(f"{self.image.name}: sizes are in mm now.")
        self.accept()

    def _remove_ruler(self, *_: Any) -> None:
        if self._ruler is not None and self._ruler in self._viewer.layers:
            self._viewer.layers.remove(self._ruler)
            self._viewer.layers.selection.active = self.image if self.image in self._viewer.layers else None
        self._ruler = None


def _millimetres(tooltip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(_DECIMALS)
    box.setRange(0.0, 1000.0)
    box.setSuffix(" mm")
    box.setSpecialValueText("not given")  # for 0, which no image has
    box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    box.setAlignment(Qt.AlignmentFlag.AlignRight)
    box.setToolTip(tooltip)
    return box
