"""Lock the approved planes of a Labels layer against edits.

napari can only make a whole layer read-only, and it clears the undo history when it does. So the lock works
from outside: while a locked plane is on screen the layer has a frame and no brush, and edits that reach a
locked plane all the same (a 3-D brush, a redo, a script) are reverted.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.widgets._shared.layers import index_on_screen
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["PlaneLock", "plane_on_screen", "show_approved_frame"]

_VIEW_MODES = ("pan_zoom", "transform", "pick")
_FRAME_COLOR = "#35c46a"
_CHECK_DELAY_MS = 250  # after the last edit; comparing all planes during a stroke would slow the brush


def plane_on_screen(viewer: ViewerModel, layer: Image | Labels, order: tuple[int, ...]) -> int | None:
    """The number of the plane on screen; None in 3-D, or where the layer is sliced along another axis.

    Parameters
    ----------
    viewer
        The viewer that shows the layer.
    layer
        The layer.
    order
        Axis i of the planes was axis ``order[i]`` of the layer; the last two are rows and columns.
    """
    if viewer.dims.ndisplay != 2 or layer not in viewer.layers:
        return None
    screen_index, shape = index_on_screen(viewer, layer), image_shape(layer)
    number = 0
    for axis in order[:-2]:
        axis_index = screen_index[axis]
        if isinstance(axis_index, slice):
            return None
        number = number * shape[axis] + axis_index
    return number


def show_approved_frame(layer: Labels, is_approved: bool) -> None:
    """Draw a green frame around a layer, or remove it: the sign that the plane on screen is approved."""
    box = layer.bounding_box
    if is_approved:
        box.line_color, box.line_thickness, box.points = _FRAME_COLOR, 3, False
    if box.visible != is_approved:
        box.visible = is_approved
        if is_approved:  # napari (0.9) draws the frame half a voxel off until the layer is drawn again
            layer.refresh()


class PlaneLock(QObject):
    """The locked planes of one layer.

    Parameters
    ----------
    viewer
        The viewer that shows the layer.
    layer
        The layer whose planes are locked.
    order
        Axis i of the planes was axis ``order[i]`` of the layer; the last two are rows and columns.
    parent
        Qt parent, which owns the lock.

    Signals
    -------
    edit_refused
        The number of a locked plane that was edited; the edit is reverted.

    Attributes
    ----------
    locked_planes
        Approved labels of each locked plane, `(rows, columns)`, by plane number.
    """

    edit_refused = Signal(int)

    def __init__(
        self, viewer: ViewerModel, layer: Labels, order: tuple[int, ...], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(unwrapped_viewer(viewer))
        self.layer = layer
        self._order = order
        self._leading_shape = tuple(int(layer.data.shape[axis]) for axis in order[:-2])
        self.locked_planes: dict[int, NDArray[np.uint8]] = {}
        self._newly_locked: set[int] = set()  # not compared since they were locked: a difference is no edit
        self._mode_before_lock: str | None = None  # restored on the next unlocked plane
        self._is_restoring = False
        self._checker: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHECK_DELAY_MS)
        self._timer.timeout.connect(self._check_all_planes)
        dims = viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.connect(self._follow)
        layer.events.mode.connect(self._on_mode)
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_data)

    def disconnect_all(self) -> None:
        """Unlock all planes and disconnect from layer and viewer."""
        self._timer.stop()
        self.locked_planes = {}
        events = self.layer.events
        events.mode.disconnect(self._on_mode)
        events.paint.disconnect(self._on_paint)
        events.set_data.disconnect(self._on_data)
        viewer = self._viewer()
        if viewer is not None:
            dims = viewer.dims.events
            for event in (dims.current_step, dims.order, dims.ndisplay):
                event.disconnect(self._follow)

    @property
    def plane_shown(self) -> int | None:
        """The number of the plane on screen, see `plane_on_screen`."""
        viewer = self._viewer()
        return None if viewer is None else plane_on_screen(viewer, self.layer, self._order)

    def plane_data(self, plane: int) -> NDArray[np.uint8]:
        """The labels of one plane of the layer, `(rows, columns)`; a view."""
        data = np.asarray(self.layer.data).transpose(self._order)
        plane_view: NDArray[np.uint8] = (
            data[np.unravel_index(plane, self._leading_shape)] if self._leading_shape else data
        )
        return plane_view

    def lock(self, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        """Lock planes, and set them to their approved labels."""
        self.locked_planes.update(planes)
        self._newly_locked.update(planes)
        plane = self.plane_shown
        if plane is not None and plane in planes:
            self._restore_planes([plane])
        self._on_data()  # the others are compared in a worker
        self._follow()

    def unlock(self, planes: Iterable[int]) -> None:
        """Allow edits of planes again."""
        for plane in planes:
            self.locked_planes.pop(plane, None)
        self._follow()

    def _follow(self, event: Any = None) -> None:
        """Show the frame and disable the brush while the plane on screen is locked."""
        plane = self.plane_shown
        if plane is not None and plane in self.locked_planes:
            if self._mode_before_lock is None:
                self._mode_before_lock = str(self.layer.mode)
            show_approved_frame(self.layer, True)
            self._disable_painting()
        elif self._mode_before_lock is not None:
            mode, self._mode_before_lock = self._mode_before_lock, None
            show_approved_frame(self.layer, False)
            if self.layer.editable:
                self.layer.mode = mode

    def _disable_painting(self) -> None:
        if self._mode_before_lock is not None and str(self.layer.mode) not in _VIEW_MODES:
            self.layer.mode = "pan_zoom"

    def _on_mode(self, event: Any = None) -> None:
        """Disable a brush that was chosen on a locked plane."""
        if self._mode_before_lock is not None and str(self.layer.mode) not in _VIEW_MODES:
            self._mode_before_lock = str(self.layer.mode)  # for the next unlocked plane
            QTimer.singleShot(0, self._disable_painting)  # after napari's buttons got the mode event
            plane = self.plane_shown
            if plane is not None:
                self.edit_refused.emit(plane)

    def _on_paint(self, event: Any = None) -> None:
        plane = self.plane_shown
        if plane is not None and plane in self.locked_planes:
            # napari emits some paint events before the data is changed
            QTimer.singleShot(0, lambda: self._restore_planes([plane]))
        self._on_data()

    def _on_data(self, event: Any = None) -> None:
        if self.locked_planes and not self._is_restoring:
            self._timer.start()

    def _restore_planes(self, planes: Iterable[int]) -> None:
        """Reset locked planes to their approved labels."""
        changed = []
        for plane in planes:
            locked_values, current_values = self.locked_planes.get(plane), self.plane_data(plane)
            if (
                locked_values is not None
                and locked_values.shape == current_values.shape
                and not np.array_equal(locked_values, current_values)
            ):
                current_values[:] = locked_values
                changed.append(plane)
        if not changed:
            return
        self._is_restoring = True
        try:
            self.layer.refresh()
        finally:
            self._is_restoring = False
        user_changed = [plane for plane in changed if plane not in self._newly_locked]
        if user_changed:
            self.edit_refused.emit(user_changed[0])

    def _check_all_planes(self) -> None:
        """Compare the locked planes with their approved labels in a worker; reset those that differ."""
        viewer = self._viewer()
        if viewer is None or self.layer not in viewer.layers:
            return
        if self._checker is not None:
            self._timer.start()
            return
        planes = dict(self.locked_planes)

        def find_changed() -> list[int]:
            return [
                n
                for n, locked_values in planes.items()
                if not np.array_equal(locked_values, self.plane_data(n))
            ]

        def show(changed: list[int]) -> None:
            self._checker = None
            self._restore_planes(changed)
            self._newly_locked -= planes.keys()

        def fail(error: BaseException) -> None:
            self._checker = None  # the layer has data of another shape; approving reports that

        with suppress(RuntimeError):
            self._checker = run_in_thread(find_changed, show, fail)
