"""Files that only guided latent diffusion is trained with: a perceptual network, and text vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig

__all__ = ["guided_file_changes"]

_METHOD = "guided"
_PERCEPTUAL_WEIGHT = 1.0  # of the latent diffusion models (Rombach et al.); the paper does not say its own


def guided_file_changes(
    config: TrainingConfig, perceptual: Sequence[str | Path] = (), class_texts: str | Path | None = None
) -> dict[str, Any]:
    """What these files change in a configuration.

    Parameters
    ----------
    config
        The configuration.
    perceptual
        Files of the network of the perceptual term; none to leave it as it is.
    class_texts
        A file of text vectors; None to leave the classes as they are.

    Raises
    ------
    BadInput
        If the method has no use for them, or a file is missing or does not fit.
    """
    if not perceptual and class_texts is None:
        return {}
    given = "perceptual" if perceptual else "class_texts"
    if config.method != _METHOD:
        raise BadInput(given, f"is for the method {_METHOD}, but this is {config.method}", "leave it out")
    settings, changes = dict(config.settings), dict[str, Any]()
    if perceptual:
        for file in perceptual:
            if not Path(file).is_file():
                raise BadInput(file, "no such file", "give the files of VGG16 and of LPIPS")
        settings["perceptual_weight"] = settings.get("perceptual_weight") or _PERCEPTUAL_WEIGHT
        changes["perceptual"] = tuple(str(file) for file in perceptual)
    if class_texts is not None:
        from napari_latentseg.networks.class_texts import read_class_texts

        rows, width = read_class_texts(Path(class_texts)).shape
        classes = len(config.classes) or 1
        if rows != classes:
            raise BadInput(
                class_texts,
                f"has {rows} vectors, but the model has {classes} classes",
                "give one for each class, in their order",
            )
        settings |= {"class_embedding": "text", "text_width": width}
        changes["published_weights"] = str(class_texts)
    return changes | {"settings": settings}
