"""Another threshold for a finished result: on the slice on screen at once, on the others in a worker."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.measure import class_sizes
from napari_latentseg.measure.expected_dice import with_expected_dice
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["Thresholds"]

_Step = tuple[float, Any]  # threshold and postprocessing

_MAX_STEPS = 50  # of one result that undo is followed through; napari keeps 100 for a layer
_DELAY_MS = 60  # about four frames: the slider has stopped, and the whole mask is updated


class Thresholds(QObject):
    """Applies the threshold and postprocessing that a person asked for last.

    Parameters
    ----------
    is_computing
        Whether a result is being computed or its layers updated, so that its mask is not yet its own.
    parent
        Qt parent, which owns this.

    Signals
    -------
    applied
        The `RunResult` whose mask, segmentation and sizes are those of another threshold.
    failed
        One sentence, and the details for a bug report.
    """

    applied = Signal(object)
    failed = Signal(str, str)

    def __init__(self, is_computing: Callable[[RunResult], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_computing = is_computing
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._apply_latest)
        self._pending: tuple[RunResult, float, PostProcess | None] | None = None
        self._worker: ThreadWorker | None = None
        self._steps: weakref.WeakKeyDictionary[RunResult, list[_Step]] = weakref.WeakKeyDictionary()

    def apply(self, result: RunResult, threshold: float, cleanup: PostProcess | None = None) -> None:
        """Threshold a result anew; a mask that a person works on is left unchanged.

        Parameters
        ----------
        result
            A result that is not being computed.
        threshold
            A voxel belongs to a class where its mean probability exceeds this, in [0, 1].
        cleanup
            Postprocessing of the mask; unchanged where None.
        """
        if result.segmentation is None or result.threshold_locked_reason:
            return
        if self._pending is not None and self._pending[0] is not result:
            self._pending[0].layers.end_preview()  # of another case, which was left in the meantime
        self._pending = result, threshold, cleanup
        result.layers.preview_threshold(result.segmentation, threshold)
        self._timer.start()

    def _apply_latest(self) -> None:
        if self._pending is None:
            return
        result, threshold, cleanup = self._pending
        if result.segmentation is None or result.threshold_locked_reason:
            self._pending = None
            result.layers.end_preview()
            return
        if self._worker is not None:
            self._timer.start()
            return
        self._pending = None
        segmentation = result.segmentation

        def compute() -> Any:
            new_segmentation = _with_threshold(result, segmentation, threshold, cleanup)
            voxels = result.layers.changed_voxels(new_segmentation.mask)
            # a copy, because the user may paint in the layer
            mask = new_segmentation.mask if voxels is not None else np.array(new_segmentation.mask)
            return new_segmentation, voxels, mask, class_sizes(new_segmentation, result.card)

        def show(answer: Any) -> None:
            self._worker = None
            new_segmentation, voxels, mask, new_sizes = answer
            if result.segmentation is not segmentation or result.threshold_locked_reason:
                result.layers.end_preview()
                return
            self._remember(result, segmentation)
            self._remember(result, new_segmentation)
            result.segmentation, result.sizes = new_segmentation, new_sizes
            result.layers.replace_mask(mask, voxels)
            result.layers.store_record(new_segmentation)
            self.applied.emit(result)

        def fail(error: BaseException) -> None:
            self._worker = None
            result.layers.end_preview()
            self.failed.emit(str(error), "")

        self._worker = run_in_thread(compute, show, fail, self)

    def _remember(self, result: RunResult, segmentation: Segmentation) -> None:
        step = float(segmentation.record.threshold), segmentation.cleanup
        steps = self._steps.setdefault(result, [])
        if step in steps:
            steps.remove(step)
        steps.append(step)
        del steps[:-_MAX_STEPS]

    def follow_undo(self, result: RunResult) -> None:
        """Find the threshold of a mask that undo or redo has brought back.

        napari's undo changes the labels alone, so that the threshold, sizes and export have to follow them.
        """
        segmentation, layer = result.segmentation, result.layers.mask
        if segmentation is None or layer is None or not result.is_in_viewer:
            return
        if not isinstance(segmentation.mask, np.ndarray) or self._is_computing(result):
            return
        if result.layers.is_previewing:  # the labels are on their way to another threshold
            return
        labels = np.array(layer.data)
        steps = list(reversed(self._steps.get(result, [])))

        def compute() -> Any:
            if np.array_equal(labels, segmentation.mask):
                return segmentation, result.sizes
            for threshold, cleanup in steps:
                earlier = _with_threshold(result, segmentation, threshold, cleanup)
                if np.array_equal(labels, earlier.mask):
                    return earlier, class_sizes(earlier, result.card)
            return None

        def show(answer: Any) -> None:
            if result.segmentation is not segmentation or self._is_computing(result):
                return
            if result.layers.is_previewing or not np.array_equal(labels, layer.data):
                return  # changed again, which is followed in its turn
            was_edited = result.layers.is_edited
            result.layers.is_edited = answer is None
            if answer is not None and answer[0] is not segmentation:
                result.segmentation, result.sizes = answer
                result.layers.store_record(answer[0])
                self.applied.emit(result)
            elif was_edited != result.layers.is_edited:
                self.applied.emit(result)

        run_in_thread(compute, show, owner=self)


def _with_threshold(
    result: RunResult, segmentation: Segmentation, threshold: float, cleanup: PostProcess | None
) -> Segmentation:
    """A result at another threshold, with the Dice to expect of it there."""
    return with_expected_dice(segmentation.with_threshold(threshold, cleanup), result.card)
