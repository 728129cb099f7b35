"""The card of a model that others trained, by the configuration that it came from."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.sets import class_infos
from napari_latentseg.weights import sha256_of

__all__ = ["released_card"]


def released_card(source: Path, name: str, config: TrainingConfig, codec: CodecSpec) -> ModelCard:
    """What can be said of a published checkpoint; nothing is measured.

    Parameters
    ----------
    source
        The file.
    name
        Of the model to be.
    config
        The configuration of its method that it came from.
    codec
        What it is to be used with.
    """
    about = config.card
    return ModelCard(
        name=name,
        title=about.title or f"{name}, as published",
        method=config.method,
        settings=config.settings,
        codec=codec,
        preprocess=config.preprocess,
        augment=config.augment,
        modality=about.modality,
        classes=class_infos(config),
        sources=("augment", "none") if config.augment.distinct != 1 else ("none",),
        default_samples=about.default_samples,
        threshold=about.threshold,
        licence="that of the published weights",
        intended_use=about.intended_use,
        limits=(
            f"Converted from the authors' checkpoint with the SHA-256 {sha256_of(source)}; not measured here."
            " Whether the codec is the one it was trained on cannot be seen from the file."
        ),
    )
