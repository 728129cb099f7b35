"""Fine-tuning: from a model and a few corrected images to a candidate that is compared before it is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_latentseg.core.temperature import NO_TEMPERATURE
from napari_latentseg.data.label_names import LabelNames
from napari_latentseg.data.slices import Slice
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.finetuning.base_model import read_base_model
from napari_latentseg.finetuning.budget import CaseSplit, Encoding, split_cases
from napari_latentseg.finetuning.candidate_place import CandidatePlace
from napari_latentseg.finetuning.cases import collect_cases, read_training_slices
from napari_latentseg.finetuning.comparison import compare_models
from napari_latentseg.finetuning.config import FineTuneConfig
from napari_latentseg.finetuning.copies import copy_notes, second_mask_notes
from napari_latentseg.finetuning.interrupted import ResumeRequest
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.finetuning.progress import epoch_event, progress_reports
from napari_latentseg.finetuning.resume import CheckpointWriter, fine_tuning_identity, read_stopped
from napari_latentseg.finetuning.threshold_choice import choose_threshold
from napari_latentseg.finetuning.thumbnails import thumbnails
from napari_latentseg.finetuning.unknown_classes import unknown_classes_note
from napari_latentseg.finetuning.writer import Candidate, write_candidate
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.comparison import VersionName
from napari_latentseg.models.folder import Model
from napari_latentseg.models.lineage import lineage_split
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.events import (
    Chosen,
    FineTuneCheckpoint,
    FineTuneData,
    FineTuneEpoch,
    FineTuneEvent,
    FineTuneProgress,
    FineTuneSaved,
    Judged,
    Preview,
)
from napari_latentseg.training.output_dir import checkpoint_folder
from napari_latentseg.training.replay import Replay, read_replay
from napari_latentseg.training.snapshot import Snapshot
from napari_latentseg.utils.device import move_to_device, resolve_compute

__all__ = ["FineTuneJob"]


@dataclass
class _Material:
    """What a fine-tuning learns from, and in which part of the model.

    Attributes
    ----------
    notes
        On the data and the model, for the user; in the order in which they are shown.
    """

    spec: FineTuneSpec
    slices: list[Slice]
    split: CaseSplit
    replay: Replay | None
    notes: list[str]


class FineTuneJob:
    """Reads, encodes, trains, selects, compares, writes. Iterating does the work and yields `FineTuneEvent`s.

    Parameters
    ----------
    base
        The model to fine-tune, by name or folder; its files are not changed.
    data
        Folders of annotated images, see `collect_cases`.
    out
        The candidate's folder; None for the one of its name among the candidates.
    minutes
        For everything but the comparison.
    name
        Of the new model, should it be kept beside its base; None for a free one.
    device
        See `resolve_compute`.
    seed
        Draws the split, the augmentation and the batches.
    should_stop
        Called after every step; True ends the training. The best weights are compared and written, with a
        checkpoint beside them.
    resume
        Resume from the checkpoint; all other arguments must be as before.
    codec
        The model's codec, where it is not kept on this machine.
    steps
        How many; None for as many as the time allows.
    config
        The settings of the training; None for the default.
    checkpoint_every
        Seconds between checkpoints.
    label_names
        What the labels of the masks mean; None for what the folders or the model say.
    reader
        Whose mask of an image that was given several times is used, see `collect_cases`.
    structure
        Of a base that is pointed at: what the masks show, for a model of that structure.
    long_side
        The scale that a new structure is seen at, see `choose_working_scale`; None to let the masks choose.
    request
        With what a checkpoint among the candidates says that it was started.
    on_progress
        Called with the progress between two validations, and with every checkpoint.

    Raises
    ------
    BadInput
        At once, for what can be known before the work.
    """

    def __init__(
        self,
        base: str | Path,
        data: str | Path | Sequence[str | Path],
        out: Path | None = None,
        *,
        minutes: float = 2.0,
        name: str | None = None,
        device: str = "auto",
        seed: int = 0,
        should_stop: Callable[[], bool] = lambda: False,
        resume: bool = False,
        codec: str | Path | None = None,
        steps: int | None = None,
        config: FineTuneConfig | None = None,
        checkpoint_every: float = 20.0,
        label_names: LabelNames | None = None,
        reader: str | None = None,
        structure: str | None = None,
        long_side: int | None = None,
        request: ResumeRequest | None = None,
        on_progress: Callable[[FineTuneProgress | FineTuneCheckpoint], None] = lambda event: None,
    ) -> None:
        self._start_time = time.perf_counter()
        self.folders = [Path(data)] if isinstance(data, str | Path) else [Path(folder) for folder in data]
        if not self.folders:
            raise BadInput("data", "is missing", "give a folder of annotated images")
        if not 0 < minutes <= 24 * 60:
            raise BadInput(
                "minutes", f"{minutes:g} is not a possible time", "give more than 0, and a day at most"
            )
        if seed < 0:
            raise BadInput("seed", f"{seed} is below 0", "give 0 or more")
        self._base = read_base_model(base, codec, structure, long_side)
        self._place = CandidatePlace(
            name, None if out is None else Path(out), self._base.free_name, resume=resume
        )
        self.minutes, self.seed, self.steps = minutes, seed, steps
        self.config = config or self._base.default_config
        self.compute = resolve_compute(device, "auto", is_bfloat16_allowed=True)
        self.should_stop, self.resume = should_stop, resume
        self._request = None if self._place.has_own_folder else request
        self.on_progress = on_progress
        self.checkpoint = Checkpoint(checkpoint_folder(self.out), interval_s=checkpoint_every)
        self._notes: list[str] = [*self._base.notes]
        self._left_out: list[BadInput] = []
        self._has_reader = reader is not None
        self.cases = collect_cases(
            self.folders, self.model.card, label_names, reader=reader,
            on_note=self._notes.append, on_left_out=self._left_out.append,
        )  # fmt: skip

    @property
    def model(self) -> Model:
        """The model that is fine-tuned."""
        return self._base.model

    @property
    def method(self) -> Method:
        """The method that is fine-tuned."""
        return self._base.method

    @property
    def name(self) -> str:
        """Of the new model."""
        return self._place.name

    @property
    def out(self) -> Path:
        """The candidate's folder."""
        return self._place.folder

    def __iter__(self) -> Iterator[FineTuneEvent]:
        claim = self._place.claim()
        self.checkpoint.folder = checkpoint_folder(self.out)
        try:
            yield from self._run()
        finally:
            claim.release()

    def _run(self) -> Iterator[FineTuneEvent]:
        torch.manual_seed(self.seed)
        device = self.compute.torch_device()
        move_to_device(self.method, device)
        material = self._prepare()
        yield self._data_event(material)
        loop, epochs = yield from self._train(material)
        yield from self._judge_and_write(material, loop, epochs)

    def _prepare(self) -> _Material:
        """Read the images, divide them and, for a new structure, make the model ready for it."""
        notes = self._base.choose_scale(self.cases, self.compute)
        card = self.model.card
        spec = self._base.trained_parts(self.config)
        slices = read_training_slices(self.cases, card, self.should_stop)
        known = lineage_split(self.model.folder, card)
        split = split_cases(
            [case.split_key for case in self.cases],
            slices,
            self.seed,
            card.preprocess,
            [known.part_of(case) for case in self.cases],
            keeps_all=self.config.unjudged_share == 1,
        )
        self._base.take_up_prompt(split.train)
        replay = read_replay(self.model.folder, card, spec, self.compute)
        if split.note:
            notes.append(split.note)
        if text := unknown_classes_note(self.cases):
            notes.append(text)
        if replay is None and self._base.prompted is None:
            notes.append("the model has no replay of its own training, so it may forget")
        notes += copy_notes(self.cases, has_reader=self._has_reader)
        return _Material(spec, slices, split, replay, notes)

    def _data_event(self, material: _Material) -> FineTuneData:
        split, replay = material.split, material.replay
        return FineTuneData(
            cases=len(self.cases),
            planes=len(material.slices),
            train=len({s.case for s in split.train}),
            apart=len(split.validation_cases),
            replay=0 if replay is None else len(replay.train),
            note="; ".join([*material.notes, *self._notes, *second_mask_notes(self.cases)]),
            left_out=tuple(map(str, self._left_out)),
        )

    def _train(
        self, material: _Material
    ) -> Generator[FineTuneEvent, None, tuple[Tuner, list[FineTuneEpoch]]]:
        """Encode and train, from the checkpoint where there is one to resume; with the epochs so far."""
        start_time, split, replay = self._start_time, material.split, material.replay
        identity = fine_tuning_identity(self.model.card, self.name, self.seed, self.cases, material.slices)
        snapshot = read_stopped(self.checkpoint, identity) if self.resume else None
        completed_rounds = None if snapshot is None else int(snapshot.metadata["rounds"])
        encoding = self._encoding(material.spec, split, start_time)
        train_patches, validation_patches, rounds = yield from encoding.run(completed_rounds)
        loop = Tuner(
            self.method,
            material.spec,
            train_patches,
            validation_patches,
            replay.train if replay else None,
            replay.validation if replay else None,
            self.compute,
            self.config,
            self.seed,
            self.model.card.raw_threshold,
            self.steps,
            max(1.0, 60 * self.minutes - (time.perf_counter() - start_time)),
            self.should_stop,
        )
        epochs: list[FineTuneEpoch] = []
        if snapshot is not None:
            epochs = [FineTuneEpoch.model_validate(event) for event in snapshot.metadata["events"]]
            loop.restore(Snapshot(snapshot.tensors, snapshot.metadata["at"]))
        writer = CheckpointWriter(
            self.checkpoint, loop, identity, rounds, self._request, epochs, self.on_progress
        )
        report = progress_reports(loop, self.on_progress, start_time, self.minutes)

        def after_step() -> None:
            report()
            writer.after_step()

        loop.on_step = after_step
        for validation in loop.run():
            event = epoch_event(validation, loop, len(train_patches), start_time, self.minutes)
            if validation.step:
                epochs.append(event)
            yield event
            shown = thumbnails(loop, split.validation or split.train, self.model.card)
            yield Preview(step=loop.step, cases=shown)
            if validation.step:
                writer.write_if_due()
        if not loop.has_learnt:
            raise Cancelled
        return loop, epochs

    def _judge_and_write(
        self, material: _Material, loop: Tuner, epochs: list[FineTuneEpoch]
    ) -> Iterator[FineTuneEvent]:
        """Choose how much of what was learnt is kept, compare with the base, write the candidate."""
        card, notes = self.model.card, material.notes
        alpha = loop.select_interpolation()
        threshold = choose_threshold(loop)
        yield Chosen(share=alpha, threshold=threshold)
        new_card = _with_raw_threshold(card, threshold)
        if new_card.threshold != card.threshold:
            notes.append(f"its threshold is {new_card.threshold:.2f} in place of {card.threshold:.2f}")
        training_seconds = round(time.perf_counter() - self._start_time, 1)
        new = VersionName(name=self.name, version=self._base.new_version)
        comparison = yield from compare_models(
            loop, self.cases, material.split, material.replay,
            card=card, new_card=new_card, new=new, notes=notes,
        )  # fmt: skip
        yield Judged(verdict=comparison.verdict, line=comparison.line, comparison=comparison)
        candidate = self._candidate(new_card.threshold)
        saved_card = write_candidate(candidate, loop, material.split, comparison, epochs, training_seconds)
        yield FineTuneSaved(
            folder=str(self.out),
            name=self.name,
            base=card.name,
            version=saved_card.version,
            stopped=loop.stopped,
            dsc=comparison.held_out.after.dsc if comparison.held_out else None,
            seconds=training_seconds,
        )

    def _candidate(self, threshold: float) -> Candidate:
        return Candidate(
            self.model,
            self.name,
            self._base.new_version,
            threshold,
            self.out,
            tuple(self.cases),
            self.config,
            self.seed,
            self.minutes,
            self.compute,
            self.checkpoint,
            self.resume,
            self._base.prompted is not None,
        )

    def _encoding(self, spec: FineTuneSpec, split: CaseSplit, start_time: float) -> Encoding:
        return Encoding(
            self.method, spec, self.model.card, self.compute, split, self.seed, start_time, self.minutes,
            self.steps is None, self.should_stop, self.config.focus,
        )  # fmt: skip


def _with_raw_threshold(card: ModelCard, threshold: float) -> ModelCard:
    """A card with the threshold, of its calibrated mean, that stands for one before calibration."""
    if threshold == card.raw_threshold:
        return card
    return card.replace(threshold=(card.temperature or NO_TEMPERATURE).calibrated_threshold(threshold))
