"""The mask of a result that counts: what is measured, reported and exported.

The rule: the editable copy of the mask while it is in the viewer, visible or not; else the mask layer of the
run. Approved slices are locked in the copy, so they are there as they were approved, and the rest is what
has been painted. Nothing is claimed that is not on screen: a slice counts as approved only while the mask
holds the very labels that were approved (see `napari_latentseg.core.person_mask.compare_masks`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.core.person_mask import (
    MaskComparison,
    compare_masks,
    predicted_slices,
    with_person_mask,
)
from napari_latentseg.measure import Measurement, class_sizes
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.record import MaskState
    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["MaskTracker", "PersonMask", "ShownMask", "shown_mask_of"]

_DELAY_MS = 200  # after the last change; a stroke of the brush is many changes
_UNCHANGED = MaskComparison("model", False, (), ())


@dataclass(frozen=True)
class PersonMask:
    """What a person has made of the mask of a result.

    Attributes
    ----------
    layer
        The editable copy; None where there is none in the viewer.
    approved
        The approved labels of each approved slice, `(rows, columns)`, by its number from 0.
    added_classes
        The classes that the model does not know.
    """

    layer: Labels | None = None
    approved: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    added_classes: tuple[ClassInfo, ...] = ()


class ShownMask:
    """The mask of a result that counts, as it was at one moment.

    Parameters
    ----------
    model_result
        The result of the model, with its own mask.
    layer
        The layer of the mask: the copy, or the mask layer of the run; None where both are gone.
    data
        Its labels. The first of the properties below compares them with the model's mask, so that they are
        best asked for in a worker.
    person
        What a person has made of the mask.
    axis_order
        Axis i of the segmented slices is axis ``axis_order[i]`` of the layers; unchanged where empty.
    """

    def __init__(
        self,
        model_result: Segmentation,
        layer: Labels | None,
        data: NDArray[np.uint8],
        person: PersonMask,
        axis_order: tuple[int, ...] = (),
    ) -> None:
        self.layer = layer
        self.data = data
        self.model_result = model_result
        self._person = person
        self._axis_order = axis_order

    @cached_property
    def comparison(self) -> MaskComparison:
        """How it differs from the model's mask, and what of it is approved."""
        model_mask, mask = self.model_result.mask, self.data
        if not isinstance(mask, np.ndarray) or not isinstance(model_mask, np.ndarray):
            return _UNCHANGED  # too large for memory, and then nobody can paint in it
        if mask.shape != model_mask.shape:  # other data were given to the layer; writing it reports that
            return MaskComparison("corrected", True, (), ())
        if self._axis_order:
            model_mask, mask = model_mask.transpose(self._axis_order), mask.transpose(self._axis_order)
        slices = predicted_slices(self.model_result.record)
        return compare_masks(mask, model_mask, self._person.approved, slices)

    @property
    def state(self) -> MaskState:
        """Whose mask it is."""
        return self.comparison.state

    @property
    def is_edited(self) -> bool:
        """Whether a voxel differs from the model's mask."""
        return self.comparison.edited

    @cached_property
    def segmentation(self) -> Segmentation:
        """The result with this mask in place of the model's, and with a record that says so."""
        if not self.is_edited and not self.comparison.approved_slices:
            return self.model_result
        added = [info for info in self._person.added_classes if (self.data == info.label).any()]
        return with_person_mask(self.model_result, self.data, self.comparison, added)


def shown_mask_of(
    segmentation: Segmentation,
    layer: Labels | None,
    person: PersonMask,
    axis_order: tuple[int, ...] = (),
    *,
    copy: bool = True,
) -> ShownMask:
    """The mask of a result that counts.

    Parameters
    ----------
    segmentation
        The result of the model.
    person, axis_order
        As for `ShownMask`.
    layer
        The mask layer of the run; None where it was removed.
    copy
        Copy the labels, so that later strokes are not part of what is returned.
    """
    layer = person.layer if person.layer is not None else layer
    data: Any = segmentation.mask if layer is None else layer.data
    if copy and isinstance(data, np.ndarray) and layer is not None:
        data = data.copy()
    return ShownMask(segmentation, layer, data, person, axis_order)


class MaskTracker(QObject):
    """Says when the mask of a result has changed, after strokes, fills, undo, approvals and new thresholds.

    Signals
    -------
    changed
        The result, with its `latest_mask` and `sizes` up to date; at most once in `_DELAY_MS`, and only if
        labels or approvals are others than before.
    """

    changed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pending: dict[int, Any] = {}
        self._watched: weakref.WeakSet[Labels] = weakref.WeakSet()
        self._worker: ThreadWorker | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._check)

    def watch(self, result: Any, layer: Labels | None) -> None:
        """Touch a result whenever the labels of a layer change."""
        if layer is None or layer in self._watched:
            return
        self._watched.add(layer)
        layer_events = layer.events
        touch = _toucher(self, result)
        for event in (
            layer_events.paint,
            layer_events.set_data,
            layer_events.labels_update,
            layer_events.data,
        ):
            event.connect(touch)

    def touch(self, result: Any) -> None:
        """Compare the mask of a result with what it was, a moment later."""
        self._pending[id(result)] = result
        self._timer.start()

    def _check(self) -> None:
        if self._worker is not None:
            self._timer.start()
            return
        results, self._pending = list(self._pending.values()), {}
        shown = [(result, result.shown_mask()) for result in results if result.segmentation is not None]

        def compare() -> list[tuple[Any, ShownMask, tuple[Measurement, ...]]]:
            return [
                (result, mask, class_sizes(mask.segmentation, result.card))
                for result, mask in shown
                if _differs(mask, result.latest_mask)
            ]

        def show(changed: list[tuple[Any, ShownMask, tuple[Measurement, ...]]]) -> None:
            self._worker = None
            for result, mask, sizes in changed:
                result.latest_mask, result.sizes = mask, sizes
                self.changed.emit(result)

        def fail(error: BaseException) -> None:
            self._worker = None

        if shown:
            self._worker = run_in_thread(compare, show, fail, self)


def _toucher(tracker: MaskTracker, result: Any) -> Callable[..., None]:
    """Touches a result, without keeping it or the tracker alive."""
    tracker_ref, result_ref = weakref.ref(tracker), weakref.ref(result)

    def touch(event: Any = None) -> None:
        living_tracker, living_result = tracker_ref(), result_ref()
        if living_tracker is not None and living_result is not None:
            living_tracker.touch(living_result)

    return touch


def _differs(mask: ShownMask, before: ShownMask | None) -> bool:
    """Whether labels, approvals or layer are others than before; compares, and is slow for large masks."""
    if before is None:
        return mask.segmentation is not None  # compared here, off the GUI thread
    return (
        mask.layer is not before.layer
        or mask.model_result is not before.model_result
        or mask.comparison != before.comparison
        or mask.data.shape != before.data.shape
        or not np.array_equal(mask.data, before.data)
    )
