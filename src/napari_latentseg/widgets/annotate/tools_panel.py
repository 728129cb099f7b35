"""Tools that correct a label without a brush: smooth, grow, shrink, islands, holes, slices between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.mask_edit import MaskEdit, edit_spacing
from napari_latentseg.errors import Cancelled
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.controls import WrappedLabel, elastic_combo
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.threads import show_exception
from napari_latentseg.widgets.annotate.click_editor import ClickEditor
from napari_latentseg.widgets.annotate.click_model import ClickModelField
from napari_latentseg.widgets.annotate.mask_tools import (
    EditRunner,
    Extent,
    LabelChange,
    part_to_edit,
    set_labels,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["TOOLS", "Tool", "ToolsPanel"]

# mm: below it, as in microscopy, lengths are given in micrometres
_SMALL_SPACING = 0.01
_EXTENTS: dict[Extent, str] = {"slice": "this slice", "slices": "each slice", "volume": "volume in 3D"}


@dataclass(frozen=True)
class Tool:
    """One of the tools.

    Attributes
    ----------
    name
        As the list shows it.
    tooltip
        What it does.
    make
        The edit for an amount, in the unit of the spacing.
    amount
        What is given: a length, a size (area or volume), or nothing.
    steps
        The amount at first, in steps of the finest spacing.
    """

    name: str
    tooltip: str
    make: Callable[[float], MaskEdit]
    amount: str = ""
    steps: float = 0.0


TOOLS = (
    Tool(
        "Smooth",
        "Smooth the outline: more mm remove larger details. The size stays the same",
        lambda amount: MaskEdit(smooth=amount),
        "length",
        1.5,
    ),
    Tool("Grow", "Grow by this many mm on all sides", lambda amount: MaskEdit(grow=amount), "length", 1.0),
    Tool(
        "Shrink", "Shrink by this many mm on all sides", lambda amount: MaskEdit(grow=-amount), "length", 1.0
    ),
    Tool(
        "Remove islands",
        "Remove islands smaller than this; 0 removes all but the largest",
        lambda amount: MaskEdit(smallest=amount, keep_largest=amount == 0),
        "size",
    ),
    Tool("Fill holes", "Fill what the class encloses on all sides", lambda amount: MaskEdit(fill_holes=True)),
    Tool(
        "Fill between slices",
        "Fill the empty slices between those on which the class is painted, by interpolating its outline",
        lambda amount: MaskEdit(fill_between=True),
    ),
)
_BETWEEN = TOOLS[-1]
_CLICKS = Tool(
    "Change by clicks",
    "Click on what is missing, with Shift on what is too much: a model that answers clicks changes the class"
    " within this many mm of the click, and nowhere else",
    lambda amount: MaskEdit(),
    "length",
    20.0,
)
_EXTENT_REASONS = {
    _BETWEEN.name: "Works on the whole volume",
    _CLICKS.name: "A click changes the slice that is clicked on",
}


class ToolsPanel(QWidget):
    """A tool, its amount, what it is applied to, and Apply; every use is one step of undo.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._correction: Correction | None = None
        self._started: tuple[Correction, Tool, str] | None = None
        self._amounts: dict[str, float] = {}  # by tool and unit, as a person has chosen them
        self.runner = EditRunner(self)
        self.clicks = ClickEditor(viewer, self)
        self.click_model = ClickModelField(viewer)
        self.tool = elastic_combo()
        self.amount = QDoubleSpinBox()
        self.extent = elastic_combo()
        self.apply_button = QPushButton("Apply")
        self.progress = QProgressBar()
        self.cancel_button = QPushButton("Cancel")
        self.message = WrappedLabel()
        self._rows = QStackedWidget()
        self._lay_out()
        self.tool.activated.connect(self._on_tool)
        self.tool.activated.connect(lambda: self._say(""))  # of the tool before
        self.extent.activated.connect(self.update_state)
        self.amount.valueChanged.connect(self._on_amount)
        self.apply_button.clicked.connect(self.apply)
        self.cancel_button.clicked.connect(self.runner.cancel)
        self.runner.progressed.connect(self._show_progress)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        self.click_model.changed.connect(self.update_state)
        self.clicks.started.connect(lambda: self._say("Answering the click…"))
        self.clicks.finished.connect(self._on_clicked)
        self.clicks.failed.connect(self._on_click_failed)

    def _lay_out(self) -> None:
        self.amount.setMinimumWidth(128)  # pixels: "largest only", and the arrows
        self.amount.setMaximum(1e6)
        self.cancel_button.setToolTip("Stop; the mask stays as it is")
        first = QHBoxLayout()
        first.addWidget(PlainLabel("Tool"))
        first.addWidget(self.tool, 1)
        first.addWidget(self.apply_button)
        ready, busy = QWidget(), QWidget()
        ready_row, busy_row = QHBoxLayout(ready), QHBoxLayout(busy)
        for row in (ready_row, busy_row):
            row.setContentsMargins(0, 0, 0, 0)
        ready_row.addWidget(self.amount, 1)
        ready_row.addWidget(self.extent, 1)
        busy_row.addWidget(self.progress, 1)
        busy_row.addWidget(self.cancel_button)
        self._rows.addWidget(ready)
        self._rows.addWidget(busy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(first)
        layout.addWidget(self._rows)
        layout.addWidget(self.click_model)
        layout.addWidget(self.message)
        self.message.hide()

    @property
    def chosen(self) -> Tool:
        """The tool that is chosen."""
        tool: Tool = self.tool.currentData()
        return tool

    def show_correction(self, correction: Correction | None) -> None:
        """Work on the copy of a correction; None, or one without a copy, hides the tools."""
        has_copy = correction is not None and correction.layer is not None
        self.setVisible(has_copy)
        if correction is self._correction and has_copy:
            self.update_state()
            return
        if self._started is not None and self._started[0] is not correction:
            self.runner.cancel()
        self.clicks.stop()
        self._say("")
        self._correction = correction if has_copy else None
        if not has_copy or correction is None:
            return
        is_volume = correction.plane_count > 1
        name = self.tool.currentText()
        self.tool.clear()
        for tool in (*TOOLS, _CLICKS):
            if is_volume or tool is not _BETWEEN:
                self.tool.addItem(tool.name, tool)
                self.tool.setItemData(self.tool.count() - 1, tool.tooltip, 3)  # Qt.ItemDataRole.ToolTipRole
        self.tool.setCurrentIndex(max(0, self.tool.findText(name)))
        self.extent.clear()
        for extent, text in _EXTENTS.items():
            if is_volume or extent == "slice":
                self.extent.addItem(text if is_volume else "this image", extent)
        self._on_tool()

    def _unit(self) -> tuple[str, float]:
        """The unit in which lengths are shown, and how many of it are one of the spacing."""
        assert self._correction is not None
        steps, unit = edit_spacing(self._correction.scan.geometry)
        if unit == "pixel":
            return "px", 1.0
        return ("µm", 1000.0) if min(steps) < _SMALL_SPACING else ("mm", 1.0)

    def _dimensions(self) -> int:
        return 3 if self.extent.currentData() == "volume" else 2

    def _on_tool(self, *_: object) -> None:
        """Show the amount of the chosen tool."""
        if self._correction is None:
            return
        tool, (unit, factor) = self.chosen, self._unit()
        self.tool.setToolTip(tool.tooltip)
        self.clicks.stop()
        self.apply_button.setText("Click" if tool is _CLICKS else "Apply")
        self.apply_button.setCheckable(tool is _CLICKS)
        self.click_model.setVisible(tool is _CLICKS)
        if tool is _CLICKS:
            self.click_model.refresh()  # Segment may have chosen another model
        self.amount.setVisible(bool(tool.amount))
        steps = edit_spacing(self._correction.scan.geometry)[0]
        finest = min(steps) * factor
        self.amount.blockSignals(True)
        self.amount.setDecimals(0 if unit == "px" and tool.amount == "size" else 1 if unit == "px" else 2)
        # px: an island of one pixel is the smallest; mm: one that an amount with two digits can tell
        self.amount.setSingleStep(
            1.0 if tool.amount == "size" or unit == "px" else max(round(finest, 2), 0.01)
        )
        self.amount.setMinimum(0.0 if tool.amount == "size" else self.amount.singleStep() / 10)
        self.amount.setSpecialValueText("largest only" if tool.amount == "size" else "")
        self.amount.setValue(self._amounts.get(f"{tool.name} {unit}", round(tool.steps * finest, 2)))
        self.amount.blockSignals(False)
        self.update_state()

    def _on_amount(self, value: float) -> None:
        if self._correction is not None:
            self._amounts[f"{self.chosen.name} {self._unit()[0]}"] = value
            self.clicks.radius = self._amount_in_spacing()

    def update_state(self, *_: object) -> None:
        """Enable what applies to the class and the slice on screen; a disabled button says why it is."""
        if self._correction is None or self._correction.layer is None:
            return
        tool, unit = self.chosen, self._unit()[0]
        self.clicks.model = self.click_model.name
        power = {2: "²", 3: "³"}[self._dimensions()] if tool.amount == "size" and unit != "px" else ""
        self.amount.setSuffix(f" {unit}{power}")
        self.amount.setToolTip(tool.tooltip.replace("mm", "pixels" if unit == "px" else unit))
        fixed = _EXTENT_REASONS.get(tool.name, "")
        self.extent.setEnabled(not fixed and self.extent.count() > 1)
        if fixed:
            self.extent.setCurrentIndex(self.extent.findData("volume" if tool is _BETWEEN else "slice"))
        self.extent.setToolTip(fixed or "What the tool is applied to. Approved slices stay as they are")
        reason = self._reason()
        self.apply_button.setChecked(self.clicks.is_on)
        self.apply_button.setEnabled(not reason)
        self.apply_button.setToolTip(reason or f"{tool.tooltip}. Undo takes it back in one step")

    def _reason(self) -> str:
        """Why the tool cannot be applied; empty if it can."""
        correction = self._correction
        assert correction is not None
        assert correction.layer is not None
        if self.runner.is_running:
            return "A tool is at work"
        if self.chosen is _CLICKS and not self.click_model.name:
            return "No installed model answers clicks: install one in Models"
        if self._label_name() is None:
            return "Choose a class above: tools change one class"
        extent = self.extent.currentData()
        part = part_to_edit(self._viewer, correction, extent)
        if part is None:
            return "The view is in 3D: show slices, or choose the volume"
        leading = part.index[:-2]
        if extent == "slice" and not any(isinstance(i, slice) for i in leading):
            number = 0
            for i, n in zip(leading, correction.leading_shape, strict=True):
                number = number * n + int(i)  # type: ignore[arg-type]
            if number in correction.approved:
                what = "slice" if correction.leading_shape else "image"
                return f"This {what} is approved and locked: unlock it first"
        return ""

    def _label_name(self) -> str | None:
        """The name of the class to paint; None for the eraser, or a label that is not a class."""
        assert self._correction is not None
        assert self._correction.layer is not None
        label = int(self._correction.layer.selected_label)
        return next((c.name for c in self._correction.classes if c.label == label), None)

    def apply(self) -> None:
        """Apply the tool to the class that is chosen for painting."""
        correction, name = self._correction, None
        if correction is not None and correction.layer is not None:
            name = self._label_name()
        if correction is None or correction.layer is None or name is None or self.runner.is_running:
            return
        if self.chosen is _CLICKS:
            self._toggle_clicks(correction)
            return
        extent: Extent = self.extent.currentData()
        part = part_to_edit(self._viewer, correction, extent)
        if part is None or self._reason():
            return
        edit = self.chosen.make(self._amount_in_spacing()).replace(each_slice=extent == "slices")
        self._started = correction, self.chosen, name
        self._say("")
        self.progress.setRange(0, 0)
        self.progress.setFormat(self.chosen.name)
        self._rows.setCurrentIndex(1)
        self.runner.start(correction, edit, int(correction.layer.selected_label), part)
        self.update_state()

    def _toggle_clicks(self, correction: Correction) -> None:
        """Let clicks change the mask, or paint again."""
        assert correction.layer is not None
        if self.clicks.is_on:
            self.clicks.stop()
            self._say("")
        else:
            self.clicks.radius = self._amount_in_spacing()
            self._viewer.layers.selection.active = correction.layer
            self.clicks.start(correction)
            self._say("Click on what is missing; hold Shift for what is too much.")
        self.update_state()

    def _on_clicked(self, change: LabelChange) -> None:
        correction = self._correction
        if correction is None or correction.layer is None or not self.clicks.is_on:
            return
        if not set_labels(correction.layer, change):
            self._say("The mask was changed in the meantime, so nothing was applied: click again.")
        elif not len(change):
            self._say("The model would change nothing here: a larger distance, or the brush, may help.")
        else:
            self._say(f"{count_text(len(change), 'pixel')} changed. Ctrl+Z takes it back.")

    def _on_click_failed(self, error: BaseException) -> None:
        self._say("")
        show_exception(error)

    def _amount_in_spacing(self) -> float:
        unit, factor = self._unit()
        power = 1 if self.chosen.amount != "size" else self._dimensions()
        return float(self.amount.value()) / (1.0 if unit == "px" else factor**power)

    def _show_progress(self, done: int, total: int) -> None:
        if total > 1:
            self.progress.setRange(0, total)
            self.progress.setValue(done)

    def _on_finished(self, change: LabelChange) -> None:
        started = self._end()
        if started is None or started[0].layer is None:
            return
        correction, tool, name = started
        layer = correction.layer
        assert layer is not None
        if not set_labels(layer, change):
            self._say("The mask was changed in the meantime, so nothing was applied: apply again.")
            return
        self._viewer.layers.selection.active = layer  # so that Ctrl+Z is the layer's
        if not len(change):
            self._say(f"{tool.name}: nothing to change of {name}.")
            return
        unit = "voxel" if correction.plane_count > 1 else "pixel"
        self._say(f"{tool.name}: {count_text(len(change), unit)} of {name} changed. Ctrl+Z takes it back.")

    def _on_failed(self, error: BaseException) -> None:
        self._end()
        if isinstance(error, Cancelled):
            self._say("Cancelled: the mask is as it was.")
        else:
            show_exception(error)

    def _end(self) -> tuple[Correction, Tool, str] | None:
        self._rows.setCurrentIndex(0)
        started, self._started = self._started, None
        self.update_state()
        return started

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))
