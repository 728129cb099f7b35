"""Objects that were pointed at: each has a class and a number, and is a label of its own in the mask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput

__all__ = ["MAX_OBJECTS", "class_and_number", "next_number", "object_class", "object_name"]

MAX_OBJECTS = 255  # labels of a mask

_NUMBERED = re.compile(r"(?P<name>.*\S) (?P<number>[1-9]\d{0,3})")


def object_name(class_name: str, number: int) -> str:
    """The name of an object.

    Examples
    --------
    >>> object_name("lesion", 2)
    'lesion 2'
    """
    return f"{class_name} {number}"


def class_and_number(name: str) -> tuple[str, int] | None:
    """The class and the number of an object; None for the name of a class without a number.

    Examples
    --------
    >>> class_and_number("left kidney 1"), class_and_number("liver")
    (('left kidney', 1), None)
    """
    match = _NUMBERED.fullmatch(name)
    return None if match is None else (match["name"], int(match["number"]))


def next_number(names: Iterable[str], class_name: str) -> int:
    """The number of the next object of a class.

    Examples
    --------
    >>> next_number(["lesion 1", "lesion 3", "vessel 7"], "lesion")
    4
    """
    numbers = [entry[1] for name in names if (entry := class_and_number(name)) and entry[0] == class_name]
    return max(numbers, default=0) + 1


def object_class(
    classes: Sequence[ClassInfo], class_name: str, number: int, color: str
) -> tuple[ClassInfo, bool]:
    """The label of an object, and whether it is new.

    Parameters
    ----------
    classes
        Of the objects so far.
    class_name, number
        Of the object.
    color
        Of a new one, ``"#rrggbb"``.

    Raises
    ------
    BadInput
        If the class has no name, or all labels are used.
    """
    class_name = " ".join(class_name.split())
    if not class_name:
        raise BadInput("object", "its class has no name", "enter one")
    name = object_name(class_name, number)
    for info in classes:
        if info.name.casefold() == name.casefold():  # a store refuses names that differ in case alone
            return info, False
    used = {info.label for info in classes}
    label = next((n for n in range(1, MAX_OBJECTS + 1) if n not in used), None)
    if label is None:
        raise BadInput("object", f"there are {MAX_OBJECTS} already", "save them, and remove the layer")
    return ClassInfo(label=label, name=name, color=color), True
