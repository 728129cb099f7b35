"""The card of the model that made a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.models.card import ModelCard

__all__ = ["card_of_result"]


def card_of_result(segmentation: Segmentation) -> ModelCard | None:
    """The card of the model that made a result, where that very version is on this machine.

    Parameters
    ----------
    segmentation
        The result.

    Returns
    -------
    ModelCard or None
        None where the version is not installed, or its files are others than those that made the result.
    """
    from napari_latentseg.api.models import locate_model
    from napari_latentseg.errors import BadInput

    model_record = segmentation.record.model
    try:
        card = locate_model(model_record.name).card
    except BadInput:
        return None
    has_same_files = all(model_record.sha256.get(name) == digest for name, digest in card.files.items())
    return card if has_same_files and card.version == model_record.version else None
