"""What is said of a wrong field in a file that people write: for a misspelt one, the name that was meant."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from napari_latentseg.errors import choose_from, first_validation_error

__all__ = ["wrong_field"]


def wrong_field(
    error: ValidationError, model: type[BaseModel], remedy: str = "correct it"
) -> tuple[str, str, str]:
    """The first field that is wrong, a misspelt one before others, the reason and what to do about it.

    Parameters
    ----------
    error
        From pydantic.
    model
        What was read.
    remedy
        What to do about a field that is known.

    Returns
    -------
    field, why, remedy
        The field, with dots between its parts; empty where the reason is not about a single field.
    """
    # a misspelt name is often why another one is said to be missing
    unknown = [detail for detail in error.errors() if detail["type"] == "extra_forbidden"]
    if not unknown:
        return *first_validation_error(error), remedy
    *group, name = unknown[0]["loc"]
    models: list[type[BaseModel]] = [model]
    field = []
    for part in group:
        if part in {m.__name__ for m in models}:  # pydantic's own word for one kind of several
            models = [m for m in models if m.__name__ == part]
            continue
        field.append(str(part))
        annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if annotations:  # otherwise an index or a key of a collection, whose elements are these models
            models = [m for annotation in annotations for m in _models_in(annotation)]
    known = [f.alias or key for m in models for key, f in m.model_fields.items()]
    return ".".join([*field, str(name)]), "is not known", choose_from(name, known) if known else remedy


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in the type of a field, such as a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
