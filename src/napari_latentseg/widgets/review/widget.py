"""The Review widget: the regions where the model is uncertain, one after another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton

from napari_latentseg.errors import BadInput
from napari_latentseg.review import MEASURES, available_measures, uncertainty_basis
from napari_latentseg.widgets._shared.controls import collapsible, elastic_combo
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.double_click import DoubleClickGuard
from napari_latentseg.widgets._shared.keys import add_key_to_tooltip, bind_keys
from napari_latentseg.widgets._shared.layers import index_on_screen
from napari_latentseg.widgets._shared.map_style import map_meaning, unavailable_reason
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text, show_error, show_info
from napari_latentseg.widgets._shared.sample_contours import sample_contours_of
from napari_latentseg.widgets._shared.session import RunResult
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.plane_lock import plane_on_screen
from napari_latentseg.widgets.dates.change_panel import ChangePanel
from napari_latentseg.widgets.dates.flip_panel import FlipPanel
from napari_latentseg.widgets.review.edge_contours import edge_contours_of
from napari_latentseg.widgets.review.hints_panel import HintsPanel
from napari_latentseg.widgets.review.marks import marks_text, region_marks
from napari_latentseg.widgets.review.measures import MeasuresPanel
from napari_latentseg.widgets.review.navigate import navigate_to
from napari_latentseg.widgets.review.profile import ProfilePlot
from napari_latentseg.widgets.review.queue import QueueView
from napari_latentseg.widgets.segment.export_dialog import ExportDialog

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.review import Finding

__all__ = ["ReviewWidget"]

_RANK_UNITS = ("slices", "objects")


class ReviewWidget(DockWidget):
    """A queue of slices or objects, the most uncertain first, to be looked at, approved or edited.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.set_empty_state(
            "Nothing to review yet: segment an image first.",
            "Open Segment",
            lambda: self.open_widget("Segment"),
            "The widget that segments an image",
            running_text="The image is being segmented: it can be reviewed once the run has ended.",
        )
        self.results = elastic_combo("The result to review")
        self.measure_box = elastic_combo("Uncertainty measure to sort by")
        self.rank_unit = elastic_combo("List slices or objects")
        for name in _RANK_UNITS:
            self.rank_unit.addItem(name, name)
        self.basis_label = PlainLabel()
        self.basis_label.setWordWrap(True)
        self.profile = ProfilePlot()
        self.queue = QueueView()
        self.counter = PlainLabel()
        self.counter.setWordWrap(True)
        self.previous_button = QPushButton("< Previous")
        self.next_button = QPushButton("Next >")
        self.approve_button = QPushButton("Approve")
        self.edit_button = QPushButton("Edit")
        self.map_buttons = {role: QPushButton(role.capitalize()) for role in ("variance", "doubt")}
        self.contours_button = QPushButton("Sample outlines")
        self.contours = sample_contours_of(napari_viewer)
        self.edge_button = QPushButton("90 % contours")
        self.edge_contours = edge_contours_of(napari_viewer)
        self.hints = HintsPanel(napari_viewer)
        self.measures = MeasuresPanel(napari_viewer)
        self.flip_panel = FlipPanel(napari_viewer)
        self.change_panel = ChangePanel(napari_viewer)
        self.change_box = collapsible("Compare with an earlier result", self.change_panel)
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write masks, a table and a one-page report to a folder")
        self._request_id = 0
        self._approve_guard = DoubleClickGuard()
        self._listed_result: RunResult | None = None  # whose regions the queue lists
        self._no_regions = ""  # why the queue is empty, once its regions are ranked
        self._lay_out()
        self._connect()
        self._bind_keys()
        self._refresh()

    def _lay_out(self) -> None:
        self.edit_button.setToolTip("Edit a copy of the mask with napari's brush")
        toggles = (*self.map_buttons.values(), self.contours_button, self.edge_button)
        for button in toggles:
            button.setCheckable(True)
        navigation_row = QHBoxLayout()
        for button in (self.previous_button, self.next_button, self.approve_button, self.edit_button):
            navigation_row.addWidget(button, 1)
        display_grid = QGridLayout()
        display_grid.setSpacing(4)
        for position, button in enumerate(toggles):
            display_grid.addWidget(button, *divmod(position, 2))
        selection_grid = QGridLayout()
        selection_grid.addWidget(PlainLabel("Result"), 0, 0)
        selection_grid.addWidget(self.results, 0, 1)
        selection_grid.addWidget(PlainLabel("List"), 1, 0)
        selection_grid.addWidget(self.rank_unit, 1, 1)
        selection_grid.addWidget(PlainLabel("Sort by"), 2, 0)
        selection_grid.addWidget(self.measure_box, 2, 1)
        selection_grid.setColumnStretch(1, 1)
        self.body.addLayout(selection_grid)
        self.body.addWidget(self.basis_label)
        self.body.addWidget(self.profile)
        self.body.addWidget(self.queue, 1)
        self.body.addLayout(navigation_row)
        self.body.addWidget(self.counter)
        self.body.addLayout(display_grid)
        self.body.addWidget(self.flip_panel)
        self.body.addWidget(self.hints)
        self.body.addWidget(self.measures)
        self.body.addWidget(self.change_box)
        self.body.addWidget(self.export_button)

    def _connect(self) -> None:
        session = self.session
        session.results_changed.connect(self._refresh)
        session.maps_added.connect(self._on_maps_added)
        session.thresholded.connect(self._on_thresholded)
        session.mask_changed.connect(self._on_mask_changed)
        self.results.activated.connect(self._on_result)
        self.measure_box.activated.connect(self.rank)
        self.rank_unit.activated.connect(self.rank)
        self.queue.row_chosen.connect(self.go_to_row)
        self.profile.plane_chosen.connect(self._go_to_plane)
        self.previous_button.clicked.connect(self.previous)
        self.next_button.clicked.connect(self.next)
        self.approve_button.clicked.connect(self.approve)
        self.edit_button.clicked.connect(self.edit)
        for role, button in self.map_buttons.items():
            button.clicked.connect(partial(self.show_map, role))
        self.contours_button.clicked.connect(self.show_contours)
        self.edge_button.clicked.connect(self.show_edge_contours)
        self.contours.toggled.connect(self.contours_button.setChecked)
        self.edge_contours.toggled.connect(self.edge_button.setChecked)
        self.export_button.clicked.connect(self.ask_export)
        self.measures.failed.connect(show_error)
        self.connect_event(self.viewer.dims.events.current_step, self._on_step)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            self.connect_event(event, self.measures.reset_references)

    def _bind_keys(self) -> None:
        actions = {"next": self.next, "previous": self.previous, "approve": self.approve, "edit": self.edit}
        bind_keys(self.viewer, self, actions)
        add_key_to_tooltip("edit", self.edit_button)

    @property
    def result(self) -> RunResult | None:
        """The result to review; None where there is none."""
        current = self.session.current
        return current if current is not None and current.segmentation is not None else None

    def _refresh(self, *_: Any) -> None:
        """List the results, and show the current one."""
        result, results = self.result, self.session.results
        if result is not self._listed_result:  # no region of another case may be gone to or approved
            self._listed_result = result
            self._no_regions = ""
            self.queue.fill(())
        self.results.clear()
        for run_result in results:
            self.results.addItem(run_result.title, run_result)
        self.results.setCurrentIndex(results.index(result) if result in results else -1)
        self.show_empty_state(result is None)
        if result is None or result.segmentation is None:
            self.measures.show_result(None)
            self.hints.show_result(None)
            return
        corrections_of(self.viewer).correction_of(result)  # reads what is approved of the image already
        basis = uncertainty_basis(result.segmentation)
        self.basis_label.setText(basis[0].upper() + basis[1:])
        self._update_ranking_choices(result.segmentation)
        self._update_display_buttons(result)
        self.hints.show_result(result)
        self.rank()

    def _update_ranking_choices(self, segmentation: Segmentation) -> None:
        """Offer the measures that a segmentation allows, and slices unless it is 2D; keep the selection."""
        previous_measure = self.measure_box.currentData()
        self.measure_box.clear()
        for row, key in enumerate(available_measures(segmentation)):
            self.measure_box.addItem(MEASURES[key].title, key)
            self.measure_box.setItemData(row, MEASURES[key].description, Qt.ItemDataRole.ToolTipRole)
        self.measure_box.setCurrentIndex(max(0, self.measure_box.findData(previous_measure)))
        has_slices = segmentation.mask.ndim > 2
        self.profile.setVisible(has_slices)
        if has_slices != self.rank_unit.isEnabled():
            self.rank_unit.setCurrentIndex(0 if has_slices else 1)
        self.rank_unit.setEnabled(has_slices)
        self.rank_unit.setToolTip(
            "List slices or objects" if has_slices else "A 2D image has no slices to list"
        )

    def _update_display_buttons(self, result: RunResult) -> None:
        """Enable the buttons of what the result has; the tooltip of a disabled button gives the reason."""
        unavailable = self.contours.unavailable_reason(result)
        self.contours_button.setEnabled(not unavailable)
        self.contours_button.setChecked(self.contours.is_on)
        self.contours_button.setToolTip(unavailable or "Show the outline of each sample over the image")
        if not unavailable:
            add_key_to_tooltip("contours", self.contours_button)
        no_promise = self.edge_contours.unavailable_reason(result)
        band = result.card.contour_band if result.card is not None else None
        self.edge_button.setEnabled(not no_promise)
        self.edge_button.setChecked(self.edge_contours.is_on)
        self.edge_button.setToolTip(plain_text(no_promise or ("" if band is None else band.promise)))
        for role, button in self.map_buttons.items():
            layers = result.layers.layers_of(role)
            button.setEnabled(bool(layers))
            for layer in layers:
                layer.events.visible.disconnect(self._on_map_shown)  # it is connected at most once
                layer.events.visible.connect(self._on_map_shown)
            segmentation = result.segmentation
            if segmentation is None:
                continue
            samples, is_weighted = segmentation.record.samples, segmentation.record.hints is not None
            button.setToolTip(
                map_meaning(role, samples, is_weighted=is_weighted)
                if layers
                else unavailable_reason(role, segmentation)
            )
            if layers:
                add_key_to_tooltip(role, button)
        self._on_map_shown()

    def _on_maps_added(self, result: RunResult) -> None:
        if result is self.result:
            self._update_display_buttons(result)

    def _on_map_shown(self, event: Any = None) -> None:
        """Follow the maps, which can also be shown from elsewhere."""
        if not self.is_open:  # a layer may outlive the widget
            return
        for role, button in self.map_buttons.items():
            layers = self.result.layers.layers_of(role) if self.result is not None else []
            button.setChecked(any(layer.visible for layer in layers))

    def _on_result(self, row: int) -> None:
        self.session.select_result(self.session.results[row])

    def _on_thresholded(self, result: RunResult) -> None:
        if result is self.result:
            self._update_display_buttons(result)  # hints may weight the samples now
            self.rank()

    def _on_mask_changed(self, result: RunResult) -> None:
        """Measure the changed mask, and show what of it is corrected and approved."""
        if result is self.result:
            self.measures.show_result(result)
            self.hints.update_state()
            self._update_marks()

    def rank(self, *_: Any) -> None:
        """Rank slices or objects by uncertainty in a worker, and update the measures."""
        result = self.result
        if result is None or result.segmentation is None:
            return
        self._request_id += 1
        request_id = self._request_id
        segmentation = result.segmentation
        key, rank_unit = str(self.measure_box.currentData() or ""), str(self.rank_unit.currentData())

        def compute() -> Any:
            from napari_latentseg.review import rank, uncertainty_profile

            values = uncertainty_profile(segmentation, key) if segmentation.mask.ndim > 2 else None
            return rank(segmentation, key, "objects" if rank_unit == "objects" else "slices"), values

        def show(ranking: Any) -> None:
            if request_id != self._request_id:  # a later request has replaced this one
                return
            findings, values = ranking
            self._no_regions = "No uncertain region."
            self.queue.fill(findings, {c.name: c.color for c in segmentation.classes})
            self._update_marks()
            if values is not None:
                self.profile.show_profile(np.asarray(values).ravel())
                self._on_step()

        def fail(error: BaseException) -> None:
            if request_id != self._request_id:
                return
            self._no_regions = "The regions could not be ranked."
            if isinstance(error, BadInput):
                self._no_regions = f"This {error.what} {error.why}; {error.remedy}."
            else:
                show_exception(error)
            self.queue.fill(())
            self.profile.show_profile(np.zeros(segmentation.mask.shape[:-2]).ravel())
            self._update_marks()

        self._update_marks()
        run_in_thread(compute, show, fail, owner=self)
        self.measures.show_result(result)

    def _update_marks(self) -> None:
        """Show the status of the regions, and how many there are of each."""
        result, findings = self.result, self.queue.findings
        if result is None or result.segmentation is None:
            return
        comparison = result.latest_mask.comparison if result.latest_mask is not None else None
        order = result.job.view.order
        is_reoriented = bool(order) and order != tuple(sorted(order))
        slice_shape = None if is_reoriented else result.segmentation.mask.shape[:-2]
        marks_by_region = region_marks(findings, result.seen_regions, comparison, slice_shape)
        self.queue.show_marks(marks_by_region)
        marks = [marks_by_region.get(finding.identity, "") for finding in findings]
        self.counter.setText(marks_text(marks) if findings else self._no_regions or "Ranking…")
        self._enable_navigation()

    def _enable_navigation(self) -> None:
        """Enable what goes through the queue; without regions its tooltips say so."""
        what = "this slice" if self.rank_unit.isEnabled() else "the whole image, all regions of it"
        for name, button, tooltip in (
            ("previous", self.previous_button, "Previous region"),
            ("next", self.next_button, "Next region not yet seen"),
            (
                "approve",
                self.approve_button,
                f"Approve the mask on {what}, lock it and go to the next region",
            ),
        ):
            button.setEnabled(bool(self.queue.findings))
            button.setToolTip(tooltip if self.queue.findings else "No region is listed")
            if self.queue.findings:
                add_key_to_tooltip(name, button)

    def go_to_row(self, row: int) -> None:
        """Go to a region of the queue, and mark it as seen."""
        result = self.result
        if result is None or not 0 <= row < len(self.queue.findings):
            return
        finding = self.queue.findings[row]
        self.queue.select(row)
        navigate_to(self.viewer, result.layers.image, finding.index, finding.box)
        result.seen_regions.add(finding.identity)
        self._update_marks()

    def next(self) -> None:
        """Go to the next unseen region; if all were seen, to the next one. The first follows the last."""
        result, findings = self.result, self.queue.findings
        if result is None or not findings:
            return
        following_rows = [(self.queue.row + 1 + i) % len(findings) for i in range(len(findings))]
        marks = self.queue.marks
        unseen_rows = [row for row in following_rows if not marks.get(findings[row].identity)]
        self.go_to_row(unseen_rows[0] if unseen_rows else following_rows[0])

    def previous(self) -> None:
        """Go to the previous region."""
        if self.queue.findings:
            self.go_to_row((self.queue.row - 1) % len(self.queue.findings) if self.queue.row >= 0 else 0)

    def _go_to_plane(self, number: int) -> None:
        """Go to a slice, given by its position in the uncertainty profile."""
        result = self.result
        if result is not None and result.segmentation is not None:
            leading_shape = result.segmentation.mask.shape[:-2]
            navigate_to(
                self.viewer,
                result.layers.image,
                tuple(int(i) for i in np.unravel_index(number, leading_shape)),
            )

    def _on_step(self, event: Any = None) -> None:
        """Mark the slice on screen in the profile."""
        result = self.result
        if result is None or result.segmentation is None or result.segmentation.mask.ndim < 3:
            return
        leading_shape = result.segmentation.mask.shape[:-2]
        screen_index = index_on_screen(self.viewer, result.layers.image)[: len(leading_shape)]
        leading_index = tuple(i for i in screen_index if not isinstance(i, slice))
        if len(leading_index) == len(leading_shape):
            self.profile.show_plane(int(np.ravel_multi_index(leading_index, leading_shape)))

    def _selected_finding(self) -> Finding | None:
        row = self.queue.row
        return self.queue.findings[row] if 0 <= row < len(self.queue.findings) else None

    def approve(self) -> None:
        """Approve the mask on this slice, and go to the next region.

        Where another slice is on screen, that of the region is shown first.
        """
        result, finding = self.result, self._selected_finding()
        if result is None or self._approve_guard.is_too_soon:
            return
        if finding is None:
            if self.queue.findings:
                show_info("No region is selected: press Next, and look at it first.")
            return
        if self._is_other_slice_shown(result, finding):
            self.go_to_row(self.queue.row)
            self._approve_guard.something_was_shown()
            show_info("Another slice was on screen: look at this one, then approve.")
            return
        if corrections_of(self.viewer).approve(result, finding.index):
            self.next()
            self._approve_guard.something_was_shown()

    def _is_other_slice_shown(self, result: RunResult, finding: Finding) -> bool:
        shape = result.job.scan.spatial_shape[:-2]
        image = result.layers.image
        number = plane_on_screen(self.viewer, image, tuple(range(image.ndim)))
        return number is not None and bool(shape) and np.unravel_index(number, shape) != tuple(finding.index)

    def edit(self) -> None:
        """Edit a copy of the mask."""
        result = self.result
        if result is not None:
            corrections_of(self.viewer).edit(result)

    def show_map(self, role: str, on: bool) -> None:
        """Show the variance or the doubt over the image, or hide it; see `MAP_ROLES`."""
        if self.result is not None:
            self.result.layers.show_map(role, on)
            self._on_map_shown()

    def show_contours(self, on: bool) -> None:
        """Show the contour of each sample on the current slice, or hide them."""
        self.contours.show_contours(self.result, on)

    def show_edge_contours(self, on: bool) -> None:
        """Show the contours between which the true edge lies, or hide them."""
        self.edge_contours.show_contours(self.result, on)

    def ask_export(self) -> None:
        """Open the export dialog."""
        if self.result is not None:
            ExportDialog(self.result, self).show()
