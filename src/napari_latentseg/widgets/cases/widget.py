"""The Cases widget: a list of cases, opened one after another, approved, rejected or read a second time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QWidget,
)

from napari_latentseg.caselist.decisions import STATES, check_reader
from napari_latentseg.caselist.listed_case import ListedCase
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.controls import WrappedLabel, allow, separator, widget_row
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.keys import bind_keys
from napari_latentseg.widgets._shared.plain_text import show_info
from napari_latentseg.widgets._shared.preferences import keep_reader
from napari_latentseg.widgets._shared.source_path import source_path
from napari_latentseg.widgets._shared.threads import ThreadWorker, show_exception
from napari_latentseg.widgets.cases.case_list_table import CaseListTable
from napari_latentseg.widgets.cases.case_work import case_work_of
from napari_latentseg.widgets.cases.compare_readings import show_readings, why_not_compared
from napari_latentseg.widgets.cases.consensus_dialog import export_consensus, why_no_consensus
from napari_latentseg.widgets.cases.opened_case import OpenedCase
from napari_latentseg.widgets.cases.opened_panel import OpenedCasePanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["CasesWidget"]

_READING = "A case is being read; wait"


class CasesWidget(DockWidget):
    """A list of cases for readers.

    Parameters
    ----------
    napari_viewer
        The viewer in which cases are opened.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.work = case_work_of(napari_viewer)
        self._make_fields()
        self._lay_out()
        self._connect()
        self._show_list()
        self._show_rows()
        self._refresh()

    def _make_fields(self) -> None:
        self.source = QLineEdit()
        self.source.setPlaceholderText("a folder, a CSV file, results of a batch, dicomweb://")
        self.source.setToolTip(
            "A folder of images, with or without results or masks beside them; a CSV file with the columns"
            " case and path; the folder that Segment a folder has written; or the address of an archive,"
            " which is contacted when you press Enter"
        )
        self.source.setAccessibleName("List")
        self.results = QLineEdit()
        self.results.setPlaceholderText("only if in another folder")
        self.results.setToolTip(
            "A folder of results, or of masks with the same names as the images. Decisions are kept there too"
        )
        self.results.setAccessibleName("Results")
        self.source_button, self.results_button = QPushButton("Browse"), QPushButton("Browse")
        self.reader = QLineEdit()
        self.reader.setPlaceholderText("your name or initials")
        self.reader.setToolTip("Kept with every decision, and in Preferences > LatentSeg")
        self.reader.setAccessibleName("Reader")
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search…")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search")
        self.search.setToolTip("Searches the names of cases and readers, and the comments")
        self.state_box = QComboBox()
        for title, state in (("all cases", ""), ("undecided", "undecided"), *((s, s) for s in STATES)):
            self.state_box.addItem(title, state)
        self.state_box.setToolTip("Which cases are shown; Open next goes through these")
        self.table = CaseListTable()
        self.counts = WrappedLabel()
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop reading the list")
        self.open_button, self.next_button = QPushButton("Open"), QPushButton("Open next")
        self.compare_button = QPushButton("Compare readings…")
        self.consensus_button = QPushButton("Export consensus…")
        self.message = WrappedLabel()
        self.opened_panel = OpenedCasePanel()

    def _lay_out(self) -> None:
        browse_menu = QMenu(self.source_button)
        browse_menu.addAction("a folder…", self._browse_folder)
        browse_menu.addAction("a CSV file…", self._browse_list)
        browse_menu.addAction("an archive (DICOMweb)…", partial(self.run_command, "open_from_archive"))
        self.source_button.setMenu(browse_menu)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("List", widget_row(self.source, self.source_button))
        form.addRow("Results", widget_row(self.results, self.results_button))
        form.addRow("Reader", self.reader)
        self.body.addLayout(form)
        self.body.addWidget(widget_row(self.search, self.state_box))
        self.body.addWidget(self.table, 1)
        self.body.addWidget(self.counts)
        self.body.addWidget(self.cancel_button)
        self.body.addWidget(widget_row(self.open_button, self.next_button))
        self.body.addWidget(widget_row(self.compare_button, self.consensus_button))
        self.body.addWidget(separator())
        self.body.addWidget(self.opened_panel)
        self.body.addWidget(self.message)
        self.table.setMinimumHeight(8 * (self.fontMetrics().height() + 8))
        QWidget.setTabOrder(self.table, self.open_button)

    def _connect(self) -> None:
        work = self.work
        work.rows_changed.connect(self._show_rows)
        work.changed.connect(self._refresh)
        work.opened_case.connect(self._show_opened)
        work.said.connect(self._say)
        work.none_left.connect(self._say_none_left)
        self.source.returnPressed.connect(self.open_list)
        self.results.returnPressed.connect(self.open_list)
        self.reader.editingFinished.connect(self._keep_reader)
        self.search.textChanged.connect(self._filter)
        self.state_box.currentIndexChanged.connect(self._filter)
        self.table.case_chosen.connect(self.open_case)
        selection = self.table.selectionModel()
        if selection is not None:
            selection.currentChanged.connect(self._refresh)
        self.cancel_button.clicked.connect(work.cancel_listing)
        self.open_button.clicked.connect(self._open_selected)
        self.next_button.clicked.connect(self.open_next)
        self.results_button.clicked.connect(self._browse_results)
        self.compare_button.clicked.connect(self._compare)
        self.consensus_button.clicked.connect(lambda: export_consensus(self.viewer))
        panel = self.opened_panel
        panel.approved.connect(self.approve)
        panel.rejected.connect(self.reject)
        panel.closed.connect(self.close_case)
        panel.second_reader_asked.connect(lambda blind: self.ask_second_reader(blind=blind))
        # these would take Ctrl+Enter for Enter; from elsewhere it reaches napari as the key of Segment
        for taker in (self.table, panel.comment, self.search):
            taker.installEventFilter(self)
        bind_keys(self.viewer, self, {}, asked_first={"segment": self._approve_open_case})

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Approve at Ctrl+Enter in the table or a field."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and (
                event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
                and event.modifiers() & Qt.KeyboardModifier.ControlModifier
            )
        ):
            if not event.isAutoRepeat():
                self.approve()
            return True
        return super().eventFilter(watched, event)

    def open_list(self) -> ThreadWorker | None:
        """Read the list that the fields name.

        Returns
        -------
        ThreadWorker
            Reads it; None where no list is named.
        """
        source, results = self.source.text().strip(), self.results.text().strip()
        self.message.setText("")
        if not source:
            self.message.setText("Choose a folder or a list first.")
            return None
        return self.work.open_list(source_path(source), source_path(results) if results else None)

    def open_case(self, case: ListedCase) -> ThreadWorker | None:
        """Open a case; the next that is shown is read ahead."""
        self.message.setText("")
        return self.work.open(case.name, self._following(case.name)) if self._reader_is_known() else None

    def open_next(self) -> ThreadWorker | None:
        """Open the next case that is shown and that nobody has decided on or has open."""
        self.message.setText("")
        opened = self.work.opened
        names = [name for name in self._following() if opened is None or name != opened.name]
        return self.work.open_next(names) if self._reader_is_known() else None

    def _following(self, name: str = "") -> list[str]:
        """The names of the cases shown, from that after a case on; the first follows the last.

        Parameters
        ----------
        name
            Of the case; that which was opened last where empty. A case that is passed over comes again once
            the others were shown.
        """
        names = self.table.shown_names()
        name = name or self.work.last_name
        start = names.index(name) + 1 if name in names else 0
        return names[start:] + names[:start]

    def approve(self) -> ThreadWorker | None:
        """Approve the mask of the open case, and open the next."""
        return self._decide(self.work.approve)

    def _approve_open_case(self) -> bool:
        """Approve the open case at the key of Segment; returns whether a case is open."""
        if self.work.opened is None:
            return self.work.is_opening  # pressed again before the next case is there
        self.approve()
        return True

    def reject(self) -> ThreadWorker | None:
        """Reject the open case, and open the next."""
        return self._decide(self.work.reject)

    def ask_second_reader(self, *, blind: bool) -> ThreadWorker | None:
        """Approve the mask of the open case, ask for another reader, and open the next."""
        return self._decide(partial(self.work.ask_second_reader, blind=blind))

    def _decide(self, decide: Callable[[list[str]], ThreadWorker | None]) -> ThreadWorker | None:
        self.message.setText("")
        opened = self.work.opened
        if opened is not None and opened.seconds * 1000 < QApplication.doubleClickInterval():
            self._say(f"{opened.name} was opened just now: look at it, then decide.")
            return None
        return decide(self._following()) if self._reader_is_known() else None

    def close_case(self) -> ThreadWorker | None:
        """Close the open case without a decision."""
        return self.work.close_case()

    def _open_selected(self) -> None:
        case = self.table.selected_case
        if case is not None:
            self.open_case(case)

    def _compare(self) -> None:
        case = self.table.selected_case
        if case is not None and not why_not_compared(case):
            show_readings(self.viewer, self.work, case)

    def _browse_folder(self) -> None:
        self._set_path(self.source, QFileDialog.getExistingDirectory(self, "List", self.source.text()))

    def _browse_list(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "List", self.source.text(), "CSV (*.csv *.tsv)")
        self._set_path(self.source, path)

    def _browse_results(self) -> None:
        self._set_path(self.results, QFileDialog.getExistingDirectory(self, "Results", self.results.text()))

    def _set_path(self, field: QLineEdit, path: str) -> None:
        if path:
            field.setText(path)
            self.open_list()

    def _keep_reader(self) -> None:
        name = self.reader.text().strip()
        if not name or name == self.work.reader:
            return
        try:
            keep_reader(check_reader(name))
        except BadInput as error:
            show_exception(error)
        self.message.setText("")
        self._refresh()

    def _reader_is_known(self) -> bool:
        """Whether the field names a reader to store with decisions; shows a message where it does not.

        A key, or a button of macOS, leaves the focus in the field: the name is then not kept yet.
        """
        name = self.reader.text().strip()
        if not name:
            self._say("Reader: enter your name or initials above first.")
            return False
        self._keep_reader()
        return name == self.work.reader

    def _say(self, text: str) -> None:
        """Show a line below the buttons; where that is hidden behind Review, also as a notification."""
        self.message.setText(text)
        if text and self.message.visibleRegion().isEmpty():
            show_info(text)

    def _say_none_left(self) -> None:
        hidden = len(self.work.rows) - self.table.filter.rowCount()
        more = f" Not shown here: {count_text(hidden, 'case')} more." if hidden else ""
        self._say(f"No case is left: those shown are decided, or other readers have them open.{more}")

    def _show_list(self) -> None:
        """Fill in the list and reader of the viewer, when the widget is opened again."""
        self.reader.setText(self.work.reader)
        cases = self.work.cases
        if cases is not None:
            self.source.setText(str(cases.source))
            self.results.setText("" if cases.results is None else str(cases.results))
        if self.work.opened is not None:
            self._show_opened(self.work.opened)

    def _show_opened(self, opened: OpenedCase) -> None:
        self.opened_panel.show_notes(opened)
        self.table.select(opened.name)

    def _show_rows(self) -> None:
        self.table.show_rows(self.work.rows)
        self._refresh()

    def _filter(self) -> None:
        self.table.filter.show_only(self.search.text(), str(self.state_box.currentData()))
        self.message.setText("")  # it may be about the cases that were shown before
        opened = self.work.opened
        if opened is not None and opened.name in self.table.shown_names():
            self.table.select(opened.name)  # which another filter had hidden
        self._refresh()

    def _refresh(self, *_: Any) -> None:
        work = self.work
        self.cancel_button.setVisible(work.is_listing)
        shown, count = self.table.filter.rowCount(), len(work.rows)
        decided = sum(row.is_decided for row in work.rows)
        of_all = "" if shown == count else f"{shown} shown; "
        self.counts.setText(f"{of_all}{count_text(count, 'case')}, {decided} decided." if count else "")
        busy = _READING if work.is_opening else ""
        self.opened_panel.refresh(work.opened, busy)
        self._refresh_list_buttons(busy)

    def _refresh_list_buttons(self, busy: str) -> None:
        rows, selected = self.work.rows, self.table.selected_case
        no_list = "" if rows else "Choose a list first"
        allow(
            self.open_button,
            busy or ("" if selected is not None else no_list or "Select a case first"),
            "Open the selected case (Enter)",
        )
        allow(
            self.next_button,
            busy or ("" if self.table.filter.rowCount() else no_list or "No case is shown"),
            "Open the next case in the list that is undecided and that nobody has open",
        )
        allow(
            self.consensus_button,
            why_no_consensus(rows),
            "For each case with two readings or more, write one consensus mask",
        )
        allow(
            self.compare_button,
            why_not_compared(selected),
            "Scores, consensus and disagreement map of the readers of this case, compared with the model",
        )
