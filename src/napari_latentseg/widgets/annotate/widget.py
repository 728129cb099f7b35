"""The Annotate widget: correct a mask, approve it, go on with what was left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.keys import add_key_to_tooltip, bind_keys
from napari_latentseg.widgets._shared.session import RunResult, session_of
from napari_latentseg.widgets._shared.threads import show_exception
from napari_latentseg.widgets.annotate.class_list import ClassList
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.drafts_panel import DraftsPanel
from napari_latentseg.widgets.annotate.plane_lock import plane_on_screen

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["AnnotateWidget", "format_numbers"]

_PLUGIN = "napari-latentseg"


class AnnotateWidget(QWidget):
    """Correct a copy of a mask with napari's brush, and approve it slice by slice or as a whole.

    Parameters
    ----------
    napari_viewer
        The viewer it belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.corrections = corrections_of(napari_viewer)
        self.empty = QLabel("Nothing to correct yet: open an image and segment it first.")
        self.empty.setWordWrap(True)
        self.open_segment = QPushButton("Open Segment")
        self.open_segment.setToolTip("The widget that makes a mask of an image")
        self.correction_list = QComboBox()
        self.correction_list.setToolTip("The mask that is corrected and approved")
        self.correction_list.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.correction_list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.edit_button = QPushButton("Edit this mask")
        self.classes = ClassList()
        self.slice_status = QLabel()
        self.slice_status.setWordWrap(True)
        self.approve_button = QPushButton("This slice")
        self.approve_all_button = QPushButton("Whole volume")
        self.first_slice, self.last_slice = QSpinBox(), QSpinBox()
        self.approve_range_button = QPushButton("These")
        self.unlock_button = QPushButton("Unlock")
        self.approved_summary = QLabel()
        self.approved_summary.setWordWrap(True)
        self.totals = QLabel()
        self.totals.setWordWrap(True)
        self.train_button = QPushButton("Teach the model…")
        self.train_button.setToolTip("Open the Train widget, where the model learns from what is approved")
        self.drafts_panel = DraftsPanel()
        self.content = QWidget()
        self._lay_out()
        self._connect()
        self._bind_keys()
        self.corrections.autosaver.refresh_drafts()
        self._refresh()

    def _lay_out(self) -> None:
        self.first_slice.setToolTip("The first slice, counted from 0 as napari's slider does")
        self.last_slice.setToolTip("The last slice, which is approved too")
        header = QHBoxLayout()
        header.addWidget(QLabel("Mask"))
        header.addWidget(self.correction_list, 1)
        approve_row = QHBoxLayout()
        approve_row.addWidget(QLabel("Approve"))
        approve_row.addWidget(self.approve_button, 1)
        approve_row.addWidget(self.approve_all_button, 1)
        self.range_row = QWidget()
        range_layout = QHBoxLayout(self.range_row)
        range_layout.setContentsMargins(0, 0, 0, 0)
        range_layout.addWidget(self.first_slice, 1)
        range_layout.addWidget(self.last_slice, 1)
        range_layout.addWidget(self.approve_range_button)
        for box in (self.first_slice, self.last_slice):
            box.setMinimumWidth(96)
        self.first_slice.setPrefix("from ")
        self.last_slice.setPrefix("to ")
        status_row = QHBoxLayout()
        status_row.addWidget(self.slice_status, 1)
        status_row.addWidget(self.unlock_button)
        content_layout = QVBoxLayout(self.content)
        content_layout.setContentsMargins(0, 0, 0, 0)
        content_layout.addLayout(header)
        content_layout.addWidget(self.edit_button)
        content_layout.addWidget(self.classes)
        content_layout.addWidget(_separator())
        content_layout.addLayout(status_row)
        content_layout.addLayout(approve_row)
        content_layout.addWidget(self.range_row)
        content_layout.addWidget(self.approved_summary)
        content_layout.addWidget(_separator())
        content_layout.addWidget(self.totals)
        content_layout.addWidget(self.train_button)
        notice = QLabel("<i>For research. Not a medical device.</i>")
        layout = QVBoxLayout(self)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.empty)
        layout.addWidget(self.open_segment)
        layout.addWidget(self.content)
        layout.addWidget(self.drafts_panel)
        layout.addStretch(1)
        layout.addWidget(notice)
        self.setMinimumWidth(310)
        self.setMaximumWidth(380)

    def _connect(self) -> None:
        corrections = self.corrections
        corrections.changed.connect(self._refresh)
        corrections.count_changed.connect(self._update_totals)
        corrections.autosaver.drafts_changed.connect(self._update_drafts)
        self.session.results_changed.connect(self._refresh)
        self.session.finished.connect(self._refresh)
        self.correction_list.activated.connect(self._choose)
        self.edit_button.clicked.connect(self.edit)
        self.approve_button.clicked.connect(self.approve_shown)
        self.approve_all_button.clicked.connect(self.approve_all)
        self.approve_range_button.clicked.connect(self.approve_range)
        self.unlock_button.clicked.connect(self.unlock_shown)
        self.classes.class_chosen.connect(self._select_label)
        self.classes.class_added.connect(self._add_class)
        self.drafts_panel.resume_requested.connect(corrections.autosaver.resume_draft)
        self.drafts_panel.discard_requested.connect(corrections.autosaver.discard_draft)
        self.open_segment.clicked.connect(lambda: self._open("Segment"))
        self.train_button.clicked.connect(lambda: self._open("Train"))
        dims = self.viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.connect(self._update_slice_status)

    def _bind_keys(self) -> None:
        actions = {"edit": self.edit, "approve": self.approve_shown}
        # where Review is open the keys are its own: there they go on to the next place
        unbound_actions = {
            name: action for name, action in actions.items() if name not in self.session.handlers
        }
        bind_keys(self.viewer, self, unbound_actions)
        self.edit_button.setToolTip("Correct a copy of the mask with napari's brush; the mask itself stays")
        add_key_to_tooltip("edit", self.edit_button)

    @property
    def correction(self) -> Correction | None:
        """The mask that is corrected and approved here."""
        return self.corrections.active

    def _correction_choices(self) -> list[Any]:
        without_result = [w for w in self.corrections.corrections if w.result is None and w.layer is not None]
        return [*self.session.results, *without_result]

    def _refresh(self, *_: Any) -> None:
        correction, choices = self.correction, self._correction_choices()
        self.empty.setVisible(correction is None)
        self.open_segment.setVisible(correction is None)
        self.content.setVisible(correction is not None)
        self.correction_list.clear()
        for choice in choices:
            self.correction_list.addItem(choice.title, choice)
        if correction is None:
            return
        current = correction.result if correction.result in choices else correction
        self.correction_list.setCurrentIndex(choices.index(current) if current in choices else -1)
        layer = correction.layer
        self.edit_button.setText("Edit this mask" if layer is None else "Go on editing")
        self.classes.setVisible(layer is not None)
        if layer is not None:
            self.classes.show_classes(correction.classes, int(layer.selected_label))
            if layer.events.selected_label.callbacks.count(self._follow_label) == 0:
                layer.events.selected_label.connect(self._follow_label)
        has_many_planes = correction.plane_count > 1
        self.approve_all_button.setVisible(has_many_planes)
        self.range_row.setVisible(has_many_planes)
        self.approve_button.setText("This slice" if has_many_planes else "This mask")
        for box in (self.first_slice, self.last_slice):
            is_new_maximum = box.maximum() != correction.plane_count - 1
            box.setMaximum(correction.plane_count - 1)
            if is_new_maximum and box is self.last_slice:
                box.setValue(correction.plane_count - 1)
        self.approved_summary.setVisible(has_many_planes)
        self.approved_summary.setText(
            f"Approved here: {format_numbers(correction.approved) or 'no slice yet'}."
        )
        self._update_slice_status()
        self._update_totals()

    def _plane_on_screen(self) -> int | None:
        """The number of the plane on screen; None where another cut of the volume is."""
        correction = self.correction
        if correction is None:
            return None
        layer = correction.layer if correction.layer is not None else correction.image
        return plane_on_screen(self.viewer, layer, correction.axis_order)

    def _update_slice_status(self, event: Any = None) -> None:
        """Say of the slice on screen whether it is approved, and what can be done with it."""
        correction = self.correction
        if correction is None:
            return
        plane, busy = self._plane_on_screen(), self.corrections.writes_in_progress > 0
        name = f"Slice {plane}" if correction.leading_shape else "This image"
        is_approved = plane is not None and plane in correction.approved
        if plane is None:
            self.slice_status.setText("Another cut of the volume is on screen.")
        elif busy:
            self.slice_status.setText(f"{name}: being written to the disk.")
        else:
            self.slice_status.setText(
                f"{name}: approved, locked." if is_approved else f"{name}: not approved yet."
            )
        self.unlock_button.setVisible(is_approved)
        self.unlock_button.setEnabled(not busy)
        self.unlock_button.setToolTip("Take the approval back, so that the slice can be changed again")
        self.approve_button.setEnabled(plane is not None and not is_approved and not busy)
        self.approve_button.setToolTip(
            "The mask is right here as it is: keep it, and lock it"
            if self.approve_button.isEnabled()
            else "It is approved already" if is_approved else "Show a slice that the model looked at"
        )  # fmt: skip
        if self.approve_button.isEnabled():
            add_key_to_tooltip("approve", self.approve_button)
        is_whole = len(correction.approved) == correction.plane_count
        for button in (self.approve_all_button, self.approve_range_button):
            button.setEnabled(not busy and not is_whole)
            button.setToolTip("All slices are approved already" if is_whole else "Keep them, and lock them")

    def _update_totals(self) -> None:
        correction = self.correction
        if correction is None:
            return
        planes, scans = self.corrections.approved_counts.get(correction.family, (0, 0))
        self.totals.setText(
            f"Approved in all for this model: {count_text(planes, 'slice')}, {count_text(scans, 'scan')}."
            if planes
            else "Nothing is approved for this model yet."
        )
        self.train_button.setEnabled(planes > 0)

    def _update_drafts(self) -> None:
        self.drafts_panel.show_drafts(self.corrections.autosaver.drafts)

    def _choose(self, number: int) -> None:
        choice = self._correction_choices()[number]
        if isinstance(choice, RunResult):
            self.session.select_result(choice)
            correction = self.corrections.correction_of(choice)
        else:
            correction = choice
        layers = self.viewer.layers
        layer = correction.layer if correction.layer is not None else correction.image
        if layer in layers:
            layers.selection.active = layer
        self._refresh()

    def edit(self) -> None:
        """Make a copy of the mask to paint in, or go to the one that is there."""
        correction = self.correction
        if correction is None:
            return
        if correction.layer is not None:
            if not correction.layer.visible:
                correction.layer.visible = True
            self.viewer.layers.selection.active = correction.layer
            return
        result = correction.result
        if result is not None:
            self._run_or_explain(lambda: self.corrections.edit(result))

    def _select_label(self, label: int) -> None:
        correction = self.correction
        if correction is not None and correction.layer is not None:
            correction.layer.selected_label = label
            self.viewer.layers.selection.active = correction.layer

    def _follow_label(self, event: Any = None) -> None:
        correction = self.correction
        if correction is not None and correction.layer is not None:
            self.classes.select(int(correction.layer.selected_label))

    def _add_class(self, name: str, color: str) -> None:
        correction = self.correction
        if correction is not None:
            self._run_or_explain(lambda: self.corrections.add_class(correction, name, color))

    def approve_shown(self) -> None:
        """Approve the slice on screen."""
        plane = self._plane_on_screen()
        if plane is not None:
            self._approve([plane])

    def approve_range(self) -> None:
        """Approve the slices from the one number to the other."""
        first, last = sorted((self.first_slice.value(), self.last_slice.value()))
        self._approve(range(first, last + 1))

    def approve_all(self) -> None:
        """Approve every slice."""
        self._approve(None)

    def _approve(self, numbers: Iterable[int] | None) -> None:
        correction = self.correction
        if correction is not None:
            self._run_or_explain(lambda: self.corrections.approve_planes(correction, numbers))

    def unlock_shown(self) -> None:
        """Take back the approval of the slice on screen."""
        correction, plane = self.correction, self._plane_on_screen()
        if correction is not None and plane is not None:
            self.corrections.unlock(correction, [plane])

    def _run_or_explain(self, action: Any) -> None:
        try:
            action()
        except BadInput as error:
            show_exception(error)

    def _open(self, name: str) -> None:
        """Open another of our widgets beside this one."""
        self.viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)


def _separator() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line


def format_numbers(numbers: Iterable[int]) -> str:
    """Whole numbers as a person would list them.

    Examples
    --------
    >>> in_words([7, 3, 8, 9, 12])
    '3, 7 to 9, 12'
    """
    spans: list[list[int]] = []
    for n in sorted(set(numbers)):
        if spans and spans[-1][-1] == n - 1:
            spans[-1].append(n)
        else:
            spans.append([n])
    return ", ".join(
        f"{span[0]} to {span[-1]}" if len(span) > 2 else ", ".join(map(str, span)) for span in spans
    )


def count_text(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
