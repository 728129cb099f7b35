"""The Annotate widget: correct a mask, approve its slices, resume unfinished corrections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.controls import elastic_combo, separator
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.keys import add_key_to_tooltip, bind_keys
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.session import RunResult
from napari_latentseg.widgets._shared.text import SLICE_NUMBER_NOTE, format_slices, slice_text
from napari_latentseg.widgets._shared.threads import show_exception
from napari_latentseg.widgets.annotate.added_classes import remove_added_class, unknown_class_warning
from napari_latentseg.widgets.annotate.class_list import ClassList
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.drafts_panel import DraftsPanel
from napari_latentseg.widgets.annotate.plane_lock import plane_on_screen
from napari_latentseg.widgets.annotate.tools_panel import ToolsPanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["AnnotateWidget"]

_SAVING = "An approval is being saved"
_IMAGE_GONE = "The image was removed: open it again to correct its mask"
_NOT_SEGMENTED = "This slice was not segmented: segment it first, or paint what is there"


class AnnotateWidget(DockWidget):
    """Correct a copy of a mask with napari's brush, and approve it slice by slice or as a whole.

    Parameters
    ----------
    napari_viewer
        The viewer in which the widget is docked.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.set_empty_state(
            "No mask to correct yet: open an image and segment it first.",
            "Open Segment",
            lambda: self.open_widget("Segment"),
            "Open the Segment widget",
            running_text="The image is being segmented: its mask can be corrected once the run has ended.",
        )
        self.corrections = corrections_of(napari_viewer)
        self.correction_list = elastic_combo("The mask to correct and approve")
        self.edit_button = QPushButton("Edit this mask")
        self.classes = ClassList()
        self.tools = ToolsPanel(napari_viewer)
        self.slice_status = PlainLabel()
        self.approve_button = QPushButton("Current slice")
        self.approve_all_button = QPushButton("All slices")
        self.first_slice, self.last_slice = QSpinBox(), QSpinBox()
        self.approve_range_button = QPushButton("Approve range")
        self.unlock_button = QPushButton("Unlock")
        self.approved_summary = PlainLabel()
        self.totals = PlainLabel()
        self.train_button = QPushButton("Fine-tune the model…")
        self.drafts_panel = DraftsPanel()
        self.editor = QWidget()
        self._unsegmented: list[int] = []  # planes that were not segmented, and in which nothing is painted
        for label in (self.slice_status, self.approved_summary, self.totals):
            label.setWordWrap(True)
        self._lay_out()
        self._connect()
        self._bind_keys()
        self.corrections.autosaver.refresh_drafts()
        self._refresh()

    def _lay_out(self) -> None:
        self.first_slice.setToolTip(f"The first slice. {SLICE_NUMBER_NOTE}")
        self.last_slice.setToolTip(f"The last slice (inclusive). {SLICE_NUMBER_NOTE}")
        for box in (self.first_slice, self.last_slice):
            box.setMinimum(1)
        self.first_slice.setPrefix("from ")
        self.last_slice.setPrefix("to ")
        header = QHBoxLayout()
        header.addWidget(PlainLabel("Mask"))
        header.addWidget(self.correction_list, 1)
        status_row = QHBoxLayout()
        status_row.addWidget(self.slice_status, 1)
        status_row.addWidget(self.unlock_button)
        approve_row = QHBoxLayout()
        approve_row.addWidget(PlainLabel("Approve"))
        approve_row.addWidget(self.approve_button, 1)
        approve_row.addWidget(self.approve_all_button, 1)
        self.range_row = QWidget()
        range_layout = QHBoxLayout(self.range_row)
        range_layout.setContentsMargins(0, 0, 0, 0)
        for box in (self.first_slice, self.last_slice):
            box.setMinimumWidth(96)  # pixels: prefix, three digits and the arrows
            range_layout.addWidget(box, 1)
        range_layout.addWidget(self.approve_range_button)
        editor_layout = QVBoxLayout(self.editor)
        editor_layout.setContentsMargins(0, 0, 0, 0)
        editor_layout.addLayout(header)
        editor_layout.addWidget(self.edit_button)
        editor_layout.addWidget(self.classes)
        editor_layout.addWidget(self.tools)
        editor_layout.addWidget(separator())
        editor_layout.addLayout(status_row)
        editor_layout.addLayout(approve_row)
        editor_layout.addWidget(self.range_row)
        editor_layout.addWidget(self.approved_summary)
        editor_layout.addWidget(separator())
        editor_layout.addWidget(self.totals)
        editor_layout.addWidget(self.train_button)
        self.body.addWidget(self.editor)
        self.body.addWidget(self.drafts_panel)
        self.body.addStretch(1)

    def _connect(self) -> None:
        corrections = self.corrections
        corrections.changed.connect(self._refresh)
        corrections.approvals.count_changed.connect(self._update_totals)
        corrections.autosaver.drafts_changed.connect(self._update_drafts)
        self.session.results_changed.connect(self._refresh)
        self.session.finished.connect(self._refresh)
        self.session.mask_changed.connect(self._update_unsegmented)
        self.correction_list.activated.connect(self._choose)
        self.edit_button.clicked.connect(self.edit)
        self.approve_button.clicked.connect(self.approve_shown)
        self.approve_all_button.clicked.connect(self.approve_all)
        self.approve_range_button.clicked.connect(self.approve_range)
        self.unlock_button.clicked.connect(self.unlock_shown)
        self.classes.class_chosen.connect(self._select_label)
        self.classes.class_added.connect(self._add_class)
        self.classes.class_removed.connect(self._remove_class)
        self.drafts_panel.resume_requested.connect(corrections.autosaver.resume_draft)
        self.drafts_panel.discard_requested.connect(corrections.autosaver.discard_draft)
        self.train_button.clicked.connect(lambda: self.open_widget("Train"))
        dims = self.viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            self.connect_event(event, self._update_slice_status)

    def _bind_keys(self) -> None:
        actions = {"edit": self.edit, "approve": self.approve_shown}
        # while Review is open the keys are its own: there, approving also goes to the next region
        unbound_actions = {
            name: action for name, action in actions.items() if name not in self.session.handlers
        }
        bind_keys(self.viewer, self, unbound_actions)

    @property
    def correction(self) -> Correction | None:
        """The mask that is corrected and approved in this widget."""
        return self.corrections.active

    def _correction_choices(self) -> list[Any]:
        without_result = [w for w in self.corrections.corrections if w.result is None and w.layer is not None]
        return [*self.session.results, *without_result]

    def _refresh(self, *_: Any) -> None:
        correction, choices = self.correction, self._correction_choices()
        self.show_empty_state(correction is None, keep_content=True)  # drafts can be resumed without a mask
        self.editor.setVisible(correction is not None)
        self.tools.show_correction(correction)
        self.correction_list.clear()
        for choice in choices:
            self.correction_list.addItem(choice.title, choice)
        if correction is None:
            return
        current = correction.result if correction.result in choices else correction
        self.correction_list.setCurrentIndex(choices.index(current) if current in choices else -1)
        layer = correction.layer
        self._update_edit_button(correction)
        self.classes.setVisible(layer is not None)
        if layer is not None:
            self.classes.show_classes(correction.classes, int(layer.selected_label))
            self.classes.show_added(correction.added_labels, unknown_class_warning(correction))
            if layer.events.selected_label.callbacks.count(self._follow_label) == 0:
                self.connect_event(layer.events.selected_label, self._follow_label)
                self.connect_event(layer.events.paint, self._on_paint)
                self.connect_event(layer.events.visible, self._on_visible)
        has_many_planes = correction.plane_count > 1
        self.approve_all_button.setVisible(has_many_planes)
        self.range_row.setVisible(has_many_planes)
        self.approve_button.setText("Current slice" if has_many_planes else "This mask")
        for box in (self.first_slice, self.last_slice):
            is_new_maximum = box.maximum() != correction.plane_count
            box.setMaximum(correction.plane_count)
            if is_new_maximum and box is self.last_slice:
                box.setValue(correction.plane_count)
        self.approved_summary.setVisible(has_many_planes)
        self.approved_summary.setText(f"Approved slices: {format_slices(correction.approved) or 'none yet'}.")
        self._update_unsegmented()
        self._update_totals()

    def _update_edit_button(self, correction: Correction) -> None:
        """Offer editing, unless that is what goes on already."""
        layer = correction.layer
        self.edit_button.setText("Edit this mask" if layer is None else "Resume editing")
        is_editing = layer is not None and layer.visible and self.viewer.layers.selection.active is layer
        reason = "You are editing the mask: paint in the image" if is_editing else ""
        if layer is None and self._is_image_gone(correction):
            reason = _IMAGE_GONE
        self.edit_button.setEnabled(not reason)
        if reason:
            self.edit_button.setToolTip(reason)
            return
        self.edit_button.setToolTip("Correct a copy of the mask with napari's brush; the prediction is kept")
        add_key_to_tooltip("edit", self.edit_button)

    def _is_image_gone(self, correction: Correction) -> bool:
        return not self.session.cases.is_open(correction.image)

    def _on_visible(self, event: Any = None) -> None:
        correction = self.correction
        if self.is_open and correction is not None:  # a layer may outlive the widget
            self._update_edit_button(correction)

    def _plane_on_screen(self) -> int | None:
        """The number of the plane on screen; None in 3-D, or where the view has another orientation."""
        correction = self.correction
        if correction is None:
            return None
        layer = correction.layer if correction.layer is not None else correction.image
        return plane_on_screen(self.viewer, layer, correction.axis_order)

    def _on_paint(self, event: Any = None) -> None:
        # napari may tell of a stroke before it has set the labels
        QTimer.singleShot(0, self._update_unsegmented)

    def _update_unsegmented(self, *_: Any) -> None:
        """Find out anew which slices have neither a prediction nor a stroke."""
        if not self.is_open:
            return
        correction = self.correction
        self._unsegmented = correction.empty_unsegmented_planes() if correction is not None else []
        self._update_slice_status()

    def _update_slice_status(self, event: Any = None) -> None:
        """Show whether the slice on screen is approved, and which of the buttons apply to it."""
        correction = self.correction
        if correction is None:
            return
        plane, busy = self._plane_on_screen(), self.corrections.approvals.writes_in_progress > 0
        name = "This image"
        if correction.leading_shape and plane is not None:
            name = slice_text(plane, correction.plane_count)
        is_approved = plane is not None and plane in correction.approved
        is_unsegmented = plane in self._unsegmented and not correction.has_labels_in(plane or 0)
        if plane is None:
            self.slice_status.setText(f"{self._no_plane_reason(correction)}.")
        elif busy:
            self.slice_status.setText(f"{name}: saving.")
        elif is_approved:
            self.slice_status.setText(f"{name}: approved, locked.")
        else:
            self.slice_status.setText(
                f"{name}: not segmented." if is_unsegmented else f"{name}: not approved yet."
            )
        self.unlock_button.setVisible(is_approved)
        self.unlock_button.setEnabled(not busy)
        self.unlock_button.setToolTip("Revoke the approval so that the slice can be edited again")
        self.approve_button.setEnabled(plane is not None and not (is_approved or is_unsegmented or busy))
        if busy:
            self.approve_button.setToolTip(_SAVING)
        elif is_approved:
            what = "slice" if correction.leading_shape else "image"
            self.approve_button.setToolTip(f"This {what} is already approved")
        elif plane is None:
            self.approve_button.setToolTip(self._no_plane_reason(correction))
        elif is_unsegmented:
            self.approve_button.setToolTip(_NOT_SEGMENTED)
        else:
            self.approve_button.setToolTip("Approve the mask on this slice and lock it")
            add_key_to_tooltip("approve", self.approve_button)
        self._update_buttons_of_many(correction, busy)
        self.tools.update_state()

    def _no_plane_reason(self, correction: Correction) -> str:
        """Why the view shows none of the planes that can be approved one by one."""
        if correction.layer is None and self._is_image_gone(correction):
            return _IMAGE_GONE
        if self.viewer.dims.ndisplay != 2:
            return "The view is in 3D: show slices to approve one"
        return "The view shows another orientation than the slices that were segmented"

    def _update_buttons_of_many(self, correction: Correction, busy: bool) -> None:
        """Enable what approves several slices, and tell of a disabled button why it is."""
        is_whole = len(correction.approved) == correction.plane_count
        reason = _SAVING if busy else "All slices are already approved" if is_whole else ""
        self.approve_range_button.setEnabled(not reason)
        self.approve_range_button.setToolTip(reason or "Approve and lock these slices")
        if self._unsegmented and not reason:
            verb = "was" if len(self._unsegmented) == 1 else "were"
            reason = (
                f"{len(self._unsegmented)} of {correction.plane_count} slices {verb} not segmented:"
                f" {format_slices(self._unsegmented)}. Approve the others with Approve range"
            )
        self.approve_all_button.setEnabled(not reason)
        self.approve_all_button.setToolTip(reason or "Approve and lock all slices")

    def _update_totals(self) -> None:
        correction = self.correction
        if correction is None:
            return
        slices, _ = self.corrections.approvals.counts.get(correction.family, (0, 0))
        self.totals.setText(
            f"Approved for this model: {self.corrections.approvals.summaries[correction.family]}."
            if slices
            else "Nothing is approved for this model yet."
        )
        self.train_button.setEnabled(slices > 0)
        self.train_button.setToolTip(
            "Open the Train widget to fine-tune the model on the approved slices"
            if slices
            else "Approve a slice first"
        )

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
        """Create an editable copy of the mask, or select the one that exists."""
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
            self.tools.update_state()

    def _add_class(self, name: str, color: str) -> None:
        correction = self.correction
        if correction is not None:
            self._run_or_explain(lambda: self.corrections.add_class(correction, name, color))

    def _remove_class(self, label: int) -> None:
        correction = self.correction
        if correction is not None:
            changed = self.corrections.changed.emit
            self._run_or_explain(lambda: remove_added_class(self.corrections, correction, label, changed))

    def approve_shown(self) -> None:
        """Approve the slice on screen."""
        plane = self._plane_on_screen()
        if plane is not None:
            self._approve([plane])

    def approve_range(self) -> None:
        """Approve the slices between the two numbers, inclusive."""
        first, last = sorted((self.first_slice.value(), self.last_slice.value()))
        self._approve(range(first - 1, last))

    def approve_all(self) -> None:
        """Approve every slice."""
        self._approve(None)

    def _approve(self, numbers: Iterable[int] | None) -> None:
        correction = self.correction
        if correction is not None:
            self._run_or_explain(lambda: self.corrections.approve_planes(correction, numbers))

    def unlock_shown(self) -> None:
        """Revoke the approval of the slice on screen."""
        correction, plane = self.correction, self._plane_on_screen()
        if correction is not None and plane is not None:
            self.corrections.approvals.unlock(correction, [plane])

    def _run_or_explain(self, action: Any) -> None:
        try:
            action()
        except BadInput as error:
            show_exception(error)
