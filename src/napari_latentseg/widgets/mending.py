"""The fields of a run that most people leave alone: when to stop, what to mend of a mask, device, seed."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, SpinBox
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_latentseg.cleanup import Cleanup
from napari_latentseg.widgets.preferences import preferences

__all__ = ["MendingFields"]


class MendingFields(QObject):
    """Early stop, smallest object, holes, the largest object alone, device and seed.

    Signals
    -------
    changed
        Any of them was changed.
    mended
        One of those that a finished mask can follow was.
    """

    changed = Signal()
    mended = Signal()

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
        self.smallest = FloatSpinBox(
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
        fields = (self.smallest, self.fill_holes, self.keep_largest)
        for field in fields:
            field.changed.connect(lambda *_: self.mended.emit())

    def add_to(self, form: QFormLayout) -> None:
        """Put the fields into a form."""
        self._form = form
        form.addRow("Stop early", self.tolerance.native)
        form.addRow("Smallest", self.smallest.native)
        form.addRow("Fill holes", self.fill_holes.native)
        form.addRow("Largest only", self.keep_largest.native)
        form.addRow("Device", self.device.native)
        form.addRow("Seed", self.seed.native)
        self.tolerance.native.setSizeAdjustPolicy(
            self.tolerance.native.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )

    def show_unit(self, unit: str) -> None:
        """The unit in which the smallest object is given."""
        self.smallest.native.setSuffix(f" {unit.replace('2', '²').replace('3', '³')}")

    def cleanup(self) -> Cleanup:
        """What is mended of a mask."""
        return Cleanup(
            smallest=float(self.smallest.value),
            fill_holes=bool(self.fill_holes.value),
            keep_largest=bool(self.keep_largest.value),
        )

    def request(self) -> dict[str, Any]:
        """The fields, as a `Request` takes them."""
        return {
            "tolerance": self.tolerance.value or None,
            "cleanup": self.cleanup(),
            "device": self.device.value,
            "seed": int(self.seed.value),
        }
