"""Further members for a model that exists: its training, data and split are taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.folder import check_member_parts
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.output_dir import TRAINING_FILE
from napari_latentseg.utils.field_errors import wrong_field
from napari_latentseg.utils.json_text import load_json

__all__ = ["card_with_members", "check_can_have_members", "kept_epoch", "model_config"]


def model_config(folder: Path, card: ModelCard, changes: dict[str, Any]) -> TrainingConfig:
    """The configuration of a model's training, for further members on its conditioner.

    Parameters
    ----------
    folder
        The model folder.
    card
        Of the model.
    changes
        Fields of the configuration to change, such as ``{"members": 3}``.

    Raises
    ------
    BadInput
        If the model cannot have further members, or its folder does not say how it was trained.
    """
    check_can_have_members(card)
    fields = {name: value for name, value in _training(folder).items() if name in TrainingConfig.model_fields}
    split = dict(fields.get("split", {})) | {"lists": [], "select_on": "validation", "of_model": str(folder)}
    # what the first member began from is in its weights
    taken = {
        "split": split,
        "member_parts": "predictor",
        "pretrained_unet": "",
        "perceptual": [],
        "begin_from": "",
        "begin_share": 0.0,
    }
    try:
        return TrainingConfig.model_validate(fields | {"settings": card.settings} | taken | changes)
    except ValidationError as error:
        field, why, remedy = wrong_field(error, TrainingConfig)
        raise BadInput(field or folder / TRAINING_FILE, why, remedy) from error


def check_can_have_members(card: ModelCard) -> None:
    """Refuse a model that no members can be added to.

    Raises
    ------
    BadInput
        If it has several members already, was fine-tuned, or its predictor cannot be trained apart.
    """
    if card.members > 1:
        raise BadInput(card.name, f"has {card.members} members already", "give a model of one")
    if card.parent:
        why = "was fine-tuned, so its training cannot be repeated"
        raise BadInput(card.name, why, f"give the model that it came from, {card.lineage[0].name}")
    remedy = "train its members with --member-parts all"
    check_member_parts("member_parts", method_class(card.method), "predictor", remedy)


def kept_epoch(folder: Path) -> int:
    """The epoch of the weights of a model; 0 where its folder does not say."""
    epoch = _training(folder).get("run", {}).get("kept_epoch")
    return epoch if isinstance(epoch, int) else 0


def _training(folder: Path) -> dict[str, Any]:
    path = folder / TRAINING_FILE
    remedy = "give a model that was trained here, or train one with --members"
    try:
        content = load_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(folder, f"has no {TRAINING_FILE}, which says how it was trained", remedy) from error
    except (OSError, ValueError) as error:
        raise BadInput(path, "cannot be read", remedy) from error
    if not isinstance(content, dict) or "method" not in content:
        raise BadInput(path, "is not the configuration of a training", remedy)
    return content


def card_with_members(base: ModelCard, trained: ModelCard) -> ModelCard:
    """The card of a model with its new members: what was written about the model stays.

    Parameters
    ----------
    base
        Of the model with one member.
    trained
        As the training would write it for a new model.
    """
    return trained.replace(
        title=base.title,
        modality=base.modality,
        classes=base.classes,
        default_samples=base.default_samples,
        threshold=base.raw_threshold,  # its temperature is that of its own samples
        training_data=base.training_data,
        licence=base.licence,
        intended_use=base.intended_use,
        limits=base.limits,
    )
