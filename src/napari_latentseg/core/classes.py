"""The classes of a model: their labels, names and codes, and which is part of which."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["ClassInfo", "Code", "class_descendants"]


class Code(FrozenModel):
    """A coded meaning, as DICOM has them: ``SCT 52988006 "Lesion"`` of SNOMED CT."""

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


class ClassInfo(FrozenModel):
    """One class of a model: its number in a mask, its name and its colour.

    `includes` names the classes that are parts of it, as a tumour is of its organ: where they are found, a
    mask shows them rather than the whole.

    `code` and `category` say to other programs what it is (DICOM-SEG's property type and category).
    """

    label: int = Field(ge=1, le=255)
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    includes: tuple[str, ...] = ()
    code: Code | None = None
    category: Code | None = None


def class_descendants(classes: Sequence[ClassInfo]) -> list[frozenset[int]]:
    """For each class, the positions of all the classes that it includes, and of those that these include."""
    names = [c.name for c in classes]
    direct = [{names.index(name) for name in c.includes} for c in classes]
    found = []
    for k in range(len(classes)):
        reached: set[int] = set()
        ahead = set(direct[k])
        while ahead:
            j = ahead.pop()
            if j not in reached:
                reached.add(j)
                ahead |= direct[j]
        found.append(frozenset(reached - {k}))
    return found
