"""The model that a function of the API is given: a name, a folder, or a model that was found or loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["load_chosen_model", "locate_chosen_model"]


def locate_chosen_model(model: Model | LocatedModel | str | Path) -> Model | LocatedModel:
    """A model with its folder and card; one that is loaded has both.

    Raises
    ------
    BadInput
        If there is no such model.
    """
    from napari_latentseg.models.store import LocatedModel, locate_model

    # a loaded model is known by its card, since importing its class would load torch
    is_model = isinstance(model, LocatedModel) or hasattr(model, "method")
    return cast("Model | LocatedModel", model) if is_model else locate_model(cast("str | Path", model))


def load_chosen_model(model: Model | LocatedModel, codec: str | Path | None = None) -> Model:
    """A model with its weights; one that is loaded stays as it is.

    Raises
    ------
    BadInput
        If it cannot be loaded.
    """
    from napari_latentseg.models.store import LocatedModel, load_model

    codec_folder = None if codec is None else as_path("codec", codec)
    return load_model(model, codec_folder) if isinstance(model, LocatedModel) else model
