"""The work on a list of cases: opening, deciding, reading ahead. Files are read and written in workers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.caselist.case_list import CaseList
from napari_latentseg.caselist.decisions import Action, check_reader
from napari_latentseg.caselist.listed_case import ListedCase
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.io._progress import report_progress_to
from napari_latentseg.io.dicomweb.address import is_archive_address
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.destroyed import call_when_destroyed
from napari_latentseg.widgets._shared.dock_widget import open_widget
from napari_latentseg.widgets._shared.frozen_heap import FrozenHeap
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.plain_text import show_warning
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.cases.case_decision import CaseDecision, approve_slices
from napari_latentseg.widgets.cases.opened_case import OpenedCase, show_read_case
from napari_latentseg.widgets.cases.read_case import (
    ReadAhead,
    ReadCase,
    case_to_read_ahead,
    compare_in_words,
    read_held_case,
)
from napari_latentseg.widgets.cases.remove_layers import put_away
from napari_latentseg.widgets.cases.replaced_values import ReplacedValues

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.widgets.annotate.approvals import Approvals

__all__ = ["CaseWork", "case_work_of"]

_REFRESH_MS = 10_000  # how soon a decision of another reader is shown


class CaseWork(QObject):
    """Works through a list in a viewer; outlives the widget, so that a case stays open when that is closed.

    Signals
    -------
    rows_changed
        `rows` are others than before.
    changed
        A case was opened or closed, or a list is being read.
    opened_case
        The `OpenedCase` whose layers are there.
    said
        One line for the reader.
    none_left
        The next case was asked for, and there is none.

    Attributes
    ----------
    cases
        The list; None before one was opened.
    rows
        Its cases, those where looking is worth most first.
    opened
        The case that is open; None where none is.
    last_name
        Of the case that was opened last; empty where none of this list was.
    """

    rows_changed = Signal()
    changed = Signal()
    opened_case = Signal(object)
    said = Signal(str)
    none_left = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.cases: CaseList | None = None
        self.rows: list[ListedCase] = []
        self.opened: OpenedCase | None = None
        self.last_name = ""
        self.is_opening = self.is_listing = False
        self._listing = self._opening = 0  # numbers of the list and case that are being read, or were last
        self.writes_in_progress = 0
        self._ahead: ReadAhead | None = None
        self._leftovers: dict[str, OpenedCase] = {}  # closed without a decision; their layers are there still
        self._held: list[CaseList] = []  # to be let go when the viewer goes
        self._replaced_values = ReplacedValues(viewer, self)
        self._heap = FrozenHeap()
        held, heap = self._held, self._heap
        call_when_destroyed(self, lambda: _release_all(held, heap))
        weakref.finalize(viewer, _release_all, held, heap)
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self.refresh)

    @property
    def reader(self) -> str:
        """The name of the reader, from the preferences; empty where none was given."""
        return preferences().reader.strip()

    def open_list(self, source: Path, results: Path | None) -> ThreadWorker:
        """Read a list, and show it.

        Returns
        -------
        ThreadWorker
            Reads the names of its files.
        """
        if self.opened is not None:
            self.close_case()
        self._opening += 1  # a case of the list before that is being read is not opened in this one
        self._listing += 1
        number = self._listing

        def stop_if_cancelled(done: int, total: int) -> None:
            if number != self._listing:
                raise Cancelled

        def read() -> tuple[CaseList, list[ListedCase]]:
            with report_progress_to(stop_if_cancelled):
                cases = CaseList(source, results)
                return cases, cases.rows()

        def fail(error: BaseException) -> None:
            if number == self._listing:
                self.is_listing = False
                self._end_without_case(lambda: show_exception(error))

        def show(found: tuple[CaseList, list[ListedCase]]) -> None:
            if number != self._listing:
                return
            self.is_opening = self.is_listing = False
            before, (self.cases, self.rows) = self.cases, found
            self._held.append(self.cases)
            self._ahead = None
            if before is None or (before.source, before.results) != (self.cases.source, self.cases.results):
                self._leftovers = {}  # of the same list, a case that is opened again has its layers still
                self.last_name = ""
            self._timer.start()
            if damaged := self.cases.damaged_lines:
                count = count_text(len(damaged), "decision")
                show_warning(f"{count} in the journal of this list cannot be read.")
            self.rows_changed.emit()
            self.changed.emit()

        self.is_opening = self.is_listing = True
        self.changed.emit()
        return run_in_thread(read, show, fail, owner=self)

    def cancel_listing(self) -> None:
        """Stop reading the list; the one before stays."""
        if self.is_listing:
            self._listing += 1
            self.is_opening = self.is_listing = False
            self.changed.emit()

    def refresh(self) -> ThreadWorker | None:
        """Read what other readers have decided."""
        cases = self.cases
        if cases is None or self.is_opening:
            return None

        def show(rows: list[ListedCase]) -> None:
            if cases is self.cases and rows != self.rows:
                self.rows = rows
                self.rows_changed.emit()

        return run_in_thread(cases.rows, show, owner=self)

    def open(self, name: str, following: Sequence[str] = ()) -> ThreadWorker | None:
        """Open a case, and read the first of the following ones ahead; another case that is open is closed.

        Returns
        -------
        ThreadWorker
            Reads it; None where a line was said instead.
        """
        cases, reader = self.cases, self.reader
        if cases is None:
            return None
        return self._open(lambda: cases.hold(name, reader), following)

    def open_next(self, names: Sequence[str], *, raises_review: bool = True) -> ThreadWorker | None:
        """Open the first of some cases that nobody has decided on or has open, as `open` does.

        Parameters
        ----------
        names
            Of the cases, in the order in which they are tried.
        raises_review
            Bring Review to the front; else the widget stays in front that the reader works in.
        """
        cases, reader = self.cases, self.reader
        if cases is None:
            return None
        return self._open(lambda: cases.hold_next(names, reader), names, raises_review=raises_review)

    def _open(
        self,
        choose: Callable[[], ListedCase | None],
        following: Sequence[str],
        *,
        raises_review: bool = True,
    ) -> ThreadWorker | None:
        cases, reader, ahead = self.cases, self.reader, self._ahead
        viewer = self._viewer()
        if cases is None or viewer is None or self.is_opening:
            return None
        try:
            check_reader(reader)
        except BadInput as error:
            self.said.emit(f"{error.what.capitalize()}: enter your name or initials above first.")
            return None
        if self.opened is not None:
            self.close_case()
        self._opening += 1
        number = self._opening
        leftovers = {name: opened for name, opened in self._leftovers.items() if opened.has_layers(viewer)}

        def read() -> tuple[ListedCase, ReadCase] | None:
            case = choose()
            if case is None:
                return None
            left = leftovers.get(case.name)
            return case, left.read if left is not None else read_held_case(cases, case, reader, ahead)

        def give_up(case: ListedCase) -> None:
            run_in_thread(lambda: cases.release(case.name, reader), owner=self)

        def show(found: tuple[ListedCase, ReadCase] | None) -> None:
            viewer = self._viewer()
            if number != self._opening:  # another list was opened meanwhile
                if found is not None:
                    give_up(found[0])
            elif found is None or viewer is None:
                self._end_without_case(self.none_left.emit)
            else:
                self._show_case(viewer, *found, reader, done)

        def done(opened: OpenedCase) -> None:
            if number != self._opening:
                give_up(opened.case)
                return
            self._finish_opening(opened, raises_review=raises_review)
            self._read_ahead(following, opened.name)

        def fail(error: BaseException) -> None:
            if number == self._opening:
                self._end_without_case(lambda: show_exception(error))

        self.is_opening = True
        self.changed.emit()
        return run_in_thread(read, show, fail, owner=self)

    def _show_case(
        self,
        viewer: ViewerModel,
        case: ListedCase,
        files: ReadCase,
        reader: str,
        done: Callable[[OpenedCase], None],
    ) -> None:
        """Show a case that was read: its layers that are still there, or new ones; `done` comes last."""
        self._heap.set_apart()
        if files.is_changed:
            show_warning(f"{case.name}: its image has changed since it was last read.")
        left = self._leftovers.pop(case.name, None)
        if left is not None and left.has_layers(viewer):
            session_of(viewer).set_image(left.image)
            left.restart(case, viewer)
            done(left)
        else:
            show_read_case(viewer, case, files, reader, done)

    def _finish_opening(self, opened: OpenedCase, *, raises_review: bool) -> None:
        self.is_opening, self.opened, self.last_name = False, opened, opened.name
        self._replaced_values.watch(opened)
        self.changed.emit()
        self.opened_case.emit(opened)
        viewer = self._viewer()
        if raises_review and viewer is not None and opened.read.saved is not None:
            open_widget(viewer, "Review")
        self.refresh()

    def _end_without_case(self, tell: Callable[[], None]) -> None:
        self.is_opening = False
        tell()
        self.changed.emit()
        self.refresh()

    def _read_ahead(self, names: Sequence[str], opened: str) -> None:
        """Read the case that `open_next` would open, as far as is known now."""
        cases, reader = self.cases, self.reader
        case = case_to_read_ahead(self.rows, [name for name in names if name != opened], reader)
        # an archive is asked for the case that a reader opens, and for no other
        is_read = cases is not None and case is not None and not is_archive_address(case.path)
        self._ahead = ReadAhead(cases, case, reader) if is_read and cases and case else None

    def approve(self, following: Sequence[str]) -> ThreadWorker | None:
        """Approve the mask of the open case, and open the next.

        Returns
        -------
        ThreadWorker
            Writes the decision; None where a line was said instead.
        """
        return self._decide("approve", following)

    def reject(self, following: Sequence[str]) -> ThreadWorker | None:
        """Reject the open case, and open the next."""
        return self._decide("reject", following, with_mask=False)

    def ask_second_reader(self, following: Sequence[str], *, blind: bool) -> ThreadWorker | None:
        """Approve the mask of the open case, ask for another reader, and open the next."""
        return self._decide("second reading", following, blind=blind)

    def _decide(
        self, action: Action, following: Sequence[str], *, with_mask: bool = True, blind: bool = False
    ) -> ThreadWorker | None:
        opened, cases, viewer, reader = self.opened, self.cases, self._viewer(), self.reader
        if opened is None or cases is None or viewer is None or self.is_opening:
            self.said.emit("Open a case first.")
            return None
        try:
            opened.check_values()
            mask = opened.mask(viewer) if with_mask else None
            stored = approve_slices(viewer, opened) if with_mask else None
        except BadInput as error:
            show_exception(error)
            return None
        opened.is_decided = True
        name, layers = opened.name, opened.layers(viewer)
        decision = CaseDecision.of(opened, action, mask, blind=blind)

        def written(_: None) -> None:
            self.writes_in_progress -= 1
            self._put_away(opened, layers, stored)
            self.refresh()
            if action == "approve" and opened.case.state == "second reading":
                run_in_thread(lambda: compare_in_words(cases, name), self.said.emit, owner=self)

        def fail(error: BaseException) -> None:
            self.writes_in_progress -= 1
            opened.is_decided, opened.has_unsaved_note = False, True
            self._leftovers[name] = opened
            show_exception(error)
            self.refresh()

        self.writes_in_progress += 1
        self.opened = None
        self.changed.emit()
        worker = run_in_thread(lambda: decision.write(cases, reader), written, fail, owner=self)
        self.open_next([other for other in following if other != name], raises_review=False)
        return worker

    def _put_away(self, opened: OpenedCase, layers: Sequence[Layer], stored: Approvals | None) -> None:
        """Take the layers of a case out of the viewer once its approval is on disk."""

        def is_waiting() -> bool:  # the next case comes first: it is what the reader waits for
            return self.is_opening or (stored is not None and stored.writes_in_progress > 0)

        def done() -> None:
            if self.opened is None and not self.is_opening:  # nobody works on the list for now
                self._heap.release()

        put_away(self._viewer, opened, layers, is_waiting, done)

    def close_case(self) -> ThreadWorker | None:
        """Close the open case without a decision; its layers stay, and another reader may have it."""
        opened, cases, reader = self.opened, self.cases, self.reader
        if opened is None or cases is None:
            return None
        self.opened = None
        self._leftovers[opened.name] = opened
        seconds, rating, comment = opened.seconds, opened.rating, opened.comment
        has_note = (rating, comment) != (opened.case.rating, opened.case.comment)

        def write() -> None:
            try:
                if has_note:
                    cases.decide(opened.name, reader, "note", rating=rating or 0, comment=comment)
            finally:
                cases.release(opened.name, reader, seconds)

        def fail(error: BaseException) -> None:
            opened.has_unsaved_note = has_note
            show_exception(error)

        self.changed.emit()
        return run_in_thread(write, lambda _: self.refresh(), fail, owner=self)


def _release_all(held: list[CaseList], heap: FrozenHeap) -> None:
    for cases in held:
        cases.close()
    heap.release()


@per_viewer
def case_work_of(viewer: ViewerModel) -> CaseWork:
    """The work on lists of cases in a viewer."""
    return CaseWork(viewer)
