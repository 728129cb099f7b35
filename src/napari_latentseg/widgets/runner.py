"""A run in a worker thread: progress, previews, cancelling, and how it ended."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import create_worker
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Extent, extents
from napari_latentseg.widgets.result_layers import Shown, View

if TYPE_CHECKING:
    from napari_latentseg.inference.predictor import Predictor, Run
    from napari_latentseg.inference.request import Request
    from napari_latentseg.scan import Scan
    from napari_latentseg.segmentation import Segmentation

__all__ = ["Job", "Outcome", "Runner", "warm_up"]

_PREVIEW_EVERY = 0.25


@dataclass(frozen=True)
class Job:
    """What is to be done: a new run, or more samples of an earlier one."""

    scan: Scan
    model: str
    request: Request
    view: View = field(default_factory=View)
    earlier: Run | None = None
    more: int = 0


@dataclass(frozen=True)
class Progress:
    """Where it stands, in words and as a fraction; now and then a preview of a plane and its place."""

    done: float
    text: str
    place: tuple[int, ...] = ()
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended: what there is (None where no sample was complete), and whether it was cancelled."""

    run: Run
    found: Segmentation | None
    cancelled: bool
    seconds: float
    shown: Shown | None = None
    extents: tuple[Extent, ...] = ()


@dataclass(frozen=True)
class _Failure:
    text: str
    details: str


class Runner(QObject):
    """Does one job at a time off the GUI thread.

    Signals
    -------
    progressed
        `Progress`.
    finished
        `Outcome`.
    failed
        One sentence, and the rest for whoever wants to copy it.
    """

    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker: Any = None
        self._cancel = threading.Event()
        self._predictors: dict[tuple[str, str, str], Predictor] = {}

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._worker is not None

    def start(self, job: Job) -> None:
        """Begin; refused in words while another job is under way."""
        if self.busy:
            raise BadInput("run", "another one is under way", "wait for it, or cancel it")
        self._cancel = threading.Event()
        worker = create_worker(self._work, job, self._cancel)
        worker.yielded.connect(self.progressed)
        worker.returned.connect(self._on_returned)
        worker.aborted.connect(self._on_aborted)
        self._worker = worker
        worker.start()

    def cancel(self) -> None:
        """Ask the job to stop; it does so within one batch of tiles, and keeps what is complete."""
        self._cancel.set()

    def _predictor(self, job: Job) -> Predictor:
        from napari_latentseg.inference.predictor import Predictor
        from napari_latentseg.models.card import read_card
        from napari_latentseg.models.store import find_model, load_model

        # what the name loads now: another version may be in use since the last run
        weights = str(sorted(read_card(find_model(job.model)).files.items()))
        key = (f"{job.model} {weights}", job.request.device, job.request.precision)
        if key not in self._predictors:
            self._predictors.clear()  # one model in memory at a time
            model = load_model(job.model)
            self._predictors[key] = Predictor(model, job.request.device, job.request.precision)
        return self._predictors[key]

    def _work(self, job: Job, cancel: threading.Event) -> Generator[Progress, None, Outcome | _Failure]:
        """Do the job; a failure is returned, not raised, so that Qt never sees it."""
        try:
            return (yield from self._steps(job, cancel))
        except BadInput as error:
            return _Failure(str(error), "")
        except Exception as error:  # whatever it is, the person is told
            details = "".join(traceback.format_exception(error))
            return _Failure(f"The run failed ({type(error).__name__}). The details say where.", details)

    def _steps(self, job: Job, cancel: threading.Event) -> Generator[Progress, None, Outcome]:
        begun = time.perf_counter()
        yield Progress(0, "loading the model")
        run = job.earlier
        if run is None:
            run = self._predictor(job).start(job.scan, job.request, job.view.plane)
        else:
            run.more(job.more)
        started = shown = time.perf_counter()
        planes = len(run.state.planes)
        cancelled = False
        for step in run:
            now = time.perf_counter()
            where = f"sample {step.sample + 1} of {run.state.samples_wanted}"
            if planes > 1:
                where = f"slice {int((run.state.ensemble.counts > 0).sum())} of {planes}, {where}"
            text = f"{where}{_time_left(now - started, step.done)}"
            if step.finished and (planes == 1 or now - shown > _PREVIEW_EVERY):
                shown = now
                yield Progress(step.done, text, run.state.planes.index(step.plane), run.preview(step.plane))
            else:
                yield Progress(step.done, text)
            if cancel.is_set() and step.done < 1:
                cancelled = True
                break
        yield Progress(1, "putting it together")
        result = run.result()
        taken = time.perf_counter() - begun
        if result is None:
            return Outcome(run, None, cancelled, taken)
        return Outcome(run, result, cancelled, taken, Shown.of(result), tuple(extents(result)))

    def _on_returned(self, ended: Outcome | _Failure) -> None:
        self._worker = None
        if isinstance(ended, _Failure):
            self.failed.emit(ended.text, ended.details)
        else:
            self.finished.emit(ended)

    def _on_aborted(self) -> None:
        self._worker = None
        self.failed.emit("The run was stopped.", "")


def _time_left(seconds: float, done: float) -> str:
    if done <= 0 or done >= 1 or seconds < 0.5:
        return ""
    left = seconds * (1 - done) / done
    return f", about {left / 60:.0f} min left" if left > 90 else f", about {max(1, round(left))} s left"


def warm_up() -> threading.Thread:
    """Import what a run needs in the background, so that neither window nor first run waits for it.

    A plain thread, which has nothing to tell: napari may be closed before it is through, and Python then
    waits for it, where a worker of Qt would tell a window that is gone, and take the program down.
    """

    def load() -> None:
        with suppress(Exception):  # a run will say what is wrong
            import napari_latentseg.inference.predictor
            import napari_latentseg.models.folder  # noqa: F401

    thread = threading.Thread(target=load, name="latentseg-imports")
    thread.start()
    return thread
