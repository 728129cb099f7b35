"""A run in a worker thread, with progress, previews and cancelling."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from superqt.utils import create_worker

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement, class_sizes
from napari_latentseg.widgets._shared.result_layers import DisplayData, PlaneView

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.inference.run import Run
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.folder import Model

__all__ = ["RunJob", "RunOutcome", "Runner", "preload_imports"]

_PREVIEW_EVERY = 0.25  # seconds; drawing a slice more often slows the run down


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
    """Progress as text and as a fraction in [0, 1]; sometimes with a preview of one slice and its index."""

    done: float
    text: str
    plane_index: tuple[int, ...] = ()
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended; `segmentation` is None where no sample was complete."""

    run: Run
    segmentation: Segmentation | None
    cancelled: bool
    seconds: float
    display: DisplayData | None = None
    sizes: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class _Failure:
    text: str
    details: str


class Runner(QObject):
    """Runs one job at a time, off the GUI thread.

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
        self._cancel = threading.Event()
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
        self._cancel = threading.Event()
        worker = create_worker(self._run_guarded, job, self._cancel)
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        worker.aborted.connect(self._on_aborted)
        self._worker = worker
        worker.start()

    def cancel(self) -> None:
        """Stop the job after the current batch of tiles; completed samples are kept."""
        self._cancel.set()

    def abandon(self) -> None:
        """Stop the job at once, and emit nothing from now on: the viewer is being closed."""
        self._is_abandoned = True
        self._cancel.set()

    def _model(self, name: str) -> Model:
        """The model that a name loads now; only the last one is kept in memory."""
        from napari_latentseg import api

        located_model = api.locate_model(name)  # another version may be in use since the last run
        model = self._loaded_model
        if model is None or (model.folder, model.card) != (located_model.folder, located_model.card):
            model = self._loaded_model = None  # frees its memory before the next model is loaded
            model = self._loaded_model = api.load_model(located_model)
        return model

    def _run_guarded(
        self, job: RunJob, cancel: threading.Event
    ) -> Generator[RunProgress, None, RunOutcome | _Failure]:
        """Run the job; an error is returned, not raised, because Qt would end the program."""
        try:
            return (yield from self._run_job(job, cancel))
        except BadInput as error:
            return _Failure(str(error), "")
        except Exception as error:  # shown to the user
            details = "".join(traceback.format_exception(error))
            return _Failure(
                f"The run failed ({type(error).__name__}). Copy the details for a bug report.", details
            )

    def _run_job(self, job: RunJob, cancel: threading.Event) -> Generator[RunProgress, None, RunOutcome]:
        from napari_latentseg import api

        job_start = time.perf_counter()
        yield RunProgress(0, "loading the model")
        run = job.previous_run
        if run is None:
            run = api.start_run(job.scan, self._model(job.model), job.settings, plane=job.view.orientation)
        else:
            run.extend(job.extra_samples)
        sampling_start = last_preview = time.perf_counter()
        planes = len(run.state.planes)
        cancelled = False
        for step in run:
            step_time = time.perf_counter()
            position_text = f"sample {step.sample + 1} of {run.state.target_samples}"
            if planes > 1:
                started_count = int((run.state.ensemble.samples_per_plane > 0).sum())
                position_text = f"slice {started_count} of {planes}, {position_text}"
            text = f"{position_text}{_time_left(step_time - sampling_start, step.fraction)}"
            # more samples of a result that is on screen: it stays, with its threshold, until they are drawn
            has_preview = job.previous_run is None and step.is_sample_complete
            if has_preview and (planes == 1 or step_time - last_preview > _PREVIEW_EVERY):
                last_preview = step_time
                yield RunProgress(
                    step.fraction, text, run.state.planes.index(step.plane), run.preview(step.plane)
                )
            else:
                yield RunProgress(step.fraction, text)
            if cancel.is_set() and step.fraction < 1:
                cancelled = True
                break
        if self._is_abandoned:
            return RunOutcome(run, None, True, time.perf_counter() - job_start)
        yield RunProgress(1, "computing the result")
        result = run.result()
        if result is not None and job.threshold is not None:
            result = result.with_threshold(job.threshold, job.cleanup)
        elapsed = time.perf_counter() - job_start
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

    def _on_yielded(self, progress: RunProgress) -> None:
        if not self._is_abandoned:
            self.progressed.emit(progress)

    def _on_returned(self, outcome: RunOutcome | _Failure) -> None:
        self._worker = None
        if self._is_abandoned:
            return
        if isinstance(outcome, _Failure):
            self.failed.emit(outcome.text, outcome.details)
        else:
            self.finished.emit(outcome)

    def _on_aborted(self, nothing: object = None) -> None:
        self._worker = None
        if not self._is_abandoned:
            self.failed.emit("The run was stopped.", "")


def _time_left(seconds: float, done: float) -> str:
    if done <= 0 or done >= 1 or seconds < 0.5:
        return ""
    seconds_left = seconds * (1 - done) / done
    return (
        f", about {seconds_left / 60:.0f} min left"
        if seconds_left > 90
        else f", about {max(1, round(seconds_left))} s left"
    )


def preload_imports() -> threading.Thread:
    """Import the modules of a run in the background, so that neither the window nor the first run waits.

    A plain thread without signals: napari may be closed before it has ended, and a Qt worker would then
    signal a window that no longer exists, and crash the program.
    """

    def load() -> None:
        with suppress(Exception):  # the run will report the error
            import napari_latentseg.inference.predictor
            import napari_latentseg.models.folder  # noqa: F401

    thread = threading.Thread(target=load, name="latentseg-imports")
    thread.start()
    return thread
