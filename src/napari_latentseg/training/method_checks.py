"""Checks of a training configuration against its method, before anything is read or downloaded."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import check_codec, method_class, method_settings
from napari_latentseg.training.config import TrainingConfig

__all__ = ["check_method"]


def check_method(config: TrainingConfig, *, has_codec: bool) -> None:
    """Refuse settings, stages and files that the method of a configuration does not have.

    Parameters
    ----------
    config
        Of the training, with all changes.
    has_codec
        Whether a codec is given.

    Raises
    ------
    BadInput
        With the field that is wrong.
    """
    method = method_class(config.method)
    method_settings(config.method, config.settings)
    _check_stages(config, method)
    check_codec(method, has_codec=has_codec)
    weights = config.published_weights
    if weights not in ("", "none") and not Path(weights).is_file():
        raise BadInput("published_weights", "no such file", 'give a file, "none", or leave it out')
    if config.begin_share and not config.begin_from:
        why = "is a share of the weights of begin_from, which names no model"
        raise BadInput("begin_share", why, "give --begin-from, or leave it out")


def _check_stages(config: TrainingConfig, method: type[Method]) -> None:
    for name in config.stages:
        if name not in method.stage_names:
            remedy = choose_from(name, method.stage_names) if method.stage_names else "leave it out"
            why = "is not known" if method.stage_names else f"{method.name} is trained in one stage"
            raise BadInput(f"stages.{name}", why, remedy)
    if config.stages and all(map(config.leaves_out, method.stage_names)):
        raise BadInput("stages", "are all left out", "train at least one of them")
