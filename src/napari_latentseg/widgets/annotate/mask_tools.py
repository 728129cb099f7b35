"""Edits of a label on the copy of a mask: what part of it is edited, in a thread, as one step of undo."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.mask_edit import MaskEdit, edit_spacing
from napari_latentseg.errors import Cancelled
from napari_latentseg.widgets._shared.layers import index_on_screen
from napari_latentseg.widgets._shared.threads import run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_latentseg.widgets.annotate.correction import Correction

__all__ = ["EditRunner", "EditedPart", "Extent", "LabelChange", "part_to_edit", "set_labels"]

Extent = Literal["slice", "slices", "volume"]
"""The slice on screen, each slice by itself, or the volume in 3D."""

Voxels = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class EditedPart:
    """The part of a mask that an edit is given, in the axis order of the segmented planes.

    Attributes
    ----------
    index
        For each axis of the mask, an index or ``slice(None)``.
    axes
        Letters of the axes that remain.
    spacing
        Along these axes.
    """

    index: tuple[int | slice, ...]
    axes: str
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class LabelChange:
    """Voxels of a mask, in the axis order of its layer, and the labels that they get.

    Attributes
    ----------
    voxels
        An array of indices for each axis.
    before, after
        Labels of these voxels.
    """

    voxels: Voxels
    before: NDArray[np.integer]
    after: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.before)


def part_to_edit(viewer: ViewerModel, correction: Correction, extent: Extent) -> EditedPart | None:
    """The slice on screen, in any orientation, or the volume at the time on screen.

    Parameters
    ----------
    viewer
        The viewer.
    correction
        Has a copy, in the viewer.
    extent
        What is edited.

    Returns
    -------
    EditedPart or None
        None for a slice where the view is in 3D.
    """
    layer = correction.layer
    assert layer is not None
    on_screen = index_on_screen(viewer, layer)
    index = [on_screen[axis] for axis in correction.axis_order]
    axes = correction.scan.spatial_axes
    if extent == "slice" and sum(isinstance(i, slice) for i in index) != 2:
        return None
    if extent != "slice":
        index = [i if name == "t" else slice(None) for i, name in zip(index, axes, strict=True)]
    steps = dict(zip((a for a in axes if a != "t"), edit_spacing(correction.scan.geometry)[0], strict=True))
    kept = "".join(name for i, name in zip(index, axes, strict=True) if isinstance(i, slice))
    return EditedPart(tuple(index), kept, tuple(steps[name] for name in kept if name != "t"))


def set_labels(layer: Labels, change: LabelChange) -> bool:
    """Change labels in one step of napari's undo history.

    Returns
    -------
    bool
        False where a voxel was changed since the change was computed; nothing is changed then.
    """
    data: Any = layer.data
    if not np.array_equal(data[change.voxels], change.before):
        return False
    if len(change):
        with layer.block_history():  # which also tells of a stroke, as painting does
            layer.data_setitem(change.voxels, change.after)
    return True


class EditRunner(QObject):
    """Runs one edit at a time in a thread.

    Signals
    -------
    progressed
        The number of finished and of all parts.
    finished
        The `LabelChange`.
    failed
        The exception; `Cancelled` where it was cancelled.
    """

    progressed = Signal(int, int)
    finished = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stop: Event | None = None

    @property
    def is_running(self) -> bool:
        """Whether an edit is being computed."""
        return self._stop is not None

    def start(self, correction: Correction, edit: MaskEdit, label: int, part: EditedPart) -> None:
        """Compute an edit; the copy is not changed.

        Parameters
        ----------
        correction
            Has a copy. Its approved planes stay as they are.
        edit, label
            What is done to which label.
        part
            From `part_to_edit`.
        """
        assert correction.layer is not None
        self.cancel()
        stop = self._stop = Event()
        planes = correction.as_planes(np.asarray(correction.layer.data))
        approved, leading = sorted(correction.approved), correction.leading_shape
        order = correction.axis_order

        def progress(done: int, total: int) -> None:
            if stop.is_set():
                raise Cancelled
            self.progressed.emit(done, total)

        def compute() -> LabelChange:
            before = np.array(planes[part.index])
            locked = _locked(planes.shape, leading, approved)[part.index] if approved else None
            after = edit.apply(before, label, part.axes, part.spacing, locked, progress)
            return _change(before, after, part.index, order)

        def show(change: LabelChange) -> None:
            if self._stop is stop:
                self._stop = None
                self.finished.emit(change)

        def fail(error: BaseException) -> None:
            if self._stop is stop:
                self._stop = None
                self.failed.emit(error)

        run_in_thread(compute, show, fail, self)

    def cancel(self) -> None:
        """Give up the edit that is being computed, at once; its thread ends after the part it is at."""
        if self._stop is None:
            return
        self._stop.set()
        self._stop = None
        self.failed.emit(Cancelled())


def _locked(shape: tuple[int, ...], leading: tuple[int, ...], approved: list[int]) -> NDArray[np.bool_]:
    locked = np.zeros(shape, bool)
    for number in approved:
        locked[np.unravel_index(number, leading) if leading else ()] = True
    return locked


def _change(
    before: NDArray[np.integer],
    after: NDArray[np.integer],
    index: tuple[int | slice, ...],
    order: tuple[int, ...],
) -> LabelChange:
    """The voxels that differ, in the axis order of the layer."""
    differs = np.nonzero(before != after)
    remaining = iter(differs)
    voxels: list[Any] = [None] * len(order)
    for axis, i in zip(order, index, strict=True):
        voxels[axis] = next(remaining) if isinstance(i, slice) else np.full(len(differs[0]), i, np.intp)
    return LabelChange(tuple(voxels), before[differs], after[differs])
