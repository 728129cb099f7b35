"""The installed models with their versions, as the widgets list them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from napari_latentseg import ModelVersion, api
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.training_log import TrainingLog, read_training_log

__all__ = ["ModelEntry", "distinct_titles", "list_model_entries"]


@dataclass(frozen=True)
class ModelEntry:
    """A model with its versions, oldest first, the card of each version, and the log of its training."""

    name: str
    versions: tuple[tuple[ModelVersion, ModelCard], ...]
    logs: Mapping[Path, TrainingLog | None] = field(default_factory=dict)

    @property
    def current(self) -> tuple[ModelVersion, ModelCard]:
        """The version that is loaded when the model is used by name."""
        return next((item for item in self.versions if item[0].is_current), self.versions[-1])


def list_model_entries() -> list[ModelEntry]:
    """All installed models; reads their cards. A model with an unreadable card is left out."""
    model_entries = []
    for name in api.list_models():
        versions = []
        try:
            for version in api.model_history(name):
                versions.append((version, api.locate_model(version.folder).card))
        except BadInput:
            continue
        if versions:
            logs = {version.folder: read_training_log(version.folder) for version, _ in versions}
            model_entries.append(ModelEntry(name, tuple(versions), logs))
    return model_entries


def distinct_titles(cards: Iterable[ModelCard]) -> dict[str, str]:
    """The title of each model by its name, and with its name where others have that title too.

    So it is where a fine-tuned model was kept beside its base.

    Parameters
    ----------
    cards
        Of one or several versions of each model.
    """
    names: defaultdict[str, set[str]] = defaultdict(set)
    for card in (cards := list(cards)):
        names[card.title].add(card.name)
    return {c.name: c.title if len(names[c.title]) == 1 else f"{c.title} ({c.name})" for c in cards}
