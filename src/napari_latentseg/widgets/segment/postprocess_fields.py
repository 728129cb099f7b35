"""The advanced fields of a run: early stopping, postprocessing of the mask, device and seed."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, SpinBox
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.widgets._shared.preferences import preferences

__all__ = ["PostProcessFields"]


class PostProcessFields(QObject):
    """Early stopping, minimum object size, hole filling, largest object only, device and seed.

    Signals
    -------
    changed
        A field that only a new run can follow was changed.
    postprocess_changed
        A field that a finished mask can follow was changed.
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
            tooltip="Stop sampling when two consecutive samples change the mask by less than this (1 - Dice)",
        )
        self.min_size = FloatSpinBox(
            value=0, min=0, max=1e9, step=1,
            tooltip="Remove objects smaller than this, in the unit of the image",
        )  # fmt: skip
        self.fill_holes = CheckBox(text="", tooltip="Fill holes that an object encloses")
        self.keep_largest = CheckBox(text="", tooltip="Keep only the largest object of each class")
        self.device = ComboBox(
            choices=[("automatic", "auto"), ("CPU", "cpu"), ("NVIDIA GPU", "cuda"), ("Apple GPU", "mps")],
            value=preferences().device,
            tooltip="Compute device",
        )
        self.seed = SpinBox(value=0, min=0, max=2**31 - 1, tooltip="The same seed gives the same samples")
        fields: tuple[Any, ...] = (self.tolerance, self.device, self.seed)
        for field in fields:
            field.changed.connect(lambda *_: self.changed.emit())
        fields = (self.min_size, self.fill_holes, self.keep_largest)
        for field in fields:
            field.changed.connect(lambda *_: self.postprocess_changed.emit())

    def add_rows(self, form: QFormLayout) -> None:
        """Add the fields to a form."""
        self._form = form
        form.addRow("Early stopping", self.tolerance.native)
        form.addRow("Minimum size", self.min_size.native)
        form.addRow("Fill holes", self.fill_holes.native)
        form.addRow("Keep largest", self.keep_largest.native)
        form.addRow("Device", self.device.native)
        form.addRow("Seed", self.seed.native)

    def show_unit(self, unit: str) -> None:
        """Show the unit of the minimum size: ``"mm2"``, ``"mm3"``, ``"pixel"``."""
        self.min_size.native.setSuffix(f" {unit.replace('2', '²').replace('3', '³')}")

    def postprocess(self) -> PostProcess:
        """The postprocessing that is selected."""
        return PostProcess(
            smallest=float(self.min_size.value),
            fill_holes=bool(self.fill_holes.value),
            keep_largest=bool(self.keep_largest.value),
        )

    def settings(self) -> dict[str, Any]:
        """The fields as keywords of `InferenceSettings`."""
        return {
            "tolerance": self.tolerance.value or None,
            "cleanup": self.postprocess(),
            "device": self.device.value,
            "seed": int(self.seed.value),
        }
