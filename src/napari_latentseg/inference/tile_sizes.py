"""The sizes of the tiles that a run cuts planes into."""

from __future__ import annotations

from napari_latentseg.core.record import AUGMENTING_SOURCES
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import ModelCard

__all__ = ["tile_sizes"]


def tile_sizes(card: ModelCard, settings: InferenceSettings, size_multiple: int) -> list[int]:
    """Sides of the tiles of a run, in pixels.

    Parameters
    ----------
    card
        Of the model.
    settings
        Of the run.
    size_multiple
        The model's `size_multiple`.
    """
    size, augment = card.preprocess.size, card.augment
    shifts = bool(augment.affine and min(size_multiple - 1, int(augment.shift * size)))
    # a plane that is seen whole is one tile, and larger where it is shifted; the first sample is not
    is_enlarged = card.preprocess.mode == "whole" and settings.source in AUGMENTING_SOURCES and shifts
    return [size, size + size_multiple] if is_enlarged else [size]
