"""Where a fine-tuned model comes from: which model here it is a version of, and what it was trained on."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.models.split import Split, read_split
from napari_latentseg.models.store import model_folders
from napari_latentseg.models.versions import list_versions

__all__ = ["lineage_split", "parent_model", "version_with_weights"]


def parent_model(card: ModelCard) -> str:
    """The name of the model here that a fine-tuned model is a version of; empty where there is none.

    A model is a version of another if one of the models that it was fine-tuned from, directly or not, is
    installed here with the same weights.

    Parameters
    ----------
    card
        Of the fine-tuned model, which need not be installed.
    """
    for ancestor in reversed(card.lineage):
        if ancestor.sha256 in _weights_of(ancestor.name):
            return ancestor.name
    return ""


def version_with_weights(name: str, card: ModelCard) -> str:
    """The number of the version of a model that has the weights of a card; empty where none has.

    Parameters
    ----------
    name
        Of the model here.
    card
        Of the weights.
    """
    folder = _weights_of(name).get(card.files.get(WEIGHTS_FILE, ""))
    return "" if folder is None else read_card(folder).version


def lineage_split(folder: Path, card: ModelCard) -> Split:
    """Which images a model and the models that it was fine-tuned from were trained on, as far as known here.

    A fine-tuned model's own `split.json` includes that of its base; the bases that are on this machine are
    read too, in case an image is missing there.

    Raises
    ------
    BadInput
        If a `split.json` is damaged, or of a newer format.
    """
    split = read_split(folder)
    for ancestor in card.lineage:
        base_folder = _weights_of(ancestor.name).get(ancestor.sha256)
        if base_folder is not None:
            split = split.joined(read_split(base_folder))
    return split


def _weights_of(name: str) -> dict[str, Path]:
    """The folders of the versions of a model, by the SHA-256 of their weights; empty without such a model."""
    if name not in model_folders():
        return {}
    folders: dict[str, Path] = {}
    for version in list_versions(name):
        try:
            sha256 = read_card(version.folder).files.get(WEIGHTS_FILE)
        except BadInput:
            continue
        if sha256:
            folders[sha256] = version.folder
    return folders
