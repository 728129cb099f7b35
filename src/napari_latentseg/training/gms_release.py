"""The card of a model that was made from a published checkpoint."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.datasets import class_infos
from napari_latentseg.utils.weights import file_sha256

__all__ = ["published_card"]


def published_card(source: Path, name: str, config: TrainingConfig, codec: CodecSpec) -> ModelCard:
    """The card of a published checkpoint; nothing is measured.

    Parameters
    ----------
    source
        The checkpoint file.
    name
        Of the model.
    config
        The configuration that it was trained with.
    codec
        The codec that it is used with.
    """
    card_config = config.card
    return ModelCard(
        name=name,
        title=card_config.title or f"{name}, as published",
        method=config.method,
        settings=config.settings,
        codec=codec,
        preprocess=config.preprocess,
        augment=config.augment,
        modality=card_config.modality,
        classes=class_infos(config),
        sources=("augment", "none") if config.augment.distinct_tta_count != 1 else ("none",),
        default_samples=card_config.default_samples,
        threshold=card_config.threshold,
        licence="that of the published weights",
        intended_use=card_config.intended_use,
        limits=(
            f"Converted from the authors' checkpoint with the SHA-256 {file_sha256(source)};"
            " not measured here."
            " Whether the codec is the one it was trained on cannot be seen from the file."
        ),
    )
