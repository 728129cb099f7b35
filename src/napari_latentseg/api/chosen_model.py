"""The model that a function of the API is given: a name, a folder, or a model that was found or loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.codecs.spec import CodecSpec
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = [
    "check_codec_here",
    "check_without_prompts",
    "given_codec",
    "keep_codec_of_training",
    "load_chosen_model",
    "locate_chosen_model",
]


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


def check_without_prompts(card: ModelCard) -> None:
    """Refuse a model that is pointed at where nothing can point.

    Raises
    ------
    BadInput
        If it segments nothing without prompts.
    """
    if card.takes_prompts:
        remedy = "point at it (segment --point Y,X), or choose another model"
        raise BadInput(f"model {card.name!r}", "segments only what it is pointed at", remedy)


def load_chosen_model(model: Model | LocatedModel, codec: str | Path | None = None) -> Model:
    """A model with its weights; one that is loaded stays as it is.

    Raises
    ------
    BadInput
        If it cannot be loaded.
    """
    from napari_latentseg.models.store import LocatedModel, load_model

    return load_model(model, given_codec(codec)) if isinstance(model, LocatedModel) else model


def check_codec_here(model: Model | LocatedModel, settings: InferenceSettings) -> None:
    """Refuse a model whose codec is missing before many images are segmented; a compiled one needs none.

    Raises
    ------
    BadInput
        If there is no codec with the name or the hash in its card.
    """
    from napari_latentseg.inference.compiled_start import is_compiled, uses_openvino
    from napari_latentseg.models.codec_lookup import has_candidate, locate_codec
    from napari_latentseg.models.store import LocatedModel

    spec = model.card.codec
    if not isinstance(model, LocatedModel) or spec is None or has_candidate(spec):
        return
    is_ready = uses_openvino(settings.engine, settings.device) and is_compiled(model.card, settings.precision)
    if not is_ready:
        locate_codec(spec)


def given_codec(codec: str | Path | None) -> str | Path | None:
    """A codec that a function of the API is given: a path, or a name.

    Raises
    ------
    BadInput
        If it is neither.
    """
    if codec is not None:
        as_path("codec", codec)
    return codec


def keep_codec_of_training(
    codec: str | Path | None, spec: CodecSpec | None, on_note: Callable[[str], None]
) -> None:
    """Keep a codec that was given. A training goes on where that is not possible: its work is not lost.

    Parameters
    ----------
    codec
        As it was given; None for one that is kept already.
    spec
        Of the model's codec.
    on_note
        Called with a sentence on where it is kept, or why it is not.
    """
    from napari_latentseg.models.codec_lookup import keep_given_codec

    try:
        kept = keep_given_codec(codec, spec)
    except BadInput as error:
        on_note(f"the model will need --codec, since its codec is not kept: {error}")
    else:
        if kept is not None:
            on_note(kept.describe())
