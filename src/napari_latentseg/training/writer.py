"""A trained model as a folder, before it is judged: weights, card, configuration, log, split, replay."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.evaluation.sample_agreement import SampleAgreement
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import ModelCard, TrainingData
from napari_latentseg.models.folder import Model, save_model_folder
from napari_latentseg.models.layout import REPLAY_FILE, SPLIT_FILE
from napari_latentseg.models.split import Split
from napari_latentseg.models.variant import variant_text
from napari_latentseg.training.begin_from import InitialModel
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.datasets import class_infos
from napari_latentseg.training.first_member import card_with_members
from napari_latentseg.training.history import training_curve, training_log
from napari_latentseg.training.job_records import as_json, name_and_version, split_record, total_seconds
from napari_latentseg.training.members import MemberTraining
from napari_latentseg.training.model_sources import offered_sources
from napari_latentseg.training.output_dir import TRAINING_FILE
from napari_latentseg.training.provenance import combined_licence
from napari_latentseg.training.replay import make_replay
from napari_latentseg.training.source_agreement import measure_agreements
from napari_latentseg.utils.device import Compute

__all__ = ["UNJUDGED", "TrainedModel", "write_model"]

UNJUDGED = (
    "the program was stopped before all of its validation images were segmented; train --resume goes on"
)
"""What the card of a model says until all of its validation images are segmented."""


@dataclass(frozen=True)
class TrainedModel:
    """A model whose training has ended, and what it was trained with.

    Attributes
    ----------
    name
        Of the model.
    out
        Its folder.
    config
        Of the training.
    spec
        The codec's record for the card; None for a method that trains its own.
    members
        The trained members, the best first.
    compute
        Device and arithmetic.
    training_id, process_count
        Of the training.
    first
        The model that is the first member; None where all members were trained.
    initial_model
        The model whose weights the training began with, if there is one.
    """

    name: str
    out: Path
    config: TrainingConfig
    spec: CodecSpec | None
    members: MemberTraining
    compute: Compute
    training_id: str
    process_count: int
    first: Model | None = None
    initial_model: InitialModel | None = None

    @property
    def methods(self) -> Sequence[Method]:
        """The members."""
        return self.members.trained_methods


def write_model(
    trained: TrainedModel,
    data: Dataset,
    training_records: tuple[TrainingData, ...],
    member_dsc: Sequence[float],
    *,
    replace: bool,
) -> None:
    """Write the model folder before the model is judged, which can take longer than the training.

    Parameters
    ----------
    trained
        What is written.
    data
        What it was trained on.
    training_records
        The same, for the card.
    member_dsc
        Of each member, its Dice on the validation images, in [0, 1].
    replace
        Whether the folder holds what this training wrote when it was stopped.
    """
    config = trained.config
    agreements = measure_agreements(
        trained.methods[0], data.validation, config.preprocess, config.card.threshold, trained.compute
    )
    card = _build_card(trained, training_records, agreements)
    if len(member_dsc) > 1:
        card = card.replace(member_dsc=tuple(round(dsc, 4) for dsc in member_dsc))
    if trained.first is not None:
        card = card_with_members(trained.first.card, card)
    extras = {
        TRAINING_FILE: as_json(_configuration_record(trained)),
        "training_log.csv": training_log(trained.members.events),
        "training_curve.png": training_curve(trained.members.events),
        SPLIT_FILE: as_json(_split(trained, data).to_json()),
    }
    first_member, *other_members = trained.methods
    can_be_taught = type(first_member).fine_tune_spec is not Method.fine_tune_spec
    if can_be_taught and not first_member.takes_prompts:
        extras[REPLAY_FILE] = make_replay(first_member, card, data.train, data.validation, trained.compute)
    save_model_folder(trained.out, first_member, card, extras, other_members=other_members, replace=replace)


def _build_card(
    trained: TrainedModel,
    training_records: tuple[TrainingData, ...],
    agreements: tuple[SampleAgreement, ...],
) -> ModelCard:
    config, card_config, methods = trained.config, trained.config.card, trained.methods
    return ModelCard(
        name=trained.name,
        title=card_config.title or trained.name,
        method=config.method,
        deviations_from_paper=variant_text(methods[0], config.preprocess),
        settings=config.settings,
        codec=trained.spec,
        preprocess=config.preprocess,
        augment=config.augment,
        modality=card_config.modality,
        classes=_classes(config),
        sources=offered_sources(methods, config.augment, agreements),
        sample_agreement=agreements,
        members=len(methods),
        member_parts=config.member_parts if len(methods) > 1 else "all",
        default_samples=card_config.default_samples,
        threshold=card_config.threshold,
        training_data=training_records,
        licence=combined_licence(card_config.licence, [record.licence for record in training_records]),
        intended_use=card_config.intended_use,
        limits=card_config.limits,
        unjudged=UNJUDGED,
    )


def _classes(config: TrainingConfig) -> tuple[ClassInfo, ...]:
    """The classes of the model; of one that is pointed at, one for whatever it is pointed at."""
    if method_class(config.method).takes_prompts:
        return (ClassInfo(label=1, name="structure", color=config.card.color),)
    return class_infos(config)


def _split(trained: TrainedModel, data: Dataset) -> Split:
    """What the weights were trained on, also before this training."""
    before = trained.initial_model
    return data.split() if before is None else data.split().joined(before.split)


def _configuration_record(trained: TrainedModel) -> dict[str, Any]:
    """The configuration and the course of the training, without paths of this machine."""
    config, before = trained.config, trained.initial_model
    return config.model_dump(mode="json") | {
        # by its name: its path on this machine does not belong into a model that is shared
        "codec": trained.spec.name if trained.spec else None,
        "published_weights": Path(config.published_weights).name,
        "pretrained_unet": Path(config.pretrained_unet).name,
        "begin_from": "" if before is None else name_and_version(before.card),
        "split": split_record(config),
        "perceptual": [Path(file).name for file in config.perceptual],
        "run": _run_record(trained),
    }


def _run_record(trained: TrainedModel) -> dict[str, Any]:
    members = trained.members
    has_one = len(trained.methods) == 1
    stopped = {"stopped": True} if members.stopped else {}
    return stopped | {
        "training": trained.training_id,
        "epochs": len(members.events),
        "seconds": round(total_seconds(members.events)),
        "kept_epoch": members.best_epochs[0] if has_one else members.best_epochs,
        "device": trained.compute.device,
        "precision": trained.compute.precision,
        "threads": torch.get_num_threads(),
        **({} if has_one else {"seeds": members.seeds}),
        **({} if trained.first is None else {"members_of": name_and_version(trained.first.card)}),
        **({"processes": trained.process_count} if trained.process_count > 1 else {}),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
    }
