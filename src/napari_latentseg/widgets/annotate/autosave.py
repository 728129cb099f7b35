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
from napari_latentseg.widgets._shared.layers import role_of, scan_from_layer
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception
from napari_latentseg.widgets.annotate.correction import Correction

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.annotations import Draft
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.widgets.annotate.open_stores import OpenStores

__all__ = ["Autosaver"]


class Autosaver(QObject):
    """Keeps the copies that are painted in as drafts of the annotation stores.

    Parameters
    ----------
    viewer
        Whose copies they are.
    open_stores
        Its stores.
    corrections
        What is worked on; others add to it and take from it.
    parent
        With it the keeping ends.

    Signals
    -------
    drafts_changed
        What is left to go on with is known anew, in `drafts`.
    resumed
        A `Correction` that is gone on with, with its layer; not yet in the viewer.

    Attributes
    ----------
    drafts
        Drafts that nobody works on, by family, the newest first.
    """

    drafts_changed = Signal()
    resumed = Signal(object)

    def __init__(
        self, viewer: ViewerModel, open_stores: OpenStores, corrections: list[Correction], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._open_stores = open_stores
        self._corrections = corrections
        self.drafts: list[tuple[str, Draft]] = []
        self._own_draft_ids: set[str] = set()
        self._saving: set[int] = set()
        self._save_again: set[int] = set()
        self._timer = QTimer(self)
        self._timer.setInterval(1000 * preferences().autosave_s)
        self._timer.timeout.connect(self.save_all)
        self._timer.start()
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._save_before_quit)

    def save_all(self) -> None:
        """Keep every copy that may have changed since the last time."""
        self._timer.setInterval(1000 * preferences().autosave_s)  # it may have been changed since
        for correction in list(self._corrections):
            self.save(correction)

    def save(self, correction: Correction, *, is_last: bool = False) -> None:
        """Keep a copy where it may have changed; in a worker.

        Parameters
        ----------
        correction
            Whose copy it is.
        is_last
            It was taken out of the viewer, so others may go on with it.
        """
        if is_last and id(correction) in self._saving:
            self._save_again.add(id(correction))  # once more when that is through
        if correction.layer is None or id(correction) in self._saving or not (correction.is_dirty or is_last):
            return
        try:
            mask = correction.current_mask()
        except BadInput:
            return  # approving says what is wrong with it
        correction.is_dirty = False
        self._saving.add(id(correction))

        def on_saved(draft: Draft | None) -> None:
            self._saving.discard(id(correction))
            self._set_draft(correction, draft)
            if id(correction) in self._save_again:
                self._save_again.discard(id(correction))
                self.save(correction, is_last=True)
            elif is_last:
                correction.layer = None
                self.refresh_drafts()

        def fail(error: BaseException) -> None:
            self._saving.discard(id(correction))
            correction.is_dirty = True
            show_exception(error)

        run_in_thread(lambda: self._write(correction, mask), on_saved, fail)

    def _write(self, correction: Correction, mask: NDArray[np.uint8]) -> Draft | None:
        """Keep a copy; where all that was changed of it is approved, keep it no longer."""
        store = self._open_stores.store(correction.family)
        mask_copy = np.array(correction.as_planes(mask), order="C")
        unapproved = [n for n in range(correction.plane_count) if n not in correction.approved]
        if not correction.has_changes(mask, unapproved):
            if correction.draft is not None:
                store.discard_draft(correction.draft)
            return None
        return store.save_draft(
            correction.scan, mask_copy, classes=correction.classes, model=correction.model
        )

    def _set_draft(self, correction: Correction, draft: Draft | None) -> None:
        correction.draft = draft
        if draft is not None:
            self._own_draft_ids.add(draft.id)

    def refresh_drafts(self) -> None:
        """Ask the stores for work that was left; `drafts_changed` brings it."""
        open_draft_ids = frozenset(
            w.draft.id for w in self._corrections if w.draft is not None and w.layer is not None
        )
        own_draft_ids = frozenset(self._own_draft_ids)

        def show(drafts: list[tuple[str, Draft]]) -> None:
            self.drafts = drafts
            self.drafts_changed.emit()

        run_in_thread(lambda: self._open_stores.unfinished_drafts(open_draft_ids, own_draft_ids), show)

    def resume_draft(self, family: str, draft: Draft) -> Any:
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
            scan, mask = self._open_stores.store(family).resume_draft(draft)
            open_image = next(
                ((image, open_scan) for image, open_scan in images if _is_same_scan(open_scan, scan)), None
            )
            if open_image is None:
                scan = scan.replace(array=np.asarray(scan.array))  # scrolling need not wait for the disk
            return open_image, scan, np.array(mask)

        def show(answer: Any) -> None:
            open_image, scan, mask = answer
            if open_image is None:
                image = _show_draft_image(viewer, scan, f"image of {draft.time[:10]}")
            else:
                image, scan = open_image
            order = tuple(range(len(scan.spatial_axes)))
            model = (*draft.model,) if draft.model is not None else None
            correction = Correction(image, scan, order, tuple(draft.classes), family, model)
            correction.create_layer(mask)
            correction.is_dirty = True
            self._own_draft_ids.add(draft.id)
            self.resumed.emit(correction)
            self.save(correction)
            self._forget(draft)

        def fail(error: BaseException) -> None:
            show_exception(error)
            self.refresh_drafts()

        return run_in_thread(read, show, fail)

    def discard_draft(self, family: str, draft: Draft) -> Any:
        """Remove work that was left.

        Returns
        -------
        worker
            Of the removing.
        """
        store = self._open_stores.store

        def fail(error: BaseException) -> None:
            show_exception(error)
            self.refresh_drafts()

        return run_in_thread(lambda: store(family).discard_draft(draft), lambda _: self._forget(draft), fail)

    def _forget(self, draft: Draft) -> None:
        self.drafts = [entry for entry in self.drafts if entry[1].id != draft.id]
        self.drafts_changed.emit()

    def _save_before_quit(self) -> None:
        """The program ends: keep what is not kept yet, here and now."""
        for correction in self._corrections:
            if correction.layer is not None and correction.is_dirty:
                with suppress(BadInput, OSError):
                    self._set_draft(correction, self._write(correction, correction.current_mask()))
        self._open_stores.close()


def _show_draft_image(viewer: ViewerModel, scan: Scan, name: str) -> Image:
    """Show the image of a draft that is not open."""
    from napari_latentseg.widgets.segment.samples import scan_arguments

    image = Image(scan.array, name=name, **scan_arguments(scan))
    viewer.add_layer(image)
    return image


def _is_same_scan(first: Scan, second: Scan) -> bool:
    """Whether two scans hold the same values in the same place; reads them."""
    if (first.axes, first.spatial_shape) != (second.axes, second.spatial_shape):
        return False
    if not first.geometry.agrees_with(second.geometry, first.spatial_shape):
        return False
    return bool(np.array_equal(np.asarray(first.array), np.asarray(second.array)))
