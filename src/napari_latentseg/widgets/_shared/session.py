"""What has been run in a viewer: shared by all widgets, and kept when these are closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import ClassExtent, class_extents
from napari_latentseg.models.card import ModelCard
from napari_latentseg.widgets._shared.brush_cursor import remove_brush_background
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.preferences import use_data_folder
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.runner import RunJob, Runner, RunOutcome, RunProgress
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets._shared.timings import RunTimings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["RunResult", "ViewerSession", "session_of"]

_THRESHOLD_DELAY_MS = 60  # milliseconds that a cut must rest before the whole mask follows


class RunResult:
    """One run's result in a viewer.

    Attributes
    ----------
    layers
        Its mask, means and variances.
    job
        What was asked.
    card
        Of the model.
    run
        What can draw further samples.
    segmentation
        The segmentation, as it is cut and cleaned now; None until the run has ended.
    extents
        How large its classes are.
    was_cancelled
        Whether the run was stopped.
    seconds
        That it took.
    review_marks
        What a person has said of the places in the review queue, by place: ``"seen"``, ``"right"``,
        ``"edited"``.
    """

    def __init__(self, layers: ResultLayers, job: RunJob, card: ModelCard) -> None:
        self.layers = layers
        self.job = job
        self.card = card
        self.run: Any = None
        self.segmentation: Segmentation | None = None
        self.extents: tuple[ClassExtent, ...] = ()
        self.was_cancelled = False
        self.seconds = 0.0
        self.review_marks: dict[Any, str] = {}

    @property
    def title(self) -> str:
        """Which one it is, for a list."""
        number = f", run {self.layers.run_number}" if self.layers.run_number > 1 else ""
        samples = f", {self.segmentation.record.samples} samples" if self.segmentation is not None else ""
        return f"{self.layers.image.name}{number}{samples}"

    @property
    def is_in_viewer(self) -> bool:
        """Whether the viewer still has its mask."""
        return bool(self.layers.layers_of("mask"))


class ViewerSession(QObject):
    """The runs of one viewer.

    Signals
    -------
    started
        A `RunResult` that is being made, or is to have more samples.
    progressed
        `RunProgress`.
    finished
        The `RunResult`; its `found` is None where nothing was complete.
    failed
        One sentence, and the rest for whoever wants to copy it.
    thresholded
        A `RunResult` whose mask was cut or cleaned anew.
    results_changed
        Results have come or gone, or another is the current one.
    models_changed
        Models have come or gone, or another version is in use.

    Attributes
    ----------
    results, current
        Those that the viewer still shows, oldest first, and the one that is cut, reviewed and exported; a run
        under way is not among them.
    choices
        What was chosen in the Segment widget, for when it is opened again.
    handlers
        What each key does now; see `keys`.
    """

    started = Signal(object)
    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(str, str)
    thresholded = Signal(object)
    results_changed = Signal()
    models_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.results: list[RunResult] = []
        self.current: RunResult | None = None
        self._running_result: RunResult | None = None
        self.choices: dict[str, Any] = {}
        self.timings = RunTimings()
        self.handlers: dict[str, Callable[[], Any]] = {}
        self.runner = Runner(self)
        self.runner.progressed.connect(self._on_progress)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        self._layer_steps: Iterator[None] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_THRESHOLD_DELAY_MS)
        self._timer.timeout.connect(self._apply_latest_threshold)
        self._pending_threshold: tuple[float, PostProcess | None] | None = None
        self._threshold_worker: Any = None
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def busy(self) -> bool:
        """Whether a run is under way, or its layers are being shown."""
        return self.runner.busy or self._layer_steps is not None

    def start(self, job: RunJob, image: Image, card: ModelCard) -> RunResult:
        """Begin a run.

        Raises
        ------
        BadInput
            While another is under way.
        """
        viewer = self._viewer()
        assert viewer is not None
        self._refuse_while_busy()
        self.runner.start(job)
        self._running_result = RunResult(ResultLayers(viewer, image, card.classes), job, card)
        self.started.emit(self._running_result)
        return self._running_result

    def draw_more(self, samples: int) -> None:
        """Draw further samples of the current result.

        Raises
        ------
        BadInput
            While another run is under way.
        """
        result = self.current
        if result is None or result.run is None:
            return
        self._refuse_while_busy()
        job = result.job
        self.runner.start(RunJob(job.scan, job.model, job.settings, job.view, result.run, samples))
        self._running_result = result
        self.started.emit(result)

    def cancel(self) -> None:
        """Stop the run; what is complete stays."""
        self.runner.cancel()

    def select_result(self, result: RunResult) -> None:
        """Make one of the results the current one: the one that is cut, reviewed and exported."""
        if result in self.results and result is not self.current and not self.busy:
            self.current = result
            self.results_changed.emit()

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise BadInput("segment", "another run is under way", "wait for it, or cancel it")

    def _on_progress(self, progress: RunProgress) -> None:
        result = self._running_result
        if progress.mask is not None and result is not None:
            result.layers.show_plane(progress.plane_index, progress.mask, result.job.view)
        self.progressed.emit(progress)

    def _on_finished(self, outcome: RunOutcome) -> None:
        result, self._running_result = self._running_result, None
        assert result is not None
        result.run = outcome.run
        result.was_cancelled, result.seconds = outcome.cancelled, outcome.seconds
        if outcome.segmentation is None:
            self.finished.emit(result)
            return
        result.segmentation, result.extents = outcome.segmentation, outcome.extents
        if not outcome.cancelled and result.job.previous_run is None:
            self.timings.record_run(result.job, outcome.segmentation.record, outcome.seconds)
        self._layer_steps = result.layers.show_all(outcome.segmentation, outcome.display)
        self._show_next(result)

    def _show_next(self, result: RunResult) -> None:
        """One layer, then let the window draw, then the next."""
        if self._layer_steps is None:
            return
        if next(self._layer_steps, "end") is None:
            QTimer.singleShot(0, lambda: self._show_next(result))
            return
        self._layer_steps = None
        if result not in self.results:
            self.results.append(result)
        self.current = result
        self.results_changed.emit()
        self.finished.emit(result)

    def _on_failed(self, text: str, details: str) -> None:
        self._running_result = None
        self.failed.emit(text, details)

    def _on_removed(self, event: Any = None) -> None:
        removed = [result for result in self.results if not result.is_in_viewer]
        if not removed:
            return
        self.results = [result for result in self.results if result.is_in_viewer]
        if self.current in removed:
            self.current = self.results[-1] if self.results else None
        self.results_changed.emit()

    def apply_threshold(self, threshold: float, cleanup: PostProcess | None = None) -> None:
        """Cut the current result's mean elsewhere: the slice on screen at once, the rest shortly after.

        Parameters
        ----------
        threshold
            A place belongs to a class where its mean is above this.
        cleanup
            What is mended of the mask; as it was where not given.
        """
        result = self.current
        if result is None or result.segmentation is None or self.busy or result.layers.is_edited:
            return
        self._pending_threshold = threshold, cleanup
        result.layers.preview_threshold(result.segmentation, threshold)
        self._timer.start()

    def _apply_latest_threshold(self) -> None:
        """The latest position wins; a mask that someone has painted in is left as it is."""
        result, pending = self.current, self._pending_threshold
        if (
            result is None
            or result.segmentation is None
            or pending is None
            or self.busy
            or result.layers.is_edited
        ):
            return
        if self._threshold_worker is not None:
            self._timer.start()
            return
        self._pending_threshold = None
        segmentation, (threshold, cleanup) = result.segmentation, pending

        def compute() -> Any:
            new_segmentation = segmentation.with_threshold(threshold, cleanup)
            voxels = result.layers.changed_voxels(new_segmentation.mask)
            # a copy, for strokes must not reach the result itself
            mask = new_segmentation.mask if voxels is not None else np.array(new_segmentation.mask)
            return new_segmentation, voxels, mask, tuple(class_extents(new_segmentation))

        def show(answer: Any) -> None:
            self._threshold_worker = None
            new_segmentation, voxels, mask, new_extents = answer
            if result.segmentation is not segmentation or self.busy or result.layers.is_edited:
                return
            result.segmentation, result.extents = new_segmentation, new_extents
            result.layers.replace_mask(mask, voxels)
            result.layers.store_record(new_segmentation)
            self.thresholded.emit(result)

        def fail(error: BaseException) -> None:
            self._threshold_worker = None
            self.failed.emit(str(error), "")

        self._threshold_worker = run_in_thread(compute, show, fail)


@per_viewer
def session_of(viewer: ViewerModel) -> ViewerSession:
    """The session of a viewer; it lives as long as that does."""
    use_data_folder()
    remove_brush_background(viewer)
    return ViewerSession(viewer)
