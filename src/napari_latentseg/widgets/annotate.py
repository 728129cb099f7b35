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
from napari_latentseg.widgets.background import explain
from napari_latentseg.widgets.class_list import ClassList
from napari_latentseg.widgets.corrections import corrections_of
from napari_latentseg.widgets.keys import bind_keys, show_key
from napari_latentseg.widgets.left_over import LeftOver
from napari_latentseg.widgets.plane_lock import plane_on_screen
from napari_latentseg.widgets.session import Result, session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.work import Work

__all__ = ["AnnotateWidget", "in_words"]

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
        self.works = QComboBox()
        self.works.setToolTip("The mask that is corrected and approved")
        self.works.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.works.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.edit_button = QPushButton("Edit this mask")
        self.classes = ClassList()
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.approve_button = QPushButton("This slice")
        self.all_button = QPushButton("Whole volume")
        self.first, self.last = QSpinBox(), QSpinBox()
        self.range_button = QPushButton("These")
        self.unlock_button = QPushButton("Unlock")
        self.approved = QLabel()
        self.approved.setWordWrap(True)
        self.totals = QLabel()
        self.totals.setWordWrap(True)
        self.teach_button = QPushButton("Teach the model…")
        self.teach_button.setToolTip("Open the Train widget, where the model learns from what is approved")
        self.left = LeftOver()
        self.body = QWidget()
        self._lay_out()
        self._connect()
        self._bind()
        self.corrections.kept.look_for_left()
        self._refresh()

    def _lay_out(self) -> None:
        self.first.setToolTip("The first slice, counted from 0 as napari's slider does")
        self.last.setToolTip("The last slice, which is approved too")
        head = QHBoxLayout()
        head.addWidget(QLabel("Mask"))
        head.addWidget(self.works, 1)
        approving = QHBoxLayout()
        approving.addWidget(QLabel("Approve"))
        approving.addWidget(self.approve_button, 1)
        approving.addWidget(self.all_button, 1)
        self.span = QWidget()
        span = QHBoxLayout(self.span)
        span.setContentsMargins(0, 0, 0, 0)
        span.addWidget(self.first, 1)
        span.addWidget(self.last, 1)
        span.addWidget(self.range_button)
        for box in (self.first, self.last):
            box.setMinimumWidth(96)
        self.first.setPrefix("from ")
        self.last.setPrefix("to ")
        shown = QHBoxLayout()
        shown.addWidget(self.state, 1)
        shown.addWidget(self.unlock_button)
        body = QVBoxLayout(self.body)
        body.setContentsMargins(0, 0, 0, 0)
        body.addLayout(head)
        body.addWidget(self.edit_button)
        body.addWidget(self.classes)
        body.addWidget(_line())
        body.addLayout(shown)
        body.addLayout(approving)
        body.addWidget(self.span)
        body.addWidget(self.approved)
        body.addWidget(_line())
        body.addWidget(self.totals)
        body.addWidget(self.teach_button)
        notice = QLabel("<i>For research. Not a medical device.</i>")
        layout = QVBoxLayout(self)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.empty)
        layout.addWidget(self.open_segment)
        layout.addWidget(self.body)
        layout.addWidget(self.left)
        layout.addStretch(1)
        layout.addWidget(notice)
        self.setMinimumWidth(310)
        self.setMaximumWidth(380)

    def _connect(self) -> None:
        corrections = self.corrections
        corrections.changed.connect(self._refresh)
        corrections.counted.connect(self._tell_totals)
        corrections.kept.listed.connect(self._list_left)
        self.session.listed.connect(self._refresh)
        self.session.finished.connect(self._refresh)
        self.works.activated.connect(self._choose)
        self.edit_button.clicked.connect(self.edit)
        self.approve_button.clicked.connect(self.approve_shown)
        self.all_button.clicked.connect(self.approve_all)
        self.range_button.clicked.connect(self.approve_range)
        self.unlock_button.clicked.connect(self.unlock_shown)
        self.classes.chosen.connect(self._select_label)
        self.classes.added.connect(self._add_class)
        self.left.wanted.connect(corrections.kept.go_on)
        self.left.unwanted.connect(corrections.kept.discard)
        self.open_segment.clicked.connect(lambda: self._open("Segment"))
        self.teach_button.clicked.connect(lambda: self._open("Train"))
        dims = self.viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.connect(self._tell_slice)

    def _bind(self) -> None:
        actions = {"edit": self.edit, "approve": self.approve_shown}
        # where Review is open the keys are its own: there they go on to the next place
        free = {name: do for name, do in actions.items() if name not in self.session.handlers}
        bind_keys(self.viewer, self, free)
        self.edit_button.setToolTip("Correct a copy of the mask with napari's brush; the mask itself stays")
        show_key("edit", self.edit_button)

    @property
    def work(self) -> Work | None:
        """The mask that is corrected and approved here."""
        return self.corrections.active

    def _choices(self) -> list[Any]:
        alone = [w for w in self.corrections.works if w.result is None and w.layer is not None]
        return [*self.session.results, *alone]

    def _refresh(self, *_: Any) -> None:
        work, choices = self.work, self._choices()
        self.empty.setVisible(work is None)
        self.open_segment.setVisible(work is None)
        self.body.setVisible(work is not None)
        self.works.clear()
        for choice in choices:
            self.works.addItem(choice.title, choice)
        if work is None:
            return
        chosen = work.result if work.result in choices else work
        self.works.setCurrentIndex(choices.index(chosen) if chosen in choices else -1)
        layer = work.layer
        self.edit_button.setText("Edit this mask" if layer is None else "Go on editing")
        self.classes.setVisible(layer is not None)
        if layer is not None:
            self.classes.show_classes(work.classes, int(layer.selected_label))
            if layer.events.selected_label.callbacks.count(self._follow_label) == 0:
                layer.events.selected_label.connect(self._follow_label)
        many = work.count > 1
        self.all_button.setVisible(many)
        self.span.setVisible(many)
        self.approve_button.setText("This slice" if many else "This mask")
        for box in (self.first, self.last):
            fresh = box.maximum() != work.count - 1
            box.setMaximum(work.count - 1)
            if fresh and box is self.last:
                box.setValue(work.count - 1)
        self.approved.setVisible(many)
        self.approved.setText(f"Approved here: {in_words(work.approved) or 'no slice yet'}.")
        self._tell_slice()
        self._tell_totals()

    def _shown(self) -> int | None:
        """The number of the plane on screen; None where another cut of the volume is."""
        work = self.work
        if work is None:
            return None
        layer = work.layer if work.layer is not None else work.image
        return plane_on_screen(self.viewer, layer, work.order)

    def _tell_slice(self, event: Any = None) -> None:
        """Say of the slice on screen whether it is approved, and what can be done with it."""
        work = self.work
        if work is None:
            return
        plane, busy = self._shown(), self.corrections.busy > 0
        name = f"Slice {plane}" if work.lead else "This image"
        is_approved = plane is not None and plane in work.approved
        if plane is None:
            self.state.setText("Another cut of the volume is on screen.")
        elif busy:
            self.state.setText(f"{name}: being written to the disk.")
        else:
            self.state.setText(f"{name}: approved, locked." if is_approved else f"{name}: not approved yet.")
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
            show_key("approve", self.approve_button)
        is_whole = len(work.approved) == work.count
        for button in (self.all_button, self.range_button):
            button.setEnabled(not busy and not is_whole)
            button.setToolTip("All slices are approved already" if is_whole else "Keep them, and lock them")

    def _tell_totals(self) -> None:
        work = self.work
        if work is None:
            return
        planes, scans = self.corrections.counts.get(work.family, (0, 0))
        self.totals.setText(
            f"Approved in all for this model: {counted(planes, 'slice')}, {counted(scans, 'scan')}."
            if planes
            else "Nothing is approved for this model yet."
        )
        self.teach_button.setEnabled(planes > 0)

    def _list_left(self) -> None:
        self.left.show_drafts(self.corrections.kept.left)

    def _choose(self, number: int) -> None:
        choice = self._choices()[number]
        if isinstance(choice, Result):
            self.session.choose(choice)
            work = self.corrections.work_of(choice)
        else:
            work = choice
        layers = self.viewer.layers
        wanted = work.layer if work.layer is not None else work.image
        if wanted in layers:
            layers.selection.active = wanted
        self._refresh()

    def edit(self) -> None:
        """Make a copy of the mask to paint in, or go to the one that is there."""
        work = self.work
        if work is None:
            return
        if work.layer is not None:
            if not work.layer.visible:
                work.layer.visible = True
            self.viewer.layers.selection.active = work.layer
            return
        result = work.result
        if result is not None:
            self._try(lambda: self.corrections.edit(result))

    def _select_label(self, label: int) -> None:
        work = self.work
        if work is not None and work.layer is not None:
            work.layer.selected_label = label
            self.viewer.layers.selection.active = work.layer

    def _follow_label(self, event: Any = None) -> None:
        work = self.work
        if work is not None and work.layer is not None:
            self.classes.select(int(work.layer.selected_label))

    def _add_class(self, name: str, color: str) -> None:
        work = self.work
        if work is not None:
            self._try(lambda: self.corrections.add_class(work, name, color))

    def approve_shown(self) -> None:
        """Approve the slice on screen."""
        plane = self._shown()
        if plane is not None:
            self._approve([plane])

    def approve_range(self) -> None:
        """Approve the slices from the one number to the other."""
        first, last = sorted((self.first.value(), self.last.value()))
        self._approve(range(first, last + 1))

    def approve_all(self) -> None:
        """Approve every slice."""
        self._approve(None)

    def _approve(self, numbers: Iterable[int] | None) -> None:
        work = self.work
        if work is not None:
            self._try(lambda: self.corrections.approve_planes(work, numbers))

    def unlock_shown(self) -> None:
        """Take back the approval of the slice on screen."""
        work, plane = self.work, self._shown()
        if work is not None and plane is not None:
            self.corrections.unlock(work, [plane])

    def _try(self, do: Any) -> None:
        try:
            do()
        except BadInput as error:
            explain(error)

    def _open(self, name: str) -> None:
        """Open another of our widgets beside this one."""
        self.viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line


def in_words(numbers: Iterable[int]) -> str:
    """Whole numbers as a person would list them.

    Examples
    --------
    >>> in_words([7, 3, 8, 9, 12])
    '3, 7 to 9, 12'
    """
    runs: list[list[int]] = []
    for n in sorted(set(numbers)):
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def counted(number: int, what: str) -> str:
    """A number of things, in words."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
