"""The runs and results of a viewer: shared by all widgets, and kept when these are closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.scratch import remove_abandoned_scratch
from napari_latentseg.widgets._shared.brush_cursor import remove_brush_background
from napari_latentseg.widgets._shared.cases import Cases
from napari_latentseg.widgets._shared.closing import WorkInProgress, watch_closing
from napari_latentseg.widgets._shared.layers import METADATA_KEY, role_of, scan_from_layer
from napari_latentseg.widgets._shared.orientation_letters import OrientationLetters
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.plain_text import show_warning
from napari_latentseg.widgets._shared.preferences import use_data_folder
from napari_latentseg.widgets._shared.removed_layers import (
    remove_soon,
    say_image_removed,
    say_mask_comes_back,
    say_masks_removed,
)
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.run_result import RunResult
from napari_latentseg.widgets._shared.runner import RunJob, Runner, RunOutcome, RunProgress
from napari_latentseg.widgets._shared.shown_mask import MaskTracker
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets._shared.thresholds import Thresholds
from napari_latentseg.widgets._shared.timings import RunTimings
from napari_latentseg.widgets._shared.unit_notice import show_unit_notice_once

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.scan import Scan

__all__ = ["RunResult", "ViewerSession", "session_of"]


class ViewerSession(QObject):
    """The runs of one viewer.

    Signals
    -------
    started
        The `RunResult` of a run that has started, new or with more samples.
    progressed
        `RunProgress`.
    finished
        The `RunResult`; its `segmentation` is None where no sample was complete.
    failed
        One sentence, and the details for a bug report.
    mask_changed
        A `RunResult` of which the mask that counts has changed, a moment after a stroke, an undo, an approval
        or a new threshold; `RunResult.latest_mask` is up to date.
    thresholded
        A `RunResult` with a new threshold or postprocessing.
    results_changed
        A result was added, removed or selected.
    maps_added
        The maps of a `RunResult` that was read from files came after its mask.
    image_changed
        Another image is the case: the layer, or None.
    models_changed
        A model was installed or removed, or another version became the current one.

    Attributes
    ----------
    results, current
        The results in the viewer, oldest first, and the selected one, which is thresholded, reviewed and
        exported: always a result of `image`, or None. A run in progress is not among them.
    mask_tracker
        Emits `mask_changed`; to be told of what it cannot see, such as an approval.
    thresholds
        Threshold finished results anew.
    cases
        Follows the images of the viewer, and hides the layers of those that are not worked on.
    choices
        The values in the Segment widget, for when it is opened again.
    handlers
        The functions of each key's action, that of the widget opened last at the end; see `keys`.
    first_handlers
        Functions that are asked before these, and say whether they have used the key.
    """

    started = Signal(object)
    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(str, str)
    mask_changed = Signal(object)
    thresholded = Signal(object)
    results_changed = Signal()
    maps_added = Signal(object)
    image_changed = Signal(object)
    models_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        run_in_thread(remove_abandoned_scratch)
        self.results: list[RunResult] = []
        self.current: RunResult | None = None
        self._running_result: RunResult | None = None
        self.choices: dict[str, Any] = {}
        self.timings = RunTimings()
        self.handlers: dict[str, list[Callable[[], Any]]] = {}
        self.first_handlers: dict[str, list[Callable[[], bool]]] = {}
        self.runner = Runner(self)
        self.runner.progressed.connect(self._on_progress)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        self.mask_tracker = MaskTracker(self)
        self.mask_tracker.changed.connect(self.mask_changed)
        self.thresholded.connect(self.mask_tracker.touch)
        self.results_changed.connect(self._watch_masks)
        self._layer_steps: Iterator[None] | None = None
        self.thresholds = Thresholds(self._is_computing, self)
        self.thresholds.applied.connect(self.thresholded)
        self.thresholds.failed.connect(self.failed)
        self.mask_changed.connect(self.thresholds.follow_undo)
        self._chosen: weakref.WeakKeyDictionary[Image, RunResult] = weakref.WeakKeyDictionary()
        viewer.layers.events.removed.connect(self._on_removed)
        watch_closing(viewer, self.work_in_progress, self.close)
        self.cases = Cases(viewer, self)
        self.cases.image_changed.connect(self._on_image_changed)
        self.cases.image_renamed.connect(self._on_image_renamed)
        self.cases.image_removed.connect(self._on_image_removed)
        self.cases.data_replaced.connect(self._on_data_replaced)
        self.cases.layer_chosen.connect(self._on_layer_chosen)

    @property
    def busy(self) -> bool:
        """Whether a run is in progress, or its layers are being added."""
        return self.runner.busy or self._layer_steps is not None

    @property
    def image(self) -> Image | None:
        """The case: the image that is worked on; None without images."""
        return self.cases.image

    def set_image(self, image: Image | None) -> None:
        """Make an image the case: its layers are shown, and those of other cases are hidden."""
        self.cases.set_image(image)

    @property
    def show_all_cases(self) -> bool:
        """Whether the layers of the other cases are shown, too; False unless a person wants it."""
        return self.cases.show_all

    @show_all_cases.setter
    def show_all_cases(self, on: bool) -> None:
        if on != self.cases.show_all:
            self.cases.show_all = on
            self.image_changed.emit(self.image)

    def results_of(self, image: Image | None) -> list[RunResult]:
        """The results of an image, oldest first."""
        return [result for result in self.results if result.image is image]

    @property
    def running(self) -> RunResult | None:
        """The result of the run in progress."""
        return self._running_result

    def start(self, job: RunJob, image: Image, card: ModelCard) -> RunResult:
        """Start a run.

        Parameters
        ----------
        job
            Image, model and settings.
        image
            The layer of the image.
        card
            The card of the model.

        Returns
        -------
        RunResult
            Filled in when the run has ended.

        Raises
        ------
        BadInput
            While another run is in progress.
        """
        viewer = self._viewer()
        assert viewer is not None
        self._refuse_while_busy()
        self.runner.start(job)
        self._running_result = RunResult(ResultLayers(viewer, image, card.classes), job, card)
        self._chosen.pop(image, None)  # its layers are shown as they come
        self.started.emit(self._running_result)
        return self._running_result

    def draw_more(self, samples: int) -> None:
        """Draw more samples for the current result.

        Raises
        ------
        BadInput
            While another run is in progress.
        """
        result = self.current
        if result is None or result.run is None:
            return
        self._refuse_while_busy()
        job = result.job
        result.check_data()
        shown = result.segmentation
        assert shown is not None
        self.runner.start(
            RunJob(
                job.scan, job.model, job.settings, job.view, result.run, samples,
                shown.record.threshold, shown.cleanup,
            )
        )  # fmt: skip
        self._running_result = result
        self.started.emit(result)

    def cancel(self) -> None:
        """Stop the run; completed samples are kept."""
        self.runner.cancel()

    def _is_computing(self, result: RunResult) -> bool:
        """Whether more samples of a result are being drawn, or its layers updated."""
        return self.busy and (self._running_result is None or self._running_result is result)

    def work_in_progress(self) -> WorkInProgress | None:
        """The run, for the question before napari is closed."""
        return self._running_result.work_in_progress() if self._running_result and self.runner.busy else None

    def close(self) -> None:
        """Stop the run at once, and follow the viewer no longer: its window is being closed."""
        self.runner.abandon()
        self._layer_steps = None
        self.cases.disconnect_all()

    def select_result(self, result: RunResult) -> None:
        """Make a result the current one, and its image the case; it is shown during another run, too."""
        is_chosen = result is self.current and self._chosen.get(result.image) is result
        if result not in self.results or is_chosen:
            return
        self._chosen[result.image] = result
        if result.image is not self.image:
            self.set_image(result.image)
            return
        self.current = result
        self.hide_other_runs()
        self.results_changed.emit()

    @property
    def shown_result(self) -> RunResult | None:
        """The result whose layers are shown.

        That of the run in progress on the case, unless another one was chosen since it began; else `current`.
        """
        running = self._running_result
        if running is not None and running.image is self.image and self.image not in self._chosen:
            return running
        return self.current

    def hide_other_runs(self) -> None:
        """Of the case, show the layers of `shown_result` alone, once it has some."""
        shown = self.shown_result
        if shown is not None and not shown.layers.layers_of("mask"):
            shown = self.current
        runs = {result.layers.run_number for result in self.results_of(self.image)}
        other_data = {r.layers.run_number for r in self.results_of(self.image) if r.has_other_data}
        other_runs = runs - {shown.layers.run_number} if shown is not None else set()
        self.cases.hide_runs(other_runs | other_data)

    def _on_image_changed(self, image: Image | None) -> None:
        self.current = self._latest_result(image)
        self.hide_other_runs()
        self.image_changed.emit(image)
        self.results_changed.emit()

    def _latest_result(self, image: Image | None) -> RunResult | None:
        """The result of an image that was selected last; the newest where none was."""
        results = self.results_of(image)
        chosen = self._chosen.get(image) if image is not None else None
        if chosen in results and not (chosen and chosen.has_other_data):
            return chosen
        valid = [result for result in results if not result.has_other_data]
        return valid[-1] if valid else None

    def _on_layer_chosen(self, layer: Layer) -> None:
        """Make the result of a selected layer the current one."""
        run = layer.metadata[METADATA_KEY].get("run") if role_of(layer) else None
        for result in self.results_of(self.image):
            if result.layers.run_number == run:
                self.select_result(result)

    def _on_image_removed(self, image: Image) -> None:
        say_image_removed(image, self.results_of(image), self.cases.is_open)

    def _on_data_replaced(self, image: Image) -> None:
        """Mark the results of an image whose values are others now; those with equal values stay."""
        results = self.results_of(image)
        if self._running_result is not None and self._running_result.image is image:
            results.append(self._running_result)
        results = [result for result in results if not result.has_other_data]
        if not results:
            return
        for result in results:  # at once: nothing is measured as the new image's while the values are read
            result.has_other_data = True
        new_scan = scan_from_layer(image) if 2 <= image.ndim <= 4 else None

        def compare() -> list[bool]:
            return [new_scan is not None and _has_equal_values(new_scan, r.job.scan) for r in results]

        def show(equal: list[bool]) -> None:
            for result, is_equal in zip(results, equal, strict=True):
                result.has_other_data = not is_equal
            if not all(equal):
                show_warning(f"{image.name} has changed: its earlier results are hidden. Segment it again.")
            self._on_image_changed(self.image)

        run_in_thread(compare, show, owner=self)
        if image is self.image:
            self._on_image_changed(image)

    def _on_image_renamed(self, image: Image) -> None:
        if image is self.image:
            self.image_changed.emit(image)
        if self.results_of(image):
            self.results_changed.emit()

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise BadInput("segment", "another run is in progress", "wait for it, or cancel it")

    def _on_progress(self, progress: RunProgress) -> None:
        result = self._running_result
        if progress.mask is not None and result is not None and not result.layers.is_discarded:
            is_first = not result.layers.layers_of("mask")
            result.layers.show_plane(progress.plane_index, progress.mask, result.job.view)
            if is_first:
                self.hide_other_runs()
        self.progressed.emit(progress)

    def _on_finished(self, outcome: RunOutcome) -> None:
        result, self._running_result = self._running_result, None
        assert result is not None
        result.run = outcome.run
        result.was_cancelled, result.seconds = outcome.cancelled, outcome.seconds
        if outcome.segmentation is None:
            self.finished.emit(result)
            return
        result.segmentation, result.sizes = outcome.segmentation, outcome.sizes
        if not outcome.cancelled and result.job.previous_run is None:
            self.timings.record_run(result.job, outcome.segmentation.record, outcome.seconds)
        steps = result.layers.show_all(outcome.segmentation, outcome.display)
        self._layer_steps = iter(()) if result.layers.is_discarded else steps
        self._show_next(result)

    def _show_next(self, result: RunResult) -> None:
        """Add one layer, let the window draw, then add the next."""
        if self._layer_steps is None:
            return
        if next(self._layer_steps, "end") is None:
            QTimer.singleShot(0, lambda: self._show_next(result))
            return
        self._layer_steps = None
        if not result.is_in_viewer:  # its layers were removed as they came
            self.finished.emit(result)
            return
        self.add_result(result)
        self.finished.emit(result)

    def add_result(self, result: RunResult) -> None:
        """Add a result whose layers are in the viewer; it becomes the selected one of its image."""
        if result not in self.results:
            self.results.append(result)
        self._chosen[result.image] = result
        self.current = result if result.image is self.image else self.current
        self.hide_other_runs()
        self.results_changed.emit()

    def _on_failed(self, text: str, details: str) -> None:
        result, self._running_result = self._running_result, None
        shown = result.layers.layers_of("mask") if result is not None and result not in self.results else []
        if shown:
            # a sample may have been added in part: what was shown has no record, and its mask may be wrong
            text = f"{text.rstrip('.')}. The mask that was shown until then was removed: it was not complete."
            remove_soon(self._viewer, shown)
        self._forget_removed()
        self.hide_other_runs()
        self.failed.emit(text, details)

    def _on_removed(self, event: Any) -> None:
        running = self._running_result
        if running and running.layers.is_discarded:
            self.cancel()  # the person has removed all that there is of it
        elif running and event.value is running.layers.mask:
            say_mask_comes_back(running, lambda: running is self._running_result)
        self._forget_removed()

    def _forget_removed(self) -> None:
        """Forget the results whose masks were removed; that of a run in progress comes back at its end."""
        removed = [r for r in self.results if not r.is_in_viewer and r is not self._running_result]
        if not removed:
            return
        self.results = [r for r in self.results if r not in removed]
        say_masks_removed(removed, self.cases.is_open)
        if self.current in removed:
            self.current = self._latest_result(self.image)
            self.hide_other_runs()
        self.results_changed.emit()

    def _watch_masks(self) -> None:
        for result in self.results:
            self.mask_tracker.watch(result, result.layers.mask)
            self.mask_tracker.touch(result)

    def apply_threshold(self, threshold: float, cleanup: PostProcess | None = None) -> None:
        """Threshold the current result anew, see `Thresholds.apply`.

        Parameters
        ----------
        threshold
            A voxel belongs to a class where its mean probability exceeds this, in [0, 1].
        cleanup
            Postprocessing of the mask; unchanged where None.
        """
        if self.current is not None and not self.busy:
            self.thresholds.apply(self.current, threshold, cleanup)


def _has_equal_values(first: Scan, second: Scan) -> bool:
    return first.array is second.array or first.content_sha256 == second.content_sha256


@per_viewer
def session_of(viewer: ViewerModel) -> ViewerSession:
    """The session of a viewer, or of the proxy that napari gives to plugins."""
    use_data_folder()
    remove_brush_background(viewer)
    show_unit_notice_once()
    session = ViewerSession(viewer)
    OrientationLetters(viewer, session.cases)
    return session
