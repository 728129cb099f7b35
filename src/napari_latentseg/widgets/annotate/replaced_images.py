"""Copies of masks whose image gets other values: they are put away, as drafts of the earlier values."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.core.scan import Scan
    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["ReplacedImages"]

# Until the window has been drawn with the new values: with software rendering (napari 0.9 on Mesa) a layer
# that was removed before that could end the program.
_DRAWN_MS = 200


class ReplacedImages(QObject):
    """Removes the copies of an image whose values were replaced, so that they are saved as drafts.

    What is painted or accepted on the new values would otherwise be saved with the earlier ones.

    Parameters
    ----------
    viewer
        The viewer.
    corrections
        All corrections of the viewer; the list is shared with its owner.
    parent
        Qt parent.

    Signals
    -------
    compared
        An image: all its copies are of its new values now.
    """

    compared = Signal(object)

    def __init__(self, viewer: ViewerModel, corrections: list[Correction], parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._corrections = corrections
        self._latest: weakref.WeakKeyDictionary[Image, object] = weakref.WeakKeyDictionary()
        session_of(viewer).cases.data_replaced.connect(self._on_data_replaced)

    def is_comparing(self, image: Image) -> bool:
        """Whether it is not known yet if the copies of an image are of its values."""
        return image in self._latest

    def _on_data_replaced(self, image: Image) -> None:
        copies = [c for c in self._corrections if c.image is image and c.layer is not None]
        for correction in copies:  # at once: nothing is approved while the values are read
            correction.has_other_data = True
        comparison = self._latest[image] = object()

        def put_away(others: list[Correction]) -> None:
            if not isalive(self) or self._latest.get(image) is not comparison:
                return  # the values were replaced again
            del self._latest[image]
            viewer = self._viewer()
            for correction in copies:
                correction.has_other_data = correction in others
                layer = correction.layer
                # one with other axes is not taken for that of the new values, and stays
                is_alike = layer is not None and layer.ndim == image.ndim
                if correction.has_other_data and is_alike and viewer is not None and layer in viewer.layers:
                    viewer.layers.remove(layer)
            self.compared.emit(image)

        def put_away_soon(others: list[Correction]) -> None:
            QTimer.singleShot(_DRAWN_MS if others else 0, lambda: put_away(others))

        def fail(error: BaseException) -> None:  # that the values are the same is not known
            show_exception(error)
            put_away_soon(copies)

        if not copies:
            put_away([])
            return
        try:
            scan = scan_from_layer(image)
        except BadInput:  # no image that anybody can work on
            put_away_soon(copies)
            return
        run_in_thread(lambda: [c for c in copies if not _is_of(c, scan)], put_away_soon, fail, self)


def _is_of(correction: Correction, scan: Scan) -> bool:
    """Whether a copy is of the values of a scan; reads them."""
    result = correction.result
    original = result.job.scan if result is not None else correction.scan  # a copy may have other slices
    return original.content_sha256 == scan.content_sha256
