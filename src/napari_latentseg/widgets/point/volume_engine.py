"""Follows an object through a volume off the GUI thread, slice by slice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.inference.follow_volume import StoppedAt
    from napari_latentseg.inference.slice_part import ObjectMask
    from napari_latentseg.models.folder import Model

__all__ = ["VolumeEngine", "VolumeJob", "VolumeOutcome"]

Mask = NDArray[np.bool_]


class _CancelledError(Exception):
    """A person has cancelled a job."""


@dataclass(frozen=True)
class VolumeJob:
    """What is followed.

    Attributes
    ----------
    scan, model, samples
        The volume, the name of the model, and how many samples an answer has.
    beyond, between
        Whether it is followed beyond the outermost slices, and filled between them.
    accepted
        The labels of the accepted objects, `(D, H, W)`, and that of the object; None where none of it is
        accepted. They are read when the job begins.
    answered
        Masks that are answered and not accepted yet, by the number of the slice.
    cleared
        Slices on which a person has said that the object is not there.
    outside
        Clicks outside the object, by the number of the slice.
    """

    scan: Scan
    model: str
    samples: int
    beyond: bool
    between: bool
    accepted: tuple[Any, int] | None = None
    answered: Mapping[int, ObjectMask] = field(default_factory=dict)
    cleared: frozenset[int] = frozenset()
    outside: Mapping[int, Sequence[tuple[float, float]]] = field(default_factory=dict)

    def decided(self) -> dict[int, Mask]:
        """The masks that a person has decided, by the number of the slice; reads the accepted objects."""
        count, height, width = self.scan.spatial_shape
        masks = {plane: np.zeros((height, width), bool) for plane in self.cleared}
        for plane in range(count) if self.accepted is not None else ():
            assert self.accepted is not None
            labels, label = self.accepted
            mask = np.asarray(labels[plane]) == label
            if mask.any():
                masks[plane] = mask
        for plane, answer in self.answered.items():
            mask = masks.setdefault(plane, np.zeros((height, width), bool))
            rows, columns = answer.values.shape
            mask[answer.top : answer.top + rows, answer.left : answer.left + columns] |= answer.values
        return masks


@dataclass(frozen=True)
class VolumeOutcome:
    """How a job ended.

    Attributes
    ----------
    planes
        How many slices were answered.
    stops
        Where the object was not followed any further; as far as it is known.
    is_cancelled
        Whether a person has cancelled it.
    """

    planes: int
    stops: tuple[StoppedAt, ...]
    is_cancelled: bool


class VolumeEngine(QObject):
    """Follows one object at a time.

    Parameters
    ----------
    load_model
        The model of a name; called in the thread.
    parent
        Qt parent.

    Signals
    -------
    sliced
        The job, number and mask of a slice, and the fraction that is done.
    finished
        The job, and its `VolumeOutcome`.
    failed
        The job, and the exception.
    """

    sliced = Signal(object, int, object, float)
    finished = Signal(object, object)
    failed = Signal(object, object)

    def __init__(self, load_model: Callable[[str], Model], parent: QObject) -> None:
        super().__init__(parent)
        self._load_model = load_model
        self._cancel = threading.Event()
        self._worker: ThreadWorker | None = None
        self._job: VolumeJob | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an object is being followed, and nobody has cancelled that."""
        return self._job is not None

    @property
    def is_ending(self) -> bool:
        """Whether a cancelled job still computes its last answer."""
        return self._worker is not None and self._job is None

    def start(self, job: VolumeJob) -> None:
        """Begin; nothing may be under way."""
        self._cancel = cancel = threading.Event()
        self._job = job

        def end() -> None:
            self._worker = None
            self._job = None

        def deliver(outcome: VolumeOutcome) -> None:
            end()
            self.finished.emit(job, outcome)

        def fail(error: BaseException) -> None:
            end()
            self.failed.emit(job, error)

        self._worker = run_in_thread(lambda: self._compute(job, cancel), deliver, fail, self)

    def cancel(self) -> None:
        """Stop after the answer that is being computed; the slice that it is of is not kept."""
        self._cancel.set()
        self._job = None

    def _compute(self, job: VolumeJob, cancel: threading.Event) -> VolumeOutcome:
        """In the thread."""
        from napari_latentseg.inference.prompt_image import PromptImage

        def stop_if_cancelled() -> None:
            if cancel.is_set():
                raise _CancelledError

        decided = job.decided()
        image = PromptImage(job.scan, self._load_model(job.model))
        followed = image.follow(
            decided, job.samples, outside=job.outside, beyond=job.beyond, between=job.between,
            before_answer=stop_if_cancelled,
        )  # fmt: skip
        count = 0
        try:
            for carried in followed:
                stop_if_cancelled()
                count += 1
                self.sliced.emit(job, carried.plane, carried.mask, count / followed.most)
        except _CancelledError:
            return VolumeOutcome(count, (), is_cancelled=True)
        return VolumeOutcome(count, tuple(followed.stops), is_cancelled=False)
