"""Corrected and approved masks of a viewer: copies to paint in, and what is approved of them.

What a person approves is told to the annotation store in a worker; the store answers when it is on the
disk, and only then a plane counts as approved and is locked.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.utils.notifications import show_info, show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets.background import explain, in_background
from napari_latentseg.widgets.class_look import class_look
from napari_latentseg.widgets.keeping import Keeper
from napari_latentseg.widgets.plane_lock import PlaneLock
from napari_latentseg.widgets.session import session_of
from napari_latentseg.widgets.shelves import Shelves
from napari_latentseg.widgets.work import Work, work_on

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_latentseg.widgets.session import Result

__all__ = ["Corrections", "corrections_of"]


class Corrections(QObject):
    """What is corrected and approved in one viewer.

    Signals
    -------
    changed
        A copy has come or gone, planes were approved or unlocked, a class was added, another copy is active.
    counted
        How much is approved is known anew, in `counts`.

    Attributes
    ----------
    works
        One for each result that was corrected or approved, and for each draft that is gone on with.
    counts
        Approved planes and scans, by family of models.
    kept
        Keeps what is painted, and goes on with what was left.
    busy
        How many approvals are on their way to the disk.
    """

    changed = Signal()
    counted = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self.works: list[Work] = []
        self.counts: dict[str, tuple[int, int]] = {}
        self.busy = 0
        self.shelves = Shelves()
        self.kept = Keeper(viewer, self.shelves, self.works, self)
        self.kept.resumed.connect(self._on_resumed)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active)
        weakref.finalize(viewer, self.shelves.close)

    def work_of(self, result: Result) -> Work:
        """What a result gives to correct and approve.

        While a copy is painted in, it is the one for all results on its image by its family of models.

        Raises
        ------
        BadInput
            Where the run has not given anything yet.
        """
        for work in self.works:
            if work.result is result:
                return work
        fresh = work_on(result)
        for work in self.works:
            if work.layer is not None and work.is_like(fresh):
                return work
        # one that nobody paints in and whose result is gone has nothing more to say
        self.works[:] = [w for w in self.works if w.layer is not None or w.result is not None]
        self.works.append(fresh)
        self._look_up(fresh)
        return fresh

    @property
    def active(self) -> Work | None:
        """That of the selected layer, where it is a copy; else the current result's; else the newest's."""
        viewer = self._viewer()
        if viewer is None:
            return None
        selected = viewer.layers.selection.active
        for work in self.works:
            if work.layer is not None and work.layer is selected:
                return work
        result = session_of(viewer).current
        if result is not None and result.found is not None and result.is_there:
            with suppress(BadInput):
                return self.work_of(result)
        return next((work for work in reversed(self.works) if work.layer is not None), None)

    def _look_up(self, work: Work) -> None:
        """Find out what is approved of an image already, and which classes there are."""

        def look() -> Any:
            from napari_latentseg.annotations import stores

            if work.family not in stores():
                return None, ()
            store = self.shelves.store(work.family)
            return store.annotated(work.scan), store.classes

        def show(answer: Any) -> None:
            annotated, classes = answer
            labels = {c.label for c in work.classes}
            self._take_classes(work, [c for c in classes if c.label not in labels])
            if annotated is not None:
                planes = annotated.mask.reshape(-1, *annotated.mask.shape[-2:])
                self._lock(work, {n: planes[n] for n in annotated.planes if n not in work.approved})
            self.changed.emit()

        in_background(look, show)
        self.count(work.family)

    def edit(self, result: Result) -> Labels:
        """An editable copy of a result's mask, on top and with the brush in hand; the same one every time.

        Raises
        ------
        BadInput
            Where the run has not given a mask yet, or it is gone.
        """
        viewer = self._viewer()
        assert viewer is not None
        work = self.work_of(result)
        if work.layer is None:
            layer = work.make_layer(np.array(work.mask()))
            self._show(work)
            shown = result.layers.mask
            if shown is not None:
                # an outline: what is rubbed out would be seen in it else. Not hidden: napari 0.9 can crash
                # when layers are taken out while a hidden Labels layer lies under one that has the brush
                shown.contour = 1
        elif work.result is not result:
            show_info(
                f"“{work.layer.name}” is being corrected already. To begin with another run, remove it first."
            )
        layer = work.layer
        assert layer is not None
        if not layer.visible:  # napari takes the brush away when it is told either way
            layer.visible = True
        viewer.layers.selection.active = layer
        self.changed.emit()
        return layer

    def _show(self, work: Work) -> None:
        """Put the copy of a work into the viewer, with the brush in hand and what is approved locked."""
        viewer, layer = self._viewer(), work.layer
        assert viewer is not None
        assert layer is not None
        viewer.add_layer(layer)
        layer.mode = "paint"
        lock = PlaneLock(viewer, layer, work.order, self)
        lock.refused.connect(lambda plane: self._refuse(work, plane))
        work.lock = lock
        lock.lock(work.approved)

        def note(event: Any = None) -> None:
            work.is_dirty = True

        for event in (layer.events.paint, layer.events.set_data, layer.events.data):
            event.connect(note)

    def _on_resumed(self, work: Work) -> None:
        viewer = self._viewer()
        assert viewer is not None
        self.works.append(work)
        self._show(work)
        viewer.layers.selection.active = work.layer
        self._look_up(work)
        self.changed.emit()

    def _refuse(self, work: Work, plane: int) -> None:
        what = f"Slice {plane}" if work.lead else "This image"
        show_warning(f"{what} is approved, and stays as it is. To change it, unlock it in Annotate.")

    def add_class(self, work: Work, name: str, color: str) -> ClassInfo:
        """Add a class to what can be painted, and choose it.

        Parameters
        ----------
        work
            Whose copy it is to be painted in.
        name, color
            The class; the colour as ``#rrggbb``.

        Raises
        ------
        BadInput
            Where the name is taken, or empty, or there is no number left.
        """
        name = " ".join(name.split())
        if not name:
            raise BadInput("class", "has no name", "give it one")
        if name.lower() in {c.name.lower() for c in work.classes}:
            raise BadInput("class", f"there is one named {name} already", "choose another name")
        taken = {c.label for c in work.classes}
        label = next((n for n in range(1, 256) if n not in taken), None)
        if label is None:
            raise BadInput("class", "there are 255 already", "use one of them")
        made = ClassInfo(label=label, name=name, color=color)
        self._take_classes(work, [made])
        if work.layer is not None:
            work.layer.selected_label = label
        self.changed.emit()
        return made

    def _take_classes(self, work: Work, classes: Iterable[ClassInfo]) -> None:
        more = tuple(classes)
        if not more:
            return
        work.classes = (*work.classes, *more)
        if work.layer is not None:
            look = class_look(work.classes)
            work.layer.colormap = look["colormap"]
            work.layer.features = look["features"]

    def approve(self, result: Result, index: tuple[int, ...] | Literal["all"]) -> Any:
        """Approve a plane of a result, or all of it: of its copy, or of its own mask where there is none.

        Parameters
        ----------
        result
            What was segmented.
        index
            The plane's place along the leading axes of the image, empty for a single plane; or ``"all"``.

        Returns
        -------
        worker
            Of the writing; None where it is approved already, or cannot be, which is then told.
        """
        try:
            work = self.work_of(result)
            if index == "all":
                return self.approve_planes(work, None)
            number = work.number(tuple(index))
            return None if number in work.approved else self.approve_planes(work, [number])
        except BadInput as error:
            explain(error)
            return None

    def approve_planes(self, work: Work, numbers: Iterable[int] | None) -> Any:
        """Approve planes of a mask as they are on screen now; those that are approved already stay so.

        Parameters
        ----------
        work
            Whose.
        numbers
            Of the planes, from 0; None for all of them.

        Returns
        -------
        worker
            Of the writing.

        Raises
        ------
        BadInput
            Where the mask is gone, or no plane that is left to approve is among them.
        """
        mask, classes = work.mask(), work.classes
        chosen = work.to_approve(numbers)
        # a copy: what is painted from now on is not what was approved
        copied = {n: np.array(work.plane_of(mask, n)) for n in chosen}

        def write() -> None:
            planes = np.zeros((work.count, *work.scan.spatial_shape[-2:]), dtype=np.uint8)
            for n, plane in copied.items():
                planes[n] = plane
            self.shelves.store(work.family).approve(
                work.scan, planes.reshape(work.scan.spatial_shape), classes=classes, planes=chosen,
                model=work.model, edited=work.differs(mask, chosen),
            )  # fmt: skip

        def done() -> None:
            self._lock(work, copied)
            work.is_dirty = True  # what is left of the draft may be nothing
            self.kept.save(work)

        return self._do(work, write, done)

    def unlock(self, work: Work, numbers: Iterable[int] | None = None) -> Any:
        """Take the approval of planes back, so that they can be changed again; no file is removed.

        Parameters
        ----------
        work
            Whose.
        numbers
            Of the planes; None for all.

        Returns
        -------
        worker
            Of the writing; None where none of them is approved.
        """
        chosen = set(work.approved if numbers is None else numbers) & set(work.approved)
        if not chosen:
            return None

        def write() -> None:
            store = self.shelves.store(work.family)
            annotated = store.annotated(work.scan)
            if annotated is None:
                return
            old = [e for e in store.entries() if e.case == annotated.case and chosen & set(e.planes)]
            rest = sorted({n for e in old for n in e.planes} - chosen)
            if rest:  # first, so that at no moment less is approved than is to be
                store.approve(
                    work.scan, annotated.mask, classes=store.classes, planes=rest,
                    model=old[-1].model, edited=any(e.edited for e in old),
                )  # fmt: skip
            for entry in old:
                store.revoke(entry)

        def done() -> None:
            for one in self._alike(work):
                for n in chosen:
                    one.approved.pop(n, None)
                if one.lock is not None:
                    one.lock.unlock(chosen)
            work.is_dirty = True

        return self._do(work, write, done)

    def _do(self, work: Work, write: Callable[[], None], done: Callable[[], None]) -> Any:
        """Write in a worker, then show it; what goes wrong is told."""
        self.busy += 1
        QTimer.singleShot(0, self.changed.emit)  # copying a volume was enough for one turn of the event loop

        def end(_: Any) -> None:
            self.busy -= 1
            done()
            self.count(work.family)
            self.changed.emit()

        def fail(error: BaseException) -> None:
            self.busy -= 1
            self.changed.emit()
            explain(error)

        return in_background(write, end, fail)

    def _alike(self, work: Work) -> list[Work]:
        """All works on an image by a family of models: what is approved of one is approved of all."""
        return [one for one in self.works if one is work or one.is_like(work)]

    def _lock(self, work: Work, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        for one in self._alike(work):
            one.approved.update(planes)
            if one.lock is not None:
                one.lock.lock(planes)

    def count(self, family: str) -> None:
        """Ask the store how much is approved for a family of models; `counted` brings it."""

        def show(found: tuple[int, int]) -> None:
            self.counts[family] = found
            self.counted.emit()

        in_background(lambda: self.shelves.counts(family), show)

    def _on_active(self, event: Any = None) -> None:
        self.changed.emit()

    def _on_removed(self, event: Any = None) -> None:
        """What was painted in a copy that is taken out is kept, and can be gone on with."""
        viewer = self._viewer()
        there = viewer.layers if viewer is not None else ()
        gone = [w for w in self.works if w.layer is not None and w.layer not in there]
        if not gone:
            return
        self.works[:] = [w for w in self.works if w not in gone]
        for work in gone:
            if work.lock is not None:
                work.lock.end()
                work.lock.deleteLater()
            result = work.result
            if result is not None and result.layers.mask is not None:
                result.layers.mask.contour = 0
            self.kept.save(work, last=True)
        self.changed.emit()


def corrections_of(viewer: ViewerModel) -> Corrections:
    """What is corrected and approved in a viewer; it lives as long as that does.

    Parameters
    ----------
    viewer
        napari's own, or the proxy that it gives to plugins.
    """
    real = getattr(viewer, "__wrapped__", viewer)
    session = session_of(real)
    found = session.findChild(Corrections)
    return found if found is not None else Corrections(real, session)
