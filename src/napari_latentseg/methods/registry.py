"""The methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput, first_problem
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.gms import GMS

__all__ = ["METHODS", "build_method", "method_class"]

METHODS: dict[str, type[Method]] = {GMS.name: GMS}


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises
    ------
    BadInput
        Where no method has that name.
    """
    if name not in METHODS:
        raise BadInput("method", f"no method {name!r}", f"use one of {', '.join(METHODS)}")
    return METHODS[name]


def build_method(name: str, codec: Codec, config: Mapping[str, Any]) -> Method:
    """A method with fresh weights on a codec.

    Raises
    ------
    BadInput
        Where the name or a setting is not known.
    """
    cls = method_class(name)
    try:
        settings = cls.config_class.model_validate(dict(config))
    except ValidationError as error:
        field, why = first_problem(error)
        known = cls.config_class.model_fields
        is_known = not field or field.partition(".")[0] in known
        remedy = "correct it" if is_known else f"use one of {', '.join(known)}"
        raise BadInput(f"{name} settings, {field or 'as a whole'}", why, remedy) from error
    return cls(codec, settings)
