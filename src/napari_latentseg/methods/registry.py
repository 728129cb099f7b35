"""The methods by name: the one list of them; a new method is added here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput, first_validation_error
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.gms import GMS
from napari_latentseg.methods.guided import GuidedLatentDiffusion
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff
from napari_latentseg.methods.prompted import PromptedMapping
from napari_latentseg.methods.sdseg import SDSeg
from napari_latentseg.methods.wave_gms import WaveGMS

__all__ = ["METHODS", "build_method", "method_class"]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (GMS, WaveGMS, SDSeg, MedSegLatDiff, GuidedLatentDiffusion, PromptedMapping)
}


def method_class(name: str) -> type[Method]:
    """The class of a method, by a key of `METHODS` such as ``"gms"``.

    Raises
    ------
    BadInput
        If no method has that name.
    """
    if name not in METHODS:
        raise BadInput("method", f"no method {name!r}", f"use one of {', '.join(METHODS)}")
    return METHODS[name]


def build_method(name: str, codec: Codec | None, config: Mapping[str, Any]) -> Method:
    """A method with randomly initialised weights.

    Parameters
    ----------
    name
        A key of `METHODS`.
    codec
        The pretrained autoencoder; None for a method that trains its own.
    config
        Settings, by the fields of the method's `config_class`; the defaults are used for the rest.

    Raises
    ------
    BadInput
        If the name or a setting is not known, or a codec is missing or given without need.
    """
    cls = method_class(name)
    if cls.needs_codec and codec is None:
        raise BadInput("codec", f"is missing; {name} is built on a pretrained one", "give one")
    if codec is not None and not cls.needs_codec:
        remedy = "leave it out (null in a configuration)"
        raise BadInput("codec", f"is given, but {name} trains its own autoencoders", remedy)
    try:
        settings = cls.config_class.model_validate(dict(config))
    except ValidationError as error:
        field, why = first_validation_error(error)
        valid_fields = cls.config_class.model_fields
        is_known = not field or field.partition(".")[0] in valid_fields
        remedy = "correct it" if is_known else f"use one of {', '.join(valid_fields)}"
        raise BadInput(f"{name} settings, {field or 'as a whole'}", why, remedy) from error
    return cls(codec, settings)
