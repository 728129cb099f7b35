"""Segmentation with generative models in latent space, with an honest measure of doubt.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_latentseg.api import (
        adopt_model,
        calibrate,
        discard_model,
        evaluate,
        export_model,
        finetune,
        install_model,
        list_methods,
        list_models,
        load_model,
        model_history,
        read_scan,
        remove_model,
        revert_model,
        segment,
        train,
    )

__all__ = [
    "__version__",
    "adopt_model",
    "calibrate",
    "discard_model",
    "evaluate",
    "export_model",
    "finetune",
    "install_model",
    "list_methods",
    "list_models",
    "load_model",
    "model_history",
    "read_scan",
    "remove_model",
    "revert_model",
    "segment",
    "train",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("napari_latentseg.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
