"""Saving corrections as drafts every few seconds, and resuming drafts, also after a crash."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer, Signal

from napari_latentseg import api
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import role_of, scan_from_layer
from napari_latentseg.widgets._shared.plain_text import show_info
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets._shared.unwrapped_viewer import main_window
from napari_latentseg.widgets.annotate.correction import Correction, model_family

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.annotations import Draft
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.widgets.annotate.open_stores import OpenStores

__all__ = ["Autosaver"]


class Autosaver(QObject):
    """Saves the editable copies of a viewer as drafts in the annotation stores.

    Parameters
    ----------
    viewer
        The viewer with the editable copies.
    open_stores
        The annotation stores of the viewer.
    corrections
        All corrections of the viewer; the list is shared with its owner, which adds and removes entries.
    parent
        Qt parent.

    Signals
    -------
    drafts_changed
        `drafts` was updated.
    resumed
        Emitted with the `Correction` of a resumed draft; its layer is not in the viewer yet.

    Attributes
    ----------
    drafts
        Drafts that no window edits, each with its model family, newest first.
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
        self._own_draft_ids: set[str] = set()  # of drafts that this viewer has saved or resumed
        # ids of corrections: being saved, to save a last time after that, and to save on after that
        self._saving: set[int] = set()
        self._save_again: set[int] = set()
        self._save_on: set[int] = set()
        self._timer = QTimer(self)
        self._timer.setInterval(1000 * preferences().autosave_s)
        self._timer.timeout.connect(self.save_all)
        self._timer.start()
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._save_before_quit)
        window = main_window(viewer)
        if window is not None:  # a script may close a window and go on
            window.installEventFilter(self)

    def save_all(self) -> None:
        """Save every copy that may have changed since it was last saved."""
        self._timer.setInterval(1000 * preferences().autosave_s)  # the preference may have changed
        for correction in list(self._corrections):
            self.save(correction)

    def save(self, correction: Correction, *, is_last: bool = False, at_once: bool = False) -> None:
        """Save a copy, in a worker, if it may have changed.

        Parameters
        ----------
        correction
            The correction that the copy belongs to.
        is_last
            Whether the copy was removed from the viewer: after this save its draft can be resumed.
        at_once
            Whether a copy that is being saved is saved again right after that, and not a few seconds later.
        """
        if at_once and correction.is_dirty and id(correction) in self._saving:
            self._save_on.add(id(correction))
        if is_last and id(correction) in self._saving:
            self._save_again.add(id(correction))  # strokes after the start of the current save are not in it
        if correction.layer is None or id(correction) in self._saving or not (correction.is_dirty or is_last):
            return
        try:
            mask = correction.current_mask()
        except BadInput:
            return  # an approval reports the error; autosaving must not repeat it every few seconds
        correction.is_dirty = False
        self._saving.add(id(correction))

        def on_saved(draft: Draft | None) -> None:
            self._saving.discard(id(correction))
            self._set_draft(correction, draft)
            if id(correction) in self._save_again:
                self._save_again.discard(id(correction))
                self._save_on.discard(id(correction))
                self.save(correction, is_last=True)
            elif id(correction) in self._save_on and not is_last:
                self._save_on.discard(id(correction))
                self.save(correction)
            elif is_last:
                if draft is not None and correction.layer is not None:
                    name, image = correction.layer.name, correction.image.name
                    reason = f"“{name}” was removed"
                    if correction.has_other_data:
                        reason = f"{image} has changed, so that “{name}” was removed"
                    show_info(f"{reason}. What was painted is kept: Resume in Annotate.")
                correction.layer = None
                self.refresh_drafts()

        def fail(error: BaseException) -> None:
            self._saving.discard(id(correction))
            correction.is_dirty = True
            show_exception(error)

        run_in_thread(lambda: self._write(correction, mask), on_saved, fail)

    def _write(self, correction: Correction, mask: NDArray[np.uint8]) -> Draft | None:
        """Save a copy as a draft; delete the draft if no unapproved edit is left."""
        store = self._open_stores.store(correction.family)
        mask_copy = np.array(correction.as_planes(mask), order="C")
        unapproved = [n for n in range(correction.plane_count) if n not in correction.approved]
        if not correction.has_changes(mask, unapproved):
            if correction.draft is not None:
                store.discard_draft(correction.draft)
            return None
        return store.save_draft(
            correction.scan,
            mask_copy,
            classes=correction.classes,
            model=correction.model,
            segmented_region=correction.segmented_region,
            tag=correction.draft_tag,
        )

    def _set_draft(self, correction: Correction, draft: Draft | None) -> None:
        correction.draft = draft
        if draft is not None:
            self._own_draft_ids.add(draft.id)

    def refresh_drafts(self) -> None:
        """Read which drafts no window edits, in a worker; emits `drafts_changed`."""
        open_draft_ids = frozenset(
            c.draft.id for c in self._corrections if c.draft is not None and c.layer is not None
        )
        own_draft_ids = frozenset(self._own_draft_ids)

        def show(drafts: list[tuple[str, Draft]]) -> None:
            self.drafts = drafts
            self.drafts_changed.emit()

        run_in_thread(
            lambda: self._open_stores.unfinished_drafts(open_draft_ids, own_draft_ids), show, owner=self
        )

    def resume_draft(self, family: str, draft: Draft) -> ThreadWorker:
        """Resume a draft: make its mask editable, and add its image unless the viewer has it.

        Returns
        -------
        ThreadWorker
            Reads the draft.
        """
        viewer = self._viewer()
        assert viewer is not None
        images = [
            (layer, scan_from_layer(layer))
            for layer in viewer.layers
            if isinstance(layer, Image) and role_of(layer) in ("", "scan") and 2 <= layer.ndim <= 4
        ]

        open_scans = [c.scan for c in self._corrections if c.layer is not None and c.family == family]

        def read() -> _DraftData:
            if any(scan.content_sha256 == draft.key for scan in open_scans):
                raise BadInput("draft", "this image is being edited here already", "finish that first")
            return _read_draft(self._open_stores, family, draft, images)

        def show(data: _DraftData) -> None:
            image = data.image
            if image is None:
                image = _show_draft_image(viewer, data.scan, f"image of {draft.time[:10]}")
            order = tuple(range(len(data.scan.spatial_axes)))
            model = (*draft.model,) if draft.model is not None else None
            correction = Correction(
                image, data.scan, order, tuple(draft.classes), family, model,
                known_classes=data.known_classes or None, segmented_region=draft.segmented_region,
            )  # fmt: skip
            correction.create_layer(data.mask)
            correction.draft_tag = draft.tag
            correction.is_dirty = True
            self._own_draft_ids.add(draft.id)
            self.resumed.emit(correction)
            self.save(correction)
            self._forget(draft)

        def fail(error: BaseException) -> None:
            show_exception(error)
            self.refresh_drafts()

        return run_in_thread(read, show, fail, self)

    def discard_draft(self, family: str, draft: Draft) -> ThreadWorker:
        """Delete a draft.

        Returns
        -------
        ThreadWorker
            Deletes it.
        """
        store = self._open_stores.store

        def fail(error: BaseException) -> None:
            show_exception(error)
            self.refresh_drafts()

        return run_in_thread(lambda: store(family).discard_draft(draft), lambda _: self._forget(draft), fail)

    def _forget(self, draft: Draft) -> None:
        """Remove a draft from the list."""
        self.drafts = [entry for entry in self.drafts if entry[1].id != draft.id]
        self.drafts_changed.emit()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Save unsaved copies before the window closes."""
        if event is not None and event.type() == QEvent.Type.Close:
            self._save_unsaved()
        return False

    def _save_before_quit(self) -> None:
        self._save_unsaved()
        self._open_stores.close()

    def _save_unsaved(self) -> None:
        """Save unsaved copies in this thread, as workers may no longer run."""
        for correction in self._corrections:
            if correction.layer is not None and correction.is_dirty:
                with suppress(BadInput, OSError):
                    self._set_draft(correction, self._write(correction, correction.current_mask()))
                    correction.is_dirty = False


@dataclass(frozen=True)
class _DraftData:
    """What is read of a draft.

    Attributes
    ----------
    image
        The layer of its image; None where the viewer has none.
    scan
        The image, in memory: scrolling reads no files.
    mask
        Its labels, writable.
    known_classes
        Names of the classes that the models of its family know.
    """

    image: Image | None
    scan: Scan
    mask: NDArray[np.uint8]
    known_classes: set[str]


def _read_draft(
    stores: OpenStores, family: str, draft: Draft, images: Sequence[tuple[Image, Scan]]
) -> _DraftData:
    """Read a draft; called in a worker. `images` are the image layers of the viewer with their scans."""
    cards = api.list_models().values()
    known_classes = {c.name for card in cards if model_family(card) == family for c in card.classes}
    scan, mask = stores.store(family).resume_draft(draft)
    for image, open_scan in images:
        if _is_same_scan(open_scan, scan):
            return _DraftData(image, open_scan, np.array(mask), known_classes)
    return _DraftData(None, scan.replace(array=np.asarray(scan.array)), np.array(mask), known_classes)


def _show_draft_image(viewer: ViewerModel, scan: Scan, name: str) -> Image:
    """Add the image of a draft to the viewer."""
    from napari_latentseg.widgets._shared.layers import scan_arguments

    image = Image(scan.array, name=name, **scan_arguments(scan))
    viewer.add_layer(image)
    return image


def _is_same_scan(first: Scan, second: Scan) -> bool:
    """Whether two scans have the same geometry and values; reads both."""
    if (first.axes, first.spatial_shape) != (second.axes, second.spatial_shape):
        return False
    if not first.geometry.agrees_with(second.geometry, first.spatial_shape):
        return False
    return bool(np.array_equal(np.asarray(first.array), np.asarray(second.array)))
