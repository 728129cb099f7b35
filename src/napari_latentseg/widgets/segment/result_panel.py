"""The part of the Segment widget that shows the result of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.measure import Measurement, expected_dice_lines
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.class_legend import ClassLegend
from napari_latentseg.widgets._shared.color_bar import ColorBar
from napari_latentseg.widgets._shared.cursor_readout import CursorReadout
from napari_latentseg.widgets._shared.map_style import MAP_ROLES, map_meaning, unavailable_reason
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.sample_contours import sample_contours_of
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import keep_units
from napari_latentseg.widgets.segment.form import SOURCE_LABELS

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["ResultPanel"]

_OUTLINES = "outlines"
# what is shown, in two rows of buttons: six do not fit into one of 340 pixels
_BUTTONS = (("mask", _OUTLINES, "mean"), ("agreement", "variance", "doubt"))
# why no more samples can be drawn, by source
_NO_MORE_SAMPLES = {
    "none": "This source is deterministic",
    "members": "Each ensemble member gives one sample; set the number above and segment again",
}
_READ_FROM_FILES = "The result was read from files; segment the image again to draw more samples"
_NO_VOXEL = "Point at the image to read out a voxel."


class ResultPanel(QWidget):
    """Legend of the classes with their sizes, maps, read-out at the cursor, more samples, review, export.

    Parameters
    ----------
    viewer
        The viewer of the results.

    Signals
    -------
    more_requested
        The user wants five more samples.
    review_requested
        The user wants to review the result.
    export_requested
        The user wants to export the result.
    """

    more_requested = Signal()
    review_requested = Signal()
    export_requested = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session_of(viewer)
        self._layers: ResultLayers | None = None
        self._segmentation: Segmentation | None = None
        self.legend = ClassLegend()
        self.other_sizes = PlainLabel()  # of what has no row in the legend, such as time points
        self.interval_note = PlainLabel()
        self.dice_text = PlainLabel()
        self.dice_text.setToolTip(
            "The Dice of the model's mask against a reference, as on the images that the model was calibrated"
            " with (see the model card); not of a mask that you have corrected"
        )
        self.toggles: dict[str, QPushButton] = {}
        self.color_bar = ColorBar()
        self.readout = CursorReadout(viewer, self)
        self.readout_label = PlainLabel(_NO_VOXEL)
        self.run_note = PlainLabel()
        for label in (
            self.other_sizes,
            self.interval_note,
            self.dice_text,
            self.readout_label,
            self.run_note,
        ):
            label.setWordWrap(True)
        # two lines, so that what is below does not move with the mouse
        self.readout_label.setMinimumHeight(2 * self.readout_label.fontMetrics().lineSpacing())
        self.contours = sample_contours_of(viewer)
        self.more_button = QPushButton("+5 samples")
        self.review_button = QPushButton("Review")
        self.review_button.setToolTip("Review the regions where the samples differ most")
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write mask, mean, variance and the run record to a folder")
        self._lay_out()
        self.legend.class_selected.connect(self._on_class)
        self.readout.changed.connect(self._on_readout)
        self.contours.toggled.connect(self._update_toggles)
        self.more_button.clicked.connect(self.more_requested)
        self.review_button.clicked.connect(self.review_requested)
        self.export_button.clicked.connect(self.export_requested)

    def _lay_out(self) -> None:
        toggle_grid = QGridLayout()
        toggle_grid.setSpacing(4)
        for row, roles in enumerate(_BUTTONS):
            for column, role in enumerate(roles):
                button = QPushButton("Sample outlines" if role == _OUTLINES else role.capitalize())
                button.setCheckable(True)
                button.clicked.connect(lambda on, role=role: self._toggle(role, on))
                self.toggles[role] = button
                toggle_grid.addWidget(button, row, column)
        buttons = QHBoxLayout()
        for button in (self.more_button, self.review_button, self.export_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.legend)
        layout.addWidget(self.other_sizes)
        layout.addWidget(self.interval_note)
        layout.addWidget(self.dice_text)
        layout.addLayout(toggle_grid)
        layout.addWidget(self.color_bar)
        layout.addWidget(self.readout_label)
        layout.addWidget(self.run_note)
        layout.addLayout(buttons)
        self.color_bar.hide()

    def show_result(
        self,
        segmentation: Segmentation,
        layers: ResultLayers,
        sizes: Iterable[Measurement],
        note: str,
        *,
        can_extend: bool = True,
    ) -> None:
        """Show a result, the sizes of its classes and a note on them; follow its layers.

        A result that was read from files cannot be extended: it has no run that draws more samples.
        """
        if layers is not self._layers:
            if self._layers is not None:
                self._layers.maps.shown_class_changed.disconnect(self._on_shown_class)
            layers.maps.shown_class_changed.connect(self._on_shown_class)
        self._layers, self._segmentation = layers, segmentation
        for layer in layers.all_layers:
            layer.events.visible.disconnect(self._update_toggles)
            layer.events.visible.connect(self._update_toggles)
        self.legend.show_look(layers.look, layers.maps.shown_class)
        self._show_sizes(sizes)
        record = segmentation.record
        self.interval_note.setText(keep_units(note))
        estimates = expected_dice_lines(record.expected_dice)
        self.dice_text.setText(keep_units("\n".join(estimates)))
        self.dice_text.setVisible(bool(estimates))
        self.run_note.setText(_run_note(segmentation))
        no_more = _NO_MORE_SAMPLES.get(record.source, "" if can_extend else _READ_FROM_FILES)
        self.more_button.setEnabled(not no_more)
        self.more_button.setToolTip(no_more or "Add five samples to the mean and variance")
        self.readout.set_result(layers)
        self._update_toggles()

    def _show_sizes(self, sizes: Iterable[Measurement]) -> None:
        """Sizes of the classes in their rows, all others below."""
        class_names = {row.info.name for row in self.legend.rows}
        class_sizes, other_lines = {}, []
        for size in sizes:
            line = size.describe()
            if size.title in class_names:
                class_sizes[size.title] = line.removeprefix(f"{size.title}: ")
            else:
                other_lines.append(line)
        self.legend.set_sizes(class_sizes)
        self.other_sizes.setText(keep_units("\n".join(other_lines)))
        self.other_sizes.setVisible(bool(other_lines))

    def set_busy(self, busy: bool) -> None:
        """Disable the panel during a run."""
        self.setEnabled(not busy)
        self.setToolTip("A run is in progress; wait or cancel" if busy else "")

    def _on_class(self, position: int) -> None:
        if self._layers is not None:
            self._layers.maps.show_class(position)

    def _on_shown_class(self, position: int) -> None:
        if isalive(self) and self._layers is not None:
            self.legend.show_look(self._layers.look, position)
            self._update_color_bar()
            self.readout.follow()

    def _on_readout(self, text: str) -> None:
        self.readout_label.setText(text or _NO_VOXEL)

    def _toggle(self, role: str, on: bool) -> None:
        """Show or hide."""
        if self._layers is None:
            return
        if role == _OUTLINES:
            self.contours.show_contours(self._session.current, on)
            return
        if role in MAP_ROLES:
            self._layers.show_map(role, on)
            return
        for layer in self._layers.layers_of(role):
            layer.visible = on

    def _update_toggles(self, event: object = None) -> None:
        if not isalive(self):  # a layer may outlive the widget
            return
        for role, button in self.toggles.items():
            if role == _OUTLINES:
                reason = self.contours.unavailable_reason(self._session.current)
                button.setEnabled(not reason)
                button.setChecked(self.contours.is_on)
                button.setToolTip(reason or "The outline of each sample on the current slice")
                continue
            shown = self._layers.layers_of(role) if self._layers is not None else []
            button.setEnabled(bool(shown))
            button.setChecked(any(layer.visible for layer in shown))
            button.setToolTip(self._tooltip(role, bool(shown)))
        self._update_color_bar()

    def _update_color_bar(self) -> None:
        layers, segmentation = self._layers, self._segmentation
        visible = [
            role
            for role in reversed(MAP_ROLES)
            if layers is not None and any(layer.visible for layer in layers.layers_of(role))
        ]
        self.color_bar.setVisible(bool(visible))
        if visible and layers is not None and segmentation is not None:
            classes = segmentation.classes
            class_name = classes[layers.maps.shown_class].name if len(classes) > 1 else ""
            record = segmentation.record
            self.color_bar.show_map(
                visible[0], record.samples, class_name, is_weighted=record.hints is not None
            )

    def _tooltip(self, role: str, is_in_viewer: bool) -> str:
        segmentation = self._segmentation
        if segmentation is None:
            return ""
        if is_in_viewer and role == "mask":
            return "Voxels whose mean probability exceeds the threshold."
        if is_in_viewer:
            record = segmentation.record
            return map_meaning(role, record.samples, is_weighted=record.hints is not None)
        return unavailable_reason(role, segmentation)


def _run_note(segmentation: Segmentation) -> str:
    record, region = segmentation.record, segmentation.segmented_region
    if record.source == "none":
        line = "Single pass: no variance"
    else:
        line = f"{count_text(record.samples, 'sample')} from {SOURCE_LABELS[record.source]}"
    if region.is_cancelled:
        requested = f" of {record.samples_asked} requested" if record.samples < record.samples_asked else ""
        line = f"Cancelled: {line}{requested}"
    elif not region.is_whole:
        line += f", on {region.describe()}"
    if record.source != "none" and record.samples < MIN_SAMPLES_FOR_VARIANCE:
        line += f". A variance needs {MIN_SAMPLES_FOR_VARIANCE} samples or more"
    return f"{line}."
