"""The methods by name: the one list of them; a new method is added here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.gms import GMS
from napari_latentseg.methods.guided import GuidedLatentDiffusion
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff
from napari_latentseg.methods.prompted import PromptedMapping
from napari_latentseg.methods.sdseg import SDSeg
from napari_latentseg.methods.wave_gms import WaveGMS
from napari_latentseg.utils.field_errors import wrong_field

__all__ = ["METHODS", "build_method", "check_codec", "method_class", "method_settings"]

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
        raise BadInput("method", f"no method {name!r}", choose_from(name, METHODS))
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
    check_codec(cls, has_codec=codec is not None)
    return cls(codec, method_settings(name, config))


def check_codec(method: type[Method], *, has_codec: bool) -> None:
    """Refuse a method without the codec that it is built on, or with one that it has no use for.

    Raises
    ------
    BadInput
        As described.
    """
    if method.needs_codec and not has_codec:
        raise BadInput("codec", f"is missing; {method.name} is built on a pretrained one", "give one")
    if has_codec and not method.needs_codec:
        remedy = "leave it out (null in a configuration)"
        raise BadInput("codec", f"is given, but {method.name} trains its own autoencoders", remedy)


def method_settings(name: str, settings: Mapping[str, Any]) -> BaseModel:
    """The settings of a method, checked.

    Parameters
    ----------
    name
        A key of `METHODS`.
    settings
        By the fields of the method's `config_class`; the defaults are used for the rest.

    Raises
    ------
    BadInput
        If the name or a setting is not known, or a value is not possible.
    """
    config_class = method_class(name).config_class
    try:
        return config_class.model_validate(dict(settings))
    except ValidationError as error:
        field, why, remedy = wrong_field(error, config_class)
        raise BadInput(f"{name} settings, {field or 'as a whole'}", why, remedy) from error
