"""The base of every record of the package: it cannot be changed, and knows no fields but its own."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["FrozenModel"]


class FrozenModel(BaseModel):
    """A pydantic model that is never changed in place, and that refuses a field it does not know.

    A field whose key in JSON is another than its name has that key as its alias: JSON is written with the
    alias and read with either.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked as a new one is.

        pydantic's own ``model_copy(update=...)`` checks nothing: a misspelt field is taken, and so is a value
        of another type.

        Parameters
        ----------
        **changes
            New values, by the names of the fields.

        Raises
        ------
        pydantic.ValidationError
            Where there is no such field, or a value is none that it can have.

        Examples
        --------
        >>> class Size(FrozenModel):
        ...     width: int
        ...     height: int = 1
        >>> Size(width=2).replace(height=3)
        Size(width=2, height=3)
        """
        # fields that were never given stay so: `model_dump(exclude_unset=True)` tells them apart
        kept = {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }
        return type(self).model_validate(kept | changes)
