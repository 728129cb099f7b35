"""The Segment widget: choose, run, look."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets.background import explain, in_background
from napari_latentseg.widgets.form import SegmentForm
from napari_latentseg.widgets.layers import ResultLayers, scan_from_layer
from napari_latentseg.widgets.result import ResultPanel
from napari_latentseg.widgets.runner import Job, Outcome, Progress, Runner, warm_up

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.segmentation import Segmentation

__all__ = ["SegmentWidget"]

_MORE = 5


class SegmentWidget(QWidget):
    """Choose an image and a model, ask for samples, see mask, mean and variance.

    Parameters
    ----------
    napari_viewer
        The viewer it belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form = SegmentForm(napari_viewer)
        self.result = ResultPanel()
        self.runner = Runner(self)
        self.layers: ResultLayers | None = None
        self.outcome: Outcome | None = None
        self._job: Job | None = None
        self._finishing: Iterator[None] | None = None
        self._seconds: dict[tuple[str, int], float] = {}
        self.run_button = QPushButton("Segment")
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.sample_button = QPushButton("Open a sample")
        self.sample_button.setToolTip("A fundus photograph, to try the plugin on")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop within a moment, and keep the samples that are complete")
        self.details_button = QPushButton("Copy details")
        self._details = ""
        self._cut_timer = QTimer(self)
        self._cut_timer.setSingleShot(True)
        self._cut_timer.setInterval(60)
        self._cut_worker: Any = None
        self._lay_out()
        self._connect()
        warm_up()
        self._refresh()

    def _lay_out(self) -> None:
        running = QHBoxLayout()
        running.addWidget(self.bar, 1)
        running.addWidget(self.cancel_button)
        notice = QLabel("For research. Not a medical device.")
        notice.setEnabled(False)
        layout = QVBoxLayout(self)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.form)
        layout.addWidget(self.run_button)
        layout.addWidget(self.hint)
        layout.addWidget(self.sample_button)
        layout.addLayout(running)
        layout.addWidget(self.status)
        layout.addWidget(self.details_button)
        layout.addWidget(self.result)
        layout.addStretch(1)
        layout.addWidget(notice)
        self.setMinimumWidth(310)
        self.setMaximumWidth(380)
        self.result.hide()
        self.details_button.hide()
        self.bar.hide()
        self.cancel_button.hide()
        self.status.hide()

    def _connect(self) -> None:
        self.form.changed.connect(self._refresh)
        self.form.cut_moved.connect(lambda _: self._cut_timer.start())
        self._cut_timer.timeout.connect(self._cut)
        self.run_button.clicked.connect(self.segment)
        self.cancel_button.clicked.connect(self.cancel)
        self.sample_button.clicked.connect(self.open_sample)
        self.details_button.clicked.connect(self._copy_details)
        self.result.more_wanted.connect(self.more)
        self.result.export_wanted.connect(self._ask_where)
        self.runner.progressed.connect(self._on_progress)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)

    def reset_choices(self, event: Any = None) -> None:
        """Look at the viewer's layers again."""
        self.form.reset_choices()

    def _refresh(self) -> None:
        problems = self.form.problems()
        busy = self.busy
        self.run_button.setEnabled(not problems and not busy)
        self.run_button.setToolTip(
            "A run is under way; wait for it, or cancel it" if busy else problems[0] if problems else ""
        )
        self.hint.setText("" if busy else problems[0] if problems else self._estimate())
        self.hint.setVisible(bool(self.hint.text()))
        self.sample_button.setVisible(self.form.image.value is None and not busy)

    def _estimate(self) -> str:
        """How long it will take, from the last run of this model on slices of this size; else nothing."""
        planes, pixels = _extent(self.form.image.value)
        each = self._seconds.get((str(self.form.model.value), pixels))
        if each is None:
            return ""
        request = self.form.request()
        if request.slices is not None:
            planes = request.slices[1] - request.slices[0] + 1
        seconds = each * planes * request.samples
        length = f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        return f"A run takes about {length}."

    def segment(self) -> None:
        """Start a run with what is chosen; what is wrong is said, and nothing starts."""
        image = self.form.image.value
        try:
            problems = self.form.problems()
            if problems:
                raise BadInput("segment", problems[0])
            if self.busy:
                raise BadInput("segment", "another run is under way", "wait for it, or cancel it")
            scan = scan_from_layer(image)
            job = Job(scan, str(self.form.model.value), self.form.request())
            self.runner.start(job)
        except BadInput as error:
            show_warning(str(error))
            return
        card = self.form.card
        assert card is not None
        self._job = job
        self.outcome = None
        self.layers = ResultLayers(self.viewer, image, card.classes)
        self.result.hide()  # what it shows is of an earlier run
        self._show_running()

    def more(self) -> None:
        """Draw five more samples of the last run."""
        if self.outcome is None or self._job is None:
            return
        job = Job(self._job.scan, self._job.model, self._job.request, self.outcome.run, _MORE)
        try:
            self.runner.start(job)
        except BadInput as error:
            show_warning(str(error))
            return
        self._show_running()

    def cancel(self) -> None:
        """Stop the run; what is complete stays."""
        self.status.setText("stopping")
        self.cancel_button.setEnabled(False)
        self.runner.cancel()

    def open_sample(self) -> None:
        """Open the fundus photograph, read off the GUI thread, with the model that fits."""
        from napari_latentseg.widgets.samples import layer_data_of

        def load() -> Any:
            from napari_latentseg.samples import retina

            return retina()

        self.sample_button.setEnabled(False)

        def show(sample: Any) -> None:
            self.sample_button.setEnabled(True)
            data, arguments, _ = layer_data_of(sample)
            self.viewer.add_image(data, **arguments)
            if sample.model in self.form.cards:
                self.form.model.value = sample.model

        def fail(error: BaseException) -> None:
            self.sample_button.setEnabled(True)
            explain(error)

        in_background(load, show, fail)

    def _show_running(self) -> None:
        self._details = ""
        self.details_button.hide()
        self.bar.setValue(0)
        self.bar.show()
        self.cancel_button.setEnabled(True)
        self.cancel_button.show()
        self.status.setText("loading the model")
        self.status.show()
        self.result.set_busy(True)
        self._refresh()

    def _show_idle(self, text: str) -> None:
        self.bar.hide()
        self.cancel_button.hide()
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self.result.set_busy(False)
        self._refresh()

    def _on_progress(self, progress: Progress) -> None:
        self.bar.setValue(round(1000 * progress.done))
        if self.cancel_button.isEnabled():
            self.status.setText(progress.text)
        if progress.mask is not None and self.layers is not None and self._job is not None:
            assert progress.index is not None
            self.layers.show_plane(progress.index, progress.mask, self._job.scan.spatial_shape)

    def _on_finished(self, outcome: Outcome) -> None:
        self.outcome = outcome
        found = outcome.found
        if found is None or self.layers is None:
            self._show_idle("Cancelled before a sample was complete; nothing was kept.")
            return
        self._finishing = self.layers.finishing(found)
        self._show_next(outcome, found)

    def _show_next(self, outcome: Outcome, found: Segmentation) -> None:
        """One layer, then let the window draw, then the next."""
        assert self._finishing is not None
        if next(self._finishing, "end") is None:
            QTimer.singleShot(0, lambda: self._show_next(outcome, found))
            return
        self._finishing = None
        assert self.layers is not None
        self.result.show_result(found, self.layers)
        self.result.show()
        n = found.record.samples
        if outcome.cancelled:
            self._show_idle(f"Cancelled. {n} of {found.record.samples_asked} samples are kept.")
        else:
            record = found.record
            size = found.mask.size // max(1, record.planes)
            self._seconds[(record.model.name, size)] = outcome.seconds / max(1, n * record.planes_done)
            self._show_idle(f"Done in {max(1, round(outcome.seconds))} s.")
        for note in found.record.input.notes:
            show_info(note)

    @property
    def busy(self) -> bool:
        """Whether a run is under way, or its layers are being shown."""
        return self.runner.busy or self._finishing is not None

    def _on_failed(self, text: str, details: str) -> None:
        self._details = details
        self.details_button.setVisible(bool(details))
        self._show_idle(text)
        show_error(text)

    def _copy_details(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._details)

    def _cut(self) -> None:
        """Cut the mean of the last result again, off the GUI thread; the latest position wins."""
        if self.outcome is None or self.outcome.found is None or self.layers is None or self.busy:
            return
        if self.layers.edited:
            self.status.setText("The mask has been painted in, so the cut leaves it as it is.")
            self.status.show()
            return
        if self._cut_worker is not None:
            self._cut_timer.start()
            return
        found, layers, cut = self.outcome.found, self.layers, float(self.form.cut.value)

        def show(changed: Any) -> None:
            self._cut_worker = None
            if layers is self.layers and self.outcome is not None and not self.busy:
                layers.set_mask(changed.mask)
                self.result.show_result(changed, layers)

        self._cut_worker = in_background(lambda: found.with_threshold(cut), show)

    def _ask_where(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for mask, mean, variance and record")
        if folder:
            self.export(Path(folder))

    def export(self, folder: Path) -> Any:
        """Write the last result, cut where the slider stands, into a folder; off the GUI thread.

        Returns
        -------
        worker
            Of the writing; None where there is nothing to write.
        """
        if self.outcome is None or self.outcome.found is None or self.layers is None:
            return None
        found, cut = self.outcome.found, float(self.form.cut.value)
        stem = _file_name(self.layers.image.name)
        mask = self.layers.mask
        edited = mask.data.copy() if mask is not None and self.layers.edited else None

        def write() -> list[Path]:
            from dataclasses import replace

            from napari_latentseg.formats.results import write_segmentation

            chosen = found if cut == found.record.threshold else found.with_threshold(cut)
            if edited is not None:  # the person's corrections go out, and the record says whose they are
                record = chosen.record.model_copy(update={"mask_edited": True})
                chosen = replace(chosen, mask=edited, record=record)
            return write_segmentation(chosen, folder, stem)

        return in_background(write, lambda paths: show_info(f"{len(paths)} files written to {folder}"))

    def wait(self, seconds: float = 60) -> None:
        """Let events pass until no run is under way; for scripts and the demo."""
        until = time.monotonic() + seconds
        while self.busy and time.monotonic() < until:
            QApplication.processEvents()
            time.sleep(0.005)


def _extent(image: Any) -> tuple[int, int]:
    """How many slices an image layer has, and how many pixels each."""
    if image is None:
        return 1, 0
    shape = [int(n) for n in (image.data[0] if image.multiscale else image.data).shape[: image.ndim]]
    return math.prod(shape[:-2]), math.prod(shape[-2:])


def _file_name(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
    return kept or "image"
