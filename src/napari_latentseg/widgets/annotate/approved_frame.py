"""The green frame of approved slices on the mask of a run that has no editable copy."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.plane_lock import plane_on_screen, show_approved_frame

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.session import RunResult
    from napari_latentseg.widgets._shared.shown_mask import PersonMask

__all__ = ["ApprovedFrame"]


class ApprovedFrame(QObject):
    """Frames the mask of the current result while an approved slice of it is on screen.

    An editable copy has its own frame, see `PlaneLock`.

    Parameters
    ----------
    viewer
        The viewer of the results.
    person_mask
        What a person has made of the mask of a result.
    parent
        Qt parent, which owns the frame.
    """

    def __init__(
        self, viewer: ViewerModel, person_mask: Callable[[RunResult], PersonMask], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._person_mask = weakref.WeakMethod(person_mask)
        session = session_of(viewer)
        session.mask_changed.connect(self.follow)
        session.results_changed.connect(self.follow)
        dims = viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.connect(self.follow)

    def follow(self, event: Any = None) -> None:
        """Show or remove the frame for what is on screen."""
        viewer, person_mask = self._viewer(), self._person_mask()
        if viewer is None or person_mask is None:
            return
        for result in session_of(viewer).results:
            layer = result.layers.mask
            if layer is None or layer not in viewer.layers or result.latest_mask is None:
                continue
            has_copy = person_mask(result).layer is not None
            order = result.job.view.order or tuple(range(layer.ndim))
            plane = None if has_copy else plane_on_screen(viewer, layer, order)
            show_approved_frame(layer, plane in result.latest_mask.comparison.approved_slices)
