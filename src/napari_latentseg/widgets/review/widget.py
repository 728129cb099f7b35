"""The Review widget: the regions where the model is uncertain, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton

from napari_latentseg.review import uncertainty_basis
from napari_latentseg.widgets._shared.controls import collapsible, elastic_combo
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.double_click import DoubleClickGuard
from napari_latentseg.widgets._shared.keys import add_key_to_tooltip, bind_keys
from napari_latentseg.widgets._shared.layers import index_on_screen
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_error, show_info
from napari_latentseg.widgets._shared.session import RunResult
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.plane_lock import plane_on_screen
from napari_latentseg.widgets.dates.change_panel import ChangePanel
from napari_latentseg.widgets.dates.flip_panel import FlipPanel
from napari_latentseg.widgets.review.display_buttons import DisplayButtons
from napari_latentseg.widgets.review.hints_panel import HintsPanel
from napari_latentseg.widgets.review.marks import marks_text, region_marks
from napari_latentseg.widgets.review.measures import MeasuresPanel
from napari_latentseg.widgets.review.navigate import navigate_to
from napari_latentseg.widgets.review.profile import ProfilePlot
from napari_latentseg.widgets.review.queue import QueueView
from napari_latentseg.widgets.review.ranking import RankedRegions, Ranking
from napari_latentseg.widgets.segment.export_dialog import ExportDialog

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.review import Finding

__all__ = ["ReviewWidget"]


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
        self.ranking = Ranking(self)
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
        self.display_buttons = DisplayButtons(napari_viewer)
        self.hints = HintsPanel(napari_viewer)
        self.measures = MeasuresPanel(napari_viewer)
        self.flip_panel = FlipPanel(napari_viewer)
        self.change_panel = ChangePanel(napari_viewer)
        self.change_box = collapsible("Compare with an earlier result", self.change_panel)
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write masks, a table and a one-page report to a folder")
        self._approve_guard = DoubleClickGuard()
        self._listed_result: RunResult | None = None  # whose regions the queue lists
        self._no_regions = ""  # why the queue is empty, once its regions are ranked
        self._lay_out()
        self._connect()
        self._bind_keys()
        self._refresh()

    def _lay_out(self) -> None:
        self.edit_button.setToolTip("Edit a copy of the mask with napari's brush")
        navigation_row = QHBoxLayout()
        for button in (self.previous_button, self.next_button, self.approve_button, self.edit_button):
            navigation_row.addWidget(button, 1)
        selection_grid = QGridLayout()
        selection_grid.addWidget(PlainLabel("Result"), 0, 0)
        selection_grid.addWidget(self.results, 0, 1)
        selection_grid.addWidget(PlainLabel("List"), 1, 0)
        selection_grid.addWidget(self.ranking.unit_box, 1, 1)
        selection_grid.addWidget(PlainLabel("Sort by"), 2, 0)
        selection_grid.addWidget(self.ranking.measure_box, 2, 1)
        selection_grid.setColumnStretch(1, 1)
        self.body.addLayout(selection_grid)
        self.body.addWidget(self.basis_label)
        self.body.addWidget(self.profile)
        self.body.addWidget(self.queue, 1)
        self.body.addLayout(navigation_row)
        self.body.addWidget(self.counter)
        self.body.addWidget(self.display_buttons)
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
        self.ranking.asked.connect(self.rank)
        self.ranking.ranked.connect(self._on_ranked)
        self.queue.row_chosen.connect(self.go_to_row)
        self.profile.plane_chosen.connect(self._go_to_plane)
        self.previous_button.clicked.connect(self.previous)
        self.next_button.clicked.connect(self.next)
        self.approve_button.clicked.connect(self.approve)
        self.edit_button.clicked.connect(self.edit)
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
            self.display_buttons.show_result(None)
            return
        corrections_of(self.viewer).correction_of(result)  # reads what is approved of the image already
        basis = uncertainty_basis(result.segmentation)
        self.basis_label.setText(basis[0].upper() + basis[1:])
        self.ranking.offer(result.segmentation)
        self.profile.setVisible(result.segmentation.mask.ndim > 2)
        self.display_buttons.show_result(result)
        self.hints.show_result(result)
        self.rank()

    def _on_maps_added(self, result: RunResult) -> None:
        if result is self.result:
            self.display_buttons.show_result(result)

    def _on_result(self, row: int) -> None:
        self.session.select_result(self.session.results[row])

    def _on_thresholded(self, result: RunResult) -> None:
        if result is self.result:
            self.display_buttons.show_result(result)  # hints may weight the samples now
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
        self._update_marks()
        self.ranking.rank(result.segmentation)
        self.measures.show_result(result)

    def _on_ranked(self, regions: RankedRegions) -> None:
        self._no_regions = regions.problem or "No uncertain region."
        self.queue.fill(regions.findings, {c.name: c.color for c in regions.segmentation.classes})
        self._update_marks()
        if regions.profile is not None:
            self.profile.show_profile(regions.profile)
            self._on_step()

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
        what = "this slice" if self.ranking.unit_box.isEnabled() else "the whole image, all regions of it"
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

    def ask_export(self) -> None:
        """Open the export dialog."""
        if self.result is not None:
            ExportDialog(self.result, self).show()
