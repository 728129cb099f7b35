"""The classes of a model: labels in the mask, names, colours, codes, and which class is part of which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["ClassInfo", "Code", "class_descendants", "with_parts"]

_Counts = TypeVar("_Counts", NDArray[np.int64], NDArray[np.float64])


class Code(FrozenModel):
    """A coded concept as in DICOM, for example ``SCT 52988006 "Lesion"`` of SNOMED CT.

    Attributes
    ----------
    scheme
        Coding scheme designator, ``"SCT"`` for SNOMED CT. DICOM allows 16 characters.
    value
        The code, 16 characters at most.
    meaning
        The concept in words, 64 characters at most.

    Examples
    --------
    >>> Code(scheme="SCT", value="52988006", meaning="Lesion").meaning
    'Lesion'
    """

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


class ClassInfo(FrozenModel):
    """One class of a model.

    Attributes
    ----------
    label
        Its value in a mask, 1 to 255; 0 is background.
    name
        Shown to the user, and used in file names.
    color
        ``"#rrggbb"``.
    includes
        Names of the classes that are parts of this one, as a tumour is part of its organ. A voxel of such a
        part carries the label of the part in the mask.
    code, category
        Property type and property category of DICOM-SEG, by which other programs identify the class.

    Raises
    ------
    pydantic.ValidationError
        If the label is outside 1 to 255, the name is empty or the colour is not hexadecimal.

    Examples
    --------
    >>> liver = ClassInfo(label=1, name="liver", color="#aa5500", includes=("tumour",))
    >>> tumour = ClassInfo(label=2, name="tumour", color="#ffb000")
    >>> class_descendants([liver, tumour])
    [frozenset({1}), frozenset()]
    """

    label: int = Field(ge=1, le=255)
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    includes: tuple[str, ...] = ()
    code: Code | None = None
    category: Code | None = None


def class_descendants(classes: Sequence[ClassInfo]) -> list[frozenset[int]]:
    """For each class, the classes that are parts of it, directly or through another class.

    Parameters
    ----------
    classes
        K classes; every name in an `includes` is the name of one of them.

    Returns
    -------
    list of frozenset of int
        K sets of indices into `classes`.

    Raises
    ------
    ValueError
        If a class includes a name that no class has.
    """
    names = [c.name for c in classes]
    direct = [{names.index(name) for name in c.includes} for c in classes]
    descendants = []
    for k in range(len(classes)):
        reached: set[int] = set()
        pending = set(direct[k])
        while pending:
            j = pending.pop()
            if j not in reached:
                reached.add(j)
                pending |= direct[j]
        descendants.append(frozenset(reached - {k}))
    return descendants


def with_parts(counts: _Counts, classes: Sequence[ClassInfo]) -> _Counts:
    """Add to the count of each class those of the classes that are its parts.

    Parameters
    ----------
    counts
        Voxels, areas or volumes by the labels of a mask, where each voxel has one: `(..., K)`.
    classes
        The K classes.

    Examples
    --------
    >>> liver = ClassInfo(label=1, name="liver", color="#aa5500", includes=("tumour",))
    >>> tumour = ClassInfo(label=2, name="tumour", color="#ffb000")
    >>> with_parts(np.array([1200, 30]), [liver, tumour]).tolist()
    [1230, 30]
    """
    descendants = class_descendants(classes)
    if not any(descendants):
        return counts
    matrix = np.eye(len(classes), dtype=np.int64)  # which class counts in which
    for k, parts in enumerate(descendants):
        matrix[sorted(parts), k] = 1
    sums: _Counts = counts @ matrix
    return sums
