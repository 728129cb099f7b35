"""What has been run in a viewer: shared by all widgets, and kept when these are closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Extent, extents
from napari_latentseg.models.card import ModelCard
from napari_latentseg.widgets.background import in_background
from napari_latentseg.widgets.preferences import use_data_folder
from napari_latentseg.widgets.result_layers import ResultLayers
from napari_latentseg.widgets.runner import Job, Outcome, Progress, Runner
from napari_latentseg.widgets.timings import Timings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.cleanup import Cleanup
    from napari_latentseg.segmentation import Segmentation

__all__ = ["Result", "Session", "session_of"]

_SESSIONS: dict[int, Session] = {}
_WAIT = 60  # milliseconds that a cut must rest before the whole mask follows


class Result:
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
    found
        The segmentation, as it is cut and cleaned now; None until the run has ended.
    extents
        How large its classes are.
    cancelled
        Whether the run was stopped.
    seconds
        That it took.
    marks
        What a person has said of the places in the review queue, by place: ``"seen"``, ``"right"``,
        ``"edited"``.
    """

    def __init__(self, layers: ResultLayers, job: Job, card: ModelCard) -> None:
        self.layers = layers
        self.job = job
        self.card = card
        self.run: Any = None
        self.found: Segmentation | None = None
        self.extents: tuple[Extent, ...] = ()
        self.cancelled = False
        self.seconds = 0.0
        self.marks: dict[Any, str] = {}

    @property
    def title(self) -> str:
        """Which one it is, for a list."""
        number = f", run {self.layers.number}" if self.layers.number > 1 else ""
        samples = f", {self.found.record.samples} samples" if self.found is not None else ""
        return f"{self.layers.image.name}{number}{samples}"

    @property
    def is_there(self) -> bool:
        """Whether the viewer still has its mask."""
        return bool(self.layers.of("mask"))


class Session(QObject):
    """The runs of one viewer.

    Signals
    -------
    started
        A `Result` that is being made, or is to have more samples.
    progressed
        `Progress`.
    finished
        The `Result`; its `found` is None where nothing was complete.
    failed
        One sentence, and the rest for whoever wants to copy it.
    recut
        A `Result` whose mask was cut or cleaned anew.
    listed
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
    recut = Signal(object)
    listed = Signal()
    models_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.results: list[Result] = []
        self.current: Result | None = None
        self._making: Result | None = None
        self.choices: dict[str, Any] = {}
        self.timings = Timings()
        self.handlers: dict[str, Callable[[], Any]] = {}
        self.runner = Runner(self)
        self.runner.progressed.connect(self._on_progress)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        self._finishing: Iterator[None] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_WAIT)
        self._timer.timeout.connect(self._recut)
        self._wanted: tuple[float, Cleanup | None] | None = None
        self._cutter: Any = None
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def busy(self) -> bool:
        """Whether a run is under way, or its layers are being shown."""
        return self.runner.busy or self._finishing is not None

    def start(self, job: Job, image: Image, card: ModelCard) -> Result:
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
        self._making = Result(ResultLayers(viewer, image, card.classes), job, card)
        self.started.emit(self._making)
        return self._making

    def more(self, samples: int) -> None:
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
        self.runner.start(Job(job.scan, job.model, job.request, job.view, result.run, samples))
        self._making = result
        self.started.emit(result)

    def cancel(self) -> None:
        """Stop the run; what is complete stays."""
        self.runner.cancel()

    def choose(self, result: Result) -> None:
        """Make one of the results the current one: the one that is cut, reviewed and exported."""
        if result in self.results and result is not self.current and not self.busy:
            self.current = result
            self.listed.emit()

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise BadInput("segment", "another run is under way", "wait for it, or cancel it")

    def _on_progress(self, progress: Progress) -> None:
        result = self._making
        if progress.mask is not None and result is not None:
            result.layers.show_part(progress.place, progress.mask, result.job.view)
        self.progressed.emit(progress)

    def _on_finished(self, outcome: Outcome) -> None:
        result, self._making = self._making, None
        assert result is not None
        result.run = outcome.run
        result.cancelled, result.seconds = outcome.cancelled, outcome.seconds
        if outcome.found is None:
            self.finished.emit(result)
            return
        result.found, result.extents = outcome.found, outcome.extents
        if not outcome.cancelled and result.job.earlier is None:
            self.timings.note(result.job, outcome.found.record, outcome.seconds)
        self._finishing = result.layers.finishing(outcome.found, outcome.shown)
        self._show_next(result)

    def _show_next(self, result: Result) -> None:
        """One layer, then let the window draw, then the next."""
        if self._finishing is None:
            return
        if next(self._finishing, "end") is None:
            QTimer.singleShot(0, lambda: self._show_next(result))
            return
        self._finishing = None
        if result not in self.results:
            self.results.append(result)
        self.current = result
        self.listed.emit()
        self.finished.emit(result)

    def _on_failed(self, text: str, details: str) -> None:
        self._making = None
        self.failed.emit(text, details)

    def _on_removed(self, event: Any = None) -> None:
        gone = [result for result in self.results if not result.is_there]
        if not gone:
            return
        self.results = [result for result in self.results if result.is_there]
        if self.current in gone:
            self.current = self.results[-1] if self.results else None
        self.listed.emit()

    def cut(self, threshold: float, cleanup: Cleanup | None = None) -> None:
        """Cut the current result's mean elsewhere: the slice on screen at once, the rest shortly after.

        Parameters
        ----------
        threshold
            A place belongs to a class where its mean is above this.
        cleanup
            What is mended of the mask; as it was where not given.
        """
        result = self.current
        if result is None or result.found is None or self.busy or result.layers.edited:
            return
        self._wanted = threshold, cleanup
        result.layers.preview_cut(result.found, threshold)
        self._timer.start()

    def _recut(self) -> None:
        """The latest position wins; a mask that someone has painted in is left as it is."""
        result, wanted = self.current, self._wanted
        if result is None or result.found is None or wanted is None or self.busy or result.layers.edited:
            return
        if self._cutter is not None:
            self._timer.start()
            return
        self._wanted = None
        found, (threshold, cleanup) = result.found, wanted

        def work() -> Any:
            changed = found.with_threshold(threshold, cleanup)
            places = result.layers.difference(changed.mask)
            # a copy, for strokes must not reach the result itself
            mask = changed.mask if places is not None else np.array(changed.mask)
            return changed, places, mask, tuple(extents(changed))

        def show(answer: Any) -> None:
            self._cutter = None
            changed, places, mask, sizes = answer
            if result.found is not found or self.busy or result.layers.edited:
                return
            result.found, result.extents = changed, sizes
            result.layers.change_mask(mask, places)
            result.layers.tell_record(changed)
            self.recut.emit(result)

        def fail(error: BaseException) -> None:
            self._cutter = None
            self.failed.emit(str(error), "")

        self._cutter = in_background(work, show, fail)


def session_of(viewer: ViewerModel) -> Session:
    """The session of a viewer; it lives as long as that does.

    Parameters
    ----------
    viewer
        napari's own, or the proxy that it gives to plugins.
    """
    real = getattr(viewer, "__wrapped__", viewer)
    key = id(real)
    if key not in _SESSIONS:
        use_data_folder()
        _SESSIONS[key] = Session(real)
        weakref.finalize(real, _SESSIONS.pop, key, None)
    return _SESSIONS[key]
