"""Compile models for the processor of this machine, and load what was compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.models import locate_model

if TYPE_CHECKING:
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["compile_model", "load_compiled", "needs_compiling"]


def compile_model(
    model: Model | LocatedModel | str | Path,
    *,
    precision: str = "auto",
    codec: str | Path | None = None,
) -> str:
    """Compile a model for the processor of this machine, so that no later run has to do it.

    A run does this by itself where it is the first of a model. It is of use before many processes segment
    with the model at once, and in the image of a container.

    Parameters
    ----------
    model
        A loaded model, or the name or folder of one.
    precision
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.

    Returns
    -------
    str
        Why the model cannot be compiled, and torch computes it; empty where it was compiled.

    Raises
    ------
    BadInput
        If there is no such model, it is damaged, or OpenVINO is not installed.

    Examples
    --------
    >>> from napari_latentseg import compile_model
    >>> compile_model("hippocampus-mr")
    ''
    """
    from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model

    located = locate_chosen_model(model)  # before torch is loaded
    from napari_latentseg.inference.predictor import Predictor

    loaded_model = load_chosen_model(located, codec)
    return Predictor(loaded_model, "cpu", precision, "openvino").compile()


def needs_compiling(
    model: Model | LocatedModel | str | Path, *, precision: str = "auto", engine: str = "auto"
) -> bool:
    """Whether the first run of a model on this machine would compile it; see `compile_model`.

    Parameters
    ----------
    model
        A loaded model, or the name or folder of one.
    precision
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    engine
        ``"auto"``, ``"torch"`` or ``"openvino"``.

    Returns
    -------
    bool
        False also where torch computes the model.

    Raises
    ------
    BadInput
        If there is no such model.

    Examples
    --------
    >>> from napari_latentseg import needs_compiling
    >>> needs_compiling("hippocampus-mr", engine="torch")
    False
    """
    from napari_latentseg.api.chosen_model import locate_chosen_model
    from napari_latentseg.inference.compiled_start import is_compiled, uses_openvino

    card = locate_chosen_model(model).card
    return uses_openvino(engine, "auto") and not is_compiled(card, precision)


def load_compiled(model: LocatedModel | str | Path, settings: InferenceSettings | None = None) -> bool:
    """Load the compiled functions of a model into memory, so that the next run of it starts at once.

    Parameters
    ----------
    model
        A model that was located, or its name or folder.
    settings
        Of the run; those of the model's card where not given.

    Returns
    -------
    bool
        Whether such a run needs nothing else; False where it needs the weights, see `load_model`.

    Raises
    ------
    BadInput
        If there is no such model, or it is damaged.

    Examples
    --------
    >>> from napari_latentseg import InferenceSettings, compile_model, list_models, load_compiled
    >>> compile_model("hippocampus-mr")
    ''
    >>> settings = InferenceSettings.for_model(list_models()["hippocampus-mr"], engine="openvino")
    >>> load_compiled("hippocampus-mr", settings)
    True
    """
    from napari_latentseg.inference.compiled_start import load_compiled as load
    from napari_latentseg.inference.settings import InferenceSettings

    located_model = locate_model(model)
    return load(located_model, settings or InferenceSettings.for_model(located_model.card))
