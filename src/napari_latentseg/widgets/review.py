"""The Review widget: where the model was unsure, one place after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.review import MEASURES, available, basis
from napari_latentseg.widgets.background import in_background
from napari_latentseg.widgets.corrections import corrections_of
from napari_latentseg.widgets.export import ExportDialog
from napari_latentseg.widgets.going import go_to
from napari_latentseg.widgets.keys import bind_keys, show_key
from napari_latentseg.widgets.layers import place_on_screen
from napari_latentseg.widgets.measures import MeasuresPanel
from napari_latentseg.widgets.outlines import SampleOutlines
from napari_latentseg.widgets.profile import ProfilePlot
from napari_latentseg.widgets.queue import QueueView
from napari_latentseg.widgets.session import Result, session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.review import Finding

__all__ = ["ReviewWidget"]

_BY = {"slices": "slices", "objects": "objects"}


class ReviewWidget(QWidget):
    """A queue of slices or objects, the least sure first; go to each, and say what is right.

    Parameters
    ----------
    napari_viewer
        The viewer it belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.results = QComboBox()
        self.results.setToolTip("The result that is reviewed")
        self.measure = QComboBox()
        self.measure.setToolTip("How unsureness is measured")
        self.by = QComboBox()
        for title, name in _BY.items():
            self.by.addItem(title, name)
        self.by.setToolTip("Whether slices or objects are listed")
        for combo in (self.results, self.measure, self.by):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.empty = QLabel("Nothing to review yet: segment an image first.")
        self.empty.setWordWrap(True)
        self.basis = QLabel()
        self.basis.setWordWrap(True)
        self.profile = ProfilePlot()
        self.queue = QueueView()
        self.counter = QLabel()
        self.previous_button = QPushButton("< Previous")
        self.next_button = QPushButton("Next >")
        self.right_button = QPushButton("Right")
        self.edit_button = QPushButton("Edit")
        self.variance_button = QPushButton("Variance")
        self.outlines_button = QPushButton("Sample outlines")
        self.outlines = SampleOutlines(napari_viewer, self)
        self.measures = MeasuresPanel(napari_viewer)
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write masks, table and a report of one page into a folder")
        self.body = QWidget()
        self._asked = 0
        self._lay_out()
        self._connect()
        self._bind()
        self._list()

    def _lay_out(self) -> None:
        self.previous_button.setToolTip("The place before")
        self.next_button.setToolTip("The next place that nobody has looked at")
        self.right_button.setToolTip("The mask is right here as it is: approve it")
        self.edit_button.setToolTip("Correct a copy of the mask with napari's brush")
        self.variance_button.setToolTip("Show over the image how much the samples differ")
        for button in (self.variance_button, self.outlines_button):
            button.setCheckable(True)
        going = QHBoxLayout()
        for button in (self.previous_button, self.next_button, self.right_button, self.edit_button):
            going.addWidget(button, 1)
        showing = QHBoxLayout()
        showing.addWidget(QLabel("Show"))
        showing.addWidget(self.variance_button, 1)
        showing.addWidget(self.outlines_button, 1)
        chosen = QGridLayout()
        chosen.addWidget(QLabel("Result"), 0, 0)
        chosen.addWidget(self.results, 0, 1, 1, 2)
        chosen.addWidget(QLabel("Rank"), 1, 0)
        chosen.addWidget(self.by, 1, 1)
        chosen.addWidget(self.measure, 1, 2)
        self.by.setFixedWidth(92)
        chosen.setColumnStretch(2, 1)
        notice = QLabel("<i>For research. Not a medical device.</i>")
        body = QVBoxLayout(self.body)
        body.setContentsMargins(0, 0, 0, 0)
        body.addLayout(chosen)
        body.addWidget(self.basis)
        body.addWidget(self.profile)
        body.addWidget(self.queue, 1)
        body.addLayout(going)
        body.addWidget(self.counter)
        body.addLayout(showing)
        body.addWidget(self.measures)
        body.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.empty)
        layout.addWidget(self.body, 1)
        layout.addWidget(notice)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setMinimumWidth(310)
        self.setMaximumWidth(380)

    def _connect(self) -> None:
        session = self.session
        session.listed.connect(self._list)
        session.recut.connect(self._on_recut)
        self.results.activated.connect(self._on_result)
        self.measure.activated.connect(self.rank)
        self.by.activated.connect(self.rank)
        self.queue.chosen.connect(self.go)
        self.profile.chosen.connect(self._go_to_plane)
        self.previous_button.clicked.connect(self.previous)
        self.next_button.clicked.connect(self.next)
        self.right_button.clicked.connect(self.approve)
        self.edit_button.clicked.connect(self.edit)
        self.variance_button.clicked.connect(self.show_variance)
        self.outlines_button.clicked.connect(self.show_outlines)
        self.export_button.clicked.connect(self.ask_export)
        self.measures.failed.connect(show_error)
        self.viewer.dims.events.current_step.connect(self._on_step)

    def _bind(self) -> None:
        bind_keys(
            self.viewer,
            self,
            {
                "next": self.next,
                "previous": self.previous,
                "approve": self.approve,
                "edit": self.edit,
                "variance": self.variance_button.click,
                "outlines": self.outlines_button.click,
            },
        )
        show_key("next", self.next_button)
        show_key("previous", self.previous_button)
        show_key("approve", self.right_button)
        show_key("edit", self.edit_button)
        show_key("variance", self.variance_button)

    @property
    def result(self) -> Result | None:
        """The result that is reviewed."""
        current = self.session.current
        return current if current is not None and current.found is not None else None

    def _list(self, *_: Any) -> None:
        """Show which results there are, and the current one's places."""
        self.results.clear()
        for each in self.session.results:
            self.results.addItem(each.title, each)
        result = self.result
        self.results.setCurrentIndex(
            self.session.results.index(result) if result in self.session.results else -1
        )
        there = result is not None
        self.empty.setVisible(not there)
        self.body.setVisible(there)
        if result is None or result.found is None:
            self.measures.show_result(None)
            return
        keys = available(result.found)
        before = self.measure.currentData()
        self.measure.clear()
        for key in keys:
            self.measure.addItem(MEASURES[key].title, key)
            self.measure.setItemData(
                self.measure.count() - 1, MEASURES[key].about, Qt.ItemDataRole.ToolTipRole
            )
        self.measure.setCurrentIndex(max(0, self.measure.findData(before)))
        self.basis.setText(basis(result.found))
        self.profile.setVisible(result.found.mask.ndim > 2)
        has_slices = result.found.mask.ndim > 2
        if has_slices != self.by.isEnabled():  # else what was chosen stays, also when more samples have come
            self.by.setCurrentIndex(0 if has_slices else 1)
        self.by.setEnabled(has_slices)
        why_not = self.outlines.why_not(result)
        self.outlines_button.setEnabled(not why_not)
        self.outlines_button.setToolTip(why_not or "Draw the outline of each sample over the image")
        if not why_not:
            show_key("outlines", self.outlines_button)
        variances = result.layers.of("variance")
        self.variance_button.setEnabled(bool(variances))
        self.variance_button.setChecked(any(layer.visible for layer in variances))
        self.rank()

    def _on_result(self, number: int) -> None:
        self.session.choose(self.session.results[number])

    def _on_recut(self, result: Result) -> None:
        if result is self.result:
            self.rank()

    def rank(self, *_: Any) -> None:
        """Put slices or objects in order, and measure; in the background."""
        result = self.result
        if result is None or result.found is None:
            return
        self._asked += 1
        asked = self._asked
        found, key, by = result.found, str(self.measure.currentData() or ""), str(self.by.currentData())

        def work() -> Any:
            from napari_latentseg.review import profile, rank

            values = profile(found, key) if found.mask.ndim > 2 else None
            return rank(found, key, "objects" if by == "objects" else "slices"), values

        def show(answer: Any) -> None:
            if asked != self._asked:
                return
            findings, values = answer
            self.queue.fill(findings, result.marks)
            if values is not None:
                self.profile.show_profile(np.asarray(values).ravel())
                self._on_step()
            self._count()

        in_background(work, show, owner=self)
        self.measures.show_result(result)
        self.outlines.show_for(result, self.outlines_button.isChecked())

    def _count(self) -> None:
        result, findings = self.result, self.queue.findings
        if result is None:
            return
        marks = [result.marks.get(one.place, "") for one in findings]
        text = f"{sum(map(bool, marks))} of {len(marks)} seen"
        for mark, word in (("right", "approved"), ("edited", "corrected")):
            if count := marks.count(mark):
                text += f", {count} {word}"
        self.counter.setText(text if findings else "No place where the samples differ.")
        for button in (self.previous_button, self.next_button, self.right_button):
            button.setEnabled(bool(findings))

    def go(self, row: int) -> None:
        """Go to a place of the queue, which is thereby seen."""
        result = self.result
        if result is None or not 0 <= row < len(self.queue.findings):
            return
        finding = self.queue.findings[row]
        self.queue.select(row)
        go_to(self.viewer, result.layers.image, finding.index, finding.box)
        self._mark(finding, "seen")

    def next(self) -> None:
        """Go to the next place that nobody has seen; after the last, to the first."""
        result, findings = self.result, self.queue.findings
        if result is None or not findings:
            return
        after = [(self.queue.row + 1 + i) % len(findings) for i in range(len(findings))]
        fresh = [row for row in after if not result.marks.get(findings[row].place)]
        self.go(fresh[0] if fresh else after[0])

    def previous(self) -> None:
        """Go to the place before."""
        if self.queue.findings:
            self.go((self.queue.row - 1) % len(self.queue.findings) if self.queue.row >= 0 else 0)

    def _go_to_plane(self, number: int) -> None:
        result = self.result
        if result is not None and result.found is not None:
            lead = result.found.mask.shape[:-2]
            go_to(self.viewer, result.layers.image, tuple(int(i) for i in np.unravel_index(number, lead)))

    def _on_step(self, event: Any = None) -> None:
        """Mark the slice on screen in the plot."""
        result = self.result
        if result is None or result.found is None or result.found.mask.ndim < 3:
            return
        lead = result.found.mask.shape[:-2]
        place = place_on_screen(self.viewer, result.layers.image)[: len(lead)]
        at = tuple(i for i in place if not isinstance(i, slice))
        if len(at) == len(lead):
            self.profile.show_plane(int(np.ravel_multi_index(at, lead)))

    def _finding(self) -> Finding | None:
        row = self.queue.row
        return self.queue.findings[row] if 0 <= row < len(self.queue.findings) else None

    def _mark(self, finding: Finding, mark: str) -> None:
        result = self.result
        if result is None or (mark == "seen" and result.marks.get(finding.place)):
            return
        result.marks[finding.place] = mark
        self.queue.tell_marks()
        self._count()

    def approve(self) -> None:
        """Say that the mask is right here, keep it among the approved ones, and go on."""
        result, finding = self.result, self._finding()
        if result is None or finding is None:
            return
        was_edited = result.marks.get(finding.place) == "edited"
        corrections_of(self.viewer).approve(result, finding.index)
        if not was_edited:
            self._mark(finding, "right")
        self.next()

    def edit(self) -> None:
        """Correct a copy of the mask, beginning at the chosen place."""
        result = self.result
        if result is None:
            return
        finding = self._finding()
        corrections_of(self.viewer).edit(result)
        if finding is not None:
            self._mark(finding, "edited")

    def show_variance(self, on: bool) -> None:
        """Show how much the samples differ, over the image, or hide it."""
        if self.result is not None:
            for layer in self.result.layers.of("variance"):
                layer.visible = on

    def show_outlines(self, on: bool) -> None:
        """Draw the outline of each sample on the slice on screen, or take them away."""
        self.outlines.show_for(self.result, on)

    def ask_export(self) -> None:
        """Ask where and how the result is to be written."""
        if self.result is not None:
            ExportDialog(self.result, self).show()
