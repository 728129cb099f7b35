"""What is being painted is kept every few seconds, and can be gone on with after a crash."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets.background import explain, in_background
from napari_latentseg.widgets.layers import role_of, scan_from_layer
from napari_latentseg.widgets.preferences import preferences
from napari_latentseg.widgets.work import Work

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.annotations import Draft
    from napari_latentseg.scan import Scan
    from napari_latentseg.widgets.shelves import Shelves

__all__ = ["Keeper"]


class Keeper(QObject):
    """Keeps the copies that are painted in as drafts of the annotation stores.

    Parameters
    ----------
    viewer
        Whose copies they are.
    shelves
        Its stores.
    works
        What is worked on; others add to it and take from it.
    parent
        With it the keeping ends.

    Signals
    -------
    listed
        What is left to go on with is known anew, in `left`.
    resumed
        A `Work` that is gone on with, with its layer; not yet in the viewer.

    Attributes
    ----------
    left
        Drafts that nobody works on, by family, the newest first.
    """

    listed = Signal()
    resumed = Signal(object)

    def __init__(self, viewer: ViewerModel, shelves: Shelves, works: list[Work], parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._shelves = shelves
        self._works = works
        self.left: list[tuple[str, Draft]] = []
        self._made: set[str] = set()
        self._saving: set[int] = set()
        self._ending: set[int] = set()
        self._timer = QTimer(self)
        self._timer.setInterval(1000 * preferences().autosave_s)
        self._timer.timeout.connect(self.save_all)
        self._timer.start()
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._end)

    def save_all(self) -> None:
        """Keep every copy that may have changed since the last time."""
        self._timer.setInterval(1000 * preferences().autosave_s)  # it may have been changed since
        for work in list(self._works):
            self.save(work)

    def save(self, work: Work, *, last: bool = False) -> None:
        """Keep a copy where it may have changed; in a worker.

        Parameters
        ----------
        work
            Whose copy it is.
        last
            It was taken out of the viewer, so others may go on with it.
        """
        if last and id(work) in self._saving:
            self._ending.add(id(work))  # once more when that is through
        if work.layer is None or id(work) in self._saving or not (work.is_dirty or last):
            return
        try:
            mask = work.mask()
        except BadInput:
            return  # approving says what is wrong with it
        work.is_dirty = False
        self._saving.add(id(work))

        def done(draft: Draft | None) -> None:
            self._saving.discard(id(work))
            self._note(work, draft)
            if id(work) in self._ending:
                self._ending.discard(id(work))
                self.save(work, last=True)
            elif last:
                work.layer = None
                self.look_for_left()

        def fail(error: BaseException) -> None:
            self._saving.discard(id(work))
            work.is_dirty = True
            explain(error)

        in_background(lambda: self._write(work, mask), done, fail)

    def _write(self, work: Work, mask: NDArray[np.uint8]) -> Draft | None:
        """Keep a copy; where all that was changed of it is approved, keep it no longer."""
        store = self._shelves.store(work.family)
        copied = np.array(work.planes_of(mask), order="C")
        unapproved = [n for n in range(work.count) if n not in work.approved]
        if not work.differs(mask, unapproved):
            if work.draft is not None:
                store.discard_draft(work.draft)
            return None
        return store.autosave(work.scan, copied, classes=work.classes, model=work.model)

    def _note(self, work: Work, draft: Draft | None) -> None:
        work.draft = draft
        if draft is not None:
            self._made.add(draft.id)

    def look_for_left(self) -> None:
        """Ask the stores for work that was left; `listed` brings it."""
        ours = frozenset(w.draft.id for w in self._works if w.draft is not None and w.layer is not None)
        made = frozenset(self._made)

        def show(found: list[tuple[str, Draft]]) -> None:
            self.left = found
            self.listed.emit()

        in_background(lambda: self._shelves.left(ours, made), show)

    def go_on(self, family: str, draft: Draft) -> Any:
        """Take up work that was left: its image, where it is not open, and its mask.

        Returns
        -------
        worker
            Of the reading.
        """
        viewer = self._viewer()
        assert viewer is not None
        images = [
            (layer, scan_from_layer(layer))
            for layer in viewer.layers
            if isinstance(layer, Image) and role_of(layer) in ("", "scan") and 2 <= layer.ndim <= 4
        ]

        def read() -> Any:
            scan, mask = self._shelves.store(family).resume(draft)
            found = next(((image, one) for image, one in images if _is_same(one, scan)), None)
            if found is None:
                scan = scan.replace(array=np.asarray(scan.array))  # scrolling need not wait for the disk
            return found, scan, np.array(mask)

        def show(answer: Any) -> None:
            found, scan, mask = answer
            if found is None:
                image = _shown(viewer, scan, f"image of {draft.time[:10]}")
            else:
                image, scan = found
            order = tuple(range(len(scan.spatial_axes)))
            model = (*draft.model,) if draft.model is not None else None
            work = Work(image, scan, order, tuple(draft.classes), family, model)
            work.make_layer(mask)
            work.is_dirty = True
            self._made.add(draft.id)
            self.resumed.emit(work)
            self.save(work)
            self._forget(draft)

        def fail(error: BaseException) -> None:
            explain(error)
            self.look_for_left()

        return in_background(read, show, fail)

    def discard(self, family: str, draft: Draft) -> Any:
        """Remove work that was left.

        Returns
        -------
        worker
            Of the removing.
        """
        store = self._shelves.store

        def fail(error: BaseException) -> None:
            explain(error)
            self.look_for_left()

        return in_background(lambda: store(family).discard_draft(draft), lambda _: self._forget(draft), fail)

    def _forget(self, draft: Draft) -> None:
        self.left = [one for one in self.left if one[1].id != draft.id]
        self.listed.emit()

    def _end(self) -> None:
        """The program ends: keep what is not kept yet, here and now."""
        for work in self._works:
            if work.layer is not None and work.is_dirty:
                with suppress(BadInput, OSError):
                    self._note(work, self._write(work, work.mask()))
        self._shelves.close()


def _shown(viewer: ViewerModel, scan: Scan, name: str) -> Image:
    """Show the image of a draft that is not open."""
    from napari_latentseg.widgets.samples import scan_arguments

    image = Image(scan.array, name=name, **scan_arguments(scan))
    viewer.add_layer(image)
    return image


def _is_same(one: Scan, other: Scan) -> bool:
    """Whether two scans hold the same values in the same place; reads them."""
    if (one.axes, one.spatial_shape) != (other.axes, other.spatial_shape):
        return False
    if not one.geometry.agrees_with(other.geometry, one.spatial_shape):
        return False
    return bool(np.array_equal(np.asarray(one.array), np.asarray(other.array)))
