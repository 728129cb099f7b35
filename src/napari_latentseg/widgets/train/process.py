"""A fine-tuning in a child process: napari stays responsive, and all of its memory is freed at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QObject, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.interrupted import keep_data
from napari_latentseg.training.events import (
    Caching,
    FineTuneCheckpoint,
    FineTuneData,
    FineTuneEpoch,
    FineTuneEvent,
    FineTuneProgress,
    FineTuneSaved,
    Judged,
    Judging,
    Preview,
    PreviewCase,
    parse_finetune_event,
)
from napari_latentseg.utils.scratch import remove_scratch_folder
from napari_latentseg.widgets._shared.event_process import EventProcess, ProcessState
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.finetuning.interrupted import InterruptedFineTuning

__all__ = ["FineTuneRequest", "TrainingProcess", "training_of"]


_NOTHING_SAVED = (
    "It has saved nothing yet: what it has learnt is lost. The base model and the annotations are kept."
)
_RESUMABLE = (
    "Train can resume it when napari is open again: what it has learnt is kept, up to its last checkpoint. To"
    " use the best weights so far, keep it running and press “Stop and keep best” in Train."
)


@dataclass(frozen=True)
class FineTuneRequest:
    """The arguments of a fine-tuning.

    Attributes
    ----------
    base
        Name of the base model.
    data
        Folders with the training data, as the command line takes them.
    minutes
        Training time.
    name
        Name of the new model if both are kept; empty to let the training take the next free one.
    device, seed
        As the command line takes them.
    labels
        What the labels of the masks mean, as the command line takes it; empty for what the folder says.
    structure
        Of a base that is pointed at: the name of what the masks show.
    resume
        Whether to resume a stopped training of that name.
    further_options
        Those of a resumed training that was started on the command line.
    temporary_data
        The folder among `data` that is deleted after the decision about the new model, or None.
    """

    base: str
    data: tuple[Path, ...]
    minutes: float
    name: str
    device: str = "auto"
    seed: int = 0
    labels: str = ""
    structure: str = ""
    resume: bool = False
    further_options: tuple[str, ...] = ()
    temporary_data: Path | None = None

    @classmethod
    def resuming(cls, interrupted: InterruptedFineTuning) -> FineTuneRequest:
        """The request that resumes an interrupted training, to the time that it was to have."""
        return cls(
            interrupted.request.base,
            interrupted.data,
            interrupted.request.minutes,
            interrupted.name,
            device=interrupted.request.device,
            seed=interrupted.seed,
            labels=interrupted.request.labels,
            structure=interrupted.request.structure,
            resume=True,
            further_options=tuple(interrupted.further_options),
        )

    def command_line(self) -> list[str]:
        """The command and its options."""
        command = ["finetune", self.base]
        for folder in self.data:
            command += ["--data", str(folder)]
        command += ["--minutes", f"{self.minutes:g}", "--device", self.device]
        command += ["--seed", str(self.seed), "--events"]
        if self.name:
            command += ["--name", self.name]
        if self.labels:
            command += ["--labels", self.labels]
        if self.structure:
            command += ["--structure", self.structure]
        command += self.further_options
        return [*command, "--resume"] if self.resume else command


class TrainingProcess(EventProcess):
    """The training of a viewer: one at a time; it continues when the Train widget is closed.

    Signals
    -------
    changed
        Any of the attributes has changed, not `progress` alone.
    progressed
        `progress` has changed.
    event_received
        A `FineTuneEvent` of the process.

    Attributes
    ----------
    request
        Arguments of the last training; None before the first.
    data, judged, saved
        The events of these kinds; None until they arrive.
    checkpoint
        The latest event of that kind; None before the first.
    epochs
        The epochs so far, including those before a training was stopped and resumed.
    progress
        The latest event of that kind since the last epoch; None before the first.
    preview
        The latest thumbnails of some validation cases.
    stage_fraction
        Progress of encoding or validation, in [0, 1].
    """

    progressed = Signal()
    event_received = Signal(object)

    work: ClassVar[str] = "The training"
    busy_states: ClassVar[frozenset[ProcessState]] = frozenset(
        {"preparing", "running", "stopping", "validating"}
    )

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self.request: FineTuneRequest | None = None
        self._reset("idle")

    def _reset(self, state: ProcessState) -> None:
        self.state = state
        self.data: FineTuneData | None = None
        self.epochs: list[FineTuneEpoch] = []
        self.progress: FineTuneProgress | None = None
        self.preview: tuple[PreviewCase, ...] = ()
        self.judged: Judged | None = None
        self.saved: FineTuneSaved | None = None
        self.checkpoint: FineTuneCheckpoint | None = None
        self.stage_fraction = 0.0
        self.error = self.details = ""

    @property
    def can_resume(self) -> bool:
        """Whether the last training was stopped and can be resumed."""
        if self.request is None or self.saved is None or self.state != "done":
            return False
        return self.saved.stopped and self.saved.name == self.request.name

    def start(self, request: FineTuneRequest) -> None:
        """Start the process.

        Raises
        ------
        BadInput
            While another training is in progress.
        """
        if self.busy:
            raise BadInput("train", "another training is in progress", "wait for it, or stop it")
        if self.request is not None and self.request.temporary_data != request.temporary_data:
            self._remove_temporary_data()
        epochs = self.epochs if request.resume else []
        self._reset("preparing")
        self.epochs = epochs
        self.request = request
        kept = _RESUMABLE if request.resume else _NOTHING_SAVED
        self.child.start(request.command_line(), "a model is being trained", kept)
        self.changed.emit()

    def resume(self, minutes: float) -> None:
        """Resume the training that was stopped.

        Parameters
        ----------
        minutes
            Total training time, with the time before it was stopped.

        Raises
        ------
        BadInput
            If there is none, or another training is in progress.
        """
        if not self.can_resume or self.request is None:
            raise BadInput("train", "there is no stopped training to resume", "start one")
        self.start(replace(self.request, resume=True, minutes=minutes))

    def resume_interrupted(self, interrupted: InterruptedFineTuning) -> None:
        """Resume a training that was interrupted, perhaps in an earlier session.

        Raises
        ------
        BadInput
            While another training is in progress.
        """
        if not self.busy:
            self.epochs = list(interrupted.epochs)
        request = FineTuneRequest.resuming(interrupted)
        layers = None if self.request is None else self.request.temporary_data
        if layers is not None and layers in request.data:  # of this session
            request = replace(request, temporary_data=layers)
        self.start(request)

    def stop(self) -> None:
        """Ask the process to stop: it keeps and validates the best weights so far."""
        if self.child.is_running and self.busy:
            self.child.request_stop(self._has_results)
            if self.state != "validating":
                self.state = "stopping"
            self.changed.emit()

    def _has_results(self) -> bool:
        is_resumed = self.request is not None and self.request.resume
        return is_resumed or bool(self.epochs) or self.progress is not None or self.state == "validating"

    def show_candidate(self, judged: Judged, saved: FineTuneSaved) -> None:
        """Show a model from an earlier session that was neither adopted nor discarded.

        Parameters
        ----------
        judged, saved
            The last events of the training that produced it.
        """
        if not self.busy:
            self._reset("done")
            self.judged, self.saved = judged, saved
            self.changed.emit()

    def dismiss_error(self) -> None:
        """Forget the error of the last training, once another one is being prepared."""
        if self.state == "failed":
            self._reset("idle")
            self.changed.emit()

    def finish_decision(self) -> None:
        """Return to the idle state after the new model was adopted or discarded."""
        self._remove_temporary_data()
        self._reset("idle")
        self.changed.emit()

    def _remove_temporary_data(self) -> None:
        if self.request is not None and self.request.temporary_data is not None:
            remove_scratch_folder(self.request.temporary_data)

    def _parse(self, line: bytes) -> FineTuneEvent:
        return parse_finetune_event(line)

    def _apply_events(self, events: Sequence[FineTuneEvent]) -> None:
        previous_state = self.state
        for event in events:
            self._apply(event)
            self.event_received.emit(event)
        is_progress_alone = (
            all(event.event == "progress" for event in events) and self.state == previous_state
        )
        (self.progressed if is_progress_alone else self.changed).emit()

    def _apply(self, event: FineTuneEvent) -> None:
        match event:
            case FineTuneProgress():
                self.progress = event
                if self.state == "preparing":  # a resumed one begins without a validation
                    self.state = "running"
            case FineTuneEpoch():
                self.epochs.append(event)
                self.progress = None
                if self.state == "preparing":
                    self.state = "running"
            case FineTuneCheckpoint():
                self.checkpoint, self.child.kept = event, _RESUMABLE
            case Judging():
                self.state = "validating"
                self.stage_fraction = event.done
            case Caching():
                self.stage_fraction = event.done
            case FineTuneData():
                self.data = event
            case Preview():
                self.preview = event.cases
            case Judged():
                self.judged = event
            case FineTuneSaved():
                self.saved = event
                if self.request is not None:  # its name, where none was given; resuming needs it
                    self.request = replace(self.request, name=event.name)

    def _on_success(self, *, is_partial: bool) -> None:
        # some images may not have been readable; the `data` event names them
        if self.saved is None or self.judged is None:
            self._set_ended("failed", self._unexpected_end("it wrote no model"))
        else:
            self._set_ended("done")

    def _on_interrupted(self) -> None:
        self._set_ended("failed", "Stopped before the first training step. Nothing was changed.")

    def _on_closed(self, was_running: bool) -> None:
        if was_running:
            self._set_ended("failed", "Training ended because napari was closed.")
        if self.saved is None and self.checkpoint is not None:
            self._keep_temporary_data(Path(self.checkpoint.folder))
        self._remove_temporary_data()

    def _keep_temporary_data(self, checkpoint: Path) -> None:
        """Keep the layers that were written for a training: they are needed to resume it."""
        if self.request is not None and self.request.temporary_data is not None:
            keep_data(self.request.temporary_data, checkpoint)

    def _unexpected_end(self, reason: str) -> str:
        return f"{super()._unexpected_end(reason)} The base model is unchanged."


@per_viewer
def training_of(viewer: ViewerModel) -> TrainingProcess:
    """The training of a viewer; it lives as long as the viewer."""
    return TrainingProcess(viewer, session_of(viewer))
