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

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception
from napari_latentseg.widgets.annotate.autosave import Autosaver
from napari_latentseg.widgets.annotate.correction import Correction, correction_of_result
from napari_latentseg.widgets.annotate.open_stores import OpenStores
from napari_latentseg.widgets.annotate.plane_lock import PlaneLock

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["Corrections", "corrections_of"]


class Corrections(QObject):
    """What is corrected and approved in one viewer.

    Signals
    -------
    changed
        A copy has come or gone, planes were approved or unlocked, a class was added, another copy is active.
    count_changed
        How much is approved is known anew, in `approved_counts`.

    Attributes
    ----------
    corrections
        One for each result that was corrected or approved, and for each draft that is gone on with.
    approved_counts
        Approved planes and scans, by family of models.
    autosaver
        Keeps what is painted, and goes on with what was left.
    writes_in_progress
        How many approvals are on their way to the disk.
    """

    changed = Signal()
    count_changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self.corrections: list[Correction] = []
        self.approved_counts: dict[str, tuple[int, int]] = {}
        self.writes_in_progress = 0
        self.open_stores = OpenStores()
        self.autosaver = Autosaver(viewer, self.open_stores, self.corrections, self)
        self.autosaver.resumed.connect(self._on_resumed)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active_layer)
        weakref.finalize(viewer, self.open_stores.close)

    def correction_of(self, result: RunResult) -> Correction:
        """What a result gives to correct and approve.

        While a copy is painted in, it is the one for all results on its image by its family of models.

        Raises
        ------
        BadInput
            Where the run has not given anything yet.
        """
        for correction in self.corrections:
            if correction.result is result:
                return correction
        new_correction = correction_of_result(result)
        for correction in self.corrections:
            if correction.layer is not None and correction.is_same_target(new_correction):
                return correction
        # one that nobody paints in and whose result is gone has nothing more to say
        self.corrections[:] = [
            known for known in self.corrections if known.layer is not None or known.result is not None
        ]
        self.corrections.append(new_correction)
        self._load_approvals(new_correction)
        return new_correction

    @property
    def active(self) -> Correction | None:
        """That of the selected layer, where it is a copy; else the current result's; else the newest's."""
        viewer = self._viewer()
        if viewer is None:
            return None
        selected = viewer.layers.selection.active
        for correction in self.corrections:
            if correction.layer is not None and correction.layer is selected:
                return correction
        result = session_of(viewer).current
        if result is not None and result.segmentation is not None and result.is_in_viewer:
            with suppress(BadInput):
                return self.correction_of(result)
        return next(
            (correction for correction in reversed(self.corrections) if correction.layer is not None), None
        )

    def _load_approvals(self, correction: Correction) -> None:
        """Find out what is approved of an image already, and which classes there are."""

        def load() -> Any:
            from napari_latentseg.annotations import list_stores

            if correction.family not in list_stores():
                return {}, ()
            store = self.open_stores.store(correction.family)
            case = store.annotated_case(correction.scan)
            if case is None:
                return {}, store.classes
            mask = case.read_mask()
            return {n: mask[n] for n in case.annotated_slices or ()}, store.classes

        def show(answer: Any) -> None:
            approved, classes = answer
            labels = {c.label for c in correction.classes}
            self._extend_classes(correction, [c for c in classes if c.label not in labels])
            if approved:
                self._lock_planes(
                    correction, {n: mask for n, mask in approved.items() if n not in correction.approved}
                )
            self.changed.emit()

        run_in_thread(load, show)
        self.count(correction.family)

    def edit(self, result: RunResult) -> Labels:
        """An editable copy of a result's mask, on top and with the brush in hand; the same one every time.

        Raises
        ------
        BadInput
            Where the run has not given a mask yet, or it is gone.
        """
        viewer = self._viewer()
        assert viewer is not None
        correction = self.correction_of(result)
        if correction.layer is None:
            layer = correction.create_layer(np.array(correction.current_mask()))
            self._show_copy(correction)
            result_mask = result.layers.mask
            if result_mask is not None:
                # an outline: what is rubbed out would be seen in it else. Not hidden: napari 0.9 can crash
                # when layers are taken out while a hidden Labels layer lies under one that has the brush
                result_mask.contour = 1
        elif correction.result is not result:
            show_info(
                f"“{correction.layer.name}” is being corrected already. To begin with another run, remove it first."
            )
        layer = correction.layer
        assert layer is not None
        if not layer.visible:  # napari takes the brush away when it is told either way
            layer.visible = True
        viewer.layers.selection.active = layer
        self.changed.emit()
        return layer

    def _show_copy(self, correction: Correction) -> None:
        """Put the copy of a work into the viewer, with the brush in hand and what is approved locked."""
        viewer, layer = self._viewer(), correction.layer
        assert viewer is not None
        assert layer is not None
        viewer.add_layer(layer)
        layer.mode = "paint"
        lock = PlaneLock(viewer, layer, correction.axis_order, self)
        lock.edit_refused.connect(lambda plane: self._warn_locked(correction, plane))
        correction.plane_lock = lock
        lock.lock(correction.approved)

        def mark_dirty(event: Any = None) -> None:
            correction.is_dirty = True

        for event in (layer.events.paint, layer.events.set_data, layer.events.data):
            event.connect(mark_dirty)

    def _on_resumed(self, correction: Correction) -> None:
        viewer = self._viewer()
        assert viewer is not None
        self.corrections.append(correction)
        self._show_copy(correction)
        viewer.layers.selection.active = correction.layer
        self._load_approvals(correction)
        self.changed.emit()

    def _warn_locked(self, correction: Correction, plane: int) -> None:
        subject = f"Slice {plane}" if correction.leading_shape else "This image"
        show_warning(f"{subject} is approved, and stays as it is. To change it, unlock it in Annotate.")

    def add_class(self, correction: Correction, name: str, color: str) -> ClassInfo:
        """Add a class to what can be painted, and choose it.

        Parameters
        ----------
        correction
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
        if name.lower() in {c.name.lower() for c in correction.classes}:
            raise BadInput("class", f"there is one named {name} already", "choose another name")
        used_labels = {c.label for c in correction.classes}
        label = next((n for n in range(1, 256) if n not in used_labels), None)
        if label is None:
            raise BadInput("class", "there are 255 already", "use one of them")
        new_class = ClassInfo(label=label, name=name, color=color)
        self._extend_classes(correction, [new_class])
        if correction.layer is not None:
            correction.layer.selected_label = label
        self.changed.emit()
        return new_class

    def _extend_classes(self, correction: Correction, classes: Iterable[ClassInfo]) -> None:
        added = tuple(classes)
        if not added:
            return
        correction.classes = (*correction.classes, *added)
        if correction.layer is not None:
            style = label_style(correction.classes)
            correction.layer.colormap = style["colormap"]
            correction.layer.features = style["features"]

    def approve(self, result: RunResult, index: tuple[int, ...] | Literal["all"]) -> Any:
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
            correction = self.correction_of(result)
            if index == "all":
                return self.approve_planes(correction, None)
            number = correction.plane_number(tuple(index))
            return None if number in correction.approved else self.approve_planes(correction, [number])
        except BadInput as error:
            show_exception(error)
            return None

    def approve_planes(self, correction: Correction, numbers: Iterable[int] | None) -> Any:
        """Approve planes of a mask as they are on screen now; those that are approved already stay so.

        Parameters
        ----------
        correction
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
        mask, classes = correction.current_mask(), correction.classes
        plane_numbers = correction.unapproved_planes(numbers)
        # a copy: what is painted from now on is not what was approved
        plane_copies = {n: np.array(correction.plane_of(mask, n)) for n in plane_numbers}

        def write() -> None:
            planes = np.zeros((correction.plane_count, *correction.scan.spatial_shape[-2:]), dtype=np.uint8)
            for n, plane in plane_copies.items():
                planes[n] = plane
            self.open_stores.store(correction.family).approve(
                correction.scan, planes.reshape(correction.scan.spatial_shape), classes=classes, planes=plane_numbers,
                model=correction.model, edited=correction.has_changes(mask, plane_numbers),
            )  # fmt: skip

        def on_written() -> None:
            self._lock_planes(correction, plane_copies)
            correction.is_dirty = True  # what is left of the draft may be nothing
            self.autosaver.save(correction)

        return self._run_write(correction, write, on_written)

    def unlock(self, correction: Correction, numbers: Iterable[int] | None = None) -> Any:
        """Take the approval of planes back, so that they can be changed again; no file is removed.

        Parameters
        ----------
        correction
            Whose.
        numbers
            Of the planes; None for all.

        Returns
        -------
        worker
            Of the writing; None where none of them is approved.
        """
        plane_numbers = set(correction.approved if numbers is None else numbers) & set(correction.approved)
        if not plane_numbers:
            return None

        def write() -> None:
            store = self.open_stores.store(correction.family)
            case = store.annotated_case(correction.scan)
            if case is None:
                return
            old_entries = [
                e for e in store.approvals() if e.case == case.name and plane_numbers & set(e.planes)
            ]
            still_approved = sorted({n for e in old_entries for n in e.planes} - plane_numbers)
            if still_approved:  # first, so that at no moment less is approved than is to be
                store.approve(
                    correction.scan, case.read_mask().reshape(correction.scan.spatial_shape),
                    classes=store.classes, planes=still_approved,
                    model=old_entries[-1].model, edited=any(e.edited for e in old_entries),
                )  # fmt: skip
            for entry in old_entries:
                store.revoke(entry)

        def on_written() -> None:
            for related in self._same_image(correction):
                for n in plane_numbers:
                    related.approved.pop(n, None)
                if related.plane_lock is not None:
                    related.plane_lock.unlock(plane_numbers)
            correction.is_dirty = True

        return self._run_write(correction, write, on_written)

    def _run_write(
        self, correction: Correction, write: Callable[[], None], on_written: Callable[[], None]
    ) -> Any:
        """Write in a worker, then show it; what goes wrong is told."""
        self.writes_in_progress += 1
        QTimer.singleShot(0, self.changed.emit)  # copying a volume was enough for one turn of the event loop

        def on_finished(_: Any) -> None:
            self.writes_in_progress -= 1
            on_written()
            self.count(correction.family)
            self.changed.emit()

        def fail(error: BaseException) -> None:
            self.writes_in_progress -= 1
            self.changed.emit()
            show_exception(error)

        return run_in_thread(write, on_finished, fail)

    def _same_image(self, correction: Correction) -> list[Correction]:
        """All works on an image by a family of models: what is approved of one is approved of all."""
        return [
            related
            for related in self.corrections
            if related is correction or related.is_same_target(correction)
        ]

    def _lock_planes(self, correction: Correction, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        for related in self._same_image(correction):
            related.approved.update(planes)
            if related.plane_lock is not None:
                related.plane_lock.lock(planes)

    def count(self, family: str) -> None:
        """Ask the store how much is approved for a family of models; `count_changed` brings it."""

        def show(approved_count: tuple[int, int]) -> None:
            self.approved_counts[family] = approved_count
            self.count_changed.emit()

        run_in_thread(lambda: self.open_stores.count_approved(family), show)

    def _on_active_layer(self, event: Any = None) -> None:
        self.changed.emit()

    def _on_removed(self, event: Any = None) -> None:
        """What was painted in a copy that is taken out is kept, and can be gone on with."""
        viewer = self._viewer()
        viewer_layers = viewer.layers if viewer is not None else ()
        removed = [w for w in self.corrections if w.layer is not None and w.layer not in viewer_layers]
        if not removed:
            return
        self.corrections[:] = [w for w in self.corrections if w not in removed]
        for correction in removed:
            if correction.plane_lock is not None:
                correction.plane_lock.disconnect_all()
                correction.plane_lock.deleteLater()
            result = correction.result
            if result is not None and result.layers.mask is not None:
                result.layers.mask.contour = 0
            self.autosaver.save(correction, is_last=True)
        self.changed.emit()


def corrections_of(viewer: ViewerModel) -> Corrections:
    """What is corrected and approved in a viewer; it lives as long as that does.

    Parameters
    ----------
    viewer
        napari's own, or the proxy that it gives to plugins.
    """
    unwrapped_viewer = getattr(viewer, "__wrapped__", viewer)
    session = session_of(unwrapped_viewer)
    existing = session.findChild(Corrections)
    return existing if existing is not None else Corrections(unwrapped_viewer, session)
