"""Planes of a Labels layer that are not to be changed any more: shown as such, and kept as they are.

napari can make a layer read-only as a whole, and forgets its undo history when it does. So this works by what
can be seen from outside: while a locked plane is on screen the layer has a frame and no brush; what reaches a
locked plane all the same (a brush of three dimensions, a redo, a script) is put back.
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
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets.segment.region import image_shape

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["PlaneLock", "plane_on_screen"]

_VIEW_MODES = ("pan_zoom", "transform", "pick")
_FRAME_COLOR = "#35c46a"
_CHECK_DELAY_MS = 250  # milliseconds without a change, after which all locked planes are looked at


def plane_on_screen(viewer: ViewerModel, layer: Image | Labels, order: tuple[int, ...]) -> int | None:
    """The number of the plane of a layer that is on screen; None where another cut of it is.

    Parameters
    ----------
    viewer
        Where the layer is shown.
    layer
        That is cut.
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


class PlaneLock(QObject):
    """The locked planes of one layer.

    Parameters
    ----------
    viewer
        Where the layer is shown.
    layer
        Whose planes are locked.
    order
        Axis i of the planes was axis ``order[i]`` of the layer; the last two are rows and columns.
    parent
        With it the lock ends.

    Signals
    -------
    edit_refused
        The number of a plane that someone tried to change.

    Attributes
    ----------
    locked_planes
        What each locked plane holds, `(rows, columns)`, by number.
    """

    edit_refused = Signal(int)

    def __init__(
        self, viewer: ViewerModel, layer: Labels, order: tuple[int, ...], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(getattr(viewer, "__wrapped__", viewer))
        self.layer = layer
        self._order = order
        self._leading_shape = tuple(int(layer.data.shape[axis]) for axis in order[:-2])
        self.locked_planes: dict[int, NDArray[np.uint8]] = {}
        self._newly_locked: set[int] = set()  # that nobody can have tried to change yet
        self._mode_before_lock: str | None = None  # that the layer goes back to
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
        """Lock nothing any more, and listen to nothing."""
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
        """The number of the plane on screen; None where another cut of the layer is."""
        viewer = self._viewer()
        return None if viewer is None else plane_on_screen(viewer, self.layer, self._order)

    def plane_data(self, plane: int) -> NDArray[np.uint8]:
        """One plane of the layer, as a view of it."""
        data = np.asarray(self.layer.data).transpose(self._order)
        plane_view: NDArray[np.uint8] = (
            data[np.unravel_index(plane, self._leading_shape)] if self._leading_shape else data
        )
        return plane_view

    def lock(self, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        """Lock planes, and bring them to what they are to hold."""
        self.locked_planes.update(planes)
        self._newly_locked.update(planes)
        plane = self.plane_shown
        if plane is not None and plane in planes:
            self._restore_planes([plane])
        self._on_data()  # the others follow, looked at in a worker
        self._follow()

    def unlock(self, planes: Iterable[int]) -> None:
        """Let planes be changed again."""
        for plane in planes:
            self.locked_planes.pop(plane, None)
        self._follow()

    def _follow(self, event: Any = None) -> None:
        """Show whether the plane on screen is locked."""
        plane = self.plane_shown
        box = self.layer.bounding_box
        if plane is not None and plane in self.locked_planes:
            if self._mode_before_lock is None:
                self._mode_before_lock = str(self.layer.mode)
            box.line_color, box.line_thickness, box.points = _FRAME_COLOR, 3, False
            box.visible = True
            self._disable_painting()
        elif self._mode_before_lock is not None:
            mode, self._mode_before_lock = self._mode_before_lock, None
            box.visible = False
            if self.layer.editable:
                self.layer.mode = mode

    def _disable_painting(self) -> None:
        if self._mode_before_lock is not None and str(self.layer.mode) not in _VIEW_MODES:
            self.layer.mode = "pan_zoom"

    def _on_mode(self, event: Any = None) -> None:
        """Take a brush away again that was chosen on a locked plane."""
        if self._mode_before_lock is not None and str(self.layer.mode) not in _VIEW_MODES:
            self._mode_before_lock = str(self.layer.mode)  # for the next plane that is not locked
            QTimer.singleShot(0, self._disable_painting)  # napari's buttons are told of the mode first
            plane = self.plane_shown
            if plane is not None:
                self.edit_refused.emit(plane)

    def _on_paint(self, event: Any = None) -> None:
        plane = self.plane_shown
        if plane is not None and plane in self.locked_planes:
            # napari tells of some strokes before they are in the data
            QTimer.singleShot(0, lambda: self._restore_planes([plane]))
        self._on_data()

    def _on_data(self, event: Any = None) -> None:
        if self.locked_planes and not self._is_restoring:
            self._timer.start()

    def _restore_planes(self, planes: Iterable[int]) -> None:
        """Bring locked planes to what they hold."""
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
        """Look at all locked planes, off the GUI thread."""
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
            self._checker = None  # the layer was given other data; approving says what is wrong with it

        with suppress(RuntimeError):
            self._checker = run_in_thread(find_changed, show, fail)
