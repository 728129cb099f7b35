"""The fields of a run that most people leave alone: when to stop, what to mend of a mask, device, seed."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, SpinBox
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.widgets._shared.preferences import preferences

__all__ = ["PostProcessFields"]


class PostProcessFields(QObject):
    """Early stop, smallest object, holes, the largest object alone, device and seed.

    Signals
    -------
    changed
        Any of them was changed.
    postprocess_changed
        One of those that a finished mask can follow was.
    """

    changed = Signal()
    postprocess_changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.tolerance = ComboBox(
            choices=[
                ("never", 0.0),
                ("when the mask changes by less than 2 %", 0.02),
                ("when the mask changes by less than 1 %", 0.01),
                ("when the mask changes by less than 0.5 %", 0.005),
            ],
            value=0.0,
            tooltip="Stop drawing samples once two more in a row change the mask by less than this (1 - DSC)",
        )
        self.min_size = FloatSpinBox(
            value=0, min=0, max=1e9, step=1,
            tooltip="Objects smaller than this are left out of the mask, in the unit of the image",
        )  # fmt: skip
        self.fill_holes = CheckBox(text="", tooltip="Fill what an object encloses wholly")
        self.keep_largest = CheckBox(text="", tooltip="Keep the largest object of each class, and no other")
        self.device = ComboBox(
            choices=[("best there is", "auto"), ("CPU", "cpu"), ("NVIDIA GPU", "cuda"), ("Apple GPU", "mps")],
            value=preferences().device,
            tooltip="Where to compute",
        )
        self.seed = SpinBox(
            value=0, min=0, max=2**31 - 1, tooltip="The same seed gives the same samples again"
        )
        fields: tuple[Any, ...] = (self.tolerance, self.device, self.seed)
        for field in fields:
            field.changed.connect(lambda *_: self.changed.emit())
        fields = (self.min_size, self.fill_holes, self.keep_largest)
        for field in fields:
            field.changed.connect(lambda *_: self.postprocess_changed.emit())

    def add_rows(self, form: QFormLayout) -> None:
        """Put the fields into a form."""
        self._form = form
        form.addRow("Stop early", self.tolerance.native)
        form.addRow("Smallest", self.min_size.native)
        form.addRow("Fill holes", self.fill_holes.native)
        form.addRow("Largest only", self.keep_largest.native)
        form.addRow("Device", self.device.native)
        form.addRow("Seed", self.seed.native)
        self.tolerance.native.setSizeAdjustPolicy(
            self.tolerance.native.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )

    def show_unit(self, unit: str) -> None:
        """The unit in which the smallest object is given."""
        self.min_size.native.setSuffix(f" {unit.replace('2', '²').replace('3', '³')}")

    def postprocess(self) -> PostProcess:
        """What is mended of a mask."""
        return PostProcess(
            smallest=float(self.min_size.value),
            fill_holes=bool(self.fill_holes.value),
            keep_largest=bool(self.keep_largest.value),
        )

    def settings(self) -> dict[str, Any]:
        """The fields, as a `InferenceSettings` takes them."""
        return {
            "tolerance": self.tolerance.value or None,
            "cleanup": self.postprocess(),
            "device": self.device.value,
            "seed": int(self.seed.value),
        }
