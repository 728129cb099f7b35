"""The base of the records: never changed in place, and checked when a copy is made."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from napari_latentseg.core.frozen import FrozenModel


class Inner(FrozenModel):
    value: int = 0


class Outer(FrozenModel):
    name: str = Field(pattern="^[a-z]+$")
    count: int = 1
    inner: Inner = Inner()


def test_a_copy_has_what_is_new_and_keeps_the_rest() -> None:
    first = Outer(name="first", inner=Inner(value=3))
    second = first.replace(count=2)
    assert (second.name, second.count, second.inner.value) == ("first", 2, 3)
    assert first.count == 1


class Renamed(FrozenModel):
    validation_images: int = Field(alias="kept_apart")


def test_an_alias_is_the_key_in_json_and_either_is_read() -> None:
    record = Renamed.model_validate_json('{"kept_apart": 2}')
    assert record == Renamed(validation_images=2)
    assert record.replace(validation_images=3).model_dump(mode="json") == {"kept_apart": 3}


def test_what_was_never_given_stays_so() -> None:
    assert Outer(name="first").replace(name="other").model_dump(exclude_unset=True) == {"name": "other"}


@pytest.mark.parametrize("changes", [{"name": "UPPER"}, {"count": "many"}, {"counts": 2}])
def test_a_copy_is_checked(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        Outer(name="first").replace(**changes)


def test_nothing_is_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer(name="first").name = "other"
