"""A whole training: from folders of annotated images to a model folder with its card."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.record import SamplingSource
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.evaluation.sample_agreement import SampleAgreement
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import NAME_PATTERN, MetricRecord, ModelCard, TrainingData, read_card
from napari_latentseg.models.folder import Model, check_member_parts, save_model_folder
from napari_latentseg.models.layout import REPLAY_FILE, SPLIT_FILE, WEIGHTS_FILE
from napari_latentseg.models.split import Split
from napari_latentseg.models.update_card import update_card
from napari_latentseg.models.variant import variant_text
from napari_latentseg.training.begin_from import read_initial_model
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.click_judging import ClickJudging
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.datasets import AnnotatedDataset, class_infos, find_datasets
from napari_latentseg.training.duplicates import copies_kept_together
from napari_latentseg.training.events import (
    TrainData,
    TrainEvent,
    TrainMemory,
    TrainProgress,
    TrainSaved,
)
from napari_latentseg.training.first_member import card_with_members, kept_epoch
from napari_latentseg.training.history import training_curve, training_log
from napari_latentseg.training.job_records import (
    as_json,
    model_name_of,
    name_and_version,
    selection_note,
    split_record,
    total_seconds,
    weighted_mean,
)
from napari_latentseg.training.judging import GRACE_S, Judging
from napari_latentseg.training.members import MemberTraining, check_same_training
from napari_latentseg.training.method_checks import check_method
from napari_latentseg.training.output_dir import (
    TRAINING_FILE,
    check_output_dir,
    checkpoint_folder,
    is_model_of_stopped_training,
    read_state,
)
from napari_latentseg.training.pretrained import with_pretrained_unet
from napari_latentseg.training.processes import ONE_PROCESS, Processes
from napari_latentseg.training.provenance import combined_licence, training_data_records
from napari_latentseg.training.replay import make_replay
from napari_latentseg.training.source_agreement import measure_agreements
from napari_latentseg.utils.device import resolve_compute

__all__ = ["TrainingJob"]

_UNJUDGED = (
    "the program was stopped before all of its validation images were segmented; train --resume goes on"
)


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
        if not (members.was_finished and self._has_own_model()):
            records = training_data_records(datasets, data, self.config)
            if self.initial_model is not None:
                records = self.initial_model.records_with(records)
            self._write_model(members, data, records, member_dsc)
            if not members.stopped:
                with suppress(BadInput):  # without it the judging cannot be resumed, which is no harm
                    members.write_finished()
        yield from self._judge(members, data, datasets)

    def _has_own_model(self) -> bool:
        """Whether the output folder holds what this training has written when it was stopped."""
        return self.resume and is_model_of_stopped_training(self.out, self.checkpoint.training_id)

    def _write_model(
        self,
        members: MemberTraining,
        data: Dataset,
        training_records: tuple[TrainingData, ...],
        member_dsc: Sequence[float],
    ) -> None:
        """Write the model folder before it is judged, which can take longer than the training."""
        agreements = measure_agreements(
            members.trained_methods[0], data.validation, self.config.preprocess, self.config.card.threshold,
            self.compute,
        )  # fmt: skip
        card = self._build_card(members, training_records, agreements)
        if len(member_dsc) > 1:
            card = card.replace(member_dsc=tuple(round(dsc, 4) for dsc in member_dsc))
        if self.first is not None:
            card = card_with_members(self.first.card, card)
        extras = {
            # the codec by its name: its path on this machine does not belong into a model that is shared
            TRAINING_FILE: as_json(
                self.config.model_dump(mode="json")
                | {"codec": self.spec.name if self.spec else None}
                | {
                    "published_weights": Path(self.config.published_weights).name,
                    "pretrained_unet": Path(self.config.pretrained_unet).name,
                    "begin_from": ""
                    if self.initial_model is None
                    else name_and_version(self.initial_model.card),
                    "split": split_record(self.config),
                    "perceptual": [Path(file).name for file in self.config.perceptual],
                    "run": self._run_record(members),
                }
            ),
            "training_log.csv": training_log(members.events),
            "training_curve.png": training_curve(members.events),
            SPLIT_FILE: as_json(self._split(data).to_json()),
        }
        first_member, *other_members = members.trained_methods
        can_be_taught = type(first_member).fine_tune_spec is not Method.fine_tune_spec
        if can_be_taught and not first_member.takes_prompts:
            extras[REPLAY_FILE] = make_replay(first_member, card, data.train, data.validation, self.compute)
        save_model_folder(
            self.out, first_member, card, extras, other_members=other_members, replace=self._has_own_model()
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
            self._evaluation_settings(members.trained_methods),
            selection_note(self.config, members.best_epochs),
            self.config.judge_planes,
            self.config.card.images_are_crops,
            should_stop,
            list(card.metrics),
            is_calibrated=card.reliability is not None,
        )
        yield from judging.run()
        changes = judging.card_updates | {"metrics": tuple(judging.records), "fit": judging.fit}
        update_card(self.out, changes | {"unjudged": "" if judging.is_complete else _UNJUDGED})
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
        unjudged = "" if judging.is_complete else _UNJUDGED
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

    def _build_card(
        self,
        members: MemberTraining,
        training_records: tuple[TrainingData, ...],
        agreements: tuple[SampleAgreement, ...],
    ) -> ModelCard:
        config, card_config = self.config, self.config.card
        return ModelCard(
            name=self.name,
            title=card_config.title or self.name,
            method=config.method,
            deviations_from_paper=variant_text(members.trained_methods[0], config.preprocess),
            settings=config.settings,
            codec=self.spec,
            preprocess=config.preprocess,
            augment=config.augment,
            modality=card_config.modality,
            classes=self._classes(),
            sources=self._sources(members.trained_methods, agreements),
            sample_agreement=agreements,
            members=len(members.trained_methods),
            member_parts=config.member_parts if len(members.trained_methods) > 1 else "all",
            default_samples=card_config.default_samples,
            threshold=card_config.threshold,
            training_data=training_records,
            licence=combined_licence(card_config.licence, [record.licence for record in training_records]),
            intended_use=card_config.intended_use,
            limits=card_config.limits,
            unjudged=_UNJUDGED,
        )

    def _split(self, data: Dataset) -> Split:
        """What the weights were trained on, also before this training."""
        return data.split() if self.initial_model is None else data.split().joined(self.initial_model.split)

    def _classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the model; of one that is pointed at, one for whatever it is pointed at."""
        if method_class(self.config.method).takes_prompts:
            return (ClassInfo(label=1, name="structure", color=self.config.card.color),)
        return class_infos(self.config)

    def _sources(
        self, methods: Sequence[Method], agreements: Sequence[SampleAgreement] = ()
    ) -> tuple[SamplingSource, ...]:
        return methods[0].available_sources(  # type: ignore[return-value]
            has_augmentation=self._has_augmentation,
            members=len(methods),
            collapsed=[agreement.source for agreement in agreements if agreement.has_collapsed],
        )

    @property
    def _has_augmentation(self) -> bool:
        """Whether test-time augmentation has any view to add inside the training's ranges."""
        return self.config.augment.distinct_tta_count != 1

    def _evaluation_settings(self, methods: Sequence[Method]) -> list[tuple[SamplingSource, int]]:
        """Sampling sources and numbers of samples that are evaluated: one sample, an ensemble, all members.

        Of the default source as many samples as a run draws by default, so that the model is calibrated on
        the same results. Else eight augmented views: of flips and quarter turns there are no more.
        """
        default = InferenceSettings.for_model(read_card(self.out))
        settings = self._sources_to_evaluate(methods)
        return [
            (source, default.samples if source == default.source and count > 1 else count)
            for source, count in settings
        ]

    def _sources_to_evaluate(self, methods: Sequence[Method]) -> list[tuple[SamplingSource, int]]:
        settings: list[tuple[SamplingSource, int]]
        if not methods[0].is_deterministic:
            (source, *_) = self._sources(methods)
            settings = [(source, 1), (source, self.config.card.default_samples)]
        else:
            settings = [("none", 1)]
            if self._has_augmentation:
                settings.append(("augment", min(8, self.config.augment.distinct_tta_count or 8)))
        if len(methods) == 1:
            return settings
        settings.append(("members", len(methods)))
        if methods[0].is_deterministic and self._has_augmentation:
            settings.append(("members-augment", max(8, len(methods))))
        return settings

    def _run_record(self, members: MemberTraining) -> dict[str, Any]:
        stopped = {"stopped": True} if members.stopped else {}
        return stopped | {
            "training": self.checkpoint.training_id,
            "epochs": len(members.events),
            "seconds": round(total_seconds(members.events)),
            "kept_epoch": members.best_epochs[0]
            if len(members.trained_methods) == 1
            else members.best_epochs,
            "device": self.compute.device,
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            **({"seeds": members.seeds} if len(members.trained_methods) > 1 else {}),
            **({} if self.first is None else {"members_of": name_and_version(self.first.card)}),
            **({"processes": self.processes.count} if self.processes.count > 1 else {}),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        }
