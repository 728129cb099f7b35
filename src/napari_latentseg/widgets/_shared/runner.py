"""A run in a worker thread, with progress, previews and cancelling."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import create_worker

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement, class_sizes
from napari_latentseg.widgets._shared.result_layers import DisplayData, PlaneView
from napari_latentseg.widgets._shared.text import time_left_text

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.inference import run as inference_run
    from napari_latentseg.inference.run import Run
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.folder import Model

__all__ = ["RunJob", "RunOutcome", "Runner"]

_PREVIEW_EVERY = 0.25  # seconds; drawing a slice more often slows the run down
_CANCEL_GRACE_MS = 500  # after this, a person takes Cancel for broken
_LOCK_POLL_S = 0.1


@dataclass(frozen=True)
class RunJob:
    """The request for a run: a new one, or more samples of an earlier one."""

    scan: Scan
    model: str
    settings: InferenceSettings
    view: PlaneView = field(default_factory=PlaneView)
    previous_run: Run | None = None
    extra_samples: int = 0
    threshold: float | None = None  # of the earlier result, which may not be that of its run
    cleanup: PostProcess | None = None


@dataclass(frozen=True)
class RunProgress:
    """Progress as text and as a fraction in [0, 1]; sometimes with a preview of one slice and its index.

    The fraction is None where nobody knows how long the step takes.
    """

    done: float | None
    text: str
    plane_index: tuple[int, ...] = ()
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended; `segmentation` is None where no sample was complete, `run` where it was given up."""

    run: Run | None
    segmentation: Segmentation | None
    cancelled: bool
    seconds: float
    display: DisplayData | None = None
    sizes: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class _Failure:
    text: str
    details: str


class _Activity:
    """One job in its worker thread.

    Attributes
    ----------
    cancel
        Set when the job is to stop.
    can_be_dropped
        Whether nothing is lost when the job is given up: no sample is complete.
    is_dropped
        Whether it was given up; whatever it still sends is ignored.
    """

    def __init__(self, job: RunJob) -> None:
        self.start_time = time.perf_counter()
        self.cancel = threading.Event()
        self.can_be_dropped = job.previous_run is None
        self.is_dropped = False

    def cancelled_outcome(self, run: Run | None = None) -> RunOutcome:
        """The outcome of a job without a complete sample."""
        return RunOutcome(run, None, True, time.perf_counter() - self.start_time)


