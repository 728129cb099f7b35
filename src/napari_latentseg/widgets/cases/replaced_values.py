"""Open cases whose image was given other values in the window: nothing is decided on these."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_latentseg.widgets._shared.cases import is_case_image
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.widgets.cases.opened_case import OpenedCase

__all__ = ["ReplacedValues"]


class ReplacedValues(QObject):
    """Keeps `OpenedCase.images_with_other_values` up to date, of cases that were closed as well.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Qt parent.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._cases = session_of(viewer).cases
        # the case weakly, since it holds the image: that would never go
        self._read: weakref.WeakKeyDictionary[Image, tuple[weakref.ref[OpenedCase], Any]] = (
            weakref.WeakKeyDictionary()
        )
        self._cases.data_replaced.connect(self._on_data_replaced)

    def watch(self, opened: OpenedCase) -> None:
        """Follow the images of a case whose layers have just been added."""
        for layer in self._cases.layers:
            if is_case_image(layer) and self._cases.is_same_case(layer, opened.image):
                self._read.setdefault(layer, (weakref.ref(opened), layer.data))

    def _on_data_replaced(self, image: Image) -> None:
        opened_ref, before = self._read.get(image, (lambda: None, None))
        opened, now = opened_ref(), image.data
        if opened is None:
            return
        opened.images_with_other_values.add(image)  # until it is known: nothing is decided meanwhile

        def show(is_same: bool) -> None:
            if is_same and image.data is now:  # a volume was loaded into memory
                opened.images_with_other_values.discard(image)

        run_in_thread(lambda: _has_same_values(before, now), show, lambda _: None, self)


def _has_same_values(before: Any, now: Any) -> bool:
    """Whether two arrays hold the same; reads them."""
    if before is now:
        return True
    if not all(hasattr(data, "shape") and hasattr(data, "dtype") for data in (before, now)):
        return False  # several resolutions, of which a case has none
    if (before.shape, before.dtype) != (now.shape, now.dtype):
        return False
    return np.array_equal(np.asarray(before), np.asarray(now), equal_nan=before.dtype.kind == "f")
