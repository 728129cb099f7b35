"""The sampling sources of a trained model: which it offers, and which are evaluated with how many samples."""

from __future__ import annotations

from collections.abc import Sequence

from napari_latentseg.core.record import SamplingSource
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.evaluation.sample_agreement import SampleAgreement
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.methods.base import Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.config import TrainingConfig

__all__ = ["evaluated_sources", "offered_sources"]


def offered_sources(
    methods: Sequence[Method], augment: AugmentationConfig, agreements: Sequence[SampleAgreement] = ()
) -> tuple[SamplingSource, ...]:
    """The sources that a model offers, the default one first.

    Parameters
    ----------
    methods
        Its members, one or more.
    augment
        The training's ranges, inside which test-time augmentation stays.
    agreements
        Measured on its samples; a source whose samples do not differ is not offered.
    """
    return methods[0].available_sources(  # type: ignore[return-value]
        has_augmentation=_has_augmentation(augment),
        members=len(methods),
        collapsed=[agreement.source for agreement in agreements if agreement.has_collapsed],
    )


def evaluated_sources(
    methods: Sequence[Method], config: TrainingConfig, card: ModelCard
) -> list[tuple[SamplingSource, int]]:
    """Sampling sources and numbers of samples that are evaluated: one sample, an ensemble, all members.

    Of the default source as many samples as a run draws by default, so that the model is calibrated on
    the same results. Else eight augmented views: of flips and quarter turns there are no more.

    Parameters
    ----------
    methods
        The members of the model, one or more.
    config
        Of the training.
    card
        Of the model.
    """
    default = InferenceSettings.for_model(card)
    return [
        (source, default.samples if source == default.source and count > 1 else count)
        for source, count in _sources_to_evaluate(methods, config)
    ]


def _sources_to_evaluate(
    methods: Sequence[Method], config: TrainingConfig
) -> list[tuple[SamplingSource, int]]:
    settings: list[tuple[SamplingSource, int]]
    has_augmentation = _has_augmentation(config.augment)
    if not methods[0].is_deterministic:
        (source, *_) = offered_sources(methods, config.augment)
        settings = [(source, 1), (source, config.card.default_samples)]
    else:
        settings = [("none", 1)]
        if has_augmentation:
            settings.append(("augment", min(8, config.augment.distinct_tta_count or 8)))
    if len(methods) == 1:
        return settings
    settings.append(("members", len(methods)))
    if methods[0].is_deterministic and has_augmentation:
        settings.append(("members-augment", max(8, len(methods))))
    return settings


def _has_augmentation(augment: AugmentationConfig) -> bool:
    """Whether test-time augmentation has any view to add inside the training's ranges."""
    return augment.distinct_tta_count != 1
