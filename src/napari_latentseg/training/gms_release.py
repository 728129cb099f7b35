"""The card of a model that was made from a published checkpoint."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.codecs.architectures import KNOWN_CODECS
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.datasets import class_infos
from napari_latentseg.utils.weights import file_sha256

__all__ = ["published_card"]


def published_card(source: Path, name: str, config: TrainingConfig, codec: CodecSpec) -> ModelCard:
    """The card of a published checkpoint; nothing is measured.

    With a configuration that names TAESD, and a codec of its kind, it is the model mismatch of Wave-GMS's
    Table 4: the mapper of GMS on latents that it was not trained on.

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
    kind_of_config = KNOWN_CODECS[config.codec][0] if config.codec in KNOWN_CODECS else "kl"
    is_mismatch = kind_of_config == codec.kind == "tiny"
    return ModelCard(
        name=name,
        title=card_config.title or f"{name}, as published",
        method=config.method,
        deviations_from_paper="tiny codec in place of SD-VAE" if is_mismatch else "",
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
            + (
                " The weights were trained with an SD-VAE, not with this codec."
                if is_mismatch
                else " Whether the codec is the one it was trained on cannot be seen from the file."
            )
        ),
    )
