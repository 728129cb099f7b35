"""Objects by class and number."""

from __future__ import annotations

import pytest

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.object_names import MAX_OBJECTS, class_and_number, next_number, object_class
from napari_latentseg.errors import BadInput

RED = "#ff0000"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lesion 1", ("lesion", 1)),
        ("left kidney 12", ("left kidney", 12)),
        ("T12 3", ("T12", 3)),
        ("lesion", None),
        ("lesion 0", None),
        ("7", None),
    ],
)
def test_a_name_has_a_class_and_a_number(name: str, expected: tuple[str, int] | None) -> None:
    assert class_and_number(name) == expected


def test_numbers_go_on_in_each_class() -> None:
    names = ["lesion 1", "lesion 3", "vessel 7", "organ"]
    assert [next_number(names, name) for name in ("lesion", "vessel", "organ")] == [4, 8, 1]


def test_an_object_that_exists_is_continued() -> None:
    classes = [ClassInfo(label=1, name="lesion 1", color=RED), ClassInfo(label=3, name="lesion 2", color=RED)]
    assert object_class(classes, "lesion", 2, RED) == (classes[1], False)
    info, is_new = object_class(classes, " left  kidney ", 1, RED)
    assert (info.label, info.name, is_new) == (2, "left kidney 1", True)


def test_an_object_without_class_and_one_too_many_are_refused() -> None:
    with pytest.raises(BadInput, match="its class has no name"):
        object_class([], " ", 1, RED)
    full = [ClassInfo(label=n, name=f"cell {n}", color=RED) for n in range(1, MAX_OBJECTS + 1)]
    with pytest.raises(BadInput, match="255 already"):
        object_class(full, "cell", 256, RED)
