"""A whole training: from folders of annotated images to a model folder with its card."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import NAME_PATTERN, MetricRecord, ModelCard, read_card
from napari_latentseg.models.folder import Model, check_member_parts
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.models.update_card import update_card
from napari_latentseg.training.begin_from import read_initial_model
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.click_judging import ClickJudging
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.datasets import AnnotatedDataset, find_datasets
from napari_latentseg.training.duplicates import copies_kept_together
from napari_latentseg.training.events import (
    TrainData,
    TrainEvent,
    TrainMemory,
    TrainProgress,
    TrainSaved,
)
from napari_latentseg.training.first_member import kept_epoch
from napari_latentseg.training.job_records import (
    model_name_of,
    selection_note,
    weighted_mean,
)
from napari_latentseg.training.judging import GRACE_S, Judging
from napari_latentseg.training.members import MemberTraining, check_same_training
from napari_latentseg.training.method_checks import check_method
from napari_latentseg.training.model_sources import evaluated_sources
from napari_latentseg.training.output_dir import (
    check_output_dir,
    checkpoint_folder,
    is_model_of_stopped_training,
    read_state,
)
from napari_latentseg.training.pretrained import with_pretrained_unet
from napari_latentseg.training.processes import ONE_PROCESS, Processes
from napari_latentseg.training.provenance import training_data_records
from napari_latentseg.training.writer import UNJUDGED, TrainedModel, write_model
from napari_latentseg.utils.device import resolve_compute

__all__ = ["TrainingJob"]


class TrainingJob:
    """Reads, trains, evaluates and writes. Iterating does the work and yields `TrainEvent`s.

    Parameters
    ----------
    data
        A folder that holds `images/` and `masks/`, or several.
    out
        The model folder; must be missing or empty.
    config
        What is trained, and how.
    codec, spec
        The frozen codec, and its record for the card; None for a method that trains its own.
    name
        Of the model; made from the name of the folder where not given.
    device
        See `resolve_compute`.
    should_stop
        Called after each batch and each image, and while the model is judged; True ends the training. The
        best weights are written as a model, and beside it a checkpoint from which the training can be
        resumed, or the judging alone. A model whose training was stopped is judged for 20 seconds at most.
    resume
        Resume from the checkpoint. On the same machine and device the result is that of a training that was
        not stopped, bit for bit, where the device is deterministic. All other arguments must be as before.
    checkpoint_every
        Seconds between checkpoints, which are written at the end of an epoch.
    processes
        Those that train together. The main one alone evaluates and writes; in the others the events end with
        the training.
    on_progress
        Called between the events: see `Trainer`.
    first
        A model that becomes the first member of the new one, whose configuration and split `config` has: see
        `model_config`. Only the further members are trained.

    Raises
    ------
    BadInput
        At once, for what can be known before the work: an invalid name, a folder that exists already,
        settings that the method does not have, a missing checkpoint, or one of another training.
    """

    def __init__(
        self,
        data: Path | Sequence[Path],
        out: Path,
        config: TrainingConfig,
        codec: Codec | None,
        spec: CodecSpec | None,
        *,
        name: str | None = None,
        device: str = "auto",
        should_stop: Callable[[], bool] = lambda: False,
        resume: bool = False,
        checkpoint_every: float = 60.0,
        processes: Processes = ONE_PROCESS,
        on_progress: Callable[[TrainMemory | TrainProgress], None] = lambda event: None,
        first: Model | None = None,
    ) -> None:
        self.folders = [Path(data)] if isinstance(data, str | Path) else [Path(folder) for folder in data]
        config = with_pretrained_unet(config)
        self.out, self.config = Path(out), config
        self.codec, self.spec = codec, spec
        self.name = name.lower() if name else model_name_of(self.out)
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise BadInput(
                "name", f"{self.name!r} is not a valid model name", "use letters, digits, dots and dashes"
            )
        self.compute = resolve_compute(processes.device or device, config.precision, is_bfloat16_allowed=True)
        self.processes, self.on_progress = processes, on_progress
        self.should_stop, self.resume = should_stop, resume
        check_output_dir(self.out, resume=resume)
        self.checkpoint = Checkpoint(checkpoint_folder(self.out), interval_s=checkpoint_every)
        self.first, self.initial_model = first, read_initial_model(config, spec)
        if config.members > 1:
            check_member_parts("member_parts", method_class(config.method), config.member_parts, "use 'all'")
        check_method(config, has_codec=codec is not None)
        self._identity = {
            "config": config.model_dump(mode="json"),
            "name": self.name,
            "codec": spec.sha256 if spec else None,
        } | ({} if first is None else {"first": first.card.files[WEIGHTS_FILE]})
        if self.initial_model is not None:
            self._identity["begin_from"] = self.initial_model.card.files[WEIGHTS_FILE]
        if resume:
            state = read_state(self.checkpoint.folder)
            check_same_training(self._identity, state.get("identity", {}), self.checkpoint.folder)
            self.checkpoint.training_id = state["training"]

    def __iter__(self) -> Iterator[TrainEvent]:
        image_count = 0

        def progress(done: int, total: int) -> bool:
            nonlocal image_count
            image_count = total
            return not self.should_stop()

        data = read_dataset(self.folders, self.config, progress)
        try:
            if self.initial_model is not None:
                self.initial_model.check_validation(data.split().validation)
            yield from self._train(data, image_count)
        finally:
            data.close()

    def _train(self, data: Dataset, image_count: int) -> Iterator[TrainEvent]:
        yield TrainData(
            images=image_count,
            train=len(data.train),
            apart=len(data.validation),
            note="; ".join(filter(None, [copies_kept_together(data.copies, data.other_masks), *data.notes])),
            left_out=tuple(data.left_out.values()),
        )
        members = MemberTraining(
            self.config, data, self.codec, self.compute, self.should_stop, self.checkpoint, self._identity,
            self.processes, self.on_progress,
            first=None if self.first is None else self.first.method,
            first_epoch=0 if self.first is None else kept_epoch(self.first.folder),
            initial_model=self.initial_model,
        )  # fmt: skip
        yield from members.run(resume=self.resume)
        if len(members.trained_methods) < (1 if self.first is None else 2):
            raise Cancelled
        if not self.processes.is_main:
            return
        member_dsc = members.put_best_first()
        datasets = [d.without(data.left_out) for d in find_datasets(self.folders, self.config)]
        has_own_model = self._has_own_model()
        if not (members.was_finished and has_own_model):
            records = training_data_records(datasets, data, self.config)
            if self.initial_model is not None:
                records = self.initial_model.records_with(records)
            write_model(
                self._trained_model(members), data, records, member_dsc, replace=self._has_own_model()
            )
            if not members.stopped:
                with suppress(BadInput):  # without it the judging cannot be resumed, which is no harm
                    members.write_finished()
        yield from self._judge(members, data, datasets)

    def _has_own_model(self) -> bool:
        """Whether the output folder holds what this training has written when it was stopped."""
        return self.resume and is_model_of_stopped_training(self.out, self.checkpoint.training_id)

    def _trained_model(self, members: MemberTraining) -> TrainedModel:
        return TrainedModel(
            self.name,
            self.out,
            self.config,
            self.spec,
            members,
            self.compute,
            self.checkpoint.training_id,
            self.processes.count,
            self.first,
            self.initial_model,
        )

    def _judge(
        self, members: MemberTraining, data: Dataset, datasets: Sequence[AnnotatedDataset]
    ) -> Iterator[TrainEvent]:
        """Score the validation images, and add the figures to the card of the model that was written."""
        card = read_card(self.out)
        first_member, *other_members = members.trained_methods
        deadline = time.monotonic() + GRACE_S
        should_stop = (lambda: time.monotonic() > deadline) if members.stopped else self.should_stop
        if card.takes_prompts:
            yield from self._judge_by_clicks(members, card, data, datasets, should_stop)
            return
        judging = Judging(
            Model(first_member, card, self.out, tuple(other_members)),
            self.compute,
            datasets,
            data.content_hashes(),
            evaluated_sources(members.trained_methods, self.config, card),
            selection_note(self.config, members.best_epochs),
            self.config.judge_planes,
            self.config.card.images_are_crops,
            should_stop,
            list(card.metrics),
            is_calibrated=card.reliability is not None,
        )
        yield from judging.run()
        changes = judging.card_updates | {"metrics": tuple(judging.records), "fit": judging.fit}
        update_card(self.out, changes | {"unjudged": "" if judging.is_complete else UNJUDGED})
        if judging.is_complete and not members.stopped:
            self.checkpoint.remove()
        first_records = judging.records[: len(datasets)]
        yield self._saved(
            members, first_records if len(first_records) == len(datasets) else [], judging.is_complete,
            judging.notes,
        )  # fmt: skip

    def _judge_by_clicks(
        self,
        members: MemberTraining,
        card: ModelCard,
        data: Dataset,
        datasets: Sequence[AnnotatedDataset],
        should_stop: Callable[[], bool],
    ) -> Iterator[TrainEvent]:
        """As `_judge`, of a model that is pointed at."""
        judging = ClickJudging(
            Model(members.trained_methods[0], card, self.out), self.compute, datasets,
            frozenset(data.content_hashes()["validation"]), card.default_samples,
            selection_note(self.config, members.best_epochs), self.config.judge_planes, should_stop,
        )  # fmt: skip
        yield from judging.run()
        unjudged = "" if judging.is_complete else UNJUDGED
        update_card(self.out, {"metrics": tuple(judging.records), "unjudged": unjudged})
        if judging.is_complete and not members.stopped:
            self.checkpoint.remove()
        yield self._saved(members, judging.first_click_records, judging.is_complete)

    def _saved(
        self,
        members: MemberTraining,
        records: Sequence[MetricRecord],
        is_judged: bool,
        notes: Sequence[str] = (),
    ) -> TrainSaved:
        """The last event; with the mean over the first figures of all data sets, where they are known."""
        dsc = None
        if records:
            dsc = weighted_mean([m.values["dsc"] for m in records], [m.images for m in records])
        return TrainSaved(
            folder=str(self.out),
            dsc=None if dsc is None else round(dsc, 4),
            epochs=len(members.events),
            stopped=members.stopped or not is_judged,
            notes=tuple(notes),
        )