class Runner(QObject):
    """Runs one job at a time, off the GUI thread.

    A job that is cancelled before its first sample is complete is given up after half a second, whatever it
    is doing: loading a model, or a long computation, cannot be interrupted. Its thread ends when it can, and
    a new job waits for that, so that two never use one model or twice the memory.

    Signals
    -------
    progressed
        `RunProgress`.
    finished
        `RunOutcome`.
    failed
        One sentence, and the details for a bug report.
    """

    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker: Any = None
        self._activity: _Activity | None = None
        self._computing = threading.Lock()
        self._loading = threading.Lock()
        self._is_abandoned = False
        self._loaded_model: Model | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is in progress."""
        return self._worker is not None

    def start(self, job: RunJob) -> None:
        """Start a job.

        Raises
        ------
        BadInput
            While another job is in progress.
        """
        if self.busy:
            raise BadInput("run", "another run is in progress", "wait for it, or cancel it")
        self._activity = _Activity(job)
        worker = create_worker(self._run_guarded, job, self._activity)
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        worker.aborted.connect(self._on_aborted)
        self._worker = worker
        worker.start()

    def cancel(self) -> None:
        """Stop the job after the current batch of tiles; completed samples are kept."""
        activity = self._activity
        if activity is None or activity.cancel.is_set():
            return
        activity.cancel.set()
        QTimer.singleShot(_CANCEL_GRACE_MS, lambda: self._drop(activity))

    def _drop(self, activity: _Activity) -> None:
        """Give up a job that has not stopped, where nothing is lost by it."""
        if activity is self._activity and activity.can_be_dropped:
            activity.is_dropped = True
            self._end(activity.cancelled_outcome())

    def abandon(self) -> None:
        """Stop the job at once, and emit nothing from now on: the viewer is being closed."""
        self._is_abandoned = True
        if self._activity is not None:
            self._activity.cancel.set()

    def load_model(self, name: str) -> Model:
        """The model that a name loads now, in any thread; only the last one is kept in memory."""
        from napari_latentseg import api

        located_model = api.locate_model(name)  # another version may be in use since the last run
        with self._loading:
            model = self._loaded_model
            if model is None or (model.folder, model.card) != (located_model.folder, located_model.card):
                model = self._loaded_model = None  # frees its memory before the next model is loaded
                model = self._loaded_model = api.load_model(located_model)
            return model

    def _start_run(self, job: RunJob) -> Run:
        """Start the run of a job: compiled where that is ready, else with the weights of the model."""
        from napari_latentseg import api

        located_model = api.locate_model(job.model)
        is_compiled = api.load_compiled(located_model, job.settings)
        return api.start_run(
            job.scan,
            located_model if is_compiled else self.load_model(job.model),
            job.settings,
            plane=job.view.orientation,
            may_compile=False,  # `ModelPreparation` does, and nobody waits for it
        )

    def _run_guarded(
        self, job: RunJob, activity: _Activity
    ) -> Generator[tuple[_Activity, RunProgress], None, tuple[_Activity, RunOutcome | _Failure]]:
        """Run the job; an error is returned, not raised, because Qt would end the program."""
        try:
            while not self._computing.acquire(timeout=_LOCK_POLL_S):
                yield activity, RunProgress(None, "waiting for the cancelled run to stop")
                if activity.cancel.is_set():
                    return activity, activity.cancelled_outcome()
            try:
                outcome = yield from self._run_job(job, activity)
            finally:
                self._computing.release()
            return activity, outcome
        except BadInput as error:
            return activity, _Failure(str(error), "")
        except Exception as error:  # shown to the user
            details = "".join(traceback.format_exception(error))
            text = f"The run failed ({type(error).__name__}). Copy the details for a bug report."
            return activity, _Failure(text, details)

    def _run_job(
        self, job: RunJob, activity: _Activity
    ) -> Generator[tuple[_Activity, RunProgress], None, RunOutcome]:
        run = job.previous_run
        if run is None:
            yield activity, RunProgress(None, "loading the model")
            run = self._start_run(job)
            yield activity, RunProgress(None, "preparing the image")
            if activity.cancel.is_set():
                return activity.cancelled_outcome()
        else:
            yield activity, RunProgress(None, "preparing the image")
            run.extend(job.extra_samples)
        cancelled = False
        # more samples of a result that is on screen: it stays, with its threshold, until they are drawn
        previews = _Previews(run, is_shown=job.previous_run is None)
        for step in run:
            activity.can_be_dropped &= not step.is_sample_complete
            yield activity, previews.progress(step)
            if activity.cancel.is_set() and step.fraction < 1:
                cancelled = True
                break
        if self._is_abandoned or activity.is_dropped:
            return activity.cancelled_outcome(run)
        yield activity, RunProgress(1, "computing the result")
        result = run.result()
        if result is not None and job.threshold is not None:
            result = result.with_threshold(job.threshold, job.cleanup)
        elapsed = time.perf_counter() - activity.start_time
        if result is None:
            return RunOutcome(run, None, cancelled, elapsed)
        return RunOutcome(
            run,
            result,
            cancelled,
            elapsed,
            DisplayData.from_segmentation(result),
            class_sizes(result, run.state.card),
        )

    def _on_yielded(self, sent: tuple[_Activity, RunProgress]) -> None:
        activity, progress = sent
        if activity is self._activity and not self._is_abandoned:
            self.progressed.emit(progress)

    def _on_returned(self, sent: tuple[_Activity, RunOutcome | _Failure]) -> None:
        activity, outcome = sent
        if activity is self._activity:
            self._end(outcome)

    def _end(self, outcome: RunOutcome | _Failure) -> None:
        self._worker = self._activity = None
        if self._is_abandoned:
            return
        if isinstance(outcome, _Failure):
            self.failed.emit(outcome.text, outcome.details)
        else:
            self.finished.emit(outcome)

    def _on_aborted(self, nothing: object = None) -> None:
        if self._worker is not None and self._worker.abort_requested:
            self._end(_Failure("The run was stopped.", ""))


class _Previews:
    """Turns the steps of a run into text, and now and then a preview of a slice."""

    def __init__(self, run: Run, *, is_shown: bool) -> None:
        self._run = run
        self._is_shown = is_shown
        self._plane_count = len(run.state.planes)
        self._first_step: tuple[float, float] | None = None  # when it was done, and what part of the run
        self._last_preview = time.perf_counter()

    def progress(self, step: inference_run.RunProgress) -> RunProgress:
        """What the window shows of a step."""
        if step.phase != "sample":
            activity = "computing the checksum" if step.phase == "hash" else "reading the pixels"
            return RunProgress(step.phase_fraction, f"{activity} of the image, {step.phase_fraction:.0%}")
        now = time.perf_counter()
        if self._first_step is None and step.fraction:
            self._first_step = now, step.fraction
        state = self._run.state
        position_text = f"sample {step.sample + 1} of {state.target_samples}"
        if self._plane_count > 1:
            started_count = max(1, int((state.ensemble.samples_per_plane > 0).sum()))
            position_text = f"slice {started_count} of {self._plane_count}, {position_text}"
        text = f"{position_text}{self._time_left(now, step.fraction)}"
        is_due = self._plane_count == 1 or now - self._last_preview > _PREVIEW_EVERY
        if not (self._is_shown and step.is_sample_complete and is_due):
            return RunProgress(step.fraction, text)
        self._last_preview = now
        return RunProgress(step.fraction, text, state.planes.index(step.plane), self._run.preview(step.plane))

    def _time_left(self, now: float, fraction: float) -> str:
        """From the steps after the first, in which a network is compiled or warmed up: it says nothing."""
        if self._first_step is None:
            return ""
        first_end, first_fraction = self._first_step
        remaining = max(1 - first_fraction, 1e-9)
        return time_left_text(now - first_end, (fraction - first_fraction) / remaining)
