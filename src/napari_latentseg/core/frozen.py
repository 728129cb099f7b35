"""The base of every pydantic model of the package: immutable, and strict about field names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["FrozenModel"]


class FrozenModel(BaseModel):
    """A pydantic model that cannot be changed in place and that refuses unknown fields.

    A field whose key in JSON differs from its name has that key as its alias: JSON is written with the alias
    and read with either.
    """

    _fields_shown: ClassVar[tuple[str, ...]] = ()
    """The fields in the representation of a large model; empty for all."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        if not self._fields_shown:
            return super().__repr_args__()
        return [(name, getattr(self, name)) for name in self._fields_shown]

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated like a new model.

        pydantic's own ``model_copy(update=...)`` validates nothing: it accepts a misspelt field name and a
        value of another type.

        Parameters
        ----------
        **changes
            New values by field name.

        Raises
        ------
        pydantic.ValidationError
            If there is no such field, or a value is not valid for its field.

        Examples
        --------
        >>> class Size(FrozenModel):
        ...     width: int
        ...     height: int = 1
        >>> Size(width=2).replace(height=3)
        Size(width=2, height=3)
        """
        # fields left at their default stay unset, which `model_dump(exclude_unset=True)` distinguishes
        kept = {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }
        return type(self).model_validate(kept | changes)
